"""What a plan takes, and how requests fare in a scripted world by what plans and health decide, without any I/O."""

from collections.abc import Callable
from functools import partial
from statistics import median
from time import process_time
from typing import get_args

from benchmarks.aims import COLUMNS, at_least, at_most, cells
from benchmarks.asking import chat
from benchmarks.attempts import attempts
from benchmarks.gateways import gateways
from benchmarks.plan import Plan
from benchmarks.tables import Cell, Table
from benchmarks.timing import in_turn, timed
from benchmarks.weather import OUTAGES, Account, World
from cachemw.cache.plans import Bid, Pick
from cachemw.gateway.health import Health
from cachemw.gateway.needs import Needs, lacks_of, needs_of
from cachemw.gateway.plan import Circumstances, contenders_of, plan_of
from cachemw.gateway.routes import HedgeEntry, RouteEntry, TargetEntry
from cachemw.messages import HttpTarget
from cachemw.money import Price, Rates
from cachemw.wire.strict_json import parse

TARGETS = [f"p{number}" for number in range(20)]
PICKS: tuple[Pick, ...] = get_args(Pick)


def routes(plan: Plan) -> list[Table]:
    """Measure plans over 20 targets, a world with bad weather, and what requests cost that go well, and that go wrong."""
    return [_plans(plan), _weather(World(plan.requests).run()), gateways(plan), attempts(plan)]


def _plans(plan: Plan) -> Table:
    needs = needs_of(parse(chat(1_000)))
    rows: list[tuple[Cell, ...]] = []
    for pick in PICKS:
        microseconds = _planning(pick, needs, plan)
        rows.append((f"pick={pick}, 20 targets", microseconds, *cells([at_most(microseconds, 50, "µs")])))
    for size in (1, 45):
        seconds = _seconds(partial(needs_of, parse(chat(size * 1000))), plan)
        rows.append((f"the needs of {size} KB", seconds * 1e6, "", ""))
    return Table("plans", "The plan of a routed request", ("what", "µs", *COLUMNS), rows)


def _planning(pick: Pick, needs: Needs, plan: Plan) -> float:
    """Return the microseconds of a plan over targets that are all ready, measured, priced and able."""
    route = RouteEntry("auto", tuple(TARGETS), pick=pick, hedge=HedgeEntry("p95"))
    bids = {
        name: Bid(name, HttpTarget(f"https://{name}"), price=Price(Rates(number, 2))) for number, name in enumerate(TARGETS)
    }
    lacks = {name: lacks_of("groq", TargetEntry(name, "m", context=100_000)) for name in TARGETS}
    contenders = contenders_of(route, bids, lacks)
    healths = {
        name: Health(first_token=1.0 + number / 9, rate=50.0, busy=number % 3, quantiles=(1.0, 2.0, 3.0, 4.0))
        for number, name in enumerate(TARGETS)
    }
    now = Circumstances(1.0, preferred=TARGETS[0])
    return _seconds(lambda: plan_of(route, contenders, needs, healths, now), plan) * 1e6


def _seconds(call: Callable[[], object], plan: Plan) -> float:
    """Return the processor time of a call: others on this machine take none of it."""
    return median(in_turn([timed(call, process_time)], plan)[0])


def _weather(account: Account) -> Table:
    answered, known_down = account.answered_share * 100, account.known_down_share * 100
    rows = [
        ("answered, of those that any target could answer, %", answered, *cells([at_least(answered, 99.9, "%")])),
        ("sent to a target known to be down, %", known_down, *cells([at_most(known_down, 1, "%")])),
        ("changes of the preferred target", account.changes, *cells([at_most(account.changes, 2 * OUTAGES, "")])),
        ("attempts for a request", account.attempts / account.requests, "", ""),
    ]
    note = f"{account.requests:,} requests in 8 hours of a clock of its own, with {OUTAGES} outages, quotas and slow hours."
    return Table("weather", "Routes in bad weather", ("what", "figure", *COLUMNS), rows, note)
