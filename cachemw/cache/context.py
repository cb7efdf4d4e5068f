"""The members of an ASGI scope or a WSGI environ: one table says what each of them counts for.

`cache.header_rules` has that of the header fields. What stands in neither changes nothing: most of it is a tracer's.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec

from cachemw.cache.header_rules import Counts
from cachemw.messages import NOTHING_ATTESTED, Attested, Headers
from cachemw.redaction import redacted_repr


class Member(msgspec.Struct, frozen=True):
    """The part that a member plays, and the reason."""

    counts: Counts
    why: str

    __repr__ = redacted_repr


_KEYED, _CREDENTIAL, _INERT, _BYPASS = Counts.KEYED, Counts.CREDENTIAL, Counts.INERT, Counts.BYPASS


def _table(*rows: tuple[str, Counts, str]) -> Mapping[str, Member]:
    return {name: Member(counts, why) for names, counts, why in rows for name in names.split()}


CALLER = "cachemw.caller"
"""The member of a scope in which the gate before a proxy says who asks."""

ALSO = "cachemw.also"
"""The member of a scope by which a listener is told what a request is given, and of its body."""

DOOR = "cachemw.door"
"""The member of a scope by which the gate is told what a request is given."""

SCOPE = _table(
    ("path raw_path query_string", _KEYED, "what is asked for"),
    ("root_path", _KEYED, "where the app is mounted, which may be for one tenant"),
    ("headers", _KEYED, "each field by the table of header fields"),
    ("session", _KEYED, "what a session middleware knows of who asks; one that cannot be written as JSON: not cached"),
    ("user", _BYPASS, "where it is authenticated, and neither a credential nor `Policy.partition` tells callers apart"),
    ("extensions", _CREDENTIAL, "of it only `tls`"),
    (
        CALLER,
        _CREDENTIAL,
        "who asks, as our own gate says, in the place of every credential; no client can set it, but what is mounted in front"
        " of us can, and an app inside sees it",
    ),
    (f"{DOOR} {ALSO}", _INERT, "our own gate's and listener's, to give the same request the same hit again"),
    ("auth", _INERT, "goes with `user`"),
    ("type asgi http_version method scheme", _INERT, "the protocol; an API call is always a POST"),
    ("server", _INERT, "where the server listens; whose app is asked says `Host`"),
    ("client", _INERT, "which machine asks: who tells callers apart by that says so by `Policy.partition`"),
    ("state", _INERT, "what the app and its middlewares keep; what they note of a caller is made of what is in this table"),
    ("path_params path_remaining route endpoint url_route", _INERT, "made of path and `Host`"),
    ("cookies", _INERT, "made of the field `cookie`"),
    ("app app_root_path router starlette.exception_handlers", _INERT, "the framework's own"),
    ("fastapi_middleware_astack fastapi_inner_astack fastapi_function_astack", _INERT, "the framework's own"),
)

EXTENSIONS = _table(
    ("tls", _CREDENTIAL, "`client_cert_chain` and `client_cert_name`"),
    ("http.response.early_hint http.response.push http.response.trailers", _INERT, "the server's; not offered to the app"),
    ("http.response.pathsend http.response.zerocopysend http.response.debug", _INERT, "the server's; not offered to the app"),
    ("websocket.http.response", _INERT, "not of HTTP"),
)

_VOUCHED = "says whom the server has authenticated"

ENVIRON = _table(
    ("PATH_INFO QUERY_STRING REQUEST_URI RAW_URI", _KEYED, "what is asked for"),
    ("SCRIPT_NAME", _KEYED, "where the app is mounted, which may be for one tenant"),
    ("REMOTE_USER AUTH_TYPE AUTH_USER LOGON_USER REMOTE_IDENT HTTPS_DN HTTPS_CC", _CREDENTIAL, _VOUCHED),
    ("gunicorn.socket werkzeug.socket", _CREDENTIAL, "of it only the certificate that a client has shown"),
    ("asgi.scope", _CREDENTIAL, "by the table of an ASGI scope"),
    ("repoze.who.identity beaker.session", _BYPASS, "as `user` in an ASGI scope"),
    ("CONTENT_TYPE CONTENT_LENGTH", _KEYED, "by the table of header fields"),
    ("REQUEST_METHOD SERVER_PROTOCOL ACTUAL_SERVER_PROTOCOL REQUEST_SCHEME HTTPS", _INERT, "the protocol"),
    ("SERVER_NAME SERVER_PORT SERVER_ADDR", _INERT, "where the server listens; whose app is asked says `Host`"),
    (
        "REMOTE_ADDR REMOTE_HOST REMOTE_PORT",
        _INERT,
        "which machine asks: who tells callers apart by that says so by `Policy.partition`",
    ),
    (
        "SERVER_SOFTWARE SERVER_SIGNATURE SERVER_ADMIN GATEWAY_INTERFACE DOCUMENT_ROOT SCRIPT_FILENAME",
        _INERT,
        "the server's own",
    ),
    ("CONTEXT_PREFIX CONTEXT_DOCUMENT_ROOT PATH_TRANSLATED UNIQUE_ID", _INERT, "the server's own"),
    ("werkzeug.request werkzeug.server.shutdown wsgiorg.routing_args flask._preserve_context", _INERT, "the framework's own"),
    ("waitress.client_disconnected", _INERT, "the server's own"),
)

ENVIRON_PREFIXES = _table(
    ("HTTP_", _KEYED, "each field by the table of header fields"),
    ("SSL_CLIENT_ OIDC_ MELLON_ Shib- Shib_ SHIB_ AUTHENTICATE_ GSS_ CERT_", _CREDENTIAL, _VOUCHED),
    ("SSL_", _INERT, "the connection; the client's certificate is in `SSL_CLIENT_`"),
    ("wsgi. mod_wsgi. uwsgi. apache. mod_ssl. webob. UWSGI_ x-wsgiorg.", _INERT, "the server's own"),
)

_SOCKETS = ("gunicorn.socket", "werkzeug.socket")
_READ_WITHIN = frozenset({"asgi.scope", *_SOCKETS})
_CREDENTIAL_NAMES = frozenset(name for name, member in ENVIRON.items() if member.counts is _CREDENTIAL) - _READ_WITHIN
_CREDENTIAL_PREFIXES = tuple(prefix for prefix, member in ENVIRON_PREFIXES.items() if member.counts is _CREDENTIAL)
_NAMELESS = tuple(name for name, member in ENVIRON.items() if member.counts is _BYPASS)
_NOBODY = (b"", b"NONE")  # what servers say where there is no certificate


def listed_environ(name: str) -> bool:
    """Say whether a member of a WSGI environ stands in the table."""
    return name in ENVIRON or name.startswith(tuple(ENVIRON_PREFIXES))


def attested_in_scope(scope: Mapping[str, Any]) -> Attested:
    """Return what an ASGI server, and the middlewares outside of us, say of who asks."""
    session, user, extensions = scope.get("session"), scope.get("user"), scope.get("extensions")
    tls = extensions.get("tls") if extensions else None
    is_nameless = user is not None and _is_authenticated(user)
    if not (session or tls or is_nameless):
        return NOTHING_ATTESTED
    written = _written(session) if session else b""
    return Attested(_certificate(tls) if tls else (), written or b"", is_nameless or written is None)


def attested_in_environ(environ: Mapping[str, Any]) -> Attested:
    """Return what a WSGI server, and the middlewares outside of us, say of who asks."""
    names = tuple(environ)
    if not _may_attest(names):
        return NOTHING_ATTESTED
    scope = environ.get("asgi.scope")
    inside = NOTHING_ATTESTED if scope is None else attested_in_scope(scope)
    vouched = [(name.encode(), _bytes(environ[name])) for name in _credential_members(names)]
    vouched += [(name.encode(), _shown(environ[name])) for name in _SOCKETS if name in environ]
    if not vouched and scope is None and not any(name in environ for name in _NAMELESS):
        return NOTHING_ATTESTED
    return Attested(
        (*(field for field in vouched if field[1] not in _NOBODY), *inside.credentials),
        inside.session,
        inside.is_nameless or any(environ.get(name) for name in _NAMELESS),
    )


@lru_cache(128)  # one server gives the same names again and again
def _may_attest(names: tuple[str, ...]) -> bool:
    return bool(_credential_members(names)) or not {*_READ_WITHIN, *_NAMELESS}.isdisjoint(names)


@lru_cache(128)
def _credential_members(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(name for name in names if name in _CREDENTIAL_NAMES or name.startswith(_CREDENTIAL_PREFIXES)))


def _is_authenticated(user: Any) -> bool:
    """Say whether a user is somebody; what cannot say so of itself is, if it is anything at all."""
    return bool(getattr(user, "is_authenticated", user))


def _written(session: Any) -> bytes | None:
    try:
        return msgspec.json.encode(dict(session), order="deterministic")
    except (TypeError, ValueError, msgspec.MsgspecError):
        return None


def _certificate(tls: Mapping[str, Any]) -> Headers:
    """Return the client's certificate, as the TLS extension of ASGI has it."""
    chain, name = tls.get("client_cert_chain") or (), tls.get("client_cert_name")
    return tuple([(b"tls", _bytes(part)) for part in (*chain, *([name] if name else []))])


def _shown(socket: Any) -> bytes:
    """Return the certificate that the client showed on a connection, nothing where it is none of TLS."""
    read = getattr(socket, "getpeercert", None)
    try:
        return (read(True) or b"") if callable(read) else b""
    except (OSError, ValueError):  # no handshake was made yet, or it is closed
        return b""


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "backslashreplace")
