"""Verify stored answers: ask a sample of their requests anew, and see whether the same is still said."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from cachemw.endpoints import BY_NAME
from cachemw.inventory.asking import Asker, ClientQuestion, WholeReply
from cachemw.inventory.batches import BatchRequest
from cachemw.inventory.drift import COMPARED_ENDPOINTS, Comparison, Gist, compared, gist_of, is_settled
from cachemw.inventory.warming import why_failed
from cachemw.limits import Work
from cachemw.messages import Kind, StoredResponse, Usage
from cachemw.redaction import redacted_repr

ANEW = b"no-cache, no-store"
"""What a question asks of caches: to be answered by the upstream, and nothing kept of that."""

TURNS = 2
"""How often a request is asked whose answers vary."""

_DOCUMENT = Kind(stream=False)


class DriftCandidate(msgspec.Struct, frozen=True):
    """A stored answer that can be asked for again: its gist, its request, how often that has to be asked, and what it took."""

    key: str
    model: str
    stored_at: float
    gist: Gist
    request: BatchRequest
    turns: int
    usage: Usage | None = None

    __repr__ = redacted_repr


def candidate_of(index: bytes, stored: StoredResponse, path: str, asked_name: str | None = None) -> DriftCandidate | str:
    """Return a stored answer as one to verify, else why it is none; `asked_name` is what who is asked calls its model."""
    if stored.request is None:
        return "its request was not kept"
    endpoint = BY_NAME.get(stored.endpoint)
    if endpoint is None or endpoint.name not in COMPARED_ENDPOINTS:
        return "of an endpoint that writes nothing"
    if stored.asked_endpoint:
        return "asked for in another dialect"
    document = stored if stored.kind == _DOCUMENT else endpoint.derive(stored, _DOCUMENT, Work())
    gist = None if isinstance(document, str) else gist_of(endpoint.name, document.body)
    if gist is None:
        return "its answer cannot be compared"
    key, turns = index.hex(), 1 if is_settled(stored.request) else TURNS
    body = stored.request if asked_name is None else _named(stored.request, asked_name)
    request = BatchRequest(key, endpoint, path, body)
    return DriftCandidate(key, stored.model or stored.target, stored.stored_at, gist, request, turns, stored.usage)


def _named(body: bytes, name: str) -> bytes:
    members = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    return msgspec.json.encode({**members, "model": msgspec.Raw(msgspec.json.encode(name))})


def sample_of(candidates: Iterable[DriftCandidate], most: int) -> list[DriftCandidate]:
    """Return a sample: of every model as many as of the others, the newest and the oldest in turn."""
    by_model: dict[str, list[DriftCandidate]] = {}
    for candidate in sorted(candidates, key=lambda one: (one.stored_at, one.key)):
        by_model.setdefault(candidate.model, []).append(candidate)
    sample: list[DriftCandidate] = []
    takes_newest = True
    while len(sample) < most and any(by_model.values()):
        for some in by_model.values():
            if some and len(sample) < most:
                sample.append(some.pop(-1 if takes_newest else 0))
        takes_newest = not takes_newest
    return sample


def within(
    sample: Sequence[DriftCandidate], most_of: Callable[[BatchRequest], int | None], limit: int | None
) -> list[DriftCandidate]:
    """Return as much of a sample as can cost no more than a limit in nano-dollars; without one, all of it."""
    if limit is None:
        return list(sample)
    kept, total = [], 0
    for candidate in sample:
        total += candidate.turns * (most_of(candidate.request) or 0)
        if total > limit:
            break
        kept.append(candidate)
    return kept


class Verification(msgspec.Struct, frozen=True):
    """A stored answer that was asked for anew; without a comparison there was none to compare it with, and `why` says so."""

    candidate: DriftCandidate
    comparison: Comparison | None
    why: str = ""

    __repr__ = redacted_repr


async def verify(
    asker: Asker, sample: Iterable[DriftCandidate], note: Callable[[BatchRequest, WholeReply], None]
) -> AsyncIterator[Verification]:
    """Ask for each of a sample anew, one after another; `note` hears of every reply."""
    for candidate in sample:
        request, gists, why = candidate.request, list[Gist](), ""
        question = ClientQuestion(request.endpoint, request.path, request.body, cache_control=ANEW)
        for _ in range(candidate.turns):
            reply = await asker.ask(question)
            note(request, reply)
            gist = gist_of(request.endpoint.name, reply.body) if reply.is_answer else None
            why = _why_not_compared(reply, gist)
            if gist is None or why:
                break
            gists.append(gist)
        yield Verification(candidate, None if why else compared(candidate.gist, gists), why)


def _why_not_compared(reply: WholeReply, gist: Gist | None) -> str:
    if not reply.is_answer:
        return why_failed(reply)
    if reply.standing.is_hit:  # where controls of clients are not obeyed (--ignore-control)
        return "a store answered it, and not the upstream"
    return "" if gist is not None else "its new answer cannot be compared"


@dataclass(slots=True)
class DriftSums:
    """The sums of one model: how many answers were compared, how alike they were, and what has changed of its names."""

    compared: int = 0
    drifted: int = 0
    failed: int = 0
    likenesses: Counter[str] = field(default_factory=Counter)
    ratio: float = 0.0
    changes: Counter[str] = field(default_factory=Counter)

    __repr__ = redacted_repr

    @property
    def share(self) -> float:
        """The share of those that have drifted."""
        return self.drifted / self.compared if self.compared else 0.0

    @property
    def mean_ratio(self) -> float:
        return self.ratio / self.compared if self.compared else 0.0

    def add(self, verified: Verification) -> None:
        """Count one."""
        comparison = verified.comparison
        if comparison is None:
            self.failed += 1
            return
        self.compared += 1
        self.drifted += comparison.has_drifted
        self.likenesses[comparison.likeness.value] += 1
        self.ratio += comparison.ratio
        for name, change in (("model", comparison.model), ("system_fingerprint", comparison.fingerprint)):
            if change is not None:
                self.changes[f"{name}: {change[0]} is now {change[1]}"] += 1


def drift_by_model(every: Iterable[Verification]) -> Mapping[str, DriftSums]:
    """Return the sums for each model."""
    sums: dict[str, DriftSums] = {}
    for verified in every:
        sums.setdefault(verified.candidate.model, DriftSums()).add(verified)
    return sums
