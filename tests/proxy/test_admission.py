"""Whom the proxy answers, as a table; and that nothing else is ever let in."""

import hashlib
import ipaddress
import json
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cachemw import ConfigurationError, Policy
from cachemw.messages import Caller, Headers, header_values
from cachemw.proxy.admission import AccessRules, Admitted, Refused, admit
from cachemw.proxy.lending import lent_paths
from cachemw.wire.hosts import host_of, hosts_of, is_loopback, origin_host

CHAT = "/v1/chat/completions"
RULES = AccessRules(Policy(), hosts_of(["cache.example", "192.0.2.7", "2001:db8::1"]), max_body=1_000)
OWN = AccessRules(Policy(), own_hosts=hosts_of(["192.0.2.7"]))
OPEN = AccessRules(Policy(), hosts_of(["cache.example"]), is_open=True)
KEYED = AccessRules(Policy(), client_keys=(b"sk-alice", b"sk-bob"))
JSON = (b"content-type", b"application/json")
LOCAL = (b"host", b"127.0.0.1:8080")

Fields = Sequence[tuple[bytes, bytes]]


def status(fields: Fields, *, method: str = "POST", path: str = CHAT, rules: AccessRules = RULES) -> int:
    """Return the status a request is refused with; 0 where it may come in."""
    decided = admit(method, path.encode("latin-1"), tuple(fields), rules)
    return decided.answer[0].status if isinstance(decided, Refused) else 0


def code(fields: Fields, rules: AccessRules = RULES) -> str:
    decided = admit("POST", CHAT.encode(), tuple(fields), rules)
    assert isinstance(decided, Refused)
    return str(json.loads(decided.answer[1])["error"]["code"])


# Host.

HOSTS = {
    **dict.fromkeys(
        (
            b"localhost localhost:8080 LOCALHOST:8080 localhost. api.localhost a.b.localhost:1 127.0.0.1 127.0.0.1:65535"
            b" 127.0.0.1. 127.255.1.2:80 [::1] [::1]:8080 [0:0:0:0:0:0:0:1] [::ffff:127.0.0.1]:8080 cache.example"
            b" Cache.Example:443 cache.example.:443 192.0.2.7:8080 [2001:DB8:0::1]:8080 localhost:"
        ).split(),
        0,
    ),
    **dict.fromkeys(
        (
            b"evil.example 127.0.0.1.evil.com localhost.evil.com evil-localhost notlocalhost cache.example.evil.com"
            b" a.cache.example 128.0.0.1 0.0.0.0 0.0.0.0:8080 0 127.1 127.0.1 2130706433 0x7f000001 0x7f.0.0.1 0177.0.0.1"
            b" 127.0.0.01 192.0.2.70 [::] [::2] [::127.0.0.1] [::ffff:10.0.0.1]"
        ).split(),
        403,
    ),
    **dict.fromkeys(
        (
            b":8080 localhost:65536 localhost:808080 localhost:80a localhost:-1 localhost:80:80 localhost:8080@evil"
            b" user@localhost evil.com#@localhost localhost/ localhost/../evil localhost,evil.com localhost%2eevil.com"
            b" localhost\\evil.com localhost\x00 localhost.. .localhost a..localhost l\xf6calhost http://localhost ::1 [::1"
            b" ::1] [::1]x [::1]] [::1%25lo] [fe80::1%lo] [localhost] [127.0.0.1] []"
        ).split(),
        400,
    ),
    **dict.fromkeys([b"", b" ", b"localhost evil.com", b"localhost\n", b"localhost" + b"." + b"a" * 300], 400),
}


@pytest.mark.parametrize(("host", "expected"), HOSTS.items())
def test_a_request_names_this_machine_or_a_name_that_was_allowed(host: bytes, expected: int) -> None:
    """F52, I8: DNS rebinding gives a web page's own name to this machine."""
    assert status([(b"host", host), JSON]) == expected


@pytest.mark.parametrize(
    "hosts", [[], [b"localhost", b"localhost"], [b"localhost", b"evil.example"], [b"evil.example", b"localhost"]]
)
def test_a_request_names_exactly_one_host(hosts: list[bytes]) -> None:
    """I8; RFC 9112 §3.2."""
    assert status([*((b"host", host) for host in hosts), JSON]) == 400


@pytest.mark.parametrize(("host", "name"), [(b"Other.Example.:80", b"other.example"), (b"[2001:db8::0:2]", b"2001:db8::2")])
def test_the_message_names_the_host_and_the_option(host: bytes, name: bytes) -> None:
    """F134: as it is to be written."""
    decided = admit("POST", CHAT.encode(), ((b"host", host),), RULES)

    assert isinstance(decided, Refused)
    assert b"--allow-host " + name in decided.answer[1]
    assert hosts_of([name.decode()])


@pytest.mark.parametrize(("host", "expected"), HOSTS.items())
def test_who_brings_a_key_names_us_as_they_like(host: bytes, expected: int) -> None:
    """F134: a web page has no key, whatever name it gave to this machine; what is no host is none all the same."""
    key = (b"authorization", b"Bearer sk-alice")

    assert status([(b"host", host), JSON, key], rules=KEYED) == (0 if expected == 403 else expected)
    assert status([(b"host", host), JSON], rules=KEYED) == (401 if expected != 400 else 400)


def test_the_address_that_is_listened_on_is_a_name_of_ours() -> None:
    """I8: and does not open the proxy to what other pages that machine has."""
    host = (b"host", b"192.0.2.7:8080")

    assert status([host, JSON], rules=OWN) == 0
    assert status([host, JSON]) == 0
    assert status([host, JSON, (b"origin", b"http://192.0.2.7:3000")], rules=OWN) == 403
    assert status([host, JSON, (b"origin", b"http://192.0.2.7:8080")], rules=OWN) == 0


authorities = st.one_of(
    st.binary(max_size=30),
    st.from_regex(rb"[\[\]:.@%#/\\a-z0-9-]{1,30}", fullmatch=True),
    st.tuples(
        st.sampled_from([b"", b"127.0.0.1", b"localhost", b"[::1]", b"cache.example", b"evil.example", b"user@"]),
        st.sampled_from([b"", b".", b":", b"@", b"#", b"/", b"%00", b"\\", b" ", b",", b":80", b"\t"]),
        st.sampled_from([b"", b"127.0.0.1", b"localhost", b"[::1]", b"cache.example", b"evil.example", b"80", b"99999"]),
    ).map(b"".join),
)


@given(authorities)
@example(b"localhost\n")
@example("127.0.0.\u0661".encode())
def test_nothing_that_is_not_on_the_list_is_ever_let_in(host: bytes) -> None:
    """I8: judged in another way than it is done, by what is left when port and dot are taken off."""
    if status([(b"host", host), JSON]) != 0:
        return

    name = host.decode("ascii").lower()
    bare, _, port = name.rpartition(":") if not name.endswith("]") and ":" in name else (name, "", "")
    assert port == "" or 0 <= int(port) < 2**16
    bare = bare.strip("[]").removesuffix(".")
    assert bare in ("cache.example", "localhost") or bare.endswith(".localhost") or _is_listed(bare)


def _is_listed(bare: str) -> bool:
    address = ipaddress.ip_address(bare)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback or str(address) in ("192.0.2.7", "2001:db8::1")


@given(st.binary(max_size=40))
def test_no_bytes_are_too_strange_to_be_judged(raw: bytes) -> None:
    for fields in (
        [(b"host", raw)],
        [LOCAL, (b"origin", raw)],
        [LOCAL, (b"content-type", raw)],
        [LOCAL, (b"content-length", raw)],
    ):
        assert status(fields) in (0, 400, 403, 413, 415)
    assert status([LOCAL, JSON, (b"authorization", raw)], rules=KEYED) in (0, 401)


# Origin.

ORIGINS = {
    **dict.fromkeys(
        (
            b"http://127.0.0.1:8080 HTTPS://127.0.0.1:8080 http://127.0.0.1.:8080 https://cache.example"
            b" HTTPS://CACHE.EXAMPLE:444"
        ).split(),
        0,
    ),
    **dict.fromkeys(
        (
            b"http://localhost http://localhost:3000 http://localhost:8080 http://127.0.0.1 http://127.0.0.1:80"
            b" http://127.0.0.1:3000 http://127.0.0.2:8080 http://127.0.0.1:80800 http://127.0.0.1:8080/"
            b" http://127.0.0.1:8080@evil.example https://127.0.0.1:8443 http://[::1]:8080 http://app.localhost:8080"
            b" https://evil.example http://127.0.0.1.evil.example http://localhost.evil.example"
            b" http://localhost@evil.example http://evil.example:80@localhost http://localhost/ null file:// localhost"
            b" //localhost chrome-extension://abcdef app://localhost ws://localhost http://0.0.0.0:8080 http://2130706433"
        ).split(),
        403,
    ),
    **dict.fromkeys([b"http://localhost, http://evil.example", b"http://localhost http://evil.example", b""], 403),
}


@pytest.mark.parametrize(("origin", "expected"), ORIGINS.items())
def test_a_web_page_is_of_the_very_host_and_port_it_asks_or_of_a_name_that_was_allowed(origin: bytes, expected: int) -> None:
    """F127, I8: what else this machine serves, to whomever, is foreign."""
    assert status([LOCAL, JSON, (b"origin", origin)]) == expected


@pytest.mark.parametrize(
    ("host", "origin", "expected"),
    [
        (b"localhost", b"http://localhost", 0),
        (b"localhost", b"http://localhost:80", 0),
        (b"localhost:80", b"http://localhost", 0),
        (b"localhost:", b"http://localhost", 0),
        (b"localhost:443", b"https://localhost", 0),
        (b"localhost", b"https://localhost:443", 0),
        (b"localhost", b"https://localhost", 0),  # behind what speaks TLS for us
        (b"localhost", b"http://localhost:443", 403),
        (b"localhost:8080", b"http://localhost", 403),
        (b"[::1]:80", b"http://[0:0:0:0:0:0:0:1]", 0),
        (b"[::1]:80", b"http://127.0.0.1", 403),
        (b"cache.example:8080", b"https://cache.example", 0),
    ],
)
def test_where_no_port_is_written_it_is_the_one_of_the_pages_scheme(host: bytes, origin: bytes, expected: int) -> None:
    """F127; RFC 6454 §4."""
    assert status([(b"host", host), JSON, (b"origin", origin)]) == expected


SITES: list[tuple[Fields, int]] = [
    ([], 0),
    ([(b"sec-fetch-site", b"same-origin")], 0),
    ([(b"sec-fetch-site", b"none")], 0),
    ([(b"sec-fetch-site", b"cross-site")], 403),
    ([(b"sec-fetch-site", b"same-site")], 403),
    ([(b"sec-fetch-site", b"anything")], 403),
    ([(b"sec-fetch-site", b"none"), (b"sec-fetch-site", b"cross-site")], 403),
    ([(b"sec-fetch-site", b"cross-site"), (b"origin", b"http://127.0.0.1:8080")], 403),
    ([(b"sec-fetch-site", b"same-site"), (b"origin", b"http://127.0.0.1:3000")], 403),
    ([(b"sec-fetch-site", b"same-site"), (b"origin", b"http://127.0.0.1:8080")], 0),
    ([(b"sec-fetch-site", b"same-site"), (b"origin", b"https://cache.example")], 0),
    ([(b"sec-fetch-site", b"same-site"), (b"referer", b"http://127.0.0.1:3000/x")], 403),
    ([(b"sec-fetch-site", b"same-site"), (b"referer", b"http://127.0.0.1:8080/x?y#z")], 0),
    ([(b"sec-fetch-site", b"same-site"), (b"referer", b"")], 403),
    ([(b"sec-fetch-site", b"same-origin"), (b"origin", b"https://evil.example")], 403),
    ([(b"referer", b"https://evil.example/page")], 403),
    ([(b"referer", b"http://localhost:3000/")], 403),
    ([(b"referer", b"http://127.0.0.1:8080")], 0),
    ([(b"referer", b"http://127.0.0.1:8080/x")], 0),
    ([(b"referer", b"https://cache.example/x")], 0),
    ([(b"referer", b"http://127.0.0.1:8080@evil.example/x")], 403),
    ([(b"referer", b"http://evil.example\\@127.0.0.1:8080/x")], 403),
    ([(b"referer", b"http://evil.example/http://127.0.0.1:8080/")], 403),
    ([(b"referer", b"android-app://com.example")], 403),
    ([(b"referer", b"about:blank")], 403),
    ([(b"referer", b"")], 0),
    ([(b"referer", b"http://127.0.0.1:8080/"), (b"referer", b"https://evil.example/")], 403),
    ([(b"referer", b"https://evil.example/"), (b"origin", b"http://127.0.0.1:8080")], 0),
]


@pytest.mark.parametrize(("fields", "expected"), SITES, ids=str)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_page_is_known_by_all_that_browsers_say_of_it(fields: Fields, expected: int, method: str) -> None:
    """F128, I8: images and scripts have no `Origin`, and those of old browsers only a referrer."""
    assert status([LOCAL, JSON, *fields], method=method, path="/v1/models") == expected


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "HEAD", "DELETE"])
@pytest.mark.parametrize("path", [CHAT, "/v1/models", "/v1/tcp_warming"])
def test_a_foreign_page_is_refused_whatever_it_asks_for(method: str, path: str) -> None:
    """I8: preflights as well."""
    fields = [LOCAL, JSON, (b"origin", b"https://evil.example"), (b"access-control-request-method", b"POST")]

    assert status(fields, method=method, path=path) == 403


def test_several_origins_are_none() -> None:
    """I8."""
    own = (b"origin", b"http://127.0.0.1:8080")

    assert status([LOCAL, JSON, own, own]) == 403


@given(authorities)
def test_no_origin_is_let_in_whose_host_would_not_be(authority: bytes) -> None:
    """I8."""
    if status([(b"host", authority), JSON, (b"origin", b"http://" + authority)]) == 0:
        assert status([(b"host", authority), JSON]) == 0
    if status([LOCAL, JSON, (b"origin", b"http://" + authority)]) == 0:
        assert origin_host(b"http://" + authority) in {"127.0.0.1", *RULES.hosts}


# What kind of body, and how much of it.

TYPES = {
    **dict.fromkeys(b"application/json APPLICATION/JSON application/vnd.openai+json application/octet-stream".split(), 0),
    **dict.fromkeys(
        (
            b"text/plain Text/Plain text/plain;charset=utf-8 application/x-www-form-urlencoded"
            b" application/x-www-form-urlencoded;application/json ; json / application/"
        ).split(),
        415,
    ),
    b"application/json; charset=utf-8": 0,
    b"application/json ; charset=utf-8": 0,
    **dict.fromkeys(
        [
            b" text/plain ",
            b"text/plain ; application/json",
            b"text/plain; boundary=application/json",
            b"multipart/form-data; boundary=x",
            b"text/plain, application/json",
            b"application/json, text/plain",
            b"",
        ],
        415,
    ),
}


@pytest.mark.parametrize(("media_type", "expected"), TYPES.items())
def test_a_chat_request_says_what_no_web_page_may_say_unasked(media_type: bytes, expected: int) -> None:
    """I8: so that a page has to ask first, and is told nothing."""
    assert status([LOCAL, (b"content-type", media_type)]) == expected


@pytest.mark.parametrize("fields", [[], [JSON, JSON], [JSON, (b"content-type", b"text/plain")]])
def test_a_chat_request_says_so_once(fields: Fields) -> None:
    """I8."""
    assert status([LOCAL, *fields]) == 415


@pytest.mark.parametrize(
    "path",
    [CHAT + "/", "/v1/chat/./completions", "/v1//chat/completions", "/v1/Chat/Completions", CHAT + ";x=1", CHAT + "/."],
)
def test_so_does_one_that_only_a_laxer_router_takes_for_one(path: str) -> None:
    """F48, I8."""
    assert status([LOCAL, (b"content-type", b"text/plain")], method="POST", path=path) == 415


SIZED = (b"content-length", b"5")
FORM = (b"content-type", b"multipart/form-data; boundary=x")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", ["/v1/responses", "/v1/embeddings", "/v1/x", "/v1/files", "/v1/tcp_warming", "/x"])
@pytest.mark.parametrize("media_type", [b"text/plain", b"application/x-www-form-urlencoded", b"", b"json"])
def test_nor_may_anything_else_be_what_a_page_may_send_unasked(method: str, path: str, media_type: bytes) -> None:
    """F129, I8: it would spend the server's key just so."""
    assert status([LOCAL, SIZED, (b"content-type", media_type)], method=method, path=path) == 415
    assert status([LOCAL, SIZED, JSON], method=method, path=path) == 0


@pytest.mark.parametrize("size", [SIZED, (b"transfer-encoding", b"chunked")])
def test_a_body_says_what_it_is(size: tuple[bytes, bytes]) -> None:
    """F129, I8: a page's blob has no type."""
    assert status([LOCAL, size], path="/v1/embeddings") == 415


@pytest.mark.parametrize("fields", [[], [(b"content-length", b"0")]])
def test_where_there_is_none_nothing_need_be_said(fields: Fields) -> None:
    """H1."""
    for method, path in (("GET", "/v1/models"), ("DELETE", "/v1/files/f1"), ("POST", "/v1/batches/b1/cancel")):
        assert status([LOCAL, *fields], method=method, path=path) == 0


@pytest.mark.parametrize("path", ["/v1/files", "/v1/audio/transcriptions", "/v1/images/edits", "/v1/uploads/u1/parts"])
def test_files_are_sent_as_forms(path: str) -> None:
    """H1: by every SDK."""
    assert status([LOCAL, SIZED, FORM], path=path) == 0


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/responses", "/v1/%66iles", "/v1//files", "/v1/files/chat/completions"])
def test_nothing_else_is(path: str) -> None:
    """F129, I8."""
    assert status([LOCAL, SIZED, FORM], path=path) == 415


@pytest.mark.parametrize(
    "path", ["/v1/chat%5ccompletions", "/v1/chat%252fcompletions", "/v1/%63hat/completions", "/v1/chat\\completions"]
)
def test_a_chat_request_in_another_spelling_says_what_it_is_though_it_has_no_body(path: str) -> None:
    """F129, I8."""
    assert status([LOCAL], path=path) == 415


LENGTHS = {
    **dict.fromkeys(b"0 1000 0001000".split(), 0),
    **dict.fromkeys(b"1001 67108864".split(), 413),
    **dict.fromkeys(b"-1 +5 5,5 0x5".split(), 400),
    **dict.fromkeys([b"9" * 19, b"9" * 5_000], 413),
    **dict.fromkeys([b"", "\u0665".encode()], 400),
}


@pytest.mark.parametrize(("length", "expected"), LENGTHS.items())
@pytest.mark.parametrize("path", [CHAT, "/v1/files"])
def test_a_body_that_says_it_is_too_large_is_not_waited_for(length: bytes, expected: int, path: str) -> None:
    assert status([LOCAL, JSON, (b"content-length", length)], path=path) == expected


@pytest.mark.parametrize(("lengths", "expected"), [((b"5", b"5"), 0), ((b"5", b"6"), 400)])
def test_two_lengths_are_one_or_none(lengths: tuple[bytes, ...], expected: int) -> None:
    assert status([LOCAL, JSON, *((b"content-length", length) for length in lengths)]) == expected


def test_only_a_body_without_a_length_has_to_be_measured() -> None:
    known = admit("POST", CHAT.encode(), (LOCAL, JSON, (b"content-length", b"5")), RULES)
    unknown = admit("POST", CHAT.encode(), (LOCAL, JSON, (b"transfer-encoding", b"chunked")), RULES)

    assert isinstance(known, Admitted)
    assert isinstance(unknown, Admitted)
    assert (known.sized, unknown.sized) == (True, False)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_the_methods_of_apis_are_passed_on(method: str) -> None:
    """H1."""
    assert status([LOCAL, JSON], method=method, path="/v1/models") == 0


def test_a_refused_method_is_told_those_that_are_not() -> None:
    """RFC 9110 §15.5.6."""
    refused = admit("TRACE", b"/v1/models", (LOCAL,), RULES)

    assert isinstance(refused, Refused)
    assert header_values(refused.answer[0].headers, b"allow") == [b"DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"]


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PROPFIND", "SOURCE", "get", "", "BREW"])
def test_a_method_that_is_not_passed_on_is_refused(method: str) -> None:
    """F47: the answer to `TRACE` would hold the server's key."""
    assert status([LOCAL], method=method, path="/v1/models") == 405


# Keys.

KEYS: list[tuple[str, Fields, int]] = [
    ("none", [], 401),
    ("one", [(b"authorization", b"Bearer sk-alice")], 0),
    ("the last one", [(b"authorization", b"Bearer sk-bob")], 0),
    ("scheme in lower case", [(b"authorization", b"bearer sk-alice")], 0),
    ("name in any case", [(b"AuthoriZation", b"Bearer sk-alice")], 0),
    ("two spaces", [(b"authorization", b"Bearer  sk-alice")], 0),
    ("blanks around it", [(b"authorization", b" \tBearer sk-alice \t")], 0),
    ("blanks around it elsewhere", [(b"x-api-key", b" sk-alice\t")], 0),
    ("as Azure has it", [(b"api-key", b"sk-alice")], 0),
    ("as Anthropic has it", [(b"x-api-key", b"sk-alice")], 0),
    ("as Google has it", [(b"x-goog-api-key", b"sk-alice")], 0),
    ("the same twice", [(b"authorization", b"Bearer sk-alice"), (b"x-api-key", b"sk-alice")], 0),
    ("two of them", [(b"authorization", b"Bearer sk-alice"), (b"x-api-key", b"sk-bob")], 401),
    ("and another", [(b"authorization", b"Bearer sk-alice"), (b"x-api-key", b"sk-eve")], 401),
    ("and an empty one", [(b"authorization", b"Bearer sk-alice"), (b"api-key", b"")], 401),
    ("another before", [(b"authorization", b"Bearer sk-eve"), (b"authorization", b"Bearer sk-alice")], 401),
    ("unknown", [(b"authorization", b"Bearer sk-eve")], 401),
    ("the placeholder", [(b"authorization", b"Bearer cachemw")], 401),
    ("empty", [(b"authorization", b"")], 401),
    ("no key", [(b"authorization", b"Bearer")], 401),
    ("no key but a space", [(b"authorization", b"Bearer ")], 401),
    ("empty elsewhere", [(b"api-key", b"")], 401),
    ("another scheme", [(b"authorization", b"Basic sk-alice")], 401),
    ("no scheme", [(b"authorization", b"sk-alice")], 401),
    ("with a scheme elsewhere", [(b"x-api-key", b"Bearer sk-alice")], 401),
    ("a beginning", [(b"authorization", b"Bearer sk-alic")], 401),
    ("something behind", [(b"authorization", b"Bearer sk-alice2")], 401),
    ("a line end behind", [(b"authorization", b"Bearer sk-alice\n")], 401),
    ("a word behind", [(b"authorization", b"Bearer sk-alice sk-bob")], 401),
    ("a list", [(b"authorization", b"Bearer sk-alice,sk-bob")], 401),
    ("in another case", [(b"authorization", b"Bearer SK-ALICE")], 401),
    ("not ASCII", [(b"authorization", "Bearer sk-\u00e4lice".encode())], 401),
    ("in a cookie", [(b"cookie", b"authorization=sk-alice")], 401),
    ("for a proxy", [(b"proxy-authorization", b"Bearer sk-alice")], 401),
]


@pytest.mark.parametrize(("fields", "expected"), [row[1:] for row in KEYS], ids=[row[0] for row in KEYS])
@pytest.mark.parametrize("path", [CHAT, "/v1/models"])
def test_who_brings_one_of_the_keys_may_come_in(fields: Fields, expected: int, path: str) -> None:
    """I1, I2."""
    method = "GET" if path == "/v1/models" else "POST"

    assert status([LOCAL, JSON, *fields], method=method, path=path, rules=KEYED) == expected


@pytest.mark.parametrize("fields", [row[1] for row in KEYS if row[2] == 0], ids=[row[0] for row in KEYS if row[2] == 0])
def test_however_a_key_was_sent_it_is_one_caller(fields: Fields) -> None:
    """I1: a key is one partition."""
    decided = admit("POST", CHAT.encode(), (LOCAL, *fields, JSON), KEYED)

    assert isinstance(decided, Admitted)
    own = b"sk-bob" if b"sk-bob" in fields[0][1] else b"sk-alice"
    assert decided.caller == Caller(brought=((b"authorization", b"Bearer " + own),))


def test_without_client_keys_nobody_has_to_say_who_asks() -> None:
    headers: Headers = (LOCAL, JSON, (b"Authorization", b"Bearer sk-theirs"), (b"x-api-key", b"k"))

    assert admit("POST", CHAT.encode(), headers, RULES) == Admitted(None, True)


def test_who_is_refused_is_told_how_to_come_in() -> None:
    """I2: and nothing else."""
    decided = admit("POST", CHAT.encode(), (LOCAL, JSON, (b"authorization", b"Bearer sk-eve")), KEYED)

    assert isinstance(decided, Refused)
    head, body = decided.answer
    assert header_values(head.headers, b"www-authenticate") == [b"Bearer"]
    assert json.loads(body)["error"]["code"] == "invalid_api_key"
    assert b"sk-" not in body


def test_a_key_is_found_by_its_digest_and_compared_with_none() -> None:
    """F51, I2: the time to look a digest up tells nothing of the key, and is the same for one key and for thousands."""
    told = {
        key: status([LOCAL, JSON, (b"authorization", b"Bearer " + key)], rules=KEYED)
        for key in (b"sk-alice", b"sk-bob", b"sk-bo", b"-", hashlib.sha256(b"sk-alice").hexdigest().encode())
    }

    assert list(told.values()) == [0, 0, 401, 401, 401]
    assert set(KEYED.by_digest) == {hashlib.sha256(key).digest() for key in KEYED.client_keys}


def test_a_pages_image_is_not_answered() -> None:
    """F49, I8: it has no `Origin`, and would spend the server's key."""
    assert status([LOCAL, (b"sec-fetch-site", b"cross-site")], method="GET", path="/v1/models") == 403
    assert status([LOCAL, (b"sec-fetch-site", b"same-origin")], method="GET", path="/v1/models") == 0
    assert status([LOCAL, (b"sec-fetch-site", b"none")], method="GET", path="/v1/models") == 0


# Paths, and what a lent key opens.


def refused(method: str, path: str, fields: Fields, rules: AccessRules) -> tuple[int, str, str]:
    decided = admit(method, path.encode(), (LOCAL, *fields), rules)
    if isinstance(decided, Admitted):
        return 0, "", ""
    error = json.loads(decided.answer[1])["error"]
    return decided.answer[0].status, error["code"], error["message"]


ALICE = (b"authorization", b"Bearer sk-alice")


@pytest.mark.parametrize("path", ["/v1/..%2f..%2fadmin", "/v1/../x", "/v1/..;/x", "/v1/..\\x", "/v1/%00", "/v1/a b"])
@pytest.mark.parametrize(("fields", "rules"), [([], RULES), ([ALICE], KEYED), ([], OPEN)], ids=["own", "keyed", "open"])
def test_a_path_that_climbs_is_refused(path: str, fields: Fields, rules: AccessRules) -> None:
    """F120, A8: whoever asks."""
    for method in ("GET", "POST", "OPTIONS"):
        assert refused(method, path, [JSON, *fields], rules)[:2] == (400, "invalid_path")


@pytest.mark.parametrize(("fields", "rules"), [([ALICE], KEYED), ([], OPEN)], ids=["keyed", "open"])
def test_a_lent_key_opens_what_keeps_no_state(fields: Fields, rules: AccessRules) -> None:
    """F124, F125, A4: the message says what came, what is open, and how more is opened."""
    status, code, message = refused("DELETE", "/v1/files/file_of_alice", fields, rules)

    assert (status, code) == (403, "endpoint_not_lent")
    assert "DELETE /v1/files/file_of_alice" in message
    assert "/chat/completions" in message
    assert "--lend" in message
    assert refused("POST", CHAT, [JSON, *fields], rules)[0] == 0
    assert refused("GET", "/v1/models", fields, rules)[0] == 0
    assert refused("GET", "/favicon.ico", fields, rules)[0] == 0


def test_one_that_is_lent_more_opens_more() -> None:
    """A4."""
    rules = AccessRules(Policy(), client_keys=(b"sk-alice",), lend=lent_paths(["files"]))

    assert refused("DELETE", "/v1/files/f1", [ALICE], rules)[0] == 0
    assert refused("GET", "/v1/batches", [ALICE], rules)[0] == 403


@pytest.mark.parametrize(
    ("credential", "status"),
    [
        ([(b"authorization", b"Bearer sk-their-own")], 0),
        ([(b"x-api-key", b"sk-their-own")], 0),
        ([(b"authorization", b"Bearer cachemw")], 403),
        ([(b"proxy-authorization", b"Bearer sk-their-own")], 403),
        ([(b"cookie", b"session=1")], 403),
        ([], 403),
    ],
    ids=str,
)
def test_who_brings_a_credential_of_their_own_is_lent_none(credential: Fields, status: int) -> None:
    """A4: what their own key opens is theirs."""
    assert refused("GET", "/v1/files", credential, OPEN)[0] == status


def test_on_loopback_nothing_is_lent() -> None:
    """A4: whoever is there may use the server's key."""
    assert refused("GET", "/v1/files", [], RULES)[0] == 0


def test_a_response_is_let_in_by_its_body() -> None:
    """A4, D9: no other body is read."""
    rows = [("POST", "/v1/responses", KEYED, True), ("POST", CHAT, KEYED, False), ("POST", "/v1/responses", RULES, False)]
    for method, path, rules, by_body in rows:
        decided = admit(method, path.encode(), (LOCAL, JSON, ALICE), rules)

        assert isinstance(decided, Admitted)
        assert decided.by_body is by_body


def test_what_came_is_told_in_a_few_words() -> None:
    message = refused("GET", "/v1/" + "x" * 60_000, [ALICE], KEYED)[2]

    assert len(message) < 1_000


@pytest.mark.parametrize(
    "key", [b"", b" ", b"a b", b"a\n", b"a,b", b"cachemw", b"CACHEMW", "\u00e4".encode(), b"a\x00", b"\x7f"]
)
def test_what_cannot_be_a_key_is_none(key: bytes) -> None:
    with pytest.raises(ConfigurationError):
        AccessRules(Policy(), client_keys=(b"sk-alice", key))


# All together.


def test_what_is_wrong_first_is_said_first() -> None:
    """I2: a web page, and who has no key, learn nothing of the limits."""
    wrong = [(b"content-length", b"99999999999"), (b"content-type", b"text/plain")]
    rules = AccessRules(Policy(), client_keys=(b"sk-alice",))
    known = (b"authorization", b"Bearer sk-alice")

    assert code(wrong, rules) == "invalid_host"
    assert code([(b"host", b"evil.example"), (b"origin", b"null"), *wrong]) == "unknown_host"
    assert code([LOCAL, (b"origin", b"null"), *wrong], rules) == "foreign_origin"
    assert code([LOCAL, *wrong], rules) == "invalid_api_key"
    assert code([LOCAL, known, *wrong], rules) == "request_too_large"
    assert code([LOCAL, known, *wrong[1:]], rules) == "unsupported_media_type"


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_probes_may_ask_how_we_are_by_any_name_and_without_a_key(method: str, path: str) -> None:
    assert status([(b"host", b"10.0.0.9:8080")], method=method, path=path, rules=KEYED) == 0
    assert status([], method=method, path=path, rules=KEYED) == 0


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/healthz"), ("OPTIONS", "/readyz"), ("GET", "/healthz/"), ("GET", "/readyz/x")]
)
def test_nothing_else_passes_as_a_probe(method: str, path: str) -> None:
    """What is no probe goes to the upstream, with the server's key."""
    assert status([(b"host", b"evil.example")], method=method, path=path) == 403
    assert status([LOCAL], method=method, path=path, rules=KEYED) == 401


@pytest.mark.parametrize(
    ("fields", "closes"),
    [
        ([], True),
        ([(b"host", b"evil.example")], False),
        ([LOCAL, (b"content-length", b"2000")], True),
        ([LOCAL, (b"content-type", b"text/plain")], False),
        ([LOCAL, (b"content-type", b"text/plain"), (b"expect", b"100-continue")], True),
    ],
)
def test_where_nobody_can_tell_what_comes_next_the_connection_is_closed(fields: Fields, closes: bool) -> None:
    """RFC 9110 §10.1.1: who expected a 100 may send the body after a refusal, or not."""
    decided = admit("POST", CHAT.encode(), tuple(fields), RULES)

    assert isinstance(decided, Refused)
    assert decided.closes is closes


# Names.


@pytest.mark.parametrize(
    "name",
    ["", "*", "*.example", "http://a", "a/b", "a b", "a,b", "user@a", "b\u00fccher.example", "a:x", "[::1", "..", "fe80::1%lo"],
)
def test_what_names_no_host_cannot_be_allowed(name: str) -> None:
    with pytest.raises(ConfigurationError):
        hosts_of([name])


def test_a_host_that_is_allowed_may_be_written_in_any_way() -> None:
    names = ["Cache.Example.", "cache.example:8080", "::1", "[::1]:80", "2001:DB8::0:1", "192.0.2.7:1"]

    assert hosts_of(names) == {"cache.example", "::1", "2001:db8::1", "192.0.2.7"}


def test_a_host_is_read_the_same_in_both_fields() -> None:
    for host in HOSTS:
        assert origin_host(b"http://" + host) == host_of(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "localhost.example", "127.1", "", "x"])
def test_what_others_can_be_is_not_this_machine(host: str) -> None:
    assert not is_loopback(host)
