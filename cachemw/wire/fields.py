"""Header fields, as HTTP has them: which of them pass an intermediary, and which do not."""

from collections.abc import Iterable

from cachemw.messages import Headers

CREDENTIALS = (b"authorization", b"api-key", b"x-api-key", b"x-goog-api-key")

# RFC 9110 §7.6.1, and the fields it tells an intermediary to remove
HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding"
    b" upgrade".split()
)


def in_utf8(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Return fields that are UTF-8 each; what is not is taken for Latin-1.

    Of one that is not, httpx would take all others for Latin-1 too, those that are in the key, and say them in other bytes.
    """
    return tuple([(_in_utf8(name), _in_utf8(value)) for name, value in headers])


def _in_utf8(text: bytes) -> bytes:
    try:
        text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1").encode()
    return text


def end_to_end(headers: Headers) -> Headers:
    """Return the fields that may pass an intermediary (RFC 9110 §7.6.1)."""
    removed = HOP_BY_HOP | nominated_by_connection(headers)
    return tuple((name, value) for name, value in headers if name.lower() not in removed)


def nominated_by_connection(headers: Headers) -> frozenset[bytes]:
    """Return the fields that `Connection` names, lower case; credentials cannot be removed that way."""
    listed = (value.lower().split(b",") for name, value in headers if name.lower() == b"connection")
    return frozenset(item.strip() for items in listed for item in items) - frozenset(CREDENTIALS)


def without(headers: Headers, lower_names: Iterable[bytes]) -> Headers:
    """Return the fields whose names are not among `lower_names`."""
    removed = frozenset(lower_names)
    return tuple([field for field in headers if field[0].lower() not in removed])


def names_websocket(upgrade: bytes) -> bool:
    """Say whether an `Upgrade` field asks for a WebSocket. That is no wish that can be ignored, as all others are."""
    return b"websocket" in [protocol.strip().lower() for protocol in upgrade.split(b",")]


def content_length(headers: Headers) -> int | None:
    """Return how long a body is said to be; `None` where that is not said, or not in one way (RFC 9110 §8.6)."""
    fields = [value for name, value in headers if name.lower() == b"content-length"]
    lengths = {length.strip() for length in b",".join(fields).split(b",")}
    said = {int(length) if length.isdigit() and len(length) < 20 else None for length in lengths}
    return said.pop() if len(said) == 1 else None
