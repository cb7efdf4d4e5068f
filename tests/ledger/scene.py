"""A ledger and a store in which a test says what was asked, and what became of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cachemw.cache import record as codec
from cachemw.cache.key import ANONYMOUS, Key
from cachemw.cache.sketch import sketch_of
from cachemw.ledger.explaining import Explainer, Explanation
from cachemw.ledger.ledger import Ledger
from cachemw.ledger.purges import note_purges
from cachemw.ledger.reader import LedgerReader
from cachemw.ledger.reading import row_of
from cachemw.messages import Headers, HttpTarget, Kind, StoredResponse
from cachemw.report import ExchangeReport
from cachemw.stores import MemoryStore
from tests.cache.keying import JSON, UPSTREAM, body_of, form_of, key_of
from tests.ledger.test_ledger import AtOnce

SECRET = b"the secret of this store"
BEGAN = 1_796_000_000.0
LIFETIME = 3600.0


@dataclass
class Scene:
    """Exchanges one after another, a second apart."""

    directory: Path
    ledger: Ledger
    reader: LedgerReader
    store: MemoryStore = field(default_factory=MemoryStore)
    now: float = BEGAN
    asked: int = 0

    def ask(
        self,
        body: bytes = body_of(),
        *,
        partition: bytes = ANONYMOUS,
        namespace: str | None = None,
        sample: int = 0,
        headers: Headers = (),
        url: str = UPSTREAM.url,
        keep: bool = False,
        **report: Any,
    ) -> str:
        """Note a miss that is stored, or what the report says; return its id."""
        key = key_of(body, HttpTarget(url, UPSTREAM.recipient), (*JSON, *headers), partition, namespace, sample)
        given: dict[str, Any] = {"fwd": "miss", "fwd_status": 200, "stored": True, "kept_for": LIFETIME, "total": 0.1} | report
        self.now += 1
        self.asked += 1
        sketch = sketch_of(key, SECRET) if given["fwd"] else None
        members: dict[str, Any] = {
            "id": f"{self.asked:016}",
            "at": self.now,
            "key": key.index.hex(),
            "model": "m",
            "status": 200,
        } | given
        self.ledger(ExchangeReport(**{"sketch": sketch, **members}))
        if given["stored"] and given["fwd"]:
            self.put(key, form_of(body) if keep else None)
        return f"{self.asked:016}"

    def put(self, key: Key, request: bytes | None) -> None:
        """Store an answer."""
        stored = StoredResponse(
            *(200, JSON, b"{}", (), (), Kind(stream=False), key.proof, self.now, LIFETIME, "chat"),
            request=request,
            sketch=sketch_of(key, SECRET),
        )
        self.store.put(key.index, codec.encode(stored), None)

    def hit(self, body: bytes = body_of()) -> str:
        """Note a hit."""
        return self.ask(body, fwd=None, fwd_status=None, hit=True, stored=None, kept_for=None, ttl=5)

    def forget(self, body: bytes = body_of()) -> None:
        """Let the store make room."""
        self.store.delete(key_of(body).index)

    def purge(self, *keys: str) -> None:
        """Note that somebody removed these; all of them where none is named."""
        note_purges(self.directory, keys or [""], self.now + 0.5)

    @property
    def explainer(self) -> Explainer:
        return Explainer(self.reader, self.store, lambda: self.now)

    def why(self, id_: str, against: str | None = None) -> Explanation:
        """Explain an exchange."""
        row = row_of(self.reader, id_)
        assert row is not None
        return self.explainer.of_row(row, against)


@contextmanager
def scene_in(directory: Path) -> Iterator[Scene]:
    """Give a scene in a directory."""
    reader = LedgerReader(directory)
    ledger = Ledger(directory, AtOnce(), clock=lambda: BEGAN)
    try:
        yield Scene(directory, ledger, reader)
    finally:
        ledger.close()
        reader.close()
