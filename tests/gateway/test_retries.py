"""How often targets are asked when all of them fail and the client tries again, with the standings that a gateway keeps."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from msgspec.structs import replace

from cachemw.cache.plans import AskedBid
from cachemw.gateway.failure_kinds import Failure
from cachemw.gateway.health import Gone, Good
from cachemw.gateway.standings import BegunAttempt, Standings
from tests.gateway.bouts import STREAM_HEAD, FakeDesk, Part, asking, hear_sync, refusal, unreachable

SDK_PAUSES = (0.0, 0.5, 1.0)
"""The first request of an SDK at its defaults, and its two retries."""

COOLS_BY_ITSELF: dict[str, list[Part]] = {
    "unreachable": unreachable(),
    "an overload": refusal(503),
    "a limit": refusal(429),
    "a limit of days": refusal(429, b"{}", (b"retry-after", b"80000")),
    "a spent quota": refusal(402),
    "a bad key": refusal(401),
    "no such model": refusal(404, b'{"error": {"message": "no", "code": "model_not_found"}}'),
}
OTHERS: dict[str, list[Part]] = {
    "a limit that ends soon": refusal(429, b"{}", (b"retry-after-ms", b"1")),
    "an overload that ends soon": refusal(503, b"{}", (b"retry-after-ms", b"1")),
    "errors": refusal(500),
    "answers with nothing in them": [STREAM_HEAD],
    "too large": refusal(413),
}


@dataclass(slots=True)
class Keeping(FakeDesk):
    """A desk whose standings are kept from one request to the next."""

    standings: Standings = field(default_factory=Standings)
    under_way: dict[str, BegunAttempt] = field(default_factory=dict)

    def begun(self, asked: AskedBid) -> None:
        self.under_way[asked.bid.name] = self.standings.begun(asked.bid.name, "m", "k")

    def ended(self, asked: AskedBid, result: Good | Failure | Gone) -> float | None:
        return self.standings.ended(self.under_way.pop(asked.bid.name), result)


def calls(script: list[Part], targets: str) -> int:
    """Ask as an SDK does that tries again, and return how many calls there were upstream in all."""
    now = [100.0]
    scripts: dict[str, Any] = dict.fromkeys(targets, script)
    question = asking(**scripts)
    desk = Keeping(question.desk.upstreams, standings=Standings(clock=lambda: now[0], roll=lambda: 0.5))
    bids = question.request.bids
    assert bids is not None
    for pause in SDK_PAUSES:
        now[0] += pause
        ready = [asked for asked in bids.asked if desk.standings.health(asked.bid.name, "m", "k").readiness != "cooling"]
        if ready:
            counted = ((b"X-Stainless-Retry-Count", b"%d" % SDK_PAUSES.index(pause)),)
            question.request = replace(question.request, headers=counted, bids=replace(bids, asked=tuple(ready)))
            question.desk = desk
            hear_sync(question)
    return len(question.asked)


@pytest.mark.parametrize("script", COOLS_BY_ITSELF.values(), ids=COOLS_BY_ITSELF)
@pytest.mark.parametrize("targets", ["a", "ab", "abcde"])
def test_where_failures_cool_by_themselves_each_target_is_asked_once_and_hardly_any_twice(
    script: list[Part], targets: str
) -> None:
    """G24: no more than targets + 2."""
    assert calls(script, targets) <= len(targets) + 2


@pytest.mark.parametrize("script", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("targets", ["a", "ab", "abcde"])
def test_no_target_is_asked_more_often_than_the_client_asks(script: list[Part], targets: str) -> None:
    """G24: no more than three times as often as there are targets."""
    assert calls(script, targets) <= 3 * len(targets)
