"""Chat requests of any size, as SDKs send them."""

import itertools
import json

PATH = "/v1/chat/completions"
WORDS = "Consider the place again: one table, three waiters and a queue that never quite ends.\n"
TURN_CHARACTERS = 1_500
TOKEN = "sk-benchmarks-0123456789abcdef"

Fields = tuple[tuple[bytes, bytes], ...]

PLAIN: Fields = (
    (b"host", b"127.0.0.1"),
    (b"accept-encoding", b"gzip, deflate"),
    (b"connection", b"keep-alive"),
    (b"accept", b"application/json"),
    (b"content-type", b"application/json"),
    (b"user-agent", b"OpenAI/Python 2.8.0"),
    (b"x-stainless-lang", b"python"),
    (b"x-stainless-package-version", b"2.8.0"),
    (b"x-stainless-os", b"Linux"),
    (b"x-stainless-arch", b"x64"),
    (b"x-stainless-runtime", b"CPython"),
    (b"x-stainless-runtime-version", b"3.11.7"),
    (b"x-stainless-async", b"false"),
    (b"x-stainless-retry-count", b"0"),
    (b"x-stainless-read-timeout", b"600"),
    (b"authorization", b"Bearer " + TOKEN.encode()),
)
HEADERS: Fields = (*PLAIN, (b"cachemw", b"on"))


def chat(size_bytes: int, **members: object) -> bytes:
    """Return a conversation of about this size, in the compact JSON that the SDKs send."""
    opening = {"role": "system", "content": "You are a helpful assistant."}
    request = {"messages": [opening, *_turns(size_bytes)], "model": "llama3.1-8b", "temperature": 0.2, **members}
    return json.dumps(request, ensure_ascii=False, separators=(",", ":")).encode()


def spaced(body: bytes) -> bytes:
    """Return the same request indented, and with escapes for what is not ASCII."""
    return json.dumps(json.loads(body), indent=2).encode()


def halves(body: bytes, headers: Fields = HEADERS, path: str = PATH) -> tuple[bytes, bytes]:
    """Return the head and the body of the request as they go over the wire."""
    fields = (*headers, (b"content-length", b"%d" % len(body)))
    return b"POST %s HTTP/1.1\r\n%s\r\n" % (path.encode(), b"".join(b"%s: %s\r\n" % field for field in fields)), body


def http(body: bytes, headers: Fields = HEADERS) -> bytes:
    """Return the request as it goes over the wire."""
    return b"".join(halves(body, headers))


def _turns(size_bytes: int) -> list[dict[str, str]]:
    """Let two take turns: what the assistant says is not all ASCII."""
    length = max(TURN_CHARACTERS, size_bytes // 50)
    speakers = itertools.cycle((("user", "About the place: "), ("assistant", "The café — again: ")))
    turns = []
    for left in range(size_bytes - 150, 0, -length):
        role, opening = next(speakers)
        turns.append({"role": role, "content": (opening + WORDS * (length // len(WORDS) + 1))[: min(left, length)]})
    return turns
