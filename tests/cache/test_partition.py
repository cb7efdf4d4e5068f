"""Whose answer it is."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.cache.key import (
    ANONYMOUS,
    ANONYMOUS_LENT,
    SHARED,
    by_credential,
    by_name,
    caller_of,
    callers_credentials,
    client_code,
    idempotency_key,
    with_credential,
    without_placeholder,
)
from cachemw.messages import Attested, Caller, Headers, HttpRecipient, Inside, Recipient, Sends
from tests.cache.keying import body_of, key_of

SECRET = bytes(range(32))
PLACEHOLDER: Headers = ((b"authorization", b"Bearer cachemw"),)


def partition_of(*headers: tuple[bytes, bytes], secret: bytes = SECRET) -> bytes:
    return by_credential(secret, False, callers_credentials(headers, over_http=True))


@pytest.mark.parametrize("name", [b"authorization", b"api-key", b"x-api-key", b"x-goog-api-key"])
def test_two_credentials_are_two_partitions(name: bytes) -> None:
    """I1."""
    ada, ben = partition_of((name, b"Bearer ada")), partition_of((name, b"Bearer ben"))

    assert len({ada, ben, partition_of()}) == 3
    assert ada == partition_of((name.upper(), b"Bearer ada"))


def test_two_credentials_are_two_keys() -> None:
    """I1: same body, two upstream calls."""
    keys = [key_of(body_of(), partition=partition_of((b"authorization", value))) for value in (b"Bearer ada", b"Bearer ben")]

    assert keys[0].index != keys[1].index
    assert keys[0].proof != keys[1].proof


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param([(b"api-key", b"k")], [(b"x-api-key", b"k")], id="another name"),
        pytest.param([(b"api-key", b"k")], [(b"api-key", b"K")], id="letter case"),
        pytest.param([(b"api-key", b"k")], [(b"api-key", b"k ")], id="a space"),
        pytest.param([(b"api-key", b"")], [], id="an empty one"),
        pytest.param([(b"api-key", b"k")], [(b"api-key", b"k"), (b"api-key", b"k")], id="twice"),
        pytest.param([(b"api-key", b"a"), (b"api-key", b"b")], [(b"api-key", b"ab")], id="joined"),
        pytest.param([(b"api-key", b"ab"), (b"api-key", b"c")], [(b"api-key", b"a"), (b"api-key", b"bc")], id="cut elsewhere"),
        pytest.param([(b"api-key", b"k")], [(b"authorization", b"Bearer x"), (b"api-key", b"k")], id="one more"),
        pytest.param([(b"authorization", b"Bearer k")], [(b"authorization", b"Basic k")], id="another scheme"),
    ],
)
def test_credentials_are_told_apart_to_the_byte(one: list[tuple[bytes, bytes]], other: list[tuple[bytes, bytes]]) -> None:
    """I1."""
    assert partition_of(*one) != partition_of(*other)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param((), id="none"),
        pytest.param(((b"authorization", b"Bearer cachemw"),), id="the placeholder"),
        pytest.param(((b"Authorization", b"bearer CacheMW"),), id="the placeholder in any case"),
        pytest.param(((b"X-Api-Key", b"CacheMW"),), id="the placeholder of Anthropic's SDK"),
        pytest.param(
            ((b"cookie", b"session=5"), (b"x-tenant", b"a"), (b"proxy-authorization", b"Basic x")), id="no credentials"
        ),
    ],
)
def test_a_caller_without_a_credential_is_anonymous(headers: Headers) -> None:
    """I1: anonymous is a partition of its own, the same under every secret."""
    assert callers_credentials(headers, over_http=True) == ()
    assert partition_of(*headers) == partition_of(*headers, secret=b"another") == ANONYMOUS


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"authorization", b"Bearer cachemw2"),
        (b"authorization", b"Bearer  cachemw"),
        (b"authorization", b"Bearer cachemw "),
        (b"authorization", b"cachemw"),
        (b"authorization", b"Basic cachemw"),
        (b"authorization", b""),
        (b"x-api-key", b"Bearer cachemw"),
        (b"api-key", b"cachemw"),
    ],
)
def test_what_is_nearly_the_placeholder_is_a_credential(name: bytes, value: bytes) -> None:
    """I1."""
    assert partition_of((name, value)) != ANONYMOUS


def test_the_placeholder_beside_a_credential_is_not_there() -> None:
    """I1."""
    placeholder = (b"authorization", b"Bearer cachemw")

    assert partition_of(placeholder, (b"X-Api-Key", b"k")) == partition_of((b"x-api-key", b"k")) != ANONYMOUS


def test_the_placeholder_is_taken_out_and_all_else_stays() -> None:
    headers: Headers = ((b"Accept", b"x"), (b"Authorization", b"bearer CACHEMW"), (b"X-Api-Key", b"Bearer cachemw"))

    assert without_placeholder(headers) == ((b"Accept", b"x"), (b"X-Api-Key", b"Bearer cachemw"))


def test_around_an_app_the_placeholder_is_a_credential_like_any_other() -> None:
    """K10: there it reaches the app, which may tell it from none."""
    placeholder: Headers = ((b"authorization", b"Bearer cachemw"),)

    assert callers_credentials(placeholder, over_http=False) == placeholder


@pytest.mark.parametrize(
    ("recipient", "brought"), [(HttpRecipient(), ()), (Inside.APP, PLACEHOLDER), (Inside.TRANSPORT, PLACEHOLDER)]
)
def test_who_asks_is_told_by_what_was_sent_and_by_what_the_server_vouches_for(recipient: Recipient, brought: Headers) -> None:
    """A2, K10."""
    vouched: Headers = ((b"REMOTE_USER", b"alice"),)

    caller = caller_of((*PLACEHOLDER, (b"accept", b"x")), recipient, Attested(vouched))

    assert caller == Caller(brought, vouched)
    assert caller.credentials == (*brought, *vouched)


@pytest.mark.parametrize(
    ("name", "partition", "client"),
    [
        ("ci", ANONYMOUS, "ci"),
        ("ci", by_credential(SECRET, False, ((b"authorization", b"Bearer ada"),)), "ci"),
        (None, by_credential(SECRET, False, ((b"authorization", b"Bearer ada"),)), "411411e49acdcaff"),
        *((None, partition, None) for partition in (ANONYMOUS, ANONYMOUS_LENT, SHARED, by_name(b"team-a"))),
    ],
)
def test_reports_name_a_caller_and_tell_no_partition(name: str | None, partition: bytes, client: str | None) -> None:
    """B1: the name of its key, else eight bytes of a code."""
    assert client_code(Caller(name=name), partition) == client


def test_credentials_are_taken_in_the_order_they_were_sent() -> None:
    """K4: two that are sent have one partition for ever."""
    sent: Headers = ((b"X-Api-Key", b"b"), (b"cookie", b"c"), (b"Authorization", b"a"), (b"x-api-key", b"a"))

    assert callers_credentials(sent, over_http=True) == (
        (b"x-api-key", b"b"),
        (b"authorization", b"a"),
        (b"x-api-key", b"a"),
    )


def test_another_secret_is_another_partition() -> None:
    """I1, I4: keyed, so that a partition cannot be searched for its credential."""
    ada = (b"authorization", b"Bearer ada")

    assert partition_of(ada) != partition_of(ada, secret=bytes(32))
    assert b"ada" not in partition_of(ada)


FIELDS = st.tuples(st.sampled_from([b"api-key", b"x-api-key"]), st.binary(max_size=3))


@given(st.lists(FIELDS, max_size=3).map(tuple), st.lists(FIELDS, max_size=3).map(tuple))
def test_two_lists_of_credentials_never_read_alike(one: Headers, other: Headers) -> None:
    """I1, K6."""
    assert (partition_of(*one) == partition_of(*other)) is (one == other)


@given(st.sampled_from([b"", b"anonymous", b"shared", b"credential:", b"named:"]) | st.binary(), st.binary())
def test_a_name_given_by_the_operator_is_no_other_kind_of_partition(name: bytes, other: bytes) -> None:
    """I1."""
    named = by_name(name)

    assert named not in (ANONYMOUS, SHARED, by_name(None), partition_of((b"api-key", name)))
    assert (named == by_name(other)) is (name == other)


def test_an_operator_can_say_that_a_caller_is_anonymous() -> None:
    """I1."""
    assert by_name(None) == ANONYMOUS != SHARED


LENDING, FILLING, PASSING = (HttpRecipient(sends=sends) for sends in (Sends.OURS, Sends.CALLERS_OR_OURS, Sends.CALLERS))
ALICE: Headers = ((b"authorization", b"Bearer sk-alice"),)


def test_what_a_lent_key_was_answered_is_not_what_ones_own_would_be() -> None:
    """A3: `own` or `lent` stands in the partition."""
    assert by_credential(SECRET, True, ALICE) != by_credential(SECRET, False, ALICE)
    assert by_credential(SECRET, True, ()) == ANONYMOUS_LENT != by_credential(SECRET, False, ()) == ANONYMOUS


@pytest.mark.parametrize(
    ("target", "fields", "sent"),
    [
        (LENDING, ALICE, ((b"authorization", b"Bearer sk-ours"),)),
        (LENDING, (), ((b"authorization", b"Bearer sk-ours"),)),
        (LENDING, ((b"x-api-key", b"k"), (b"accept", b"x")), ((b"accept", b"x"), (b"authorization", b"Bearer sk-ours"))),
        (FILLING, ALICE, ALICE),
        (FILLING, (), ((b"authorization", b"Bearer sk-ours"),)),
        (FILLING, ((b"x-api-key", b"cachemw"),), ((b"authorization", b"Bearer sk-ours"),)),
        (PASSING, ALICE, ALICE),
        (PASSING, ((b"authorization", b"Bearer cachemw"),), ()),
    ],
)
def test_whose_credential_an_upstream_is_sent(target: HttpRecipient, fields: Headers, sent: Headers) -> None:
    """F86, I11."""
    assert with_credential(fields, target, ((b"authorization", b"Bearer sk-ours"),)) == sent


def test_where_there_is_no_key_to_lend_none_is_sent() -> None:
    """I11: and never a caller's."""
    assert with_credential(ALICE, LENDING, ()) == ()


def test_an_idempotency_key_is_one_callers_and_one_questions() -> None:
    """F87, I12, A5: retries of one request stay one, and nothing else can meet."""
    sent: Headers = ((b"Idempotency-Key", b"k1"),)
    ((name, value),) = idempotency_key(SECRET, sent, b"parts of alice's question", b"0")

    assert (name, idempotency_key(SECRET, sent, b"parts of alice's question", b"0")) == (b"idempotency-key", ((name, value),))
    others = [
        idempotency_key(SECRET, sent, b"parts of bob's question", b"0"),
        idempotency_key(SECRET, sent, b"parts of alice's question", b"1"),
        idempotency_key(SECRET, ((b"idempotency-key", b"k2"),), b"parts of alice's question", b"0"),
        idempotency_key(bytes(32), sent, b"parts of alice's question", b"0"),
        idempotency_key(SECRET, sent, b"parts of alice's question0"),
    ]
    assert len({value, *(other[0][1] for other in others)}) == 6
    assert b"k1" not in value
    assert re.fullmatch(rb"[A-Za-z0-9_-]{43}", value)


def test_an_idempotency_key_is_the_same_in_every_worker_of_every_version() -> None:
    """A5, K4: who tries again may meet another one, and sends other fields."""
    sent: Headers = ((b"traceparent", b"another each time"), (b"Idempotency-Key", b"k1"))

    told = idempotency_key(SECRET, sent, b"parts", b"0")

    assert told == ((b"idempotency-key", b"j7bqdMnTMK008U47wD90aQkmpYaKtDhBwqGpFgTvam4"),)
