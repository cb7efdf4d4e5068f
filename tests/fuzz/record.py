"""A record out of the store: refused, or read, judged and sent as what it says it is."""

from msgspec.structs import replace

from cachemw.core import codec
from cachemw.core.directives import Abandon, Directives, Mode
from cachemw.core.messages import Head, StoredResponse
from cachemw.core.policy import Policy
from cachemw.core.replay import head, paced, pieces
from cachemw.core.report import ExchangeReport
from cachemw.core.selection import Query, Usable, Verified, select
from cachemw.errors import RecordError
from tests.core.answers import chat, key, request
from tests.core.test_codec import with_checksum

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
            query = Query(found, asked, Directives(mode), Policy(), Abandon.FINISH, request())
            try:
                usable = select(record, query, Verified(), NOW)
            except RecordError:
                continue
            if isinstance(usable, Usable):
                _is_sent(usable.stored)


def _is_sent(stored: StoredResponse) -> None:
    sent = head(stored, ExchangeReport(hit=True), NOW)
    assert isinstance(sent, Head)
    assert b"".join(pieces(stored)) == stored.body
    for speed in (0.0, 1.0, 2.5):
        due = list(paced(stored, speed, 600.0))
        assert b"".join(piece for _, piece in due) == stored.body
        assert all(0 <= seconds <= 600 for seconds, _ in due)
