"""A secret in every place of a request and of an answer that can hold one, and an upstream that gives such answers."""

import contextlib
import hashlib
import json
import re
import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tests.mounts.mounting import PATH
from tests.upstream import DONE, EVENT_STREAM, JSON, Asked, Told, completion, event, stream

CREDENTIALS = ("authorization", "api-key", "x-api-key", "x-goog-api-key")
HEADERS = (
    *CREDENTIALS, "proxy-authorization", "cookie", "user-agent", "idempotency-key", "traceparent", "tracestate", "baggage",
    "x-request-id", "x-forwarded-for", "forwarded", "via", "referer", "openai-organization", "openai-project", "openai-beta",
    "anthropic-beta", "x-cerebras-version-patch", "x-stainless-os", "x-auth-token", "x-amz-security-token", "accept-language",
    "if-none-match", "sec-ch-ua", "priority",
)  # fmt: skip
BODY = (
    "model", "system prompt", "prompt", "content part", "tool call arguments", "tool result", "tool description", "stop",
    "user", "safety_identifier", "metadata", "prompt_cache_key", "unknown member", "unknown stream option",
)  # fmt: skip
CONTROL = ("namespace", "unknown control member", "broken control", "bad control value", "cache-control")
UPSTREAM = (
    "error body", "error header", "reason phrase", "set-cookie", "answer's x-request-id", "answer's organization",
    "rate limit header", "status line", "header line", "chunk size", "broken stream", "app's exception",
)  # fmt: skip
OWN = (
    "query", "path", "hook's exception", "partition's exception", "CEREBRAS_API_KEY", "CACHEMW_SECRET", "client key",
    "api_key argument", "base URL's password", "base URL's query",
)  # fmt: skip
PLACES = (*HEADERS, *BODY, *CONTROL, *UPSTREAM, *OWN)


def secret(place: str) -> str:
    """Return the canary of a place: letters and digits, as keys are."""
    assert place in PLACES
    return "cnry" + hashlib.sha256(f"canary of {place}".encode()).hexdigest()[:36]


def body(answer: str, *, number: int = 0, stream: bool = False) -> dict[str, Any]:
    """Return a request with a canary in every place of it, which asks for one of `ANSWERS`."""
    call = {
        "id": "c",
        "type": "function",
        "function": {"name": "look", "arguments": f'{{"at": "{secret("tool call arguments")}"}}'},
    }
    tool = {"type": "function", "function": {"name": "look", "description": secret("tool description")}}
    asked = f"{secret('prompt')} number {number}, answer: {answer}."
    return {
        "model": secret("model"),
        "messages": [
            {"role": "system", "content": secret("system prompt")},
            {"role": "user", "content": [{"type": "text", "text": secret("content part")}]},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": secret("tool result")},
            {"role": "user", "content": asked},
        ],
        "tools": [tool],
        "stop": [secret("stop")],
        "metadata": {secret("metadata"): secret("metadata")},
        "invented": {secret("unknown member"): secret("unknown member")},
        **{name: secret(name) for name in ("user", "safety_identifier", "prompt_cache_key")},
        **({"stream": True, "stream_options": {"include": secret("unknown stream option")}} if stream else {}),
    }


def headers(control: str | None = None) -> dict[str, str]:
    """Return header fields with a canary in each."""
    said = f'on, namespace="{secret("namespace")}", invented="{secret("unknown control member")}"'
    fields = {name: secret(name) for name in HEADERS} | {"authorization": f"Bearer {secret('authorization')}"}
    fields["cookie"] = f"session={secret('cookie')}"
    fields["cache-control"] = f'invented="{secret("cache-control")}"'
    return {"content-type": "application/json", "cachemw": said if control is None else control, **fields}


CONTROLS = (
    None,
    f'on, namespace="{secret("broken control")}',
    f'on, mode="{secret("bad control value")}"',
    f'on, ttl="{secret("bad control value")}"',
    f'on, mode=replay, namespace="{secret("namespace")}"',
    "off",
)
TARGET = f"{PATH}?api_key={secret('query')}"
ELSEWHERE = f"/v1/files/{secret('path')}?api_key={secret('query')}"

IDENTITY = (
    (b"set-cookie", f"session={secret('set-cookie')}".encode()),
    (b"x-request-id", secret("answer's x-request-id").encode()),
    (b"openai-organization", secret("answer's organization").encode()),
    (b"x-ratelimit-remaining-tokens", secret("rate limit header").encode()),
)
ECHO = json.dumps({"error": {"message": f"bad key {secret('authorization')}, {secret('error body')}"}}).encode()
ECHOED = (*JSON, *IDENTITY, (b"x-error", secret("error header").encode()), (b"content-length", b"%d" % len(ECHO)))
CUT = [event({"content": "so far"}), b"data: " + secret("broken stream").encode()]

ANSWERS: Mapping[str, Callable[[], Told]] = {
    "whole": lambda: Told(completion("fine").parts, headers=(*completion("fine").headers, *IDENTITY)),
    "stream": lambda: Told(stream("all is fine").parts, headers=(*EVENT_STREAM, *IDENTITY)),
    "unauthorized": lambda: Told([ECHO], 401, ECHOED),
    "overloaded": lambda: Told([ECHO], 503, ECHOED),
    "error event": lambda: Told([b"data: " + ECHO + b"\n\n", DONE], headers=EVENT_STREAM),
    "cut": lambda: Told(CUT, headers=EVENT_STREAM, ends=False),
    "no answer": lambda: Told([ECHO], headers=(*JSON, *IDENTITY)),
    "raised": lambda: Told([RuntimeError(secret("app's exception"))], headers=JSON),
}
"""What an upstream does, apart from what only bytes on the wire can say."""

ON_THE_WIRE: Mapping[str, bytes] = {
    "reason": b"HTTP/1.1 500 %s\r\nContent-Length: 0\r\n\r\n" % secret("reason phrase").encode(),
    "status line": b"HTTP/1.1 abc %s\r\n\r\n" % secret("status line").encode(),
    "header line": b"HTTP/1.1 200 OK\r\n%s\r\n\r\n" % secret("header line").encode(),
    "header name": b"HTTP/1.1 200 OK\r\nx y %s: 1\r\n\r\n" % secret("header line").encode(),
    "chunk size": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\n"
    % secret("chunk size").encode(),
    "no end": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n" + ECHO,
}
STREAMS = ("stream", "cut", "error event")


def answered(asked: Asked) -> Told:
    """Answer as the prompt says; everything else is fine."""
    wanted = re.search(rb"answer: ([a-z ]+)\.", asked.body)
    return ANSWERS.get(wanted[1].decode() if wanted else "", ANSWERS["whole"])()


class Wire(socketserver.ThreadingTCPServer):
    """The same on a socket, byte by byte."""

    allow_reuse_address = daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Talk(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            lines = list(iter(lambda: self.rfile.readline().strip(), b""))
            length = next((int(line.split(b":")[1]) for line in lines if line.lower().startswith(b"content-length:")), 0)
            sent = self.rfile.read(length)
            wanted = re.search(rb"answer: ([a-z ]+)\.", sent)
            name = wanted[1].decode() if wanted else "whole"
            self.wfile.write(
                ON_THE_WIRE[name] if name in ON_THE_WIRE else _as_bytes(answered(Asked("POST", "", b"", b"", (), sent)))
            )


def _as_bytes(told: Told) -> bytes:
    content = b"".join(part for part in told.parts if isinstance(part, bytes))
    fields = [(name, value) for name, value in told.headers if name != b"content-length"]
    fields += [(b"content-length", b"%d" % (len(content) + (not told.ends))), (b"connection", b"close")]
    lines = [b"HTTP/1.1 %d Fine" % told.status, *(name + b": " + value for name, value in fields), b"", content]
    return b"\r\n".join(lines)


@contextlib.contextmanager
def on_the_wire() -> Iterator[str]:
    """Serve from a thread; gives the URL."""
    with Wire(("127.0.0.1", 0), _Talk) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.url
        finally:
            server.shutdown()
            thread.join()


def requests(is_on_the_wire: bool) -> Iterator[tuple[str, dict[str, str], bytes]]:
    """Yield the target, the header fields and the body of every request there is; many are made twice."""
    names = [*ANSWERS, *(ON_THE_WIRE if is_on_the_wire else ())]
    for name in ("whole", "stream", *names):
        yield TARGET, headers(), json.dumps(body(name, stream=name in STREAMS)).encode()
    yield TARGET, headers(), json.dumps(body("stream")).encode()  # of another kind
    for number, control in enumerate(CONTROLS, 1):
        yield TARGET, headers(control), json.dumps(body("whole", number=number)).encode()
    ambiguous = json.dumps(body("whole")).encode().removesuffix(b"}") + b',"model":"' + secret("model").encode() + b'"}'
    for raw in (ambiguous, ambiguous[:-1], b"\xff" + ambiguous, secret("prompt").encode()):
        yield TARGET, headers(), raw
    yield ELSEWHERE, headers(), json.dumps(body("whole")).encode()
