"""An answer that its reader pulls: what is read when, what is kept, and what others have of it."""

import pytest

from cachemw import Limits
from cachemw.cache.effects import ClaimResult, Failed, Serve
from cachemw.cache.live_response import Put, Relay
from cachemw.cache.policy import Policy
from cachemw.drivers.pull import PullExchange, pull_policy
from cachemw.drivers.pull_effects import Close, Open, Read, SleepUntil, WaitFor, WaitResult
from cachemw.errors import TruncatedResponse, UpstreamError, UpstreamTimeout
from cachemw.flights.pulled import PulledFlight
from cachemw.messages import Head
from tests.cache.answers import COMPLETION, DONE_EVENT, EVENTS, JSON_HEAD, STREAM, STREAM_HEAD, course, request
from tests.cache.asking import ASKED, KEY, record
from tests.cache.world import NOW
from tests.drivers.puller import LATE, Flights, Puller, flight_for

ON = (b"cachemw", b"on")
JSON = request(ON)
AS_STREAM = request(ON, stream=True)
MISS = "fwd=miss; fwd-status=200; key"
BUSY = Head(429, ((b"content-type", b"application/json"), (b"retry-after", b"7")))
CUT_STREAM = Head(200, STREAM_HEAD.headers, delimited=False)


def test_of_a_stream_nothing_is_read_before_its_reader_asks() -> None:
    """S6."""
    puller = Puller(EVENTS, STREAM_HEAD).begin(AS_STREAM)

    assert (puller.cache_status, puller.asked_for(Open), puller.asked_for(Read)) == (MISS, 1, 0)
    assert [puller.read(), puller.asked_for(Read)] == [EVENTS[0], 1]
    assert puller.rest() == b"".join(EVENTS[1:])


def test_a_stream_is_stored_before_its_reader_has_done() -> None:
    """P2, R1b: what is behind `[DONE]` waits for the end, and for the put."""
    puller = Puller(EVENTS, STREAM_HEAD).begin(AS_STREAM)
    for expected in EVENTS[:-1]:
        assert puller.read() == expected

    assert puller.read() == DONE_EVENT
    assert [type(effect) for effect in puller.effects[-3:]] == [Read, Put, Close]
    assert KEY.index in puller.records
    assert puller.read() is None
    assert puller.exchange.end() == puller.outcome.report
    assert puller.outcome.report is not None
    assert puller.outcome.report.stored is True


def test_json_is_read_whole_and_stored_before_its_head_is_known() -> None:
    """P2, E1."""
    puller = Puller([COMPLETION[:10], COMPLETION[10:]]).begin(JSON)

    assert puller.cache_status == "fwd=miss; fwd-status=200; stored; key"
    assert [type(effect) for effect in puller.effects[-5:]] == [Read, Read, Read, Put, Close]
    assert puller.rest() == COMPLETION


def test_a_store_that_fails_costs_the_record_and_nothing_else() -> None:
    """D1."""
    puller = Puller([COMPLETION], put_fault="store-failed").begin(JSON)

    assert puller.cache_status == f"{MISS}; detail=store-failed"
    assert puller.rest() == COMPLETION


@pytest.mark.parametrize("end", [LATE, UpstreamTimeout("silent")], ids=["late", "timeout"])
def test_done_is_let_go_when_the_end_does_not_come(end: object) -> None:
    """R1: what has no end is not kept, but its reader has all of it."""
    puller = Puller([*EVENTS, end], STREAM_HEAD).begin(AS_STREAM)

    assert puller.rest() == STREAM
    assert puller.asked_for(Put) == 0
    report = puller.exchange.end()
    assert report is not None
    assert (report.stored, report.details) == (False, ("no-end",))


def test_who_can_stop_waiting_for_the_end_is_told_when() -> None:
    puller = Puller([*EVENTS, LATE], STREAM_HEAD).begin(AS_STREAM)
    puller.rest()

    assert [effect.within for effect in puller.effects if isinstance(effect, Read)] == [None] * 4 + [Limits().done_hold]


@pytest.mark.parametrize("cut", range(len(EVENTS) + 1))
def test_a_stream_that_breaks_off_raises_and_done_is_never_shown(cut: int) -> None:
    """R1, H10."""
    puller = Puller([*EVENTS[:cut], UpstreamError("gone")], STREAM_HEAD).begin(AS_STREAM)

    pieces = [puller.read() for _ in EVENTS[: min(cut, 3)]]
    with pytest.raises(UpstreamError, match="gone"):
        puller.read()

    assert pieces == list(EVENTS[: min(cut, 3)])
    assert puller.asked_for(Put) == 0
    assert isinstance(puller.effects[-1], Close)
    report = puller.exchange.end()
    assert report is not None
    assert (report.stored, report.details) == (False, ("broken",))


def test_a_timeout_before_done_is_a_failure() -> None:
    """R1."""
    puller = Puller([EVENTS[0], UpstreamTimeout("silent")], STREAM_HEAD).begin(AS_STREAM)
    puller.read()

    with pytest.raises(UpstreamTimeout):
        puller.read()


def test_a_stream_that_ends_where_its_connection_does_is_judged_by_its_content() -> None:
    """R1: without `[DONE]` it may have been cut."""
    puller = Puller(EVENTS[:-1], CUT_STREAM).begin(AS_STREAM)
    for expected in EVENTS[:-1]:
        assert puller.read() == expected

    with pytest.raises(TruncatedResponse):
        puller.read()


def test_json_that_breaks_off_fails_before_anything_is_shown() -> None:
    """R1, H10: with the status that it had."""
    puller = Puller([COMPLETION[:10], UpstreamError("gone")]).begin(JSON)

    assert isinstance(puller.outcome, Failed)
    assert puller.cache_status == f"{MISS}; detail=broken"
    assert puller.said.status == 502


def test_a_reader_that_closes_early_leaves_nothing_behind() -> None:
    """H7: no record, no bytes that count."""
    puller = Puller(EVENTS, STREAM_HEAD).begin(AS_STREAM)
    puller.read()
    assert puller.flights.held == len(EVENTS[0])

    report = puller.exchange.end()

    assert report is not None
    assert (report.stored, report.details) == (False, ("client-left",))
    assert (puller.flights.held, puller.records) == (0, {})


def test_json_that_nobody_reads_is_stored_all_the_same() -> None:
    puller = Puller([COMPLETION]).begin(JSON)

    report = puller.exchange.end()

    assert report is not None
    assert (report.stored, report.details) == (True, ("client-left",))


def test_json_that_takes_its_time_leaves_as_it_comes() -> None:
    """Ten seconds after its first byte: keep-alive blanks (design §2). It is kept, but its head cannot say so."""
    puller = Puller([b" ", b" ", b" ", COMPLETION], ticks=Limits().json_hold / 2).begin(JSON)

    assert (puller.cache_status, puller.asked_for(Read)) == (MISS, 3)
    assert puller.rest() == b"   " + COMPLETION
    assert len(puller.records) == 1


def test_an_answer_over_the_limit_leaves_as_it_comes() -> None:
    """P3, D7."""
    policy = Policy(max_record_bytes=20)
    puller = Puller([COMPLETION[:30], COMPLETION[30:]]).begin(JSON, policy)

    assert (puller.cache_status, puller.asked_for(Read)) == (f"{MISS}; detail=record-too-large", 1)
    assert puller.read() == COMPLETION[:30]
    assert puller.rest() == COMPLETION[30:]


def test_what_is_not_recorded_is_not_held() -> None:
    """S6, P3: no more than what its reader has yet to take."""
    puller = Puller(EVENTS, STREAM_HEAD).begin(request(ON, (b"cache-control", b"no-store"), stream=True))

    assert [puller.read() for _ in EVENTS] == list(EVENTS)
    assert puller.flights.held <= len(DONE_EVENT) + max(map(len, EVENTS))
    assert isinstance(puller.outcome, Relay)
    assert puller.outcome.response.held == 0


def test_when_all_answers_hold_too_much_they_pass_unrecorded() -> None:
    """P3."""
    puller = Puller([COMPLETION], flights=Flights(is_full=True)).begin(JSON)

    assert puller.cache_status == f"{MISS}; detail=busy"
    assert puller.rest() == COMPLETION
    assert puller.records == {}


def test_a_hit_opens_nothing() -> None:
    """S1, E6."""
    puller = Puller(records={KEY.index: record()}).begin(JSON)

    assert isinstance(puller.outcome, Serve)
    assert puller.asked_for(Open) == 0
    assert puller.rest() == COMPLETION
    assert puller.exchange.end() == puller.outcome.report


def test_a_paced_replay_waits_until_each_piece_is_due() -> None:
    """S7."""
    puller = Puller(EVENTS, STREAM_HEAD, ticks=2.0).begin(AS_STREAM)
    puller.rest()
    paced = Puller(records=puller.records).begin(request((b"cachemw", b"speed=2"), stream=True))
    assert paced.rest() == STREAM

    assert [effect.until for effect in paced.effects if isinstance(effect, SleepUntil)] == [1.0, 2.0, 3.0, 4.0]


def test_a_stale_record_answers_for_what_fails_and_that_is_closed() -> None:
    puller = Puller([b"{}"], BUSY, records={KEY.index: record(age=100.0)}).begin(JSON)

    assert puller.cache_status == "fwd=stale; fwd-status=429; ttl=-40; key; detail=stale-if-error"
    assert puller.rest() == COMPLETION
    assert isinstance(puller.effects[-1], Close)


def waited(seconds: float = 1.0, is_over: bool = True) -> WaitResult:
    return WaitResult(seconds, is_over, NOW)


def led(*parts: object, head: Head | UpstreamError = JSON_HEAD) -> PulledFlight:
    """Return what a request that led has brought for those who waited."""
    leader = Puller(parts, head).begin(JSON)
    [flight] = leader.flights.closed
    return flight


def following(*pulled_flights: PulledFlight, over: WaitResult | None = None, **more: object) -> Puller:
    """Wait for each of them, one after another, and then be alone."""
    flights = Flights(open=[flight_for(course(ASKED))])
    waits = []
    for number, flight in enumerate(pulled_flights):

        def wait(
            known: PulledFlight, flight: PulledFlight = flight, is_last: bool = number == len(pulled_flights) - 1
        ) -> WaitResult:
            known.__dict__.update(flight.__dict__)
            if is_last:
                flights.open.clear()
            return over or waited()

        waits.append(wait)
    return Puller(waits=waits, flights=flights, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("head", "body", "says"),
    [
        (JSON_HEAD, COMPLETION, "fwd=miss; fwd-status=200; collapsed; key"),
        (BUSY, b'{"error":{}}', "fwd=miss; fwd-status=429; collapsed; key; detail=not-200"),
        (JSON_HEAD, b'{"choices":[]}', "fwd=miss; fwd-status=200; collapsed; key; detail=missing-choice"),
    ],
    ids=["stored", "refused", "not stored"],
)
def test_who_waits_for_json_has_what_the_first_one_got(head: Head, body: bytes, says: str) -> None:
    """P1: storable or not, with status and `Retry-After`."""
    follower = following(led(body, head=head)).begin(JSON)

    assert (follower.cache_status, follower.asked_for(Open)) == (says, 0)
    assert follower.rest() == body
    report = follower.exchange.end()
    assert report is not None
    assert (report.collapsed, report.stored) == (True, None)


def test_an_answer_that_only_its_reader_has_is_not_waited_for_again() -> None:
    """What was over the limit, or came late, is gone when it has been read."""
    leader = Puller([b" " * 1000, COMPLETION]).begin(JSON, Policy(max_record_bytes=500))
    [flight] = leader.flights.closed

    follower = following(flight, parts=[COMPLETION])
    follower.flights.open *= 2
    follower.begin(JSON)

    assert (follower.asked_for(WaitFor), follower.asked_for(Open)) == (1, 1)
    assert follower.cache_status == "fwd=miss; fwd-status=200; stored; key"


def test_a_failure_is_followed_by_one_re_election() -> None:
    """P1: a second one is everybody's."""
    failed = led(head=UpstreamError("refused"))

    once = following(failed, parts=[COMPLETION]).begin(JSON)
    twice = following(failed, failed).begin(JSON)

    assert (once.cache_status, once.asked_for(Open)) == ("fwd=miss; fwd-status=200; stored; key", 1)
    assert (twice.cache_status, twice.asked_for(Open)) == ("fwd=miss; collapsed; key; detail=unreachable", 0)
    assert len(once.flights.closed) == 1


def test_a_leader_that_was_stopped_leaves_the_claim_to_the_next() -> None:
    stopped = flight_for(course(ASKED))
    leader = Puller([b"{"]).begin(request(ON, (b"cache-control", b"no-store")))
    assert leader.exchange._pull is not None
    leader.exchange._pull.has_ended = False
    leader.exchange._pull._json_hold = Limits().json_hold
    stopped.begin(leader.exchange._pull)
    stopped.end()

    assert stopped.result(course(ASKED), NOW) is ClaimResult.RELEASED


def test_patience_ends_and_then_each_forwards_on_its_own() -> None:
    follower = following(flight_for(course(ASKED)), over=waited(30.0, is_over=False), parts=[COMPLETION])
    follower.flights.open *= 2

    follower.begin(JSON)

    assert [effect.seconds for effect in follower.effects if isinstance(effect, WaitFor)] == [30.0]
    assert (follower.asked_for(Open), follower.flights.closed) == (1, [])


def test_streams_wait_for_nobody() -> None:
    """One thread may open two before it reads either (design §6)."""
    puller = Puller(EVENTS, STREAM_HEAD, flights=Flights(open=[flight_for(course(ASKED))])).begin(AS_STREAM)

    assert (puller.asked_for(WaitFor), puller.asked_for(Open)) == (0, 1)


def test_a_claim_is_given_up_whatever_happens() -> None:
    for head in (JSON_HEAD, UpstreamError("refused"), BUSY):
        puller = Puller([COMPLETION], head).begin(JSON)

        assert len(puller.flights.closed) == 1


def test_an_answer_that_is_pushed_passes_and_is_not_kept() -> None:
    """H7."""

    def push(exchange: PullExchange) -> None:
        assert isinstance(exchange.push(JSON_HEAD, NOW), Relay)

    puller = Puller([b"the rest"], while_opening=push).begin(JSON)

    assert puller.cache_status == f"{MISS}; detail=not-iterated"
    assert puller.rest() == b"the rest"
    assert puller.flights.closed[0].result(course(ASKED), NOW) is ClaimResult.OVER


def test_a_stored_answer_may_be_better_than_what_is_pushed() -> None:
    def push(exchange: PullExchange) -> None:
        assert isinstance(exchange.push(BUSY, NOW), Serve)

    puller = Puller([b"no"], BUSY, while_opening=push, records={KEY.index: record(age=100.0)}).begin(JSON)

    assert puller.rest() == COMPLETION
    assert puller.asked_for(Read) == 0


def test_a_pushed_answer_that_breaks_off_is_nobody_elses_matter() -> None:
    def push(exchange: PullExchange) -> None:
        exchange.push(JSON_HEAD, NOW)

    puller = Puller(head=UpstreamError("gone"), while_opening=push)

    with pytest.raises(UpstreamError, match="gone"):
        puller.begin(JSON)
    report = puller.exchange.end()
    assert report is not None
    assert (report.stored, report.details) == (False, ("broken", "not-iterated"))


def test_what_passes_unasked_says_nothing_and_what_is_too_large_why() -> None:
    puller = Puller([b"x"]).begin(JSON, is_too_large=True)

    assert puller.cache_status == "fwd=bypass; detail=request-too-large"
    assert puller.rest() == b"x"


def test_nobody_reads_on_or_fetches_anew_where_answers_are_pulled() -> None:
    """Design §6: no `finish`, no stale-while-revalidate."""
    policy = pull_policy(Policy(on_abandon="finish", stale_while_revalidate=600.0))
    finish = Puller([COMPLETION]).begin(request((b"cachemw", b"abandon=finish")))
    cancel = Puller([COMPLETION]).begin(request((b"cachemw", b"abandon=cancel")))
    stale = Puller([COMPLETION], records={KEY.index: record(age=100.0)})
    stale.begin(JSON, Policy(stale_while_revalidate=600.0))

    assert (policy.on_abandon, policy.stale_while_revalidate) == ("cancel", 0.0)
    assert finish.cache_status == "fwd=miss; fwd-status=200; stored; key; detail=ignored-abandon"
    assert cancel.cache_status == "fwd=miss; fwd-status=200; stored; key"
    assert stale.cache_status == "fwd=stale; fwd-status=200; stored; key"
