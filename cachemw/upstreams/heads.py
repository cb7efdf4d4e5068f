"""The heads of an upstream's responses: where their bodies end, and which of them a server can say in its turn."""

import re

from cachemw.errors import UnusableHead
from cachemw.messages import Head, Headers, header_values
from cachemw.wire.fields import without

_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_DIGITS = re.compile(rb"[0-9]+")
_WITHOUT_BODY = (204, 304)


def head_in_http1(method: str, status: int, fields: Headers) -> Head:
    """Return the head of a response in HTTP/1, where the end of a connection can be all the end a body has (RFC 9112 §6.3)."""
    framed = any(name.lower() in (b"content-length", b"transfer-encoding") for name, _ in fields)
    return Head(status, fields, framed or method == "HEAD" or status in _WITHOUT_BODY)


def sayable(method: str, head: Head) -> Head:
    """Return a head as a server can say it, without the length of a body that does not come. Raises `UnusableHead`."""
    if not 200 <= head.status < 600:  # RFC 9110 §15: nor did anybody ask for another protocol
        raise UnusableHead("its status is not one of an answer")
    if any(_CONTROL.search(value) for _, value in head.headers):  # RFC 9110 §5.5
        raise UnusableHead("a header field holds a control character")
    codings = [value.lower() for value in header_values(head.headers, b"transfer-encoding")]
    if codings not in ([], [b"chunked"]):  # that one is undone on the way here (RFC 9112 §6.1)
        raise UnusableHead("its body is in a transfer coding that was not asked for")
    length = _length(head)
    if codings and length:  # RFC 9112 §6.3: such a message ought to be handled as an error
        raise two_framings()
    if head.status in _WITHOUT_BODY and method != "HEAD":  # RFC 9110 §8.6: servers wait for a body as long as that
        return Head(head.status, without(head.headers, (b"content-length",)), head.delimited)
    if len(length) > 1:  # one that was said twice is said once (RFC 9110 §8.6): clients refuse two
        kept = without(head.headers, (b"content-length",))
        return Head(head.status, (*kept, (b"content-length", length[0])), head.delimited)
    return head


def _length(head: Head) -> list[bytes]:
    """Return the length of the body as often as it is said. Raises `UnusableHead` where it is said in different ways."""
    said = [part.strip(b" \t") for value in header_values(head.headers, b"content-length") for part in value.split(b",")]
    if not all(map(_DIGITS.fullmatch, said)) or len({part.lstrip(b"0") for part in said}) > 1:  # RFC 9112 §6.3
        raise UnusableHead("the length of its body is none, or more than one")
    return said


def two_framings() -> UnusableHead:
    """Return the error of a head that says in two ways where its body ends: each is another body."""
    return UnusableHead("it has both a Content-Length and a Transfer-Encoding, of which only one can hold", "two-framings")
