"""Whether what the store holds under a key may answer this request."""

import msgspec

from cachemw.core import codec
from cachemw.core.chat import ChatRequest
from cachemw.core.completeness import json_fault, stream_fault
from cachemw.core.directives import Directives, Mode
from cachemw.core.fingerprint import Key
from cachemw.core.freshness import is_fresh, satisfies
from cachemw.core.messages import StoredResponse
from cachemw.core.report import Fwd
from cachemw.errors import RecordError

OTHER_KIND = "other-kind"


class Usable(msgspec.Struct, frozen=True):
    """It answers; `detail` says so where it is stale."""

    stored: StoredResponse
    detail: str | None = None


class Unusable(msgspec.Struct, frozen=True):
    """It does not, and why: in the word of RFC 9211 and, where that is not enough, in ours."""

    fwd: Fwd
    detail: str | None = None


class Query(msgspec.Struct, frozen=True):
    """What is looked for: the key, the request it stands for and how that is restricted."""

    key: Key
    chat: ChatRequest
    asked: Directives
    store_when: frozenset[str]


class Verified:
    """The records whose body has been judged in this process: bodies are long, and records do not change."""

    LIMIT = 8192

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def __contains__(self, mark: bytes) -> bool:
        return mark in self._seen

    def add(self, mark: bytes) -> None:
        """Remember one; when there are too many, begin anew."""
        if len(self._seen) >= self.LIMIT:
            self._seen.clear()
        self._seen.add(mark)


def select(record: bytes, query: Query, verified: Verified, now: float) -> Usable | Unusable:
    """Judge the record found under the query's index. Raises `RecordError` for one that is damaged or never was complete."""
    stored = codec.decode(record)
    if stored.proof != query.key.proof:  # another request with the same index: xxhash is no proof
        return Unusable("miss", "key-mismatch")
    if stored.kind != query.chat.kind:  # nor is it judged: this request may be due more than its own was
        return Unusable("miss", OTHER_KIND if is_fresh(stored, now) else None)
    _verify(record, stored, query, verified)
    if query.asked.mode is Mode.REPLAY:
        return Usable(stored, None if is_fresh(stored, now) else "replay")
    if satisfies(stored, query.asked.control, now):
        return Usable(stored, None if is_fresh(stored, now) else "max-stale")
    return Unusable("request" if is_fresh(stored, now) else "stale")


def _verify(record: bytes, stored: StoredResponse, query: Query, verified: Verified) -> None:
    mark = record[: codec.HEAD_BYTES] + stored.proof
    if mark in verified:
        return
    judge = stream_fault if stored.kind.stream else json_fault
    if stored.status != 200 or (fault := judge(stored.body, query.chat, query.store_when)):
        raise RecordError(f"not a complete answer: {fault if stored.status == 200 else 'not-200'}")
    verified.add(mark)
