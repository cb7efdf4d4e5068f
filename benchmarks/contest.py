"""Several servers that are given the same load in turn, with the same answers to give."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.asking import http
from benchmarks.bare import Answer
from benchmarks.load import Connection, Load, Pressure, load
from benchmarks.plan import Plan
from benchmarks.servers import Server
from benchmarks.traffic import Traffic, in_one_segment
from benchmarks.wire import Response

CONNECTIONS = 16
TRIES = 10
WARM_UP_SECONDS = 0.5
WARM_UPS = 3
"""How often everything is asked at least before it counts: a cache may remember only what was asked for twice."""

LEFT_TO_THE_SERVER = ("transfer-encoding", "connection")

Rounds = Mapping[str, Sequence[Load]]
"""What each server did, round by round."""

Speed = Callable[[Load], float]


class NoHitError(Exception):
    """A server that goes on asking its upstream; the message is the head of its answer."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, in turn, and how the requests leave."""

    bodies: Sequence[bytes]
    traffic: Traffic = in_one_segment


def contest(servers: Mapping[str, Server], question: Question, plan: Plan) -> Rounds:
    """Put load on the servers in turn; all are there all the time."""
    has_own_core = plan.cores.load is not None
    seconds, least = min(WARM_UP_SECONDS, plan.seconds), WARM_UPS * len(question.bodies)
    for server in servers.values():
        load(server, question.traffic(question.bodies), Pressure(CONNECTIONS, seconds, has_own_core, least))
    pressure = Pressure(CONNECTIONS, plan.seconds, has_own_core)
    rounds = [
        [load(server, question.traffic(question.bodies), pressure) for server in servers.values()] for _ in range(plan.rounds)
    ]
    return dict(zip(servers, zip(*rounds, strict=True), strict=True))


def fill(server: Server, bodies: Sequence[bytes]) -> Response:
    """Ask for everything until every answer is a hit; return the last one. Raises `NoHitError`.

    It may take more than twice: a store that takes longer than it may on a busy machine has it the next time.
    """
    with closing(Connection(server.address)) as connection:
        for _ in range(TRIES):
            answers = [connection.ask(http(body))[0] for body in bodies]
            if all(server.mark in answer.head for answer in answers):
                return answers[-1]
    raise NoHitError(f"not a hit: {answers[-1].head!r}")


def save(answer: Response, path: Path) -> None:
    """Write an answer down for those that only give it again."""
    headers = [(name, value) for name, value in answer.fields if name.lower() not in LEFT_TO_THE_SERVER]
    Answer(headers, [piece.decode() for piece in answer.pieces]).save(path)


def per_second(run: Load) -> float:
    """Return how many requests were answered in a second."""
    return run.per_second


def per_cpu_second(run: Load) -> float:
    """Return how many requests the server can answer in a second of processor time."""
    assert run.cpu is not None
    return 1 / run.cpu


def speed_of(contests: Iterable[Rounds]) -> Speed:
    """Return how speed is judged: by processor time, where this system tells it of every server."""
    knows = all(run.cpu is not None for rounds in contests for runs in rounds.values() for run in runs)
    return per_cpu_second if knows else per_second


def middle(rounds: Rounds, name: str, speed: Speed) -> float | None:
    """Return the median of a server's speed; `None` where it was not there."""
    return median(map(speed, rounds[name])) if name in rounds else None


def ratio(rounds: Rounds, name: str, to: str, speed: Speed) -> float | None:
    """Return how many times as fast one is as another; `None` where one of them was not there."""
    if name not in rounds or to not in rounds:
        return None
    return median(speed(one) / speed(other) for one, other in zip(rounds[name], rounds[to], strict=True))


def microseconds(rounds: Rounds, name: str, speed: Speed) -> float | None:
    """Return the processor time of a request, where speed is judged by that."""
    found = middle(rounds, name, speed) if speed is per_cpu_second else None
    return None if found is None else 1e6 / found


def busy(rounds: Rounds) -> float | None:
    """Return how busy the load was with the server that kept it busiest, in percent."""
    return max((median(run.busy for run in runs) * 100 for runs in rounds.values()), default=None)
