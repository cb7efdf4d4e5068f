"""Which heads of an HTTP upstream a server can say in its turn: any other is a broken upstream's."""

import re

from cachemw.core.headers import without
from cachemw.core.messages import Head, header_values
from cachemw.errors import UpstreamError

_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_WITHOUT_BODY = (204, 304)


def sayable(method: str, head: Head) -> Head:
    """Return a head as a server can say it, without the length of a body that does not come. Raises `UpstreamError`."""
    if not 200 <= head.status < 600:  # RFC 9110 §15: nor did anybody ask for another protocol
        raise UpstreamError("the status is not one of an answer")
    if any(_CONTROL.search(value) for _, value in head.headers):  # RFC 9110 §5.5
        raise UpstreamError("a header field holds a control character")
    codings = [value.lower() for value in header_values(head.headers, b"transfer-encoding")]
    if codings not in ([], [b"chunked"]):  # that one is undone on the way here (RFC 9112 §6.1)
        raise UpstreamError("the body is in a transfer coding that was not asked for")
    is_empty = head.status in _WITHOUT_BODY and method != "HEAD"  # RFC 9110 §8.6: servers wait for a body as long as that
    if codings or is_empty:  # RFC 9112 §6.3: chunks overrule a length
        return Head(head.status, without(head.headers, (b"content-length",)), head.delimited)
    return head
