"""Whether what the store holds under a key may answer this request."""

import msgspec

from cachemw.core import codec
from cachemw.core.chat import ChatRequest
from cachemw.core.completeness import json_fault, stream_fault
from cachemw.core.derived import Derived
from cachemw.core.directives import Abandon, Directives, Mode
from cachemw.core.discreet import sizes_only
from cachemw.core.fingerprint import Key
from cachemw.core.freshness import is_fresh, satisfies, stands_in, while_revalidating
from cachemw.core.messages import Request, StoredResponse
from cachemw.core.policy import Policy
from cachemw.core.report import Fwd
from cachemw.core.soundness import is_sound
from cachemw.errors import RecordError


class Usable(msgspec.Struct, frozen=True):
    """It answers; `details` say so where it is stale or of another kind. `anew`: a newer one is to be had meanwhile."""

    stored: StoredResponse
    details: tuple[str, ...] = ()
    anew: bool = False


class Unusable(msgspec.Struct, frozen=True):
    """It does not, and why: in the word of RFC 9211 and, where that is not enough, in ours.

    `stands_in` answers all the same should the upstream fail (RFC 5861 §4).
    """

    fwd: Fwd
    detail: str | None = None
    stands_in: Usable | None = None


class Query(msgspec.Struct, frozen=True):
    """What is looked for: the key, the request it stands for, how that is restricted and what the operator allows.

    `on_abandon`: what becomes of a forward of it that every reader has left. `request` is what is forwarded.
    """

    key: Key
    chat: ChatRequest
    asked: Directives
    policy: Policy
    on_abandon: Abandon
    request: Request

    __repr__ = sizes_only


class Verified:
    """The records whose body has been judged in this process, and what was derived from them: records do not change."""

    LIMIT = 8192

    def __init__(self) -> None:
        self.derived = Derived()
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
    mark = record[: codec.HEAD_BYTES] + stored.proof
    _verify(mark, stored, query, verified, now)
    answer = verified.derived.of(mark, stored, query.chat.kind)
    if isinstance(answer, str):
        return Unusable("miss", answer)
    return _restricted(answer, () if answer is stored else ("transcoded",), query, now)


def _restricted(answer: StoredResponse, how: tuple[str, ...], query: Query, now: float) -> Usable | Unusable:
    asked, policy, fresh = query.asked, query.policy, is_fresh(answer, now)
    if asked.mode is Mode.REPLAY:
        return Usable(answer, how if fresh else ("replay", *how))
    if satisfies(answer, asked.control, now):
        return Usable(answer, how if fresh else ("max-stale", *how))
    if asked.may_store and while_revalidating(answer, asked.control, policy.stale_while_revalidate, now):
        return Usable(answer, ("stale-while-revalidate", *how), anew=True)
    may_stand_in = stands_in(answer, asked.control, policy.stale_if_error, now)
    return Unusable("request" if fresh else "stale", None, Usable(answer, ("stale-if-error", *how)) if may_stand_in else None)


def _verify(mark: bytes, stored: StoredResponse, query: Query, verified: Verified, now: float) -> None:
    if mark in verified:
        return
    chat = query.chat
    if stored.kind != chat.kind:  # this request may be due usage that its own was not: that is no fault of it
        chat = msgspec.structs.replace(chat, wants_usage=False)
    if not is_sound(stored, now):
        raise RecordError("not what a recording comes to")
    judge = stream_fault if stored.kind.stream else json_fault
    if fault := judge(stored.body, chat, query.policy.store_when):
        raise RecordError(f"not a complete answer: {fault}")
    verified.add(mark)
