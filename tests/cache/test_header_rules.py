"""Which header fields are in the key, which change nothing, which travel on, which are kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.cache.header_rules import Counts, HeaderRules, Travels, fate, forwarded, keyed, storable, without_account
from cachemw.messages import Headers, HttpRecipient, Inside, Recipient, Sends
from cachemw.wire.fields import content_length, end_to_end, in_utf8, without
from tests.cache.keying import NO_RULES, asking

URL, APP, TRANSPORT = HttpRecipient(), Inside.APP, Inside.TRANSPORT
TARGETS: dict[str, Recipient] = {
    "an app": APP,
    "a transport": TRANSPORT,
    "a URL": URL,
    "cerebras": HttpRecipient("cerebras"),
    "openai": HttpRecipient("openai"),
    "groq": HttpRecipient("groq"),
    "openai, with our key": HttpRecipient("openai", sends=Sends.OURS),
}
CREDENTIALS = [b"authorization", b"api-key", b"x-api-key", b"x-goog-api-key"]
HOP_BY_HOP = [
    *b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer".split(),
    *b"transfer-encoding upgrade".split(),
]
INERT = [
    *HOP_BY_HOP,
    *b"content-length content-encoding accept accept-encoding user-agent x-stainless-lang x-stainless-retry-count".split(),
    *b"traceparent tracestate baggage sentry-trace sentry-invented x-request-id idempotency-key".split(),
    *b"cache-control pragma cachemw x-forwarded-for x-forwarded-proto x-forwarded-port via".split(),
    *b"origin referer sec-fetch-mode sec-ch-ua sec-gpc priority queue_threshold x-cerebras-3rd-party-integration".split(),
]
WHOSE_APP = [b"host", b"x-forwarded-host", b"forwarded"]
PROVIDERS_OWN = {
    b"x-cerebras-version-patch": "cerebras",
    b"x-cerebras-invented": "cerebras",
    b"openai-organization": "openai",
    b"openai-project": "openai",
    b"openai-beta": "openai",
    b"anthropic-version": "anthropic",
    b"anthropic-beta": "anthropic",
}
OTHERS = (
    b"cookie set-cookie x-tenant x-forwarded x-forwarded-prefix accept-charset content x-stainless sec x-openai-beta"
    b" content-language content-invented sec-purpose sec-invented cachemw-extra x-real-ip dnt date".split()
)
ALL = [*CREDENTIALS, *INERT, *WHOSE_APP, b"content-type", *PROVIDERS_OWN, *OTHERS, b"accept-language"]

CREDENTIAL, KEYED, NOT_KEYED = Counts.CREDENTIAL, Counts.KEYED, Counts.INERT


def counts(name: bytes, target: Recipient, rules: HeaderRules = NO_RULES) -> Counts:
    return fate(name, target, rules).counts


def test_around_an_app_all_is_in_the_key_but_what_is_listed() -> None:
    """K1, I14: `content-*` and `sec-*` are lists."""
    expected = dict.fromkeys(ALL, KEYED) | dict.fromkeys(CREDENTIALS, CREDENTIAL) | dict.fromkeys(INERT, NOT_KEYED)

    assert {name: counts(name, APP) for name in ALL} == expected


def test_in_a_transport_the_url_says_whom_and_no_language_counts() -> None:
    """K1."""
    inert = [*INERT, b"host", b"accept-language"]
    expected = dict.fromkeys(ALL, KEYED) | dict.fromkeys(CREDENTIALS, CREDENTIAL) | dict.fromkeys(inert, NOT_KEYED)

    assert {name: counts(name, TRANSPORT) for name in ALL} == expected


@pytest.mark.parametrize("whose", ["a URL", "cerebras", "openai", "groq"])
def test_over_http_only_what_is_sent_is_in_the_key_and_a_providers_own_goes_to_that_one(whose: str) -> None:
    """K1, K10: a URL gets all, for nobody knows whose it is."""
    own = [name for name, provider in PROVIDERS_OWN.items() if whose in ("a URL", provider)]
    expected = dict.fromkeys(ALL, NOT_KEYED) | dict.fromkeys(CREDENTIALS, CREDENTIAL)
    expected |= dict.fromkeys([*own, b"content-type"], KEYED)

    assert {name: counts(name, TARGETS[whose]) for name in ALL} == expected


@pytest.mark.parametrize(
    ("name", "rules", "over_http", "in_app"),
    [
        (b"x-tenant", HeaderRules(vary=frozenset({b"x-tenant"})), KEYED, KEYED),
        (b"x-tenant", HeaderRules(inert=frozenset({b"x-tenant"})), NOT_KEYED, NOT_KEYED),
        (b"x-tenant", HeaderRules(forward=frozenset({b"x-tenant"})), KEYED, KEYED),
        (b"user-agent", HeaderRules(vary=frozenset({b"user-agent"})), KEYED, KEYED),
        (b"openai-beta", HeaderRules(inert=frozenset({b"openai-beta"})), NOT_KEYED, NOT_KEYED),
        (b"host", HeaderRules(inert=frozenset({b"host"})), NOT_KEYED, NOT_KEYED),
        (b"accept-language", HeaderRules(vary=frozenset({b"accept-language"})), KEYED, KEYED),
        (b"accept-language", HeaderRules(forward=frozenset({b"accept-language"})), KEYED, KEYED),
        (b"origin", HeaderRules(forward=frozenset({b"origin"})), KEYED, NOT_KEYED),
        (b"a", HeaderRules(frozenset({b"a"}), frozenset({b"a"}), frozenset({b"a"})), KEYED, KEYED),
        (b"a", HeaderRules(inert=frozenset({b"a"}), forward=frozenset({b"a"})), NOT_KEYED, NOT_KEYED),
        (b"b", HeaderRules(frozenset({b"a"}), frozenset({b"a"}), frozenset({b"a"})), NOT_KEYED, KEYED),
    ],
)
def test_the_operator_adds_to_the_lists(name: bytes, rules: HeaderRules, over_http: Counts, in_app: Counts) -> None:
    """K1: what an upstream is sent is in the key, unless the operator says that it changes nothing."""
    assert (counts(name, URL, rules), counts(name, APP, rules)) == (over_http, in_app)


@given(st.sampled_from(CREDENTIALS), st.sampled_from(sorted(TARGETS)))
def test_a_credential_is_never_in_the_key_as_it_is(name: bytes, whose: str) -> None:
    """I4: it counts through the partition alone."""
    everywhere = frozenset({name})
    rules = HeaderRules(everywhere, everywhere, everywhere)

    assert counts(name, TARGETS[whose], rules) is CREDENTIAL
    assert keyed(((name, b"secret"),), TARGETS[whose], rules) == ()


@pytest.mark.parametrize(
    ("content_type", "kept"),
    [
        (b"application/json", b""),
        (b"application/json; charset=utf-8", b""),
        (b'Application/JSON;charset="UTF-8"', b""),
        (b"application/json; v=2", b"application/json; v=2"),
        (b"application/json; charset=utf-8; profile=x", b"application/json; charset=utf-8; profile=x"),
    ],
)
@pytest.mark.parametrize("whose", TARGETS)
def test_of_a_content_type_all_but_plain_json_is_in_the_key(content_type: bytes, kept: bytes, whose: str) -> None:
    """K10: an upstream is sent its parameters, and may answer by them."""
    expected = ((b"content-type", kept),) if kept else ()

    assert keyed(((b"Content-Type", content_type),), TARGETS[whose], NO_RULES) == expected


@pytest.mark.parametrize(
    ("forwarded_by", "kept"),
    [
        (b"for=192.0.2.1;proto=https", b""),
        (b"for=192.0.2.1;host=acme.example;proto=https", b"acme.example"),
        (b'for="[2001:db8::1]:4711", for=10.0.0.1; Host="globex.example:8080"', b'"globex.example:8080"'),
        (b"host=a, for=1;host=b", b"a,b"),
        (b"xhost=a;ghost=b", b""),
    ],
)
def test_of_forwarded_only_whose_app_is_asked_is_in_the_key(forwarded_by: bytes, kept: bytes) -> None:
    """I14: every caller behind a proxy has another `for`."""
    assert keyed(((b"forwarded", forwarded_by),), APP, NO_RULES) == (((b"forwarded", kept),) if kept else ())


def test_with_the_operators_key_the_account_is_the_operators_to_say() -> None:
    """I13: whose account pays is not taken from a caller, and what the operator sets is in the key as a caller's would be."""
    ours = HttpRecipient("openai", sends=Sends.OURS, fields=((b"openai-organization", b"org-ours"), (b"x-title", b"t")))
    headers: Headers = ((b"OpenAI-Organization", b"org-theirs"), (b"openai-project", b"p"), (b"openai-beta", b"b"))

    assert keyed(headers, HttpRecipient("openai"), NO_RULES) == tuple(sorted((name.lower(), value) for name, value in headers))
    assert keyed(headers, ours, NO_RULES) == ((b"openai-beta", b"b"), *ours.fields)
    assert forwarded(headers, ours, NO_RULES) == ((b"openai-beta", b"b"), *ours.fields)


def test_what_the_operator_sets_stands_among_the_others_by_its_name() -> None:
    """K4, A3: it is in the key as a caller's would be."""
    target = HttpRecipient(fields=((b"openai-organization", b"a"),))
    headers: Headers = ((b"openai-project", b"0"), (b"openai-beta", b"z"))

    assert keyed(headers, target, NO_RULES) == (
        (b"openai-beta", b"z"),
        (b"openai-organization", b"a"),
        (b"openai-project", b"0"),
    )


@pytest.mark.parametrize(
    ("name", "value", "is_keyed"),
    [
        (b"openai-organization", b"org-1", True),
        (b"x-title", b"accept", True),
        (b"user-agent", b"openai-beta", False),
        (b"accept", b"x-title", False),
        (b"traceparent", b"t", False),
    ],
)
def test_what_the_operator_sets_is_in_the_key_unless_it_changes_nothing(name: bytes, value: bytes, is_keyed: bool) -> None:
    """A3, K1: by its name, whatever it says."""
    target = HttpRecipient(fields=((name, value),))

    assert keyed((), target, NO_RULES) == (((name, value),) if is_keyed else ())


@pytest.mark.parametrize(("recipient", "rewritten"), [(APP, []), (TRANSPORT, [b"idempotency-key"])])
def test_inside_a_process_all_travels_as_it_is_but_what_says_that_two_requests_are_one(
    recipient: Recipient, rewritten: list[bytes]
) -> None:
    """H1, A5: an app is given the caller's, and the upstream of a transport one of our own."""
    travels = {name: fate(name, recipient, NO_RULES).travels for name in ALL}

    assert travels == dict.fromkeys(ALL, Travels.FORWARDED) | dict.fromkeys(rewritten, Travels.REWRITTEN)


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

    assert keyed(headers, APP, NO_RULES) == (
        (b"cookie", b"c=1"),
        (b"openai-beta", b"z"),
        (b"openai-beta", b"a"),
        (b"x-tenant", b"b"),
        (b"x-tenant", b"A"),
    )
    assert keyed(headers, URL, NO_RULES) == ((b"openai-beta", b"z"), (b"openai-beta", b"a"))


def test_what_connection_takes_away_on_the_way_to_an_upstream_is_not_in_the_key() -> None:
    """K10: what is keyed is what is sent; a wrapped app is sent everything."""
    headers: Headers = ((b"Connection", b"close, OpenAI-Beta"), (b"openai-beta", b"a"), (b"anthropic-beta", b"b"))

    assert keyed(headers, URL, NO_RULES) == ((b"anthropic-beta", b"b"),)
    assert keyed(headers, APP, NO_RULES) == ((b"anthropic-beta", b"b"), (b"openai-beta", b"a"))


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

    assert keyed(spelled, APP, NO_RULES) == ((b"a", b"1"), (b"b", b"2"), (b"c", b"3"), (b"d", b"4"))


SENT_ON = [
    *CREDENTIALS,
    *b"accept content-type content-encoding user-agent x-stainless-lang x-stainless-retry-count".split(),
    *b"traceparent tracestate queue_threshold x-cerebras-3rd-party-integration".split(),
    *PROVIDERS_OWN,
]


def test_an_upstream_is_sent_the_listed_fields_and_no_others() -> None:
    """H11: cookies never, hop-by-hop fields never."""
    sent = forwarded(tuple((name, b"v") for name in ALL), URL, NO_RULES)

    assert [name for name, _ in sent] == [name for name in ALL if name in SENT_ON]
    assert len(sent) == len(SENT_ON)


def test_what_is_sent_on_is_sent_as_it_came() -> None:
    headers: Headers = ((b"User-Agent", b"a"), (b"Accept", b"x"), (b"COOKIE", b"c"), (b"accept", b"y"), (b"X-Trace", b"5"))

    assert forwarded(headers, URL, NO_RULES) == ((b"User-Agent", b"a"), (b"Accept", b"x"), (b"accept", b"y"))
    assert forwarded(headers, URL, HeaderRules(forward=frozenset({b"x-trace"}))) == (
        *((b"User-Agent", b"a"), (b"Accept", b"x"), (b"accept", b"y")),
        (b"X-Trace", b"5"),
    )


def test_a_hop_by_hop_field_is_not_sent_on_even_when_listed() -> None:
    """H11."""
    rules = HeaderRules(forward=frozenset(HOP_BY_HOP))

    assert forwarded(tuple((name, b"v") for name in HOP_BY_HOP), URL, rules) == ()


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

    assert forwarded(headers, URL, rules) == ((b"accept", b"b"),)
    assert end_to_end(headers) == ((b"accept", b"b"),)


@pytest.mark.parametrize("name", CREDENTIALS)
def test_connection_cannot_take_a_credential_away(name: bytes) -> None:
    """H11, I1: the upstream is asked by the caller whose partition it is."""
    headers: Headers = ((name.title(), b"secret"), (b"connection", b"close, " + name.upper()))

    assert forwarded(headers, URL, NO_RULES) == ((name.title(), b"secret"),)
    assert end_to_end(headers) == ((name.title(), b"secret"),)


def test_only_connection_takes_a_field_away() -> None:
    """H11, K10: another field may have a name for its value."""
    headers: Headers = ((b"accept", b"openai-beta"), (b"openai-beta", b"a"))

    assert keyed(headers, URL, NO_RULES) == ((b"openai-beta", b"a"),)
    assert forwarded(headers, URL, NO_RULES) == headers
    assert end_to_end(headers) == headers


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


@pytest.mark.parametrize(
    "name",
    [
        *(b"openai-organization", b"OpenAI-Project", b"anthropic-organization-id", b"x-ratelimit-remaining-requests"),
        *(b"X-RateLimit-Limit-Tokens-Minute", b"anthropic-ratelimit-tokens-remaining"),
    ],
    ids=bytes.decode,
)
def test_whose_account_was_asked_and_what_is_left_to_it_can_be_left_out(name: bytes) -> None:
    """S7, A6: of what others are told."""
    others: Headers = ((b"content-type", b"a"), (b"retry-after", b"7"), (b"openai-version", b"b"), (b"x-rate", b"c"))

    assert without_account((*others[:2], (name, b"v"), *others[2:])) == others


@pytest.mark.parametrize(
    ("lengths", "length"),
    [
        ([], None),
        ([b"5"], 5),
        ([b"0"], 0),
        ([b" 5\t"], 5),
        ([b"5", b"5"], 5),
        ([b"5, 5"], 5),
        ([b"5", b"6"], None),
        ([b"5, 6"], None),
        ([b""], None),
        ([b"5,"], None),
        ([b"-5"], None),
        ([b"5.0"], None),
        ([b"five"], None),
        ([b"9" * 19], 9_999_999_999_999_999_999),
        ([b"9" * 5_000], None),
    ],
)
def test_a_length_is_what_is_said_in_one_way(lengths: list[bytes], length: int | None) -> None:
    """RFC 9110 §8.6."""
    headers: Headers = ((b"x-length", b"7"), *((b"Content-Length", said) for said in lengths))

    assert content_length(headers) == length


@given(st.lists(st.tuples(st.sampled_from([b"a", b"A", b"b", b"cc"]), st.binary(max_size=2))).map(tuple))
def test_fields_are_taken_out_by_name_and_the_others_stay(headers: Headers) -> None:
    left = without(headers, (b"a", b"cc"))

    assert left == tuple(field for field in headers if field[0] == b"b")


def test_a_request_tells_every_value_of_a_field_in_order() -> None:
    request = asking(b"{}", headers=((b"X-Tag", b"b"), (b"other", b"c"), (b"x-tag", b"a")))

    assert request.values("X-TAG") == [b"b", b"a"]
    assert request.values("none") == []
