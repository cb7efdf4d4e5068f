"""Refusals: the status and the words; how they are dressed is the dialect's affair."""

from dataclasses import dataclass

MESSAGES = {
    400: "The request is not valid.",
    401: "Wrong API Key",
    402: "Payment required to access this resource. Visit your billing tab.",
    403: "You are not allowed to access this resource.",
    404: "Model does not exist or you do not have access to it.",
    408: "The request took too long to arrive.",
    413: "The request is too large.",
    429: "Requests per minute limit exceeded - too many requests sent.",
    500: "The server had an error while processing your request. Sorry about that!",
    503: "We're experiencing high traffic right now! Please try again soon.",
}
EXTRA_HEADERS = {
    402: ((b"x-should-retry", b"false"),),
    429: ((b"retry-after", b"1"),),
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no answer; `param` names the member of the request at fault."""

    status: int
    message: str
    param: str | None = None

    __repr__ = object.__repr__  # it holds what somebody said

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        return EXTRA_HEADERS.get(self.status, ())


def simulated(status: int) -> Refusal:
    """Return the refusal a provider would give with this status."""
    return Refusal(status, MESSAGES.get(status, f"Simulated failure with status {status}."))
