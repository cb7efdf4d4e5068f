"""Who may have what another's forward brought."""

import pytest
from msgspec.structs import replace

from cachemw.cache.policy import Policy
from cachemw.cache.sharing import Course, Sender, is_shared, sender_of
from cachemw.messages import Attested, Headers, HttpRecipient, HttpTarget, Kind, Request, Sends
from tests.cache.answers import request
from tests.cache.keying import APP

ALICE, BOB = (((b"authorization", b"Bearer " + name),) for name in (b"alice", b"bob"))
JSON: Headers = ((b"content-type", b"application/json"),)
PLAIN = Sender(ALICE, JSON)
SAME_CREDENTIAL = Sender(ALICE, (*JSON, (b"user-agent", b"other")))
IMPATIENT = Sender(ALICE, (*JSON, (b"queue_threshold", b"0")))
OTHER = Sender(BOB, JSON)


@pytest.mark.parametrize("status", [200, 204, 500, 502, 503, 504, 529])
@pytest.mark.parametrize("leader", [PLAIN, SAME_CREDENTIAL, IMPATIENT, OTHER])
def test_what_the_upstream_says_to_the_question_is_everybodys(status: int, leader: Sender) -> None:
    """P1, I15, A6: an answer, and that it is in trouble."""
    assert is_shared(status, leader, PLAIN)


@pytest.mark.parametrize("status", [401, 402, 404, 408, 409, 413, 429])
def test_what_it_says_to_a_credential_is_for_who_sends_the_same(status: int) -> None:
    """F84, I15, A6."""
    assert is_shared(status, PLAIN, PLAIN)
    assert is_shared(status, SAME_CREDENTIAL, PLAIN)
    assert not is_shared(status, OTHER, PLAIN)


@pytest.mark.parametrize("status", [408, 409, 429])
def test_who_would_not_wait_for_a_turn_speaks_for_nobody_who_would(status: int) -> None:
    """I15, A6: `queue_threshold`."""
    assert not is_shared(status, IMPATIENT, PLAIN)
    assert is_shared(status, PLAIN, IMPATIENT)
    assert is_shared(status, IMPATIENT, replace(IMPATIENT, fields=(*IMPATIENT.fields, (b"user-agent", b"x"))))


@pytest.mark.parametrize("status", [301, 400, 403, 405, 406, 415, 422, 431])
def test_all_else_may_be_about_any_field_that_was_sent(status: int) -> None:
    """F84, I15, A6: a user agent that is not let in, a trace that cannot be read."""
    assert is_shared(status, PLAIN, PLAIN)
    assert not is_shared(status, SAME_CREDENTIAL, PLAIN)
    assert not is_shared(status, OTHER, PLAIN)


def sent(*headers: tuple[bytes, bytes], recipient: HttpRecipient | None = None, app: bool = False) -> Sender:
    asked = request(*headers)
    target = APP if app else HttpTarget("https://api.example/v1/chat/completions", recipient or HttpRecipient())
    return sender_of(replace(asked, target=target), Policy())


def test_a_sender_is_what_reaches_the_upstream_and_is_not_in_the_key() -> None:
    """A6."""
    headers: Headers = (
        *ALICE,
        *((b"User-Agent", b"x"), (b"traceparent", b"t"), (b"cookie", b"c"), (b"x-request-id", b"r"), (b"openai-beta", b"b")),
        *((b"accept-encoding", b"gzip"), (b"cachemw", b"on"), (b"connection", b"close")),
    )

    assert sent(*headers) == Sender(ALICE, (*JSON, (b"traceparent", b"t"), (b"user-agent", b"x")))
    assert sent(*headers, app=True).fields == (*JSON, (b"traceparent", b"t"), (b"user-agent", b"x"), (b"x-request-id", b"r"))


@pytest.mark.parametrize("sends", [Sends.OURS, Sends.CALLERS_OR_OURS])
def test_all_to_whom_a_key_is_lent_send_the_same_credential(sends: Sends) -> None:
    """A6: a rate limit of the operator's key is everybody's."""
    lent = HttpRecipient(sends=sends)

    assert sent(recipient=lent) == sent((b"x-api-key", b"cachemw"), recipient=lent) == Sender((), JSON)
    assert sent(*ALICE, recipient=lent).credential == (() if sends is Sends.OURS else ALICE)


def course(sender: Sender, stream: bool = False, *, is_apart: bool = False) -> Course:
    return Course(b"parts", Kind(stream), 1, sender, is_apart)


def test_who_asks_on_its_own_account_is_followed_by_who_would_send_the_same_and_follows_no_other() -> None:
    """A6."""
    apart = course(PLAIN, is_apart=True)

    assert course(SAME_CREDENTIAL).may_follow(course(PLAIN))
    assert apart.may_follow(apart)
    assert course(PLAIN).may_follow(apart)
    assert apart.may_follow(course(PLAIN))
    assert not course(SAME_CREDENTIAL).may_follow(apart)
    assert not apart.may_follow(course(SAME_CREDENTIAL))
    assert not course(PLAIN, stream=True).may_follow(course(PLAIN))


def test_what_the_server_vouches_for_is_no_part_of_what_is_sent() -> None:
    vouched = Attested(((b"REMOTE_USER", b"alice"),))
    asked: Request = replace(request(), attested=vouched)

    assert sender_of(asked, Policy()) == sender_of(request(), Policy())
