"""Count the frames of ours that an answer takes: a count holds on any machine, and a time on none."""

import inspect
import sys
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import cachemw

OURS = str(Path(cachemw.__file__).parent)


@dataclass(slots=True)
class Frames:
    """What was called of ours, and how often."""

    called: Counter[CodeType] = field(default_factory=Counter)

    @property
    def count(self) -> int:
        return sum(self.called.values())

    @property
    def coroutines(self) -> int:
        return sum(times for code, times in self.called.items() if code.co_flags & inspect.CO_COROUTINE)

    def told(self) -> str:
        """Return every one of them, those of one module behind each other."""
        named = [(Path(code.co_filename).stem, code.co_qualname, times) for code, times in self.called.items()]
        return f"{self.count} frames, {self.coroutines} coroutines: " + ", ".join(f"{m}.{n} {t}" for m, n, t in sorted(named))


@contextmanager
def counted() -> Iterator[Frames]:
    """Count what is called meanwhile, in this thread. A coroutine that waits is called again when it goes on."""
    frames = Frames()

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(OURS):
            frames.called[frame.f_code] += 1

    sys.setprofile(note)
    try:
        yield frames
    finally:
        sys.setprofile(None)


def finish(work: Coroutine[Any, Any, Any]) -> None:
    """Let a coroutine run that waits for nothing."""
    try:
        work.send(None)
    except StopIteration:
        return
    work.close()
    raise AssertionError("it waited for something")


def frames_of(make: Callable[[], Coroutine[Any, Any, Any]]) -> Frames:
    """Return what a coroutine calls that waits for nothing; it is made and run before, for what is cached."""
    finish(make())
    work = make()
    with counted() as frames:
        finish(work)
    return frames
