"""What a miss costs without its upstream: an app that answers at once, alone and behind ever more of us, in this process."""

from collections.abc import Sequence
from statistics import median

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from benchmarks.asking import HEADERS, PLAIN, Fields
from benchmarks.bare import Answer
from benchmarks.bare import app as bare_app
from benchmarks.cores import pinned
from benchmarks.inside import Caller, event_loop
from benchmarks.plan import Plan
from benchmarks.tables import Cell, Table
from benchmarks.timing import in_turn
from cachemw.asgi import CacheMiddleware
from cachemw.cache.policy import Policy
from cachemw.report import Hook
from cachemw.stores import MemoryStore

FEW, MANY = 10, 1_000
CONTROL = 1
"""The row that the others are a ratio of."""

COLUMNS = ("who answers", "request, µs", "ratio", "chunk, µs", "ratio of chunks")
NOTE = (
    f"Processor time of new streams of {FEW} and of {MANY:,} chunks: a chunk is the slope between them, a request what is left"
    " without chunks; medians of {} rounds, in turn. Ratios to the second row. Records go to memory."
)
CHUNK = (
    'data: {"id":"chatcmpl-1","choices":[{"delta":{"content":" again"},"index":0}],"created":1750000000,'
    '"model":"llama3.1-8b","system_fingerprint":"fp_0","object":"chat.completion.chunk"}\n\n'
)
LAST = CHUNK.replace('{"content":" again"}', '{},"finish_reason":"stop"')
DONE = "data: [DONE]\n\n"


def relays(plan: Plan) -> list[Table]:
    """Measure what is around the app: nothing, somebody who notices a client that leaves, and us."""
    few, many = ways(FEW), ways(MANY)
    with pinned(plan.cores.server), event_loop(bare_app(_answer(FEW))) as runner:
        callers = [Caller(runner, app, headers) for app, headers in (*few.values(), *many.values())]
        seconds = in_turn([caller.elapsed for caller in callers], plan)
    costs = [_costs(*pair) for pair in zip(seconds[: len(few)], seconds[len(few) :], strict=True)]
    rows: list[tuple[Cell, ...]] = [(label, *_figures(cost, costs[CONTROL])) for label, cost in zip(few, costs, strict=True)]
    return [Table("relays", "What a miss costs in process", COLUMNS, rows, NOTE.format(plan.rounds))]


def ways(chunks: int, hooks: Sequence[Hook] = ()) -> dict[str, tuple[ASGIApp, Fields]]:
    """Return who answers, and the fields of the request."""
    app, kept_out = bare_app(_answer(chunks)), bare_app(_answer(chunks, ("cachemw", "off")))
    reading = (*PLAIN, (b"cachemw", b"on, mode=read"))

    def cached(app: ASGIApp, policy: Policy | None = None) -> ASGIApp:
        return CacheMiddleware(app, name="benchmarks", store=MemoryStore(), policy=policy, hooks=hooks)

    return {
        "the bare app": (app, PLAIN),
        "watched for a client that leaves": (watched(app), PLAIN),
        "cachemw, not opted in": (cached(app), PLAIN),
        "cachemw, relayed as too large": (cached(app, policy=Policy(max_request_bytes=0)), HEADERS),
        "cachemw, relayed in mode=read": (cached(app), reading),
        "cachemw, a flight kept out": (cached(kept_out), HEADERS),
        "cachemw, a flight stored": (cached(app), HEADERS),
    }


def watched(app: ASGIApp) -> ASGIApp:
    """Return the app, cancelled when its client leaves: the least that somebody pays who wants that."""

    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        messages = [await receive()]

        async def replay() -> Message:
            return messages.pop() if messages else await receive()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_cancel_when_left, receive, tasks.cancel_scope)
            await app(scope, replay, send)
            tasks.cancel_scope.cancel()

    return respond


async def _cancel_when_left(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


def _answer(chunks: int, *fields: tuple[str, str]) -> Answer:
    return Answer([("content-type", "text/event-stream"), *fields], [*[CHUNK] * (chunks - 2), LAST, DONE])


def _costs(few: Sequence[float], many: Sequence[float]) -> list[tuple[float, float]]:
    """Return, round by round, the seconds of a request without chunks, and of a chunk."""
    slopes = [(larger - smaller) / (MANY - FEW) for smaller, larger in zip(few, many, strict=True)]
    return [(smaller - FEW * slope, slope) for smaller, slope in zip(few, slopes, strict=True)]


def _figures(costs: Sequence[tuple[float, float]], control: Sequence[tuple[float, float]]) -> list[float]:
    """Return the median of each, in µs, and the median of its ratio to the control's."""
    figures = []
    for ours, theirs in zip(zip(*costs, strict=True), zip(*control, strict=True), strict=True):
        figures.append(median(ours) * 1e6)
        figures.append(median(one / other for one, other in zip(ours, theirs, strict=True)))
    return figures
