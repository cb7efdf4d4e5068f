"""Why an answer cannot be had in another kind."""

from cachemw.errors import CacheError

OTHER_KIND = "other-kind"
NO_USAGE = "no-usage"


class Loss(CacheError):
    """Something of the answer would be lost or made up; `detail` is what the report says. It never leaves this package."""

    def __init__(self, detail: str = OTHER_KIND) -> None:
        super().__init__(detail)
        self.detail = detail
