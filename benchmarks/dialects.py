"""Hits of other endpoints than chat, beside a chat hit: native messages, and translations of either dialect into the other."""

import itertools
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import aims
from benchmarks.asking import HEADERS, PATH, chat, halves
from benchmarks.contest import CONNECTIONS, TRIES, NoHitError, Rounds, microseconds, ratio, speed_of
from benchmarks.cores import pinned
from benchmarks.load import Connection, Load, Pressure, load
from benchmarks.plan import Plan
from benchmarks.servers import Server, proxy, simulator
from benchmarks.tables import Cell, Table
from benchmarks.timing import in_turn, timed
from cachemw.cache.presentation import Presentation, Presenter
from cachemw.endpoints.errors import ANTHROPIC
from cachemw.messages import Head
from cachemw.translation.base import Translated
from cachemw.translation.chat_rows import chat_row
from cachemw.translation.messages_to_chat import messages_to_chat
from cachemw.wire.sse import DONE, Parser, encode

MESSAGES = "/v1/messages"
VERSIONED = (*HEADERS, (b"anthropic-version", b"2023-06-01"))
NATIVE, SPEAKING_CHAT, SPEAKING_MESSAGES = (), ("--speaks", "chat"), ("--speaks", "messages")
ANEW = ("--recall-memory", "0")
TO_CHAT, TO_CHAT_TRANSLATED, CHUNK = 1.1, 1.5, 60.0
CHUNKS = 1_000


@dataclass(frozen=True, slots=True)
class Way:
    """A request that is a hit, and the proxy that is asked; at most this many times the processor time of a chat hit."""

    path: str
    speaks: Sequence[str]
    most: float | None = None


WAYS: Mapping[str, Way] = {
    "chat": Way(PATH, NATIVE),
    "messages": Way(MESSAGES, NATIVE, TO_CHAT),
    "messages, of a chat upstream": Way(MESSAGES, SPEAKING_CHAT, TO_CHAT_TRANSLATED),
    "chat, of Anthropic's own API": Way(PATH, SPEAKING_MESSAGES, TO_CHAT_TRANSLATED),
}
COLUMNS = ("hit", "µs", "x chat", *aims.COLUMNS)
NOTE = f"{CONNECTIONS} connections; µs are the proxy's processor time for a request; x is how many times that of a chat hit."


def dialects(plan: Plan) -> list[Table]:
    """Measure hits in each dialect, recalled and decided anew, and what it takes to translate a chunk."""
    rows = []
    for recalls, options in (("recalled", ()), ("decided anew", ANEW)):
        for kind, members in (("JSON", {}), ("stream", {"stream": True})):
            rounds = _contest(options, members, plan)
            rows += [(f"{name}, {kind}, {recalls}", *_figures(name, rounds)) for name in WAYS]
    return [Table("dialects", "Hits in two dialects", COLUMNS, rows, NOTE), _chunks(plan)]


def _contest(options: Sequence[str], members: Mapping[str, object], plan: Plan) -> Rounds:
    with ExitStack() as stack:
        stack.enter_context(pinned(plan.cores.load))
        directory = Path(stack.enter_context(TemporaryDirectory()))
        upstream = stack.enter_context(simulator(plan.cores.load))
        asked = {}
        for number, (name, way) in enumerate(WAYS.items()):
            started = proxy(upstream, directory / f"{number}", plan.cores.server, *options, *way.speaks)
            asked[name] = stack.enter_context(started), _request(way, members)
        for server, request in asked.values():
            _fill(server, request)
        pressure = Pressure(CONNECTIONS, plan.seconds, plan.cores.load is not None)
        rounds: list[list[Load]] = [
            [load(server, itertools.cycle([(request, b"")]), pressure) for server, request in asked.values()]
            for _ in range(plan.rounds)
        ]
    return dict(zip(asked, zip(*rounds, strict=True), strict=True))


def _request(way: Way, members: Mapping[str, object]) -> bytes:
    body = json.loads(chat(1_000, max_tokens=64, **members))
    if way.path == MESSAGES:
        body["system"] = body["messages"].pop(0)["content"]
    return b"".join(halves(json.dumps(body).encode(), VERSIONED if way.path == MESSAGES else HEADERS, way.path))


def _fill(server: Server, request: bytes) -> None:
    with closing(Connection(server.address)) as connection:
        for _ in range(TRIES):
            answer = connection.ask(request)[0]
            if server.mark in answer.head:
                return
    raise NoHitError(f"not a hit: {answer.head!r}")


def _figures(name: str, rounds: Rounds) -> tuple[Cell, ...]:
    speed, most = speed_of([rounds]), WAYS[name].most
    times = ratio(rounds, "chat", name, speed)
    aim = aims.cells([] if most is None else [aims.at_most(times, most, "x chat")])
    return (microseconds(rounds, name, speed), times, *aim)


def _chunks(plan: Plan) -> Table:
    """Measure a stream that is only parsed, and the same one that is translated, chunk by chunk."""
    said = messages_to_chat(
        {"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": "?"}]}, chat_row(None, "m")
    )
    assert isinstance(said, Translated)
    presentation, stream = Presentation(said.view, (), ANTHROPIC), [*map(_chunk, range(CHUNKS)), encode(DONE)]
    head = Head(200, ((b"content-type", b"text/event-stream"),))

    def parsed() -> None:
        parser = Parser()
        for chunk in stream:
            parser.feed(chunk)

    def translated() -> None:
        presenter = Presenter(presentation, said.view, head, 2**20)
        for chunk in stream:
            presenter.feed(chunk)

    plain, whole = (min(seconds) / CHUNKS * 1e6 for seconds in in_turn([timed(parsed), timed(translated)], plan))
    more = whole - plain
    row = ("chat to messages", plain, whole, more, *aims.cells([aims.at_most(more, CHUNK, "µs more")]))
    return Table(
        "chunks", "A chunk of a stream", ("translated", "parsed, µs", "translated, µs", "more, µs", *aims.COLUMNS), [row]
    )


def _chunk(number: int) -> bytes:
    choice = {"index": 0, "delta": {"content": f"word {number} "}, "finish_reason": None if number < CHUNKS - 1 else "stop"}
    return encode(json.dumps({"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [choice]}).encode())
