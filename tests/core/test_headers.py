"""Which header fields are in the key, which change nothing, which travel on, which are kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.core.headers import Fate, HeaderRules, end_to_end, fate, forwarded, in_utf8, keyed, storable, without
from cachemw.core.messages import Headers
from tests.core.keying import NO_RULES, asking

CREDENTIALS = [b"authorization", b"api-key", b"x-api-key", b"x-goog-api-key"]
HOP_BY_HOP = [
    *b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer".split(),
    *b"transfer-encoding upgrade".split(),
]
INERT = [
    *HOP_BY_HOP,
    *b"host content-type content-length content-encoding content-language content-invented".split(),
    *b"accept accept-encoding user-agent x-stainless-lang x-stainless-retry-count".split(),
    *b"traceparent tracestate baggage sentry-trace sentry-invented x-request-id idempotency-key".split(),
    *b"cache-control pragma cachemw x-forwarded-for x-forwarded-host x-forwarded-proto x-forwarded-port forwarded via".split(),
    *b"origin referer sec-fetch-mode sec-ch-ua priority queue_threshold x-cerebras-3rd-party-integration".split(),
]
KEYED = [
    *b"x-cerebras-version-patch x-cerebras-invented openai-organization openai-project openai-beta".split(),
    *b"anthropic-version anthropic-beta".split(),
]
OTHERS = (
    b"cookie set-cookie x-tenant x-forwarded x-forwarded-prefix accept-charset content x-stainless sec x-openai-beta"
    b" cachemw-extra x-real-ip dnt date".split()
)


@pytest.mark.parametrize("over_http", [True, False], ids=["http", "app"])
def test_every_header_has_one_fate(over_http: bool) -> None:
    """K1: keyed, inert or dropped; there is no fourth kind."""
    expected = {
        **dict.fromkeys(CREDENTIALS, Fate.CREDENTIAL),
        **dict.fromkeys(INERT, Fate.INERT),
        **dict.fromkeys(KEYED, Fate.KEYED),
        **dict.fromkeys(OTHERS, Fate.DROPPED if over_http else Fate.KEYED),
        b"accept-language": Fate.INERT if over_http else Fate.KEYED,
    }

    assert {name: fate(name, over_http, NO_RULES) for name in expected} == expected


@pytest.mark.parametrize(
    ("name", "rules", "over_http", "in_app"),
    [
        (b"x-tenant", HeaderRules(vary=frozenset({b"x-tenant"})), Fate.KEYED, Fate.KEYED),
        (b"x-tenant", HeaderRules(inert=frozenset({b"x-tenant"})), Fate.INERT, Fate.INERT),
        (b"x-tenant", HeaderRules(forward=frozenset({b"x-tenant"})), Fate.KEYED, Fate.KEYED),
        (b"user-agent", HeaderRules(vary=frozenset({b"user-agent"})), Fate.KEYED, Fate.KEYED),
        (b"openai-beta", HeaderRules(inert=frozenset({b"openai-beta"})), Fate.INERT, Fate.INERT),
        (b"accept-language", HeaderRules(vary=frozenset({b"accept-language"})), Fate.KEYED, Fate.KEYED),
        (b"accept-language", HeaderRules(forward=frozenset({b"accept-language"})), Fate.KEYED, Fate.KEYED),
        (b"origin", HeaderRules(forward=frozenset({b"origin"})), Fate.KEYED, Fate.INERT),
        (b"a", HeaderRules(frozenset({b"a"}), frozenset({b"a"}), frozenset({b"a"})), Fate.KEYED, Fate.KEYED),
        (b"a", HeaderRules(inert=frozenset({b"a"}), forward=frozenset({b"a"})), Fate.INERT, Fate.INERT),
        (b"b", HeaderRules(frozenset({b"a"}), frozenset({b"a"}), frozenset({b"a"})), Fate.DROPPED, Fate.KEYED),
    ],
)
def test_the_operator_adds_to_the_lists(name: bytes, rules: HeaderRules, over_http: Fate, in_app: Fate) -> None:
    """K1: what an upstream is sent is in the key, unless the operator says that it changes nothing."""
    assert (fate(name, True, rules), fate(name, False, rules)) == (over_http, in_app)


@given(st.sampled_from(CREDENTIALS), st.booleans())
def test_a_credential_is_never_in_the_key_as_it_is(name: bytes, over_http: bool) -> None:
    """I4: it counts through the partition alone."""
    everywhere = frozenset({name})

    assert fate(name, over_http, HeaderRules(everywhere, everywhere, everywhere)) is Fate.CREDENTIAL
    assert keyed(((name, b"secret"),), over_http, HeaderRules(everywhere, everywhere, everywhere)) == ()


def test_keyed_fields_are_lower_case_and_sorted_with_their_values_in_order() -> None:
    """K4."""
    headers: Headers = (
        (b"X-Tenant", b"b"),
        (b"User-Agent", b"curl"),
        (b"OpenAI-Beta", b"z"),
        (b"x-tenant", b"A"),
        (b"Cookie", b"c=1"),
        (b"openai-beta", b"a"),
    )

    assert keyed(headers, False, NO_RULES) == (
        (b"cookie", b"c=1"),
        (b"openai-beta", b"z"),
        (b"openai-beta", b"a"),
        (b"x-tenant", b"b"),
        (b"x-tenant", b"A"),
    )
    assert keyed(headers, True, NO_RULES) == ((b"openai-beta", b"z"), (b"openai-beta", b"a"))


def test_what_connection_takes_away_on_the_way_to_an_upstream_is_not_in_the_key() -> None:
    """K10: what is keyed is what is sent; a wrapped app is sent everything."""
    headers: Headers = ((b"Connection", b"close, OpenAI-Beta"), (b"openai-beta", b"a"), (b"anthropic-beta", b"b"))

    assert keyed(headers, True, NO_RULES) == ((b"anthropic-beta", b"b"),)
    assert keyed(headers, False, NO_RULES) == ((b"anthropic-beta", b"b"), (b"openai-beta", b"a"))


@given(st.lists(st.tuples(st.binary(max_size=4), st.binary(max_size=4))))
def test_what_is_sent_of_a_field_is_utf8_and_does_not_depend_on_another_one(headers: list[tuple[bytes, bytes]]) -> None:
    """K10."""
    sent = in_utf8(headers)

    assert sent == tuple(one for field in headers for one in in_utf8([field]))
    assert in_utf8(sent) == sent
    assert in_utf8([(b"\xc3\xa9", b"\xe2\x82\xac"), (b"\xe9", b"\x80")]) == (
        (b"\xc3\xa9", b"\xe2\x82\xac"),
        (b"\xc3\xa9", b"\xc2\x80"),
    )


@given(st.permutations([(b"a", b"1"), (b"B", b"2"), (b"c", b"3"), (b"D", b"4")]), st.booleans())
def test_the_order_and_case_of_names_do_not_count(headers: list[tuple[bytes, bytes]], upper: bool) -> None:
    """K4."""
    spelled = tuple((name.upper() if upper else name, value) for name, value in headers)

    assert keyed(spelled, False, NO_RULES) == ((b"a", b"1"), (b"b", b"2"), (b"c", b"3"), (b"d", b"4"))


SENT_ON = [
    *CREDENTIALS,
    *b"accept content-type content-encoding user-agent x-stainless-lang x-stainless-retry-count idempotency-key".split(),
    *b"traceparent tracestate queue_threshold x-cerebras-3rd-party-integration".split(),
    *KEYED,
]


def test_an_upstream_is_sent_the_listed_fields_and_no_others() -> None:
    """H11: cookies never, hop-by-hop fields never."""
    names = [*CREDENTIALS, *INERT, *KEYED, *OTHERS, b"accept-language"]

    sent = forwarded(tuple((name, b"v") for name in names), NO_RULES)

    assert [name for name, _ in sent] == [name for name in names if name in SENT_ON]
    assert len(sent) == len(SENT_ON)


def test_what_is_sent_on_is_sent_as_it_came() -> None:
    headers: Headers = ((b"User-Agent", b"a"), (b"Accept", b"x"), (b"COOKIE", b"c"), (b"accept", b"y"), (b"X-Trace", b"5"))

    assert forwarded(headers, NO_RULES) == ((b"User-Agent", b"a"), (b"Accept", b"x"), (b"accept", b"y"))
    assert forwarded(headers, HeaderRules(forward=frozenset({b"x-trace"}))) == (
        *((b"User-Agent", b"a"), (b"Accept", b"x"), (b"accept", b"y")),
        (b"X-Trace", b"5"),
    )


def test_a_hop_by_hop_field_is_not_sent_on_even_when_listed() -> None:
    """H11."""
    rules = HeaderRules(forward=frozenset(HOP_BY_HOP))

    assert forwarded(tuple((name, b"v") for name in HOP_BY_HOP), rules) == ()


@pytest.mark.parametrize(
    "connection",
    [
        (b"OpenAI-Beta, X-Trace",),
        (b"openai-beta ,, x-trace",),
        (b"close, openai-beta", b"x-trace"),
        (b"\topenai-beta\t,x-trace ",),
    ],
    ids=repr,
)
def test_what_connection_names_is_not_sent_on(connection: tuple[bytes, ...]) -> None:
    """H11: in either direction."""
    rules = HeaderRules(forward=frozenset({b"x-trace"}))
    nominations = tuple((b"Connection", value) for value in connection)
    headers: Headers = ((b"OpenAI-Beta", b"a"), (b"accept", b"b"), *nominations, (b"X-Trace", b"c"))

    assert forwarded(headers, rules) == ((b"accept", b"b"),)
    assert end_to_end(headers) == ((b"accept", b"b"),)


@pytest.mark.parametrize("name", CREDENTIALS)
def test_connection_cannot_take_a_credential_away(name: bytes) -> None:
    """H11, I1: the upstream is asked by the caller whose partition it is."""
    headers: Headers = ((name.title(), b"secret"), (b"connection", b"close, " + name.upper()))

    assert forwarded(headers, NO_RULES) == ((name.title(), b"secret"),)
    assert end_to_end(headers) == ((name.title(), b"secret"),)


def test_all_but_hop_by_hop_fields_are_end_to_end() -> None:
    """H11."""
    others: Headers = ((b"Date", b"x"), (b"Set-Cookie", b"a"), (b"set-cookie", b"b"), (b"Retry-After", b"5"))

    assert end_to_end((*others, *((name.title(), b"v") for name in HOP_BY_HOP))) == others


NEVER_STORED = [
    *HOP_BY_HOP,
    *b"set-cookie date age expires etag last-modified server x-request-id request-id cf-ray cf-cache-status".split(),
    *b"x-ratelimit-limit-requests x-ratelimit-remaining-tokens-minute ratelimit-limit retry-after".split(),
    *b"content-length content-encoding content-md5 cache-control cache-status cachemw vary www-authenticate".split(),
    *b"openai-organization openai-processing-ms inference-id x-should-retry alt-svc strict-transport-security".split(),
    *b"access-control-allow-origin x-accel-buffering authorization x-invented".split(),
]


@pytest.mark.parametrize("name", NEVER_STORED, ids=bytes.decode)
def test_a_field_that_belongs_to_one_answer_is_never_stored(name: bytes) -> None:
    """I5."""
    assert storable(((name, b"v"), (name.title(), b"v"), (name.upper(), b"v"))) == ()


def test_what_describes_the_content_is_stored() -> None:
    """I5: an allow-list."""
    headers: Headers = (
        (b"Content-Type", b"text/event-stream"),
        (b"Date", b"today"),
        (b"Content-Language", b"en"),
        (b"OpenAI-Version", b"2020-10-01"),
    )

    assert storable(headers) == (
        (b"content-type", b"text/event-stream"),
        (b"content-language", b"en"),
        (b"openai-version", b"2020-10-01"),
    )


def test_what_connection_names_is_not_stored() -> None:
    """I5."""
    assert storable(((b"content-language", b"en"), (b"Connection", b"close, Content-Language"))) == ()


@given(st.lists(st.tuples(st.sampled_from([b"a", b"A", b"b", b"cc"]), st.binary(max_size=2))).map(tuple))
def test_fields_are_taken_out_by_name_and_the_others_stay(headers: Headers) -> None:
    left = without(headers, (b"a", b"cc"))

    assert left == tuple(field for field in headers if field[0] == b"b")


def test_a_request_tells_every_value_of_a_field_in_order() -> None:
    request = asking(b"{}", headers=((b"X-Tag", b"b"), (b"other", b"c"), (b"x-tag", b"a")))

    assert request.values("X-TAG") == [b"b", b"a"]
    assert request.values("none") == []
