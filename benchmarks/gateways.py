"""What a gateway costs where nothing goes wrong, beside the same upstream without one: in this process, in pairs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks import aims
from benchmarks.asking import HEADERS, chat
from benchmarks.cores import pinned
from benchmarks.inside import SEED, Caller, Spent, event_loop
from benchmarks.plan import Plan
from benchmarks.servers import simulator
from benchmarks.tables import Cell, Table
from cachemw.gateway.files import read_gateway
from cachemw.gateway.upstream import Gateway
from cachemw.limits import Limits
from cachemw.proxy import Proxy
from cachemw.stores import MemoryStore
from cachemw.upstreams.http import HttpUpstream
from cachemw.upstreams.providers import PROVIDERS

MODEL, OTHERS_MODEL = "gpt-oss-120b", "openai/gpt-oss-120b"
PEERS = (f"cerebras/{MODEL}", f"groq/{OTHERS_MODEL}")
KEYS = {"CEREBRAS_API_KEY": "sk-benchmarks", "GROQ_API_KEY": "sk-benchmarks"}
TURNS = 20
"""The turns that a round of a pair is cut into: what else the machine does, it does to both."""

COLUMNS = ("1 KB request", "without, µs", "with, µs", "x without", *aims.COLUMNS, "without, wall µs", "with, wall µs", "x wall")
NOTE = (
    "Processor time of a request in this process, without a server before us and without that of the upstream, which is a"
    " simulator on a socket; medians of {} rounds of {} turns each. A recalled hit is not decided anew, any other one is."
)


@dataclass(frozen=True, slots=True)
class Row:
    """What is asked of a gateway, by which model, and the share of time that it may take more than without one.

    `is_new`: it is another question each time. `recalls` says whether plain hits are recalled.
    """

    model: str
    more: float | None = None
    is_new: bool = False
    recalls: bool = True
    stream: bool = False


NO_MORE = 0.02
ROWS: Mapping[str, Row] = {
    "plain model, hit recalled": Row(MODEL, NO_MORE),
    "plain model, hit": Row(MODEL, NO_MORE, recalls=False),
    "plain model, miss": Row(MODEL, NO_MORE, is_new=True),
    "plain model, miss, stream": Row(MODEL, NO_MORE, is_new=True, stream=True),
    "pinned target, hit recalled": Row(PEERS[0], NO_MORE),
    "pinned target, hit": Row(PEERS[0], NO_MORE, recalls=False),
    "pinned target, miss": Row(PEERS[0], NO_MORE, is_new=True),
    "pinned target, miss, stream": Row(PEERS[0], NO_MORE, is_new=True, stream=True),
    "route of two, hit recalled": Row("auto", NO_MORE),
    "route of two, hit": Row("auto", recalls=False),
    "route of two, miss": Row("auto", is_new=True),
    "route of two, miss, stream": Row("auto", is_new=True, stream=True),
}


def gateways(plan: Plan) -> Table:
    """Measure hits and misses of each kind, through a gateway and without."""
    with TemporaryDirectory() as directory, simulator(plan.cores.load) as provider, pinned(plan.cores.server):
        file = Path(directory, "cachemw.toml")
        file.write_text(toml(f"{provider.url}/v1"))
        rows = [(label, *_figures(row, _measured(row, file, f"{provider.url}/v1", plan))) for label, row in ROWS.items()]
    return Table("gateway", "What a gateway costs", COLUMNS, rows, NOTE.format(plan.rounds, TURNS))


def toml(url: str) -> str:
    """Return a file that routes to two providers, both at this URL."""
    providers = "".join(f'[providers.{name}]\nbase_url = "{url}"\n' for name in ("cerebras", "groq"))
    prices = "".join(f'[targets."{peer}"]\nprices = {{ input = 1.0, output = 2.0 }}\n' for peer in PEERS)
    return f'{providers}[routes.auto]\ntargets = ["{PEERS[0]}", "{PEERS[1]}"]\n{prices}'


def _measured(row: Row, file: Path, url: str, plan: Plan) -> list[tuple[Spent, Spent]]:
    """Return, turn by turn, what a request took without a gateway and with one."""
    cerebras = PROVIDERS["cerebras"]
    alone = HttpUpstream(
        url,
        api_key=KEYS["CEREBRAS_API_KEY"],
        credentials="lend",
        provider="cerebras",
        bookkeeping=cerebras.bookkeeping,
        closing=cerebras.closing,
    )
    limits = Limits() if row.recalls else Limits(recall_bytes=0)
    gateway = Gateway(read_gateway(str(file), KEYS), environment=KEYS)
    without = Proxy(alone, store=MemoryStore(), limits=limits)
    routed = Proxy(gateway=gateway, store=MemoryStore(), limits=limits)
    with event_loop(without) as runner:
        callers = [
            Caller(runner, app, HEADERS, _questions(model, row)) for app, model in ((without, MODEL), (routed, row.model))
        ]
        return _pairs(callers, plan)


def _questions(model: str, row: Row) -> Callable[[int], bytes]:
    body = chat(1_000, model=model, stream=row.stream, seed=SEED)
    before, after = body.split(b"%d" % SEED)
    return lambda number: before + b"%d" % number + after if row.is_new else body


def _pairs(callers: Sequence[Caller], plan: Plan) -> list[tuple[Spent, Spent]]:
    """Let both take turns, as many calls in each as fit."""
    moment = plan.moment / TURNS
    for caller in callers:
        caller.spent(4)  # which opens connections, has the answer stored, and recalled
    calls = max(1, *(int(moment / (caller.spent(8).wall / 8)) for caller in callers))
    return [(_each(callers[0], calls), _each(callers[1], calls)) for _ in range(plan.rounds * TURNS)]


def _each(caller: Caller, calls: int) -> Spent:
    spent = caller.spent(calls)
    return Spent(spent.cpu / calls, spent.wall / calls)


def _figures(row: Row, pairs: Sequence[tuple[Spent, Spent]]) -> tuple[Cell, ...]:
    cpu = [(one.cpu, other.cpu) for one, other in pairs]
    wall = [(one.wall, other.wall) for one, other in pairs]
    more = _more(cpu)
    aim = [] if row.more is None else [aims.at_most(more, 1.0 + row.more, "x without")]
    return (*_medians(cpu), more, *aims.cells(aim), *_medians(wall), _more(wall))


def _medians(pairs: Sequence[tuple[float, float]]) -> Iterator[float]:
    return (median(figures) * 1e6 for figures in zip(*pairs, strict=True))


def _more(pairs: Sequence[tuple[float, float]]) -> float:
    return median(other / one for one, other in pairs)
