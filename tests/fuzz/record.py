"""A record out of the store: refused, or read, judged and sent as what it says it is."""

from msgspec.structs import replace

from cachemw.cache import record as codec
from cachemw.cache.directives import Abandon, Directives, Mode
from cachemw.cache.lookup import Match, Query, VerifiedRecords, select
from cachemw.cache.policy import Policy
from cachemw.cache.replay import head, paced, pieces
from cachemw.errors import RecordError
from cachemw.limits import Limits
from cachemw.messages import Head, StoredResponse
from cachemw.report import ExchangeReport
from tests.cache.answers import chat, key, request
from tests.cache.test_record import with_checksum

NOW = 1_790_000_010.0
ASKED = [chat(), chat(stream=True), chat(stream=True, stream_options={"include_usage": True})]


def fuzz_one(data: bytes) -> None:
    """D8: the bytes alone, and as a payload whose checksum is right."""
    for record in (data, with_checksum(data)):
        try:
            stored = codec.decode(record)
        except RecordError:
            continue
        _is_spelt_once(stored)
        _is_served_or_refused(stored)


def _is_spelt_once(stored: StoredResponse) -> None:
    """MessagePack can say one value in many ways; ours is the one that stays."""
    record = codec.encode(stored)
    assert codec.encode(codec.decode(record)) == record


def _is_served_or_refused(stored: StoredResponse) -> None:
    for asked in ASKED:
        found = key(asked)
        record = codec.encode(replace(stored, proof=found.proof))
        for mode in (Mode.READ_WRITE, Mode.REPLAY):
            query = Query(found, asked, Directives(mode), Policy(), Limits(), Abandon.FINISH, request(), ExchangeReport())
            try:
                usable = select(record, query, VerifiedRecords(), NOW)
            except RecordError:
                continue
            if isinstance(usable, Match):
                _is_sent(usable.stored)


def _is_sent(stored: StoredResponse) -> None:
    sent = head(stored, ExchangeReport(hit=True), NOW)
    assert isinstance(sent, Head)
    assert b"".join(pieces(stored)) == stored.body
    for speed in (0.0, 1.0, 2.5):
        due = list(paced(stored, speed, 600.0))
        assert b"".join(piece for _, piece in due) == stored.body
        assert all(0 <= seconds <= 600 for seconds, _ in due)
