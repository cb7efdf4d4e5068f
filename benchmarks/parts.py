"""What it costs to assemble an answer of its parts: 2,048 vectors of 1,536 numbers, out of the default store."""

import base64
import json
import random
import struct
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.asking import HEADERS
from benchmarks.plan import Plan
from benchmarks.tables import Table
from benchmarks.timing import seconds_per_call
from cachemw import Limits, Policy
from cachemw.cache.assembly import assembled
from cachemw.cache.directives import Abandon, Directives
from cachemw.cache.effects import Found, FoundMany, LookupMany, Ordered, RunInThread
from cachemw.cache.key import ANONYMOUS, fingerprint
from cachemw.cache.lookup import Match, NoMatch, Query
from cachemw.cache.parts import records_of_parts
from cachemw.cache.terms import terms_of
from cachemw.endpoints.base import PLAIN, ApiCall
from cachemw.endpoints.embeddings import EMBEDDINGS
from cachemw.messages import HttpTarget, Request, StoredResponse
from cachemw.report import ExchangeReport
from cachemw.stores import DiskStore
from cachemw.stores.guard import GuardedStore

INPUTS, BATCH, NUMBERS = 2048, 64, 1536
TARGET = HttpTarget("https://api.example/v1/embeddings")
NOW = 1_800_000_000.0


def parts(plan: Plan) -> list[Table]:
    """Measure the reading of all parts, and the whole assembly, of vectors in both formats."""
    rows = [(encoding, *_measured(encoding, plan)) for encoding in ("base64", "float")]
    return [Table("parts", "An answer of 2,048 parts", ("format", "MB", "read, ms", "assembled, ms"), rows)]


def _measured(encoding: str, plan: Plan) -> tuple[float, float, float]:
    texts = [f"the input of number {number}" for number in range(INPUTS)]
    with TemporaryDirectory() as directory, closing(DiskStore(Path(directory))) as store:
        for start in range(0, INPUTS, BATCH):
            _fill(store, texts[start : start + BATCH], encoding)
        guarded, query = GuardedStore(store), _query(texts, encoding)
        answer = _assemble(query, guarded)
        assert isinstance(answer, Match)
        indexes = _indexes(query)
        reading = seconds_per_call(lambda: guarded.get_many(indexes), plan)
        whole = seconds_per_call(lambda: _assemble(query, guarded), plan)
    return len(answer.stored.body) / 1e6, reading * 1e3, whole * 1e3


def _query(texts: list[str], encoding: str) -> Query:
    body = json.dumps({"model": "m", "input": texts, "encoding_format": encoding}).encode()
    request = Request("POST", "/v1/embeddings", HEADERS, body, TARGET)
    call = EMBEDDINGS.read(EMBEDDINGS, request, frozenset(), Limits().work, False)
    assert isinstance(call, ApiCall)
    policy = Policy()
    key = fingerprint(request, call.canonical, ANONYMOUS, None, 0, policy.header_rules)
    return Query(key, call, Directives(), policy, Limits(), Abandon.FINISH, request, ExchangeReport())


def _fill(store: DiskStore, texts: list[str], encoding: str) -> None:
    query, drawn = _query(texts, encoding), random.Random(1)
    vectors = [[drawn.uniform(-0.1, 0.1) for _ in range(NUMBERS)] for _ in texts]
    data = [{"object": "embedding", "index": index, "embedding": _told(one, encoding)} for index, one in enumerate(vectors)]
    body = json.dumps({"object": "list", "data": data, "model": "m", "usage": {"total_tokens": 9}}).encode()
    stored = StoredResponse(200, (), body, (), (), PLAIN, query.key.proof, NOW, 86_400.0, "embeddings")
    records = records_of_parts(terms_of(query, Ordered(store.order(), NOW), NoMatch("miss")), stored)
    assert records is not None
    for index, record in records():
        store.put(index, record, None)


def _told(vector: list[float], encoding: str) -> Any:
    packed = struct.pack(f"<{NUMBERS}f", *vector)
    return base64.b64encode(packed).decode() if encoding == "base64" else [round(number, 9) for number in vector]


def _assemble(query: Query, store: GuardedStore) -> Match | NoMatch:
    script, result = assembled(query, NoMatch("miss"), NOW), None
    while True:
        try:
            effect = script.send(result)
        except StopIteration as end:
            found: Match | NoMatch = end.value
            return found
        result = _performed(effect, store)


def _performed(effect: object, store: GuardedStore) -> Any:
    match effect:
        case LookupMany(indexes, to_the_end):
            return FoundMany(store.get_many(indexes, to_the_end=to_the_end), NOW)
        case RunInThread(call):
            return call()
    return Found(None, NOW)


def _indexes(query: Query) -> tuple[bytes, ...]:
    effect = next(assembled(query, NoMatch("miss"), NOW))
    assert isinstance(effect, LookupMany)
    return effect.indexes
