"""What an app can see of a request besides its header fields, and what it counts for."""

from typing import Any

import pytest
from starlette.authentication import SimpleUser, UnauthenticatedUser

from cachemw.cache.context import (
    CALLER,
    ENVIRON,
    ENVIRON_PREFIXES,
    EXTENSIONS,
    SCOPE,
    attested_in_environ,
    attested_in_scope,
    listed_environ,
)
from cachemw.cache.header_rules import Counts
from cachemw.messages import NOTHING_ATTESTED, Attested

SCOPES = {"type": "http", "method": "POST", "path": "/v1", "headers": [], "client": ("192.0.2.1", 5), "state": {"a": 1}}


class Socket:
    """A connection over TLS, as servers hand it to an app."""

    def __init__(self, certificate: bytes | Exception | None) -> None:
        self._certificate = certificate

    def getpeercert(self, binary_form: bool) -> bytes | None:
        assert binary_form
        if isinstance(self._certificate, Exception):
            raise self._certificate
        return self._certificate


@pytest.mark.parametrize(
    ("more", "attested"),
    [
        pytest.param({}, NOTHING_ATTESTED, id="nothing"),
        pytest.param({"user": None, "session": {}, "extensions": None}, NOTHING_ATTESTED, id="nobody"),
        pytest.param({"user": UnauthenticatedUser()}, NOTHING_ATTESTED, id="a user that is not authenticated"),
        pytest.param({"user": SimpleUser("alice")}, Attested(is_nameless=True), id="one that is"),
        pytest.param({"user": "alice"}, Attested(is_nameless=True), id="one that cannot say"),
        pytest.param({"session": {"b": 2, "a": 1}}, Attested(session=b'{"a":1,"b":2}'), id="a session"),
        pytest.param({"session": {"a": object()}}, Attested(is_nameless=True), id="one that cannot be written"),
        pytest.param({"extensions": {"tls": {}, "http.response.push": {}}}, NOTHING_ATTESTED, id="TLS without a certificate"),
        pytest.param(
            {"extensions": {"tls": {"client_cert_chain": ["PEM 1", "PEM 2"], "client_cert_name": "CN=alice"}}},
            Attested(((b"tls", b"PEM 1"), (b"tls", b"PEM 2"), (b"tls", b"CN=alice"))),
            id="a client's certificate",
        ),
        pytest.param(
            {"extensions": {"tls": {"client_cert_chain": None, "client_cert_name": "CN=bob"}}},
            Attested(((b"tls", b"CN=bob"),)),
            id="its name alone",
        ),
    ],
)
def test_of_an_asgi_scope(more: dict[str, Any], attested: Attested) -> None:
    """F85, I10, A2."""
    assert attested_in_scope({**SCOPES, **more}) == attested


def vouched(**members: str) -> Attested:
    return Attested(tuple((name.encode(), value.encode()) for name, value in sorted(members.items())))


@pytest.mark.parametrize(
    ("environ", "attested"),
    [
        pytest.param({}, NOTHING_ATTESTED, id="nothing"),
        pytest.param({"REMOTE_ADDR": "192.0.2.1", "HTTP_COOKIE": "a=b", "wsgi.input": 5}, NOTHING_ATTESTED, id="nobody"),
        pytest.param({"REMOTE_USER": "", "SSL_CLIENT_VERIFY": "NONE", "SSL_CLIENT_S_DN": ""}, NOTHING_ATTESTED, id="not shown"),
        pytest.param(
            {"REMOTE_USER": "alice", "AUTH_TYPE": "Basic"}, vouched(REMOTE_USER="alice", AUTH_TYPE="Basic"), id="a user"
        ),
        *[
            pytest.param({name: "alice"}, vouched(**{name: "alice"}), id=name)
            for name in (
                *(
                    "AUTH_USER",
                    "LOGON_USER",
                    "REMOTE_IDENT",
                    "HTTPS_DN",
                    "SSL_CLIENT_S_DN",
                    "SSL_CLIENT_CERT",
                    "OIDC_CLAIM_sub",
                ),
                *("MELLON_NAME_ID", "Shib-Session-ID", "AUTHENTICATE_MAIL", "GSS_NAME", "CERT_SUBJECT"),
            )
        ],
        pytest.param({"gunicorn.socket": Socket(b"DER")}, Attested(((b"gunicorn.socket", b"DER"),)), id="a connection's"),
        pytest.param({"gunicorn.socket": Socket(None), "werkzeug.socket": 5}, NOTHING_ATTESTED, id="none of TLS"),
        pytest.param({"werkzeug.socket": Socket(ValueError("no handshake"))}, NOTHING_ATTESTED, id="not yet"),
        pytest.param({"repoze.who.identity": {"login": "alice"}}, Attested(is_nameless=True), id="a middleware's"),
        pytest.param(
            {"asgi.scope": {**SCOPES, "user": SimpleUser("alice"), "session": {"a": 1}}},
            Attested(session=b'{"a":1}', is_nameless=True),
            id="a scope within",
        ),
    ],
)
def test_of_a_wsgi_environ(environ: dict[str, Any], attested: Attested) -> None:
    """F85, I10, A2."""
    assert attested_in_environ(environ) == attested


def shown_by(name: str) -> Any:
    if name == "asgi.scope":
        return {**SCOPES, "extensions": {"tls": {"client_cert_name": "CN=alice"}}}
    return Socket(b"DER") if name.endswith(".socket") else "alice"


@pytest.mark.parametrize(("name", "counts"), [(name, member.counts) for name, member in ENVIRON.items()])
def test_what_a_row_says_is_what_its_member_counts_for(name: str, counts: Counts) -> None:
    """A2: the table decides, so that a new row is one line."""
    attested = attested_in_environ({name: shown_by(name)})

    assert bool(attested.credentials) is (counts is Counts.CREDENTIAL)
    assert attested.is_nameless is (counts is Counts.BYPASS)


def test_every_row_says_why() -> None:
    """A2."""
    rows = [*SCOPE.values(), *EXTENSIONS.values(), *ENVIRON.values(), *ENVIRON_PREFIXES.values()]

    assert all(member.why for member in rows)
    assert {member.counts for member in rows} == set(Counts)


def test_the_member_in_which_our_own_gate_says_who_asks_stands_in_the_table() -> None:
    """A2: an app inside sees it."""
    assert SCOPE[CALLER].counts is Counts.CREDENTIAL


def test_what_stands_in_the_table_is_found_there() -> None:
    """A2: what a server brings and nobody has listed is not."""
    listed = "REMOTE_USER SSL_CLIENT_S_DN SSL_PROTOCOL HTTP_X_INVENTED wsgi.invented SCRIPT_NAME Shib-Application-ID".split()

    assert all(map(listed_environ, listed))
    assert not any(map(listed_environ, ("INVENTED", "newserver.connection", "REMOTE_USERS")))
