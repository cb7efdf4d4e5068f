"""Warming goes at the pace that an upstream bears, spends no more than was meant, and goes on where it ended."""

import itertools
from collections.abc import Callable, Sequence

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.endpoints import CHAT
from cachemw.inventory.asking import Asker, ClientQuestion, WholeReply
from cachemw.inventory.batches import BatchRequest
from cachemw.inventory.warming import FAILING_ATTEMPTS, Allowance, AskingPace, Warming, WarmSums, why_failed
from cachemw.wire.cache_status import StatusMember

FRESH, HIT = StatusMember(is_stored=True), StatusMember(is_hit=True)
FREE = Allowance(most_of=lambda _: 0, cost_of=lambda _, __: 0)


def requests(count: int) -> list[BatchRequest]:
    return [BatchRequest(f"r{number}", CHAT, "/v1/chat/completions", b"%d" % number) for number in range(count)]


class Upstream(Asker):
    """Answers as it is told, and knows how many ask at once."""

    def __init__(self, answer: Callable[[ClientQuestion], WholeReply]) -> None:
        self._answer = answer
        self.asked: list[bytes] = []
        self.at_once = self.most_at_once = 0

    async def ask(self, question: ClientQuestion) -> WholeReply:
        self.asked.append(question.body)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await anyio.lowlevel.checkpoint()
        self.at_once -= 1
        return self._answer(question)


def warmed(
    upstream: Upstream,
    asked: Sequence[BatchRequest],
    allowance: Allowance = FREE,
    concurrency: int = 4,
    wait: float | None = 0.0,
) -> WarmSums:
    warming = Warming(upstream, asked, allowance, concurrency=concurrency, hint=lambda _, __: wait, note=lambda _, __: None)
    return anyio.run(warming.run)


def answered(standing: StatusMember = FRESH) -> Callable[[ClientQuestion], WholeReply]:
    return lambda _: WholeReply(200, standing=standing)


def test_every_request_is_asked_once_and_counted() -> None:
    upstream = Upstream(answered())

    sums = warmed(upstream, requests(20))

    assert (sums.fetched, sums.hits, sums.done, sums.left, sums.failed) == (20, 0, 20, 0, [])
    assert sorted(upstream.asked, key=int) == [request.body for request in requests(20)]
    assert upstream.most_at_once == 4


def test_what_is_stored_costs_nothing() -> None:
    dear = Allowance(most_of=lambda _: 50, cost_of=lambda _, __: 40, limit=100)

    sums = warmed(Upstream(answered(HIT)), requests(20), dear)

    assert (sums.hits, sums.spent, sums.left) == (20, 0, 0)


@given(most=st.integers(1, 60), cost=st.integers(0, 60), limit=st.integers(0, 500), concurrency=st.integers(1, 8))
def test_no_more_is_spent_than_was_meant_whatever_requests_cost(most: int, cost: int, limit: int, concurrency: int) -> None:
    """E10: the most that those under way can cost is kept back, so it ends before."""
    cost = min(most, cost)
    allowance = Allowance(most_of=lambda _: most, cost_of=lambda _, __: cost, limit=limit)

    sums = warmed(Upstream(answered()), requests(12), allowance, concurrency)

    assert sums.spent <= limit
    assert sums.left == 0 or sums.spent + most > limit
    assert bool(sums.stopped) is bool(sums.left)


def test_an_answer_of_unknown_price_is_counted_as_the_most_that_it_can_cost() -> None:
    allowance = Allowance(most_of=lambda _: 30, cost_of=lambda _, __: None, limit=100)

    sums = warmed(Upstream(answered()), requests(9), allowance)

    assert (sums.fetched, sums.spent, sums.unpriced, sums.left) == (3, 90, 3, 6)


LOST = (
    WholeReply(None, why="no answer: ReadError"),
    WholeReply(504),
    WholeReply(502, standing=StatusMember(fwd_status=200, detail="truncated")),
)


@pytest.mark.parametrize("reply", LOST)
@pytest.mark.parametrize("concurrency", [1, 4])
def test_what_was_begun_and_came_to_nothing_may_have_been_paid_for(reply: WholeReply, concurrency: int) -> None:
    """O7: so no more attempts are made than there is money for, whichever request they are of."""
    upstream = Upstream(lambda _: reply)
    allowance = Allowance(most_of=lambda _: 10, cost_of=lambda _, __: 1, limit=70)

    sums = warmed(upstream, requests(20), allowance, concurrency=concurrency)

    assert len(upstream.asked) <= 7
    assert sums.spent == sums.unpriced * 10 == len(upstream.asked) * 10
    assert sums.stopped.startswith("the next request could cost more")


@pytest.mark.parametrize("reply", [WholeReply(502), WholeReply(500, standing=StatusMember(fwd_status=500)), WholeReply(400)])
def test_what_was_never_begun_costs_nothing(reply: WholeReply) -> None:
    upstream = Upstream(lambda _: reply)

    sums = warmed(upstream, requests(5), Allowance(most_of=lambda _: 10, cost_of=lambda _, __: 1, limit=10), concurrency=2)

    assert (sums.spent, len(sums.failed)) == (0, 5)


def test_a_limit_needs_a_price() -> None:
    unknown = Allowance(most_of=lambda one: None if one.id == "r2" else 1, cost_of=lambda _, __: None, limit=100)

    assert unknown.refusal(requests(3)) == "nobody knows the most that r2 can cost"
    assert unknown.refusal(requests(2)) is None
    assert FREE.refusal(requests(3)) is None


def failing(times: int, reply: WholeReply) -> Callable[[ClientQuestion], WholeReply]:
    """Fail every request so often, and then answer."""
    left: dict[bytes, int] = {}

    def answer(question: ClientQuestion) -> WholeReply:
        left[question.body] = left.get(question.body, times) - 1
        return reply if left[question.body] >= 0 else WholeReply(200, standing=FRESH)

    return answer


def test_who_is_told_to_wait_waits_and_asks_again_and_fewer_ask_at_once() -> None:
    upstream = Upstream(failing(5, WholeReply(429)))

    sums = warmed(upstream, requests(8), wait=0.001)

    assert (sums.fetched, sums.failed) == (8, [])
    assert len(upstream.asked) == 8 * 6


@pytest.mark.parametrize(
    "reply", [WholeReply(500), WholeReply(502), WholeReply(None, why="no answer: ConnectError"), WholeReply(408)]
)
def test_what_may_pass_is_tried_again_but_not_for_ever(reply: WholeReply) -> None:
    once, always = Upstream(failing(1, reply)), Upstream(failing(99, reply))

    sums = [warmed(upstream, requests(2)) for upstream in (once, always)]

    assert (sums[0].fetched, sums[0].failed) == (2, [])
    assert len(sums[1].failed) == 2
    assert len(always.asked) == 2 * FAILING_ATTEMPTS


@pytest.mark.parametrize("status", [400, 402, 403, 404, 422])
def test_what_will_not_pass_is_asked_once_and_the_others_go_on(status: int) -> None:
    upstream = Upstream(lambda question: WholeReply(status) if question.body == b"1" else WholeReply(200, standing=FRESH))

    sums = warmed(upstream, requests(5))

    assert (sums.fetched, sums.failed) == (4, [("r1", f"status {status}")])
    assert len(upstream.asked) == 5


def test_who_is_not_let_in_does_not_knock_a_thousand_times() -> None:
    upstream = Upstream(lambda _: WholeReply(401))

    sums = warmed(upstream, requests(1000))

    assert len(upstream.asked) <= 4
    assert sums.stopped == "nobody is let in with this key, or without one: status 401"
    assert sums.left >= 996


def test_what_is_not_kept_is_told_by_its_detail() -> None:
    details = {b"0": "finish-length", b"1": "", b"2": "store-slow"}

    sums = warmed(Upstream(lambda question: WholeReply(200, standing=StatusMember(detail=details[question.body]))), requests(3))

    assert (dict(sums.not_kept), sums.fetched) == ({"finish-length": 1}, 2)


# The pace.


def test_the_pace_is_halved_once_for_those_that_were_under_way_together() -> None:
    pace = AskingPace(8)

    for _ in range(8):
        pace.slowed(began=10.0, now=11.0, wait=3.0)

    assert (pace.limit, pace.not_before) == (4, 14.0)


def test_the_pace_grows_by_one_with_each_round_and_never_beyond_the_most() -> None:
    pace = AskingPace(8)
    for now in (1.0, 2.0, 3.0, 4.0):
        pace.slowed(now, now, 0.0)

    sizes = [pace.limit]
    for _ in range(40):
        pace.answered()
        sizes.append(pace.limit)

    assert sizes[0] == 1
    assert sizes[-1] == 8
    assert all(after - before in (0, 1) for before, after in itertools.pairwise(sizes))


def test_where_nobody_says_how_long_the_wait_is_doubled_each_time() -> None:
    pace, waits = AskingPace(4), []

    for now in (100.0, 1000.0, 2000.0):
        pace.slowed(now, now, None)
        waits.append(pace.not_before - now)

    assert waits == [1.0, 2.0, 4.0]


@given(
    steps=st.lists(st.tuples(st.booleans(), st.floats(0, 100), st.none() | st.floats(0, 1000)), max_size=40),
    most=st.integers(1, 50),
)
def test_the_pace_is_always_one_at_least_and_no_wait_is_shortened(
    steps: list[tuple[bool, float, float | None]], most: int
) -> None:
    pace, before = AskingPace(most), 0.0

    for is_answer, now, wait in steps:
        pace.answered() if is_answer else pace.slowed(now, now, wait)
        assert 1 <= pace.limit <= most
        assert pace.not_before >= before
        before = pace.not_before


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (
            WholeReply(400, body=b'{"error":{"code":"context_length_exceeded","message":"sk-secret"}}'),
            "status 400, context_length_exceeded",
        ),
        (WholeReply(400, body=b'{"error":{"type":"invalid_request_error"}}'), "status 400, invalid_request_error"),
        (WholeReply(400, body=b'{"error":{"code":"a key: sk-secret"}}'), "status 400"),
        (WholeReply(502, body=b"<html>sk-secret</html>"), "status 502"),
        (WholeReply(None, why="no answer: ReadError"), "no answer: ReadError"),
    ],
)
def test_of_an_error_only_its_code_is_told(reply: WholeReply, why: str) -> None:
    assert why_failed(reply) == why
