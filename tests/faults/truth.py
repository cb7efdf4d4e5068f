"""An upstream that tells the truth: what it answers follows from what it is asked, so that every answer can be judged."""

import hashlib
import json
from functools import lru_cache

from tests.upstream import DONE, EVENT_STREAM, Asked, Told, completion, event, prompt


def question(number: int, size: int = 200, *, stream: bool = False) -> bytes:
    """Return the body of a request whose answer has some `size` bytes of text."""
    return prompt(f"question {number}, {size} bytes please", **({"stream": True} if stream else {}))


def truthful(asked: Asked) -> Told:
    """Answer as `answer_to` says."""
    return answer_to(asked.body)


@lru_cache(512)
def answer_to(body: bytes) -> Told:
    """Return the answer to a request with this body."""
    said = json.loads(body)
    text = _text(said["messages"][-1]["content"])
    if not said.get("stream"):
        return completion(text)
    pieces = [text[start : start + 40] for start in range(0, len(text), 40)]
    return Told([*(event({"content": piece}) for piece in pieces), event({}, "stop"), DONE], headers=EVENT_STREAM)


def true_body(body: bytes) -> bytes:
    """Return the bytes of the answer to a request with this body."""
    return b"".join(part for part in answer_to(body).parts if isinstance(part, bytes))


def _text(content: str) -> str:
    size = int(content.split(", ")[1].split()[0])
    words = (hashlib.sha256(f"{content} {at}".encode()).hexdigest() for at in range(size // 65 + 1))
    return " ".join(words)[:size]
