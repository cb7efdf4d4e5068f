"""The failures of upstreams: told by their cause, whichever client was asking, and logged once, where they are handled."""

import errno
import logging
import socket
import ssl
from collections.abc import Iterator, Sequence

from cachemw.errors import UNREACHABLE, Cause, TruncatedResponse, UnusableHead, UpstreamError, UpstreamTimeout
from cachemw.upstreams.heads import two_framings

logger = logging.getLogger(__name__)

FAILING_STATUS = 400
"""The first status that says that there is no answer."""

_NO_ROUTE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL})
_BY_NAME = {
    "ClientConnectorDNSError": Cause.DNS,
    **dict.fromkeys(("ClientProxyConnectionError", "ClientHttpProxyError", "ProxyError"), Cause.PROXY),
    **dict.fromkeys(("ServerDisconnectedError", "RemoteProtocolError", "ReadError", "WriteError"), Cause.CLOSED),
}
"""What the exceptions of libraries say by themselves, where none of the system's led to them."""

_TWO_FRAMINGS = "can't be present with"  # llhttp, of a length and chunks


def described(exc: Exception, host: str, *, has_head: bool = False) -> UpstreamError:
    """Return what a client of HTTP raised while it asked this host, or read an answer that `has_head`, as an error of ours."""
    chain = list(_chain(exc))
    error: UpstreamError
    if _is_timeout(exc):
        error = UpstreamTimeout("the upstream did not answer in time")
    elif not has_head and any(_is_of_parser(one) for one in chain):
        is_ambiguous = any(_TWO_FRAMINGS in str(one) for one in chain)
        error = two_framings() if is_ambiguous else UnusableHead("it cannot be read as HTTP (is it https?)")
    elif has_head:
        error = TruncatedResponse("the upstream broke off its answer")
    else:
        error = UpstreamError("the upstream cannot be reached")
        error.cause = _cause_in(chain)
    error.host = host
    return error


def log_failure(error: Exception | None) -> None:
    """Log that an upstream failed, if it did; a wrapped app has no host, and its server logs what it raises."""
    if isinstance(error, UpstreamError) and error.host:
        logger.info("the upstream %s failed: %s", error.host, _word_of(error))


def log_status(host: str, status: int) -> None:
    """Log that an upstream answered with an error."""
    if status >= FAILING_STATUS:
        logger.info("the upstream %s failed: status %d", host, status)


def log_unspoken(host: str, status: int) -> None:
    """Log that an upstream may have no Messages of its own, and what to say then, so that their clients are answered."""
    logger.warning(
        "the upstream %s answered %d to /messages: if it speaks chat alone, say so (--speaks chat, or speaks = ['chat'] in its"
        " table of the file), and Anthropic's clients are translated",
        host,
        status,
    )


def _word_of(error: UpstreamError) -> str:
    return error.cause.word if error.detail == UNREACHABLE else error.detail


def _chain(exc: BaseException) -> Iterator[BaseException]:
    """Yield an exception and what led to it, those of a group too."""
    seen = set[int]()
    pending: list[object] = [exc]
    while pending:
        one = pending.pop(0)
        if isinstance(one, BaseException) and id(one) not in seen:
            seen.add(id(one))
            yield one
            of_group = one.exceptions if isinstance(one, BaseExceptionGroup) else ()
            pending += [*of_group, getattr(one, "os_error", None), one.__cause__]
            if one.__suppress_context__:  # httpcore raises `from None` what was made of another one
                pending.append(one.__context__)


def _is_timeout(exc: BaseException) -> bool:
    return isinstance(exc, TimeoutError) or "TimeoutException" in _names_of(exc)  # of httpx, or of httpx2


def _is_of_parser(exc: BaseException) -> bool:
    """Say whether aiohttp's parser, or httpcore's, could not read what came."""
    is_of_h11 = type(exc).__module__.startswith("h11") and "RemoteProtocolError" in _names_of(exc)
    return is_of_h11 or "HttpProcessingError" in _names_of(exc)


def _names_of(exc: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(exc).__mro__}


def _cause_in(chain: Sequence[BaseException]) -> Cause:
    """Return what the first says that led to the others; but who cannot reach a proxy cannot say more."""
    causes = [cause for cause in map(_cause_of, reversed(chain)) if cause is not None]
    return Cause.PROXY if Cause.PROXY in causes else next(iter(causes), Cause.UNKNOWN)


def _cause_of(exc: BaseException) -> Cause | None:
    match exc:
        case TimeoutError():
            return Cause.TIMEOUT
        case socket.gaierror():
            return Cause.DNS
        case ssl.CertificateError():
            return Cause.CERTIFICATE
        case ssl.SSLError():
            return Cause.TLS
        case ConnectionRefusedError() | OSError(errno=errno.ECONNREFUSED):
            return Cause.REFUSED
        case OSError(errno=number) if number in _NO_ROUTE:
            return Cause.NETWORK
        case ConnectionError() | OSError(errno=errno.ECONNRESET):
            return Cause.CLOSED
    return _BY_NAME.get(type(exc).__name__)
