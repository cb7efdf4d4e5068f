"""What comes in: is it a chat request, and did its client opt in?"""

import pytest

from cachemw.cache.classify import Classified, NotOptedIn, OptedIn, OtherRequest, classify, exchange_for, unfinished
from cachemw.cache.directives import Abandon, CacheControl, Directives, InvalidControl, Mode
from cachemw.cache.effects import Effect, InvalidPath, Outcome, Unacceptable, Unsatisfiable, resume
from cachemw.cache.lookup import VerifiedRecords
from cachemw.cache.policy import Policy
from cachemw.endpoints import CHAT
from cachemw.limits import Limits
from cachemw.messages import Headers
from cachemw.report import ExchangeReport
from tests.cache.answers import as_told, request

PATH = "/v1/chat/completions"
ON: Headers = ((b"Accept", b"*/*"), (b"Cachemw", b"on"), (b"cachemw", b"mode=read"))
OFF: Headers = ((b"Accept", b"*/*"), (b"Cachemw", b"off"))


@pytest.mark.parametrize(("headers", "default"), [((), "off"), (OFF, "off"), (OFF, "on")])
def test_one_that_did_not_is_left_alone(headers: Headers, default: str) -> None:
    """D9, E2."""
    assert classify("POST", PATH, headers, Policy(default=default)) == NotOptedIn(CHAT)


def test_one_that_cannot_be_obeyed_is_not_guessed() -> None:
    """E7."""
    classified = classify("POST", PATH, ((b"cachemw", b"ttl=soon"),), Policy())

    assert isinstance(classified, OptedIn)
    assert isinstance(classified.asked, InvalidControl)
    assert classified.asked.param == "ttl"


@pytest.mark.parametrize(("method", "path"), [("GET", PATH), ("POST", "/v1/models"), ("POST", f"{PATH}/1"), ("GET", "/")])
def test_what_is_no_chat_request_passes_and_loses_what_is_for_us(method: str, path: str) -> None:
    """H1: clients put it in their defaults."""
    assert classify(method, path, ON, Policy()) == OtherRequest(Directives(mode=Mode.READ), ((b"Accept", b"*/*"),))
    assert classify(method, path, OFF, Policy()) == OtherRequest(None, OFF)
    assert classify(method, path, (), Policy(default="on")) == OtherRequest(Directives(), ())


@pytest.mark.parametrize(
    ("classified", "opted_in", "endpoint"),
    [
        (OptedIn(CHAT, Directives()), True, "chat"),
        (OptedIn(CHAT, InvalidControl("ttl", "soon")), True, "chat"),
        (NotOptedIn(CHAT), False, "chat"),
        (OtherRequest(Directives(), ()), True, None),
        (OtherRequest(None, ()), False, None),
    ],
)
def test_something_is_known_of_an_exchange_before_anything_is_done(
    classified: Classified, opted_in: bool, endpoint: str | None
) -> None:
    """E1: hooks are told of it should it end there."""
    asked = request()

    report = exchange_for(classified, asked, Policy(), Limits(), VerifiedRecords()).report

    assert isinstance(asked.body, bytes)
    assert report == ExchangeReport(
        opted_in=opted_in, endpoint=endpoint, target=asked.target.called(None), bytes_in=len(asked.body)
    )


def begun(classified: Classified) -> Effect | Outcome:
    """Return what the script that answers asks for first, or ends in."""
    return resume(exchange_for(classified, request(), Policy(), Limits(), VerifiedRecords()).script, None)


@pytest.mark.parametrize(
    "asked", [Directives(mode=Mode.REPLAY), Directives(control=CacheControl(only_if_cached=True))], ids=["replay", "cached"]
)
def test_where_only_the_store_may_answer_not_even_what_is_no_chat_is_sent(asked: Directives) -> None:
    """E6."""
    outcome = begun(OtherRequest(asked, ()))

    assert isinstance(outcome, Unsatisfiable)
    assert as_told(outcome.report) == ExchangeReport(details=("not-cached", "other-path"))


def test_who_cannot_have_an_answer_read_on_is_told_that_the_wish_was_ignored() -> None:
    """E2: by a mount that reads for its reader alone; nothing else is changed."""
    asked = Directives(ttl=5, abandon=Abandon.FINISH, ignored=("x",))

    assert unfinished(OptedIn(CHAT, asked)) == OptedIn(CHAT, Directives(ttl=5, ignored=("x", "abandon")))


@pytest.mark.parametrize(
    "classified",
    [
        OptedIn(CHAT, Directives()),
        OptedIn(CHAT, Directives(abandon=Abandon.CANCEL)),
        OptedIn(CHAT, InvalidControl("ttl", "soon")),
        NotOptedIn(CHAT),
        OtherRequest(Directives(abandon=Abandon.FINISH), ()),
    ],
)
def test_any_other_request_is_the_same_to_such_a_mount(classified: Classified) -> None:
    assert unfinished(classified) == classified


@pytest.mark.parametrize("target", [b"/v1/..%2fx", b"/v1/../x?y", b"/v1/a b", b"/v1/\xff", b"/v1/x?a b", b"/v1/x#y", b""])
def test_what_would_leave_the_upstream_is_refused_whatever_it_is(target: bytes) -> None:
    """F135, A8: and told of only to who opted in."""
    rows: list[tuple[Classified, str]] = [
        (OptedIn(CHAT, Directives()), "refused"),
        (OptedIn(CHAT, InvalidControl("ttl", "soon")), "refused"),
        (OtherRequest(Directives(), ()), "refused"),
        (NotOptedIn(CHAT), "passed"),
        (OtherRequest(None, ()), "passed"),
    ]

    for classified, outcome in rows:
        refused = resume(exchange_for(classified, request(), Policy(), Limits(), VerifiedRecords(), target).script, None)
        assert isinstance(refused, Unacceptable)
        assert refused.invalid == InvalidPath()
        assert (refused.report.outcome, refused.report.details) == (outcome, ("invalid-path",))
