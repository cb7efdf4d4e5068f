"""What the judge of chat completions says of a whole answer."""

from cachemw.endpoints import CHAT
from cachemw.endpoints.base import ApiCall, Demands
from cachemw.limits import Work
from cachemw.wire.sse import Parser


def json_fault(body: bytes, call: ApiCall, store_when: frozenset[str], work: Work = Work()) -> str | None:
    judge = CHAT.judge(call, Demands(store_when), work)
    judge.read(body)
    return judge.fault()


def stream_fault(
    body: bytes, call: ApiCall, store_when: frozenset[str], work: Work = Work(), *, done: bool = True
) -> str | None:
    """Judge a stream that ended by itself; not `done`: it need not have come to its `[DONE]`."""
    judge, parser = CHAT.judge(call, Demands(store_when, done), work), Parser(ends=CHAT.ends)
    for event in (*parser.feed(body), *parser.end()):
        judge.see(event)
    if not parser.is_within_event:
        judge.end()
    return judge.fault()
