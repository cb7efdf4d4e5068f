"""Many identical requests at once, before an upstream that fails: each a script, and how often it is called."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cachemw.cache.directives import Directives, read_directives
from cachemw.cache.effects import Claim, ClaimResult, Effect, Forward, Found, GetOrder, Lookup, Ordered, Script
from cachemw.cache.exchange import exchange
from cachemw.cache.lookup import VerifiedRecords
from cachemw.cache.policy import Policy
from cachemw.endpoints import CHAT
from cachemw.errors import UpstreamError
from cachemw.limits import Limits
from cachemw.messages import Request
from tests.cache.answers import ORDER
from tests.cache.world import NOW

FAILS = UpstreamError("refused")


@dataclass
class Waiting:
    """A script, and what it is to be told next."""

    script: Script
    told: Any = None

    def resumed(self) -> Effect | None:
        """Go on to the next effect; `None` at the end."""
        try:
            return self.script.throw(self.told) if isinstance(self.told, UpstreamError) else self.script.send(self.told)
        except StopIteration:
            return None


def calls_made(requests: Iterable[Request]) -> list[int]:
    """Let all ask at once, and again when the flight is over; return how often each time the upstream was called."""
    ready, calls = [Waiting(_script(request)) for request in requests], []
    while ready:
        ready, called = _round(ready)
        calls += [called] if called else []
    return calls


def _script(request: Request) -> Script:
    directives = read_directives(request.headers, "off", Policy().honour)
    assert isinstance(directives, Directives)
    return exchange(CHAT, request, directives, Policy(sketch=False), Limits(), VerifiedRecords())


def _round(ready: list[Waiting]) -> tuple[list[Waiting], int]:
    """Let the first lead, and the others follow it, or wait for it; it fails."""
    flight: Claim | None = None
    waiting: list[Waiting] = []
    called = 0
    for one in ready:
        while (effect := one.resumed()) is not None:
            if isinstance(effect, Lookup):
                one.told = Found(None, 0.0)
            elif isinstance(effect, GetOrder):
                one.told = Ordered(ORDER, NOW)
            elif isinstance(effect, Claim) and flight is None:
                flight, one.told = effect, ClaimResult.LEAD
            else:
                called += isinstance(effect, Forward)
                one.told = FAILS
                waiting.append(one)
                break
    return waiting, called
