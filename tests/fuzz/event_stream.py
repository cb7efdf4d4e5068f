"""An event stream: read as the standard says, and the same wherever it is cut."""

from cachemw.cache.policy import FINISH_REASONS
from cachemw.endpoints import CHAT
from cachemw.endpoints.base import Demands
from cachemw.endpoints.chat.transcode import NO_USAGE, OTHER_KIND, derive
from cachemw.limits import Work
from cachemw.wire.sse import Event, Parser
from tests.cache.answers import STREAM_HEAD, chat, one_by_one, record_of, terms
from tests.endpoints.judging import stream_fault
from tests.endpoints.transcoding import JSON, STREAM, WITH_USAGE, record
from tests.wire.test_sse import parse, parse_slowly

ASKED = chat(stream=True)
TERMS = terms(stream=True)


def fuzz_one(data: bytes) -> None:
    """S8, R1: the first byte says where the stream is cut."""
    where, stream = data[:1] or b"\0", data[1:]
    at = where[0] * len(stream) // 255
    whole = parse([stream])

    assert whole == parse_slowly(stream)
    assert whole == parse([stream[:at], stream[at:]]) == parse(one_by_one(stream))
    _reads_on_alike(stream, at, whole)
    _is_judged_alike(stream, at)
    for kind in (JSON, WITH_USAGE):
        derived = derive(record(stream, STREAM), kind)
        assert not isinstance(derived, str) or derived in (NO_USAGE, OTHER_KIND)


def _reads_on_alike(stream: bytes, at: int, whole: list[Event]) -> None:
    """Over a body that somebody else keeps it is the same parser; and `[DONE]` does not move."""
    body = bytearray(stream[:at])
    parser, copying = Parser(body), Parser()
    events = parser.read_on()
    copying.feed(stream[:at])
    before = parser.done_at()
    assert before == copying.done_at()
    body += stream[at:]
    events += parser.read_on()
    copying.feed(stream[at:])
    assert parser.done_at() == copying.done_at()
    assert before is None or before == parser.done_at()
    assert events + parser.close() == whole
    assert body == stream


def _is_judged_alike(stream: bytes, at: int) -> None:
    judge, parser = CHAT.judge(ASKED, Demands(FINISH_REASONS), Work()), Parser()
    for event in (*parser.feed(stream[:at]), *parser.feed(stream[at:]), *parser.end()):
        judge.see(event)
    fault = judge.fault()
    assert fault == stream_fault(stream, ASKED, FINISH_REASONS)
    assert record_of([stream], TERMS, STREAM_HEAD) == record_of([stream[:at], stream[at:]], TERMS, STREAM_HEAD)
    assert isinstance(record_of([stream], TERMS, STREAM_HEAD), str) is (fault is not None)
