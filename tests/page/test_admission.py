"""Whom the page answers, as a table: nobody without its token, and no foreign page even that there is one (O8)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.page.admission import PageRules, Verdict, admit_to_page
from cachemw.wire.hosts import hosts_of

TOKEN = "a-token-of-thirty-two-characters"
RULES = PageRules(TOKEN, hosts_of(["page.example"]), 8090)
LOCAL = (b"host", b"127.0.0.1:8090")
BEARER = (b"authorization", b"Bearer " + TOKEN.encode())
COOKIE = (b"cookie", f"theme=dark; {RULES.cookie}={RULES.session}".encode())
SAME = (b"origin", b"http://127.0.0.1:8090")

Field = tuple[bytes, bytes]


def verdict(*fields: Field, method: str = "GET", path: str = "/") -> Verdict:
    return admit_to_page(method, path, fields, RULES)


ADMITTED: dict[str, tuple[Verdict, tuple[Field, ...]]] = {
    "the token itself": (Verdict.BEARER, (LOCAL, BEARER)),
    "the token in another case of the scheme": (Verdict.BEARER, (LOCAL, (b"Authorization", b"bearer  " + TOKEN.encode()))),
    "the cookie": (Verdict.SESSION, (LOCAL, COOKIE)),
    "the cookie beside others, twice": (Verdict.SESSION, (LOCAL, (b"cookie", f"{RULES.cookie}=x".encode()), COOKIE)),
    "the cookie from our own page": (Verdict.SESSION, (LOCAL, COOKIE, SAME, (b"sec-fetch-site", b"same-origin"))),
    "the cookie from the address bar": (Verdict.SESSION, (LOCAL, COOKIE, (b"sec-fetch-site", b"none"))),
    "another name of loopback": (Verdict.SESSION, ((b"host", b"localhost:8090"), COOKIE)),
    "a name that was allowed": (Verdict.SESSION, ((b"host", b"Page.Example"), COOKIE, (b"origin", b"https://page.example"))),
    "nothing": (Verdict.NO_TOKEN, (LOCAL,)),
    "the token as a cookie": (Verdict.NO_TOKEN, (LOCAL, (b"cookie", f"{RULES.cookie}={TOKEN}".encode()))),
    "the cookie of another port": (Verdict.NO_TOKEN, (LOCAL, (b"cookie", f"cachemw-page-8091={RULES.session}".encode()))),
    "a wrong token": (Verdict.WRONG_TOKEN, (LOCAL, (b"authorization", b"Bearer wrong"))),
    "a wrong token beside the cookie": (Verdict.WRONG_TOKEN, (LOCAL, COOKIE, (b"authorization", b"Bearer wrong"))),
    "the token's beginning": (Verdict.WRONG_TOKEN, (LOCAL, (b"authorization", BEARER[1][:-1]))),
    "two tokens": (Verdict.WRONG_TOKEN, (LOCAL, BEARER, BEARER)),
    "the token in another scheme": (Verdict.WRONG_TOKEN, (LOCAL, (b"authorization", b"Basic " + TOKEN.encode()))),
    "no host": (Verdict.BAD_HOST, (BEARER,)),
    "two hosts": (Verdict.BAD_HOST, (LOCAL, LOCAL, BEARER)),
    "a host that is none": (Verdict.BAD_HOST, ((b"host", b"localhost:80:80"), BEARER)),
    "a host of somebody else": (Verdict.UNKNOWN_HOST, ((b"host", b"evil.example"), BEARER)),
    "an address of somebody else": (Verdict.UNKNOWN_HOST, ((b"host", b"192.0.2.7:8090"), BEARER)),
    "a foreign origin": (Verdict.FOREIGN, (LOCAL, COOKIE, (b"origin", b"https://evil.example"))),
    "no origin in particular": (Verdict.FOREIGN, (LOCAL, COOKIE, (b"origin", b"null"))),
    "another port of this machine": (Verdict.FOREIGN, (LOCAL, COOKIE, (b"origin", b"http://127.0.0.1:3000"))),
    "the origin of another allowed name": (Verdict.FOREIGN, (LOCAL, COOKIE, (b"origin", b"http://page.example:8090"))),
    "two origins": (Verdict.FOREIGN, (LOCAL, COOKIE, SAME, SAME)),
    "a foreign page, as the browser says": (Verdict.FOREIGN, (LOCAL, COOKIE, (b"sec-fetch-site", b"cross-site"))),
    "a page of the same site": (Verdict.FOREIGN, (LOCAL, COOKIE, (b"sec-fetch-site", b"same-site"))),
    "a foreign page, as the referrer says": (Verdict.FOREIGN, (LOCAL, COOKIE, (b"referer", b"https://evil.example/x"))),
}


@pytest.mark.parametrize("name", ADMITTED)
def test_who_asks_is_answered_as_the_table_has_it(name: str) -> None:
    """O8."""
    expected, fields = ADMITTED[name]

    assert verdict(*fields) is expected


@pytest.mark.parametrize("name", [name for name, (expected, _) in ADMITTED.items() if expected.status in (400, 403)])
def test_a_foreign_request_may_not_even_trade_the_token(name: str) -> None:
    """O8: whoever has to be kept out is, before the token is looked at."""
    expected, fields = ADMITTED[name]

    assert verdict(*fields, method="POST", path="/session") is expected


def test_the_token_is_traded_by_post_alone() -> None:
    """O8."""
    assert verdict(LOCAL, method="POST", path="/session") is Verdict.TRADE
    assert verdict(LOCAL, method="GET", path="/session") is Verdict.NO_TOKEN
    assert verdict(LOCAL, method="POST", path="/session/") is Verdict.NO_TOKEN


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "get", "CONNECT"])
def test_there_are_no_other_methods(method: str) -> None:
    assert verdict(LOCAL, BEARER, method=method) is Verdict.METHOD


@given(st.lists(st.tuples(st.sampled_from([b"authorization", b"cookie", b"Cookie"]), st.binary(max_size=90)), max_size=4))
def test_nothing_but_the_token_and_its_cookie_opens_it(fields: list[Field]) -> None:
    """O8."""
    assert verdict(LOCAL, *fields).status == 401


def test_a_seal_is_of_these_words_and_of_no_others() -> None:
    seal = RULES.seal("purge", "model=a", "now")

    assert RULES.is_sealed(seal, "purge", "model=a", "now")
    assert not RULES.is_sealed(seal, "purge", "model=", "anow")
    assert not RULES.is_sealed(seal, "purge", "model=b", "now")
    assert not RULES.is_sealed("\udcff", "purge")
    assert not PageRules("another-token-of-thirty-two-chars", port=8090).is_sealed(seal, "purge", "model=a", "now")


def test_rules_show_nothing_of_the_token() -> None:
    assert TOKEN not in repr(RULES)
    assert TOKEN not in RULES.session
