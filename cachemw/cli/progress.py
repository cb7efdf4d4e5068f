"""A bar of progress, with the time that is left, for what takes over a second: on stderr, and on a terminal only."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

SHOWN_AFTER = 1.0
"""For how many seconds nothing is shown: what is done by then needs no bar."""


class Tell(Protocol):
    """Takes how much is done, of how much, and a few words about it."""

    def __call__(self, done: int, total: int, words: str = "", /) -> None: ...


@contextmanager
def progress_bar(title: str, *, clock: Callable[[], float] = time.monotonic) -> Iterator[Tell]:
    """Give a function that is told how much is done, and of how much."""
    console, begun = Console(stderr=True), clock()
    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    bar = Progress(*columns, console=console, transient=True)
    task = bar.add_task("")
    with ExitStack() as shown:

        def tell(done: int, total: int, words: str = "", /) -> None:
            if console.is_terminal and not bar.live.is_started and clock() - begun >= SHOWN_AFTER:
                shown.enter_context(bar)
            bar.update(task, completed=done, total=total, description=words)

        yield tell
