"""The health of targets and of keys: values, and what every attempt changes in them."""

from typing import Literal

import msgspec

from cachemw.redaction import redacted_repr

Readiness = Literal["ready", "probe", "cooling"]


class Good(msgspec.Struct, frozen=True):
    """A sound answer: in how many seconds it began, and how many tokens a second came then. `None`: that was not to be seen."""

    first_token: float | None
    tokens_per_second: float | None = None


class Gone(msgspec.Struct, frozen=True):
    """An attempt that says nothing of its target: the client left, another target was faster, or our own time was up."""


GONE = Gone()


Quantiles = tuple[float, float, float, float]
"""The p50, p90, p95 and p99 of the seconds in which the last answers of a target began."""


class Health(msgspec.Struct, frozen=True):
    """The health of one target, as it is for one credential: that of its key, of its model, and of both, together.

    `until` is when its cooldown ends, in monotonic seconds, and `why` is the kind of failure that began it. `first_token`, in
    seconds, and `rate`, in tokens a second, are those of its last good answers; `busy` is how many requests it has of ours.
    """

    readiness: Readiness = "ready"
    until: float = 0.0
    why: str = ""
    first_token: float | None = None
    rate: float | None = None
    busy: int = 0
    quantiles: Quantiles | None = None

    __repr__ = redacted_repr
