"""Records to make an inventory of: answers of each endpoint, whole and streamed, and what lies beside them."""

import time
from typing import Any

from msgspec import json
from msgspec.structs import replace

from cachemw.cache import record as codec
from cachemw.cache.key import index_beside, index_of_batch
from cachemw.messages import Headers, Kind, StoredResponse, Usage

NOW = float(int(time.time()))
_JSON: Headers = ((b"content-type", b"application/json"),)
_STREAM: Headers = ((b"content-type", b"text/event-stream"),)


def whole(body: object, **changes: Any) -> StoredResponse:
    """Return an answer that is one document."""
    raw = json.encode(body)
    made = StoredResponse(200, _JSON, raw, (), (), Kind(False), b"p" * 32, NOW - 10, 3600.0, "chat", None, "cerebras/m", "m")
    return replace(made, **{"usage": Usage(8, 5), "took": 0.5, **changes})


def streamed(*events: object, names: tuple[str, ...] = (), **changes: Any) -> StoredResponse:
    """Return an answer that is a stream of these events, and of `[DONE]` where they have no names."""
    pieces = [
        (f"event: {name}\n" if name else "").encode() + b"data: " + json.encode(event) + b"\n\n"
        for event, name in zip(events, names or ("",) * len(events), strict=True)
    ]
    pieces += [] if names else [b"data: [DONE]\n\n"]
    ends = tuple(sum(map(len, pieces[: place + 1])) for place in range(len(pieces)))
    return replace(
        whole({}),
        headers=_STREAM,
        body=b"".join(pieces),
        event_ends=ends,
        arrivals=(0.5,) * len(ends),
        kind=Kind(True),
        **changes,
    )


def completion(text: str = "Blue.", finish: str = "stop", **changes: Any) -> StoredResponse:
    """Return a chat completion."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    return whole({"object": "chat.completion", "model": "m", "choices": [choice]}, **changes)


def chunks(*texts: str, finish: str = "stop", **changes: Any) -> StoredResponse:
    """Return a chat completion that is a stream."""
    deltas = [{"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]} for text in texts]
    return streamed(*deltas, {"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}, **changes)


def part(whole_index: bytes, **changes: Any) -> StoredResponse:
    """Return a part of an answer to many inputs."""
    field = (b"cachemw-batch", b"%s %s 1" % (b"ab" * 16, whole_index.hex().encode()))
    return replace(whole([0.5], endpoint="embeddings"), headers=(*_JSON, field), usage=None, took=None, **changes)


def batch(**changes: Any) -> StoredResponse:
    """Return what the parts of an answer have in common."""
    field = (b"cachemw-batch", b"%s 2" % (b"ab" * 16))
    return replace(whole({}, endpoint="embeddings"), headers=(*_JSON, field), took=None, **changes)


INDEX = b"0123456789abcdef"
WITH_PARTS = b"many inputs ----"

RECORDS: dict[bytes, bytes] = {
    INDEX: codec.encode(completion()),
    index_beside(INDEX, Kind(True)): codec.encode(chunks("Bl", "ue.")),
    b"stale ----------": codec.encode(completion("x" * 2000, stored_at=NOW - 7200, model="llama-4", target="groq/llama-4")),
    b"cut short ------": codec.encode(completion("Bl", "length", request=b'{"model":"m"}', target="https://api.x.test/v1")),
    WITH_PARTS: codec.encode(whole({"data": []}, endpoint="embeddings", model="e")),
    index_of_batch(WITH_PARTS): codec.encode(batch(model="e")),
    b"part one -------": codec.encode(part(WITH_PARTS, model="e")),
    b"part two -------": codec.encode(part(WITH_PARTS, model="e", stored_at=NOW - 7200)),
    b"damaged --------": codec.encode(completion())[:-1] + b"?",
}
"""A record of each sort, by its index."""
