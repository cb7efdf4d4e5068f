"""What the judge of chat completions says of a whole answer."""

from cachemw.endpoints import CHAT
from cachemw.endpoints.base import ApiCall
from cachemw.limits import Work
from cachemw.wire.sse import Parser


def json_fault(body: bytes, call: ApiCall, store_when: frozenset[str], work: Work = Work()) -> str | None:
    judge = CHAT.judge(call, store_when, work)
    judge.read(body)
    return judge.fault()


def stream_fault(body: bytes, call: ApiCall, store_when: frozenset[str], work: Work = Work()) -> str | None:
    judge, parser = CHAT.judge(call, store_when, work), Parser(ends=CHAT.ends)
    for event in (*parser.feed(body), *parser.close()):
        judge.see(event)
    return judge.fault()
