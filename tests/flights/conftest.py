"""A wrapped app in a house where nothing may be left behind."""

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import TaskGroup
from starlette.types import ASGIApp

from cachemw import ExchangeReport, Limits, MemoryStore, Policy, Store
from cachemw.asgi import CacheMiddleware
from cachemw.cache import record as codec
from cachemw.flights.flight import Flight
from cachemw.flights.registry import FlightTable
from tests.flights.bots import Bot
from tests.flights.callers import Caller
from tests.patience import PATIENT


@dataclass(slots=True)
class House:
    """The middleware around an app, and everything around it."""

    store: Store = field(default_factory=MemoryStore)
    reports: list[ExchangeReport] = field(default_factory=list)
    limits: Limits = replace(PATIENT, abandon_grace=5.0)  # what is left by mistake fails soon
    app: CacheMiddleware = field(init=False)

    def mount(self, bot: ASGIApp, **policy: Any) -> CacheMiddleware:
        """Mount around an app, with what is not as usual in the policy."""
        self.app = CacheMiddleware(
            bot, name="bot", store=self.store, policy=Policy(**policy), limits=self.limits, hooks=[self.reports.append]
        )
        return self.app

    def limit(self, **limits: Any) -> None:
        """Have other limits in what is mounted from now on."""
        self.limits = replace(self.limits, **limits)

    @property
    def table(self) -> FlightTable[Flight]:
        return self.app.driver.flights.here()

    @property
    def flight(self) -> Flight:
        """The one that can be joined."""
        ((flight,),) = self.table._flights.values()
        return flight

    @property
    def readers(self) -> int:
        """How many are taken, in all flights that can be joined."""
        return sum(len(flight.readers) for flights in self.table._flights.values() for flight in flights)

    @property
    def records(self) -> list[bytes]:
        """The bodies that are stored."""
        return [codec.decode(record).body for _, record in self.store.scan()]

    async def join(self, tasks: TaskGroup, *callers: Caller) -> None:
        """Let callers ask, one after the other, each once the one before it has joined."""
        for caller in callers:
            tasks.start_soon(caller.call, self.app)
            with anyio.fail_after(5):
                await caller.listening.wait()

    async def gather(self, bot: Bot, *callers: Caller) -> None:
        """Let callers ask while the bot waits at its gate, each once the one before it has its seat; then open it."""
        bot.gate = anyio.Event()
        async with anyio.create_task_group() as tasks:
            await self.join(tasks, *callers)
            bot.gate.set()

    async def ask(self, caller: Caller | None = None) -> Caller:
        """Let one caller ask, and stay until it has its answer."""
        caller = caller or Caller()
        with anyio.fail_after(5):
            await caller.call(self.app)
        return caller

    async def ask_at_once(self, callers: Iterable[Caller]) -> None:
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                for caller in callers:
                    tasks.start_soon(caller.call, self.app)

    def is_tidy(self) -> bool:
        return not len(self.table) and not self.table.held and not self.table.detached


async def until(condition: Callable[[], bool]) -> None:
    """Let the others go on until something holds."""
    with anyio.fail_after(5):
        while not condition():
            await anyio.lowlevel.checkpoint()


def tasks_here() -> int:
    """Count the tasks of the running event loop."""
    return len(anyio.get_running_tasks())


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    backend: str = request.param
    return backend


@pytest.fixture
async def house(anyio_backend: str) -> AsyncIterator[House]:
    """H3, P3: whatever happened, in the end no flight, no task and no byte is left."""
    before = tasks_here()
    house = House()
    yield house
    await until(lambda: tasks_here() <= before)
    assert (len(house.table), house.table.held, house.table.detached) == (0, 0, 0)
