"""Cancel a coroutine at its k-th yield."""

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Literal

import anyio

How = Literal["by a scope", "natively", "again and again"]

OFTEN = 4
"""How many yields in a row are cancelled by who natively cancels again and again."""


class Stepper:
    """Runs a coroutine step by step, in the task it is called in, and has it cancelled at its k-th yield."""

    def __init__(self, k: int) -> None:
        self.k, self.yields = k, 0

    @property
    def was_cancelled(self) -> bool:
        return self.yields >= self.k

    async def run(self, coroutine: Coroutine[Any, Any, None], how: How) -> None:
        """Run to the end; the cancellation ends here."""
        if how == "by a scope":
            with anyio.CancelScope() as scope:
                await self._stepped(coroutine, scope.cancel)
        else:
            task = asyncio.current_task()
            assert task is not None
            try:
                await self._stepped(coroutine, task.cancel, OFTEN if how == "again and again" else 1)
            except asyncio.CancelledError:
                while task.uncancel():
                    pass

    @types.coroutine
    def _stepped(
        self, coroutine: Coroutine[Any, Any, None], cancel: Callable[[], object], times: int = 1
    ) -> Generator[Any, Any, None]:
        sent: Any = None
        thrown: BaseException | None = None
        while True:
            try:
                yielded = coroutine.send(sent) if thrown is None else coroutine.throw(thrown)
            except StopIteration:
                return
            self.yields += 1
            if self.k <= self.yields < self.k + times:
                cancel()
            try:
                sent, thrown = (yield yielded), None
            except BaseException as exc:  # noqa: BLE001 - the coroutine's to handle
                sent, thrown = None, exc
