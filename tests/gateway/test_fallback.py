"""Several targets asked in turn: in a thread, in asyncio and in trio, one table for all."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from cachemw.cache.plans import AskedBid, AskedBids, Bid, Plan
from cachemw.endpoints import CHAT
from cachemw.errors import Cause, KeyMissing, UpstreamTimeout
from cachemw.gateway.bout import Bout
from cachemw.gateway.fallback import open_in_turn
from cachemw.gateway.health import Good
from cachemw.limits import Timeouts
from cachemw.messages import ANONYMOUS_CALLER, Head, HttpRecipient, HttpTarget
from tests.gateway.bouts import (
    ERROR_EVENT,
    JSON_HEAD,
    NO_CHOICES,
    ROLE,
    SILENCE,
    STREAM_HEAD,
    Asking,
    Part,
    asking,
    body_of,
    cut,
    hear,
    hear_sync,
    refusal,
    streamed,
    unreachable,
    whole,
)
from tests.upstream import DONE, EVENT_STREAM, JSON, event

MODES = ("sync", "in turn asyncio", "in turn trio", "hedged asyncio", "hedged trio")
"""The last two without a hedge: one at a time, in a task of its own."""

SOON = {"first_token": 0.05, "answer": 0.05}
REFUSED = refusal(400, b'{"error": {"message": "no", "code": "content_policy_violation"}}')
SPENT = refusal(429, b'{"error": {"message": "no", "code": "insufficient_quota"}}')


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


FAILURES: dict[str, tuple[Sequence[Part], str]] = {
    "a limit of the rate": (refusal(429), "rate"),
    "a spent quota": (SPENT, "quota"),
    "an overload": (refusal(503), "overload"),
    "an error": (refusal(500), "broken"),
    "no key": ([KeyMissing("KEY", can_be_sent=False)], "auth"),
    "a wrong key": (refusal(401), "auth"),
    "no such model": (refusal(404, b'{"error": {"message": "no", "code": "model_not_found"}}'), "no-model"),
    "too large": (refusal(400, b'{"error": {"message": "no", "code": "context_length_exceeded"}}'), "too-large"),
    "a parameter": (refusal(400, b'{"error": {"message": "no", "code": "unsupported_parameter"}}'), "unsupported"),
    "a refused connection": (unreachable(), "unreachable"),
    "no such name": (unreachable(Cause.DNS), "unreachable"),
    "TLS that fails": (unreachable(Cause.TLS), "unreachable"),
    "a head that does not come": ([UpstreamTimeout("no head")], "slow"),
    "a head and a break": ([STREAM_HEAD, cut()], "broken"),
    "a role and a break": ([STREAM_HEAD, ROLE, cut()], "broken"),
    "a role and the end": ([STREAM_HEAD, ROLE], "broken"),
    "garbage": ([STREAM_HEAD, b"data: <html>\n\n"], "broken"),
    "an event that is an error": ([STREAM_HEAD, ROLE, ERROR_EVENT], "broken"),
    "nothing": ([STREAM_HEAD], "bad-output"),
    "the end alone": ([STREAM_HEAD, DONE], "bad-output"),
    "no choices": ([JSON_HEAD, NO_CHOICES], "bad-output"),
    "an error in a 200": ([JSON_HEAD, b'{"error": {"message": "no"}}'], "broken"),
    "half a document": ([JSON_HEAD, b'{"choices": [', cut()], "broken"),
}


@pytest.mark.parametrize(("script", "word"), FAILURES.values(), ids=FAILURES)
@pytest.mark.parametrize("is_stream", [True, False], ids=["streamed", "whole"])
def test_who_fails_is_followed_by_the_next_and_the_client_sees_one_clean_answer(
    mode: str, script: Sequence[Part], word: str, is_stream: bool
) -> None:
    """G1, G3, G6, G21, G22: streamed and not, and whatever the failure is."""
    good = streamed() if is_stream else whole()
    question = asking(is_stream=is_stream, a=script, b=good)

    heard = hear(mode, question)

    assert (heard.status, heard.body, heard.error) == (200, body_of(good), None)
    assert heard.tried == [f"a {word}"]
    assert (heard.routed.position, heard.routed.attempts, heard.routed.is_exhausted) == (1, 2, False)
    assert question.desk.words == [f"a {word}", "b good"]
    assert question.asked == ["a", "b"]
    assert question.desk.busy == []


def test_everyone_is_sent_the_body_that_was_made_for_it_and_no_coding(mode: str) -> None:
    """G9."""
    question = asking(a=refusal(500), b=streamed())

    hear(mode, question)

    sent = [question.upstream(name).requests[0] for name in "ab"]
    assert [json.loads(bytes(one.body))["model"] for one in sent if isinstance(one.body, bytes)] == ["a", "b"]
    assert [one.bids for one in sent] == [None, None]
    assert [one.recorded for one in sent] == [True, True]


def test_an_answer_that_breaks_after_it_has_begun_asks_nobody_else(mode: str) -> None:
    """G2: it ends with an error, and without `[DONE]`."""
    question = asking(a=[STREAM_HEAD, ROLE, event({"content": "h"}), cut()], b=streamed())

    heard = hear(mode, question)

    assert heard.body == ROLE + event({"content": "h"})
    assert heard.error is not None
    assert heard.error.detail == "truncated"
    assert question.asked == ["a"]
    assert question.desk.words == ["a broken"]
    assert question.desk.watches[0].ends == [False]


@pytest.mark.parametrize("script", [[SILENCE], [STREAM_HEAD, SILENCE], [STREAM_HEAD, ROLE, SILENCE]])
@pytest.mark.parametrize("is_stream", [True, False], ids=["streamed", "whole"])
def test_who_is_silent_is_left(mode: str, script: Sequence[Part], is_stream: bool) -> None:
    """G4; E9: JSON after `answer` seconds."""
    plan = {"first_token": 0.05, "answer": 9.0} if is_stream else {"first_token": 9.0, "answer": 0.05}
    question = asking(is_stream=is_stream, plan=plan, a=script, b=streamed())

    heard = hear(mode, question)

    assert heard.body == body_of(streamed())
    assert heard.tried == ["a slow"]
    assert question.desk.unsettled == ("a",)


def test_keep_alive_comments_are_silence(mode: str) -> None:
    """G4, E9: blanks count for nothing."""
    question = asking(plan=SOON, a=[STREAM_HEAD, *[b": wait\n\n"] * 3, SILENCE], b=streamed())

    assert hear(mode, question).tried == ["a slow"]


def test_hidden_reasoning_is_waited_for_as_json_is() -> None:
    """E9: whatever the operator calls the provider."""
    names = [
        *(("openai/gpt-5.4-mini", "openai"), ("openai/gpt-4.1", "openai"), ("cerebras/gpt-oss-120b", "cerebras")),
        *(("second-account/gpt-5.4-mini", "openai"), ("local/gpt-5.4-mini", None), ("xai/grok-4", "xai")),
    ]
    bouts = [bout_for(name, known) for name, known in names]

    assert [bout.patience(bout.bids.asked[0]) for bout in bouts] == [120.0, 20.0, 20.0, 120.0, 20.0, 120.0]


def bout_for(name: str, known: str | None) -> Bout:
    bid = Bid(name, HttpTarget("https://api.example/v1/chat/completions", HttpRecipient(known)))
    bids = AskedBids(Plan((bid,), (0,)), (AskedBid(0, bid, b"{}", (), CHAT),), True, ANONYMOUS_CALLER)
    return Bout(bids, 0.0, Timeouts(), lambda _: False)


def test_the_last_one_is_not_left_by_the_deadline_of_the_others(mode: str) -> None:
    """G5: a slow, valid answer is an answer; what ends the wait is the time between two bytes."""
    question = asking(plan=SOON, timeouts=Timeouts(idle=0.2), a=refusal(500), b=[STREAM_HEAD, ROLE, SILENCE])

    heard = hear(mode, question)

    assert heard.tried == ["a broken", "b slow"]
    assert question.asked == ["a", "b"]


def test_the_deadline_of_the_request_ends_all_and_nobody_is_to_try_again(mode: str) -> None:
    """E7: a probe is given back, for nobody has failed."""
    question = asking(plan={"deadline": 0.05}, a=[STREAM_HEAD, SILENCE], b=streamed())

    heard = hear(mode, question)

    assert isinstance(heard.error, UpstreamTimeout)
    assert heard.field(b"x-should-retry") == [b"false"]
    assert heard.tried == ["a deadline"]
    assert question.desk.words == ["a gone"]


def test_a_refusal_ends_the_plan_and_is_shown_as_it_is(mode: str) -> None:
    """G23."""
    question = asking(a=REFUSED, b=streamed())

    heard = hear(mode, question)

    assert (heard.status, heard.body) == (400, body_of(REFUSED))
    assert heard.head is not None
    assert isinstance(REFUSED[0], Head)
    assert heard.head.headers == REFUSED[0].headers
    assert (heard.tried, heard.routed.attempts, heard.routed.is_exhausted) == ([], 1, False)
    assert question.asked == ["a"]
    assert question.desk.words == ["a refused"]


def test_a_refusal_is_routed_around_where_the_operator_says_so(mode: str) -> None:
    """G23: the opt-in."""
    question = asking(plan={"on_refusal": "next"}, a=REFUSED, b=streamed())

    assert hear(mode, question).tried == ["a refused"]


def test_a_filter_within_a_200_ends_the_plan_too(mode: str) -> None:
    """G23."""
    script: list[Part] = [STREAM_HEAD, ROLE, event({}, "content_filter"), DONE]
    question = asking(a=script, b=streamed())

    heard = hear(mode, question)

    assert (heard.status, heard.body) == (200, body_of(script))
    assert question.asked == ["a"]


def test_a_request_that_nobody_could_answer_is_asked_of_nobody_else(mode: str) -> None:
    bad = refusal(422, b'{"error": {"message": "messages: missing"}}')
    question = asking(a=bad, b=streamed())

    assert (hear(mode, question).status, question.asked) == (422, ["a"])


def test_a_callers_own_bad_key_is_for_the_caller_to_see(mode: str) -> None:
    """G9, section 5: the next target is not asked on the strength of another's key."""
    question = asking(a=refusal(401), b=streamed())
    question.desk.callers = frozenset("a")

    heard = hear(mode, question)

    assert (heard.status, heard.tried, question.asked) == (401, [], ["a"])


def test_nor_is_another_target_asked_for_who_brings_no_key_of_their_own(mode: str) -> None:
    question = asking(a=[KeyMissing("KEY", can_be_sent=True)], b=streamed())
    question.desk.callers = frozenset("a")

    assert isinstance(hear(mode, question).error, KeyMissing)
    assert question.asked == ["a"]


def test_a_pinned_target_has_to_begin_within_the_deadline_too(mode: str) -> None:
    question = asking(plan={"deadline": 0.05}, a=[STREAM_HEAD, ROLE, SILENCE])

    assert isinstance(hear(mode, question).error, UpstreamTimeout)


def test_each_failure_is_logged_by_its_target_and_kind(mode: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "cachemw.gateway"):
        hear(mode, asking(a=refusal(429, b'{"error": {"message": "secret"}}'), b=streamed()))

    assert caplog.messages == ['the target "a" failed: rate']


ALL_FAIL: dict[str, tuple[dict[str, Any], dict[str, float], int, bytes, list[bytes], list[bytes]]] = {
    "the first error is shown, with the soonest end": (
        {"a": refusal(429, b"A"), "b": refusal(503, b"B")},
        {"a": 12.0, "b": 4.2},
        *(429, b"A", [b"5"], []),
    ),
    "no end is known of one": ({"a": refusal(429, b"A"), "b": refusal(500, b"B")}, {"a": 12.0}, 429, b"A", [], []),
    "the end is too far away": (
        {"a": refusal(429, b"A"), "b": refusal(503, b"B")},
        {"a": 90.0, "b": 61.0},
        *(429, b"A", [], [b"false"]),
    ),
    "nothing passes by itself": ({"a": SPENT, "b": refusal(401, b"B")}, {}, 429, body_of(SPENT), [], [b"false"]),
    "the first gave no response": ({"a": unreachable(), "b": refusal(500, b"B")}, {}, 500, b"B", [], []),
    "the first gave a 200": ({"a": [JSON_HEAD, NO_CHOICES], "b": refusal(500, b"B")}, {}, 500, b"B", [], []),
    "all gave a 200": ({"a": [JSON_HEAD, NO_CHOICES], "b": [JSON_HEAD, NO_CHOICES]}, {}, 200, NO_CHOICES, [], []),
}


@pytest.mark.parametrize("row", ALL_FAIL.values(), ids=ALL_FAIL)
def test_when_all_fail_the_first_targets_own_error_is_shown(
    mode: str, row: tuple[dict[str, Any], dict[str, float], int, bytes, list[bytes], list[bytes]]
) -> None:
    """G14, G24: and a time to try again only where everybody has one."""
    scripts, cooling, status, body, retry_after, should_retry = row
    question = asking(is_stream=False, **scripts)
    question.desk.cooling, question.desk.repeats = cooling, False

    heard = hear(mode, question)

    assert (heard.status, heard.body) == (status, body)
    assert (heard.field(b"retry-after"), heard.field(b"x-should-retry")) == (retry_after, should_retry)
    assert heard.field(b"content-length") in ([], [b"%d" % len(body)])
    assert heard.routed.is_exhausted
    assert len(heard.tried) == 2
    assert question.desk.busy == []


def test_what_an_upstream_says_of_the_next_try_is_said_anew_for_all(mode: str) -> None:
    """G24: a `Retry-After` of days makes nobody sleep."""
    days = refusal(429, b"A", (b"retry-after", b"259200"), (b"retry-after-ms", b"1"), (b"x-should-retry", b"true"))
    question = asking(a=days, b=refusal(429, b"B"))
    question.desk.cooling = {"a": 259200.0, "b": 3.0}

    heard = hear(mode, question)

    assert heard.field(b"retry-after") == [b"3"]
    assert heard.field(b"retry-after-ms") == heard.field(b"x-should-retry") == []


def test_when_nobody_gives_a_response_the_first_ones_error_is_raised(mode: str) -> None:
    """G6."""
    question = asking(a=unreachable(Cause.DNS), b=unreachable())
    question.desk.cooling, question.desk.repeats = {"a": 5.0, "b": 5.0}, False

    heard = hear(mode, question)

    assert heard.error is not None
    assert (heard.error.cause, heard.error.host) == (Cause.DNS, "a.example")
    assert heard.tried == ["a unreachable", "b unreachable"]
    assert heard.routed.is_exhausted
    assert heard.field(b"retry-after") == [b"5"]


AGAIN: dict[str, tuple[list[list[Part]], list[str]]] = {
    "a refused connection": ([unreachable(), streamed()], ["a unreachable"]),
    "an error that came at once": ([refusal(500), streamed()], ["a broken"]),
    "an overload": ([refusal(503, b"{}", (b"retry-after-ms", b"1")), streamed()], ["a overload"]),
    "a limit that ends soon": ([refusal(429, b"{}", (b"retry-after-ms", b"10")), streamed()], ["a rate"]),
}


@pytest.mark.parametrize(("scripts", "tried"), AGAIN.values(), ids=AGAIN)
def test_the_same_is_asked_again_once_where_nobody_else_is_left(mode: str, scripts: list[list[Part]], tried: list[str]) -> None:
    """E8."""
    question = asking(a=scripts)

    heard = hear(mode, question)

    assert heard.body == body_of(streamed())
    assert (heard.tried, heard.routed.attempts) == (tried, 2)
    assert question.desk.busy == []


NOT_AGAIN: dict[str, tuple[list[Part], bool, float | None]] = {
    "there is no budget for it": (refusal(500), False, None),
    "it says so": (refusal(500, b"{}", (b"x-should-retry", b"false")), True, None),
    "its limit ends late": (refusal(429, b"{}", (b"retry-after", b"3")), True, 3.0),
    "a limit that says nothing of its end": (refusal(429), True, 5.0),
    "a spent quota": (SPENT, True, 300.0),
    "a third error in a row has cooled it": (refusal(500), True, 5.0),
    "too large": (refusal(413), True, None),
    "a bad key": (refusal(401), True, 300.0),
    "nothing in it": ([JSON_HEAD, NO_CHOICES], True, None),
}


@pytest.mark.parametrize(("script", "repeats", "cooling"), NOT_AGAIN.values(), ids=NOT_AGAIN)
def test_the_same_is_not_asked_again_where_that_is_no_use(
    mode: str, script: list[Part], repeats: bool, cooling: float | None
) -> None:
    """G15, G22, G24, E8."""
    question = asking(a=unreachable(), b=script)
    question.desk.repeats = repeats
    question.desk.cooling = {} if cooling is None else {"b": cooling}

    hear(mode, question)

    assert question.asked == ["a", "b"]


def test_no_request_asks_more_often_than_it_has_targets_and_once(mode: str) -> None:
    """G24."""
    question = asking(a=unreachable(), b=unreachable(), c=unreachable())

    heard = hear(mode, question)

    assert question.asked == ["a", "b", "c", "c"]
    assert heard.routed.attempts == 4


def test_a_connection_that_was_closed_before_any_byte_is_opened_anew_and_is_no_failure(mode: str) -> None:
    """E8: it may have been an old one."""
    question = asking(a=[unreachable(Cause.CLOSED), streamed()], b=streamed())

    heard = hear(mode, question)

    assert (heard.tried, heard.routed.attempts, question.asked) == ([], 1, ["a", "a"])
    assert question.desk.words == ["a good"]


def test_a_body_that_is_passed_on_as_it_comes_is_not_sent_again(mode: str) -> None:
    """E8: what of it was sent is gone, and the rest would be taken for all of it."""
    question = asking(
        a=[unreachable(Cause.CLOSED), whole()], is_stream=False, plan={"route": None}, path=b"/v1/files", body=None
    )

    heard = hear(mode, question)

    assert (heard.tried, question.asked) == (["a unreachable"], ["a"])


def test_it_is_opened_anew_only_once(mode: str) -> None:
    """E8, G24."""
    question = asking(a=unreachable(Cause.CLOSED), b=[unreachable(Cause.CLOSED), streamed()])
    question.desk.repeats = False

    assert hear(mode, question).tried == ["a unreachable", "b unreachable"]
    assert question.asked == ["a", "a", "b"]


def test_who_cannot_pay_for_another_attempt_sees_the_first_ones_error(mode: str) -> None:
    """E10: a further attempt reserves again first."""
    question = asking(a=refusal(500, b"A"), b=streamed())
    question.desk.unpaid = frozenset({1})

    heard = hear(mode, question)

    assert (heard.status, heard.body, question.asked) == (500, b"A", ["a"])


def test_who_cannot_pay_for_the_first_is_told_so(mode: str) -> None:
    """E10."""
    question = asking(a=streamed(), b=streamed())
    question.desk.unpaid = frozenset({0})

    heard = hear(mode, question)

    assert str(heard.error) == "no money"
    assert question.asked == question.desk.words == []


def test_a_pinned_target_is_shown_from_its_head_on(mode: str) -> None:
    """Section 4.4: where nobody else could answer nothing is held."""
    question = asking(a=streamed())

    heard = hear(mode, question)

    assert (heard.status, heard.body, heard.tried) == (200, body_of(streamed()), [])
    assert question.desk.words == ["a good"]
    assert question.upstream("a").requests[0].recorded is False


@pytest.mark.parametrize("script", [[STREAM_HEAD, ROLE, ERROR_EVENT], [JSON_HEAD, NO_CHOICES], [STREAM_HEAD, ROLE, DONE]])
def test_a_pinned_answer_with_nothing_in_it_is_shown_and_is_no_success(mode: str, script: list[Part]) -> None:
    """G21."""
    question = asking(a=script)

    heard = hear(mode, question)

    assert heard.body == body_of(script)
    assert question.desk.words in (["a broken"], ["a bad-output"])


@pytest.mark.parametrize("mode", MODES[:3])
def test_an_error_larger_than_what_is_held_is_shown_whole_where_it_is_the_last_word(mode: str) -> None:
    page: list[Part] = [Head(500, JSON), *[b"x" * 32_768] * 4]
    question = asking(a=page)
    question.desk.repeats = False

    assert len(hear(mode, question).body) == 131_072


def test_of_an_error_that_was_left_no_more_is_shown_than_was_held(mode: str) -> None:
    page: list[Part] = [Head(500, (*JSON, (b"content-length", b"131072"), (b"connection", b"close"))), *[b"x" * 32_768] * 4]
    question = asking(a=page, b=refusal(500))
    question.desk.repeats = False

    heard = hear(mode, question)

    assert len(heard.body) == 65_536
    assert (heard.field(b"content-length"), heard.field(b"connection")) == ([b"65536"], [])


def test_a_good_answer_says_how_soon_it_began_and_how_fast_it_came(mode: str) -> None:
    question = asking(a=refusal(500), b=streamed())

    hear(mode, question)

    _, result = question.desk.results[-1]
    assert isinstance(result, Good)
    assert result.first_token is not None
    assert result.tokens_per_second is not None
    assert result.tokens_per_second > 0


def test_json_comes_all_at_once_and_has_no_rate(mode: str) -> None:
    question = asking(is_stream=False, a=refusal(500), b=whole())

    hear(mode, question)

    _, result = question.desk.results[-1]
    assert isinstance(result, Good)
    assert result.tokens_per_second is None


def test_the_watch_sees_every_byte_once_and_the_end(mode: str) -> None:
    """G19."""
    question = asking(a=refusal(500), b=streamed())

    heard = hear(mode, question)

    (watch,) = question.desk.watches
    assert (watch.body, watch.ends) == (heard.body, [True])
    assert heard.routed.bill is watch.bill


def opened(question: Asking) -> None:
    """Read one chunk of the answer, and leave."""
    response = open_in_turn(question.request, question.desk)
    response.read(None)
    response.close()
    response.close()


def test_a_client_that_leaves_is_nobodys_failure() -> None:
    """G8, G19."""
    question = asking(a=refusal(500), b=[*streamed()[:3], SILENCE])

    opened(question)

    assert question.desk.words == ["a broken", "b gone"]
    assert question.desk.watches[0].ends == [False]
    assert question.log[-1] == "b closed"


def test_a_client_that_leaves_behind_the_last_event_has_had_all() -> None:
    question = asking(a=[STREAM_HEAD, b"".join([event({"content": "h"}), event({}, "stop"), DONE]), SILENCE], b=streamed())

    opened(question)

    assert question.desk.words == ["a good"]
    assert question.desk.watches[0].ends == [True]


def test_an_answer_that_is_given_up_since_it_fell_silent_is_no_success() -> None:
    question = asking(a=refusal(500), b=[*streamed()[:3], SILENCE], timeouts=Timeouts(idle=0.0))

    opened(question)

    assert question.desk.words == ["a broken", "b slow"]


def test_other_endpoints_than_chat_are_not_expected_to_have_choices(mode: str) -> None:
    embeddings: list[Part] = [JSON_HEAD, b'{"object": "list", "data": []}']
    question = asking(is_stream=False, path=b"/v1/embeddings", endpoint=None, a=refusal(500), b=embeddings)

    assert hear(mode, question).body == body_of(embeddings)


def test_who_hurries_a_thread_takes_a_timeout_for_no_failure() -> None:
    question = asking(a=[STREAM_HEAD, event({"content": "h"}), SILENCE], b=streamed())
    response = open_in_turn(question.request, question.desk)
    response.read(None)

    with pytest.raises(UpstreamTimeout):
        response.read(0.01)
    response.close()

    assert question.desk.words == ["a gone"]


def test_a_bug_of_a_target_is_a_crash_and_leaves_nothing_open(mode: str) -> None:
    question = asking(a=[STREAM_HEAD, ROLE, Head(200, EVENT_STREAM)], b=streamed())

    with pytest.raises(AssertionError):
        hear(mode, question)

    assert question.desk.words == ["a gone"]
    assert question.log[-1] == "a closed"


def test_json_that_is_slow_is_shown_before_its_end_only_by_the_last(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """E9: so many seconds after its first byte; blanks do not begin it."""
    monkeypatch.setattr("cachemw.gateway.attempts.JSON_HOLD", 0.0)
    slow: list[Part] = [JSON_HEAD, b"\n", b'{"choices": [', cut()]

    last = hear(mode, asking(is_stream=False, a=refusal(500), b=slow))
    first = hear(mode, asking(is_stream=False, a=slow, b=whole()))

    assert (last.status, last.body, last.error is not None) == (200, b'\n{"choices": [', True)
    assert (first.body, first.tried) == (body_of(whole()), ["a broken"])


def test_the_same_answer_comes_whichever_way_it_is_asked_for() -> None:
    assert hear_sync(asking(a=refusal(500), b=streamed())).body == body_of(streamed())


BEGINNINGS = {
    "silence": [STREAM_HEAD, ROLE, SILENCE],
    "an error": [STREAM_HEAD, ERROR_EVENT],
    "a break": [STREAM_HEAD, ROLE, cut()],
}


@pytest.mark.parametrize("beginning", BEGINNINGS.values(), ids=BEGINNINGS)
def test_who_is_asked_alone_is_not_shown_before_it_answers_where_what_is_stored_could(beginning: list[Part], mode: str) -> None:
    """E6: a stored spare never makes an answer worse; nor is it waited for longer, or asked twice."""
    question = asking(a=beginning, in_reserve="fresh", plan={"first_token": 0.05})

    heard = hear(mode, question)

    assert ROLE not in heard.body
    assert heard.routed.is_exhausted
    assert question.asked == ["a"]


def test_a_line_of_the_log_cannot_be_forged_by_the_name_of_a_model(mode: str, caplog: pytest.LogCaptureFixture) -> None:
    """The name of a target that was named is the caller's text."""
    scripts: dict[str, Any] = {"openai/x\nWARNING: \u2028" + "y" * 1000: refusal(500)}
    question = asking(**scripts, plan={"route": None})

    with caplog.at_level("INFO", "cachemw"):
        hear(mode, question)

    (line,) = caplog.messages
    assert line.startswith('the target "openai/x\\\\nWARNING: \\\\u2028yyy')
    assert line.isprintable()
    assert len(line) < 400
