"""A chat app for servers in processes of their own. What it is asked, and what becomes of its answers, is kept in files.

The first word of a prompt says how it answers: `hold` waits before its last part until it is released, `slow` goes on for
ten seconds, `broken` raises half-way, `late` calls `start_response` only when it is read; anything else answers at once.
"""

import os
import threading
import time
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio

from cachemw import DiskStore
from cachemw.upstreams import HttpUpstream
from tests.upstream import completion, event, stream_events

EVENT_STREAM = "text/event-stream; charset=utf-8"
JSON = "application/json"
BEAT_SECONDS = 0.05
PATIENCE_SECONDS = 30.0


class BrokenError(Exception):
    """What the bot raises in the middle of an answer."""


Wait = float | Path | BrokenError
Part = bytes | Wait
"""Of an answer: bytes to send, seconds to wait, a file to wait for, or what is raised."""


@dataclass(frozen=True, slots=True)
class Bot:
    """Answers, in any number of processes, and keeps one journal for each prompt in a directory."""

    directory: Path

    def chat(self, asked: Mapping[str, Any]) -> "Chat":
        """Begin to answer a request."""
        chat = Chat(self.directory, asked["messages"][-1]["content"], bool(asked.get("stream")))
        chat.note("asked")
        return chat

    def calls(self) -> dict[str, int]:
        """Return how often each prompt was asked."""
        return {journal.stem: journal.read_text().split().count("asked") for journal in self.directory.glob("*.journal")}


@dataclass(frozen=True, slots=True)
class Chat:
    """One request, and its answer under way."""

    directory: Path
    prompt: str
    is_stream: bool
    thread: int = field(default_factory=threading.get_ident)

    @property
    def kind(self) -> str:
        return self.prompt.split()[0]

    @property
    def media_type(self) -> str:
        return EVENT_STREAM if self.is_stream else JSON

    def parts(self) -> Sequence[Part]:
        """Return what the answer is made of."""
        if not self.is_stream:
            whole = [part for part in completion(f"you said {self.prompt}").parts if isinstance(part, bytes)]
            return [self.directory / f"{self.prompt}.go", *whole] if self.kind == "hold" else whole
        first, *others, last, done = stream_events(f"you said {self.prompt}")
        match self.kind:
            case "hold":
                return [first, *others, self.directory / f"{self.prompt}.go", last, done]
            case "broken":
                return [first, *others, BrokenError()]
            case "slow":
                beat: list[Part] = [BEAT_SECONDS, event({"content": "word "})]
                return [first, *beat * 200, last, done]
        return [first, *others, last, done]

    def told(self) -> Generator[bytes, None, None]:
        """Give the answer, blocking."""
        try:
            for part in self.parts():
                if isinstance(part, bytes):
                    self.note("part" if threading.get_ident() == self.thread else "elsewhere")
                    yield part
                else:
                    _wait(part)
            self.note("ended")
        except GeneratorExit:
            self.note("stopped")
            raise

    async def told_async(self) -> AsyncGenerator[bytes, None]:
        """Give the answer, in an event loop."""
        try:
            for part in self.parts():
                if isinstance(part, bytes):
                    self.note("part")
                    yield part
                else:
                    await _wait_async(part)
            self.note("ended")
        except (GeneratorExit, anyio.get_cancelled_exc_class()):
            self.note("stopped")
            raise

    def note(self, what: str) -> None:
        """Write down what happens to this request."""
        with (self.directory / f"{self.prompt}.journal").open("a") as journal:
            journal.write(what + "\n")


def here() -> Bot:
    """Return the bot of this process."""
    return Bot(Path(os.environ["PEER_DIRECTORY"]))


def mounted() -> dict[str, Any]:
    """Return what the middleware of this process is given: the upstream that the environment names, or a name."""
    url = os.environ.get("PEER_UPSTREAM")
    answering = {"upstream": HttpUpstream(url)} if url else {"name": "bot"}
    return {"store": DiskStore(Path(os.environ["PEER_DIRECTORY"]) / "store"), **answering}


def _wait(what: Wait) -> None:
    if isinstance(what, BrokenError):
        raise what
    if isinstance(what, float):
        time.sleep(what)
        return
    until = time.monotonic() + PATIENCE_SECONDS
    while not what.exists():
        if time.monotonic() > until:
            raise TimeoutError
        time.sleep(0.01)


async def _wait_async(what: Wait) -> None:
    if isinstance(what, BrokenError):
        raise what
    if isinstance(what, float):
        await anyio.sleep(what)
        return
    with anyio.fail_after(PATIENCE_SECONDS):
        while not what.exists():  # noqa: ASYNC110 - another process makes it
            await anyio.sleep(0.01)
