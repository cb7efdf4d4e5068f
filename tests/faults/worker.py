"""What the faults of the disk share: questions, a mount over a store on disk whose every answer is judged, and processes."""

import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import asdict
from functools import cache
from itertools import count
from pathlib import Path
from random import Random

from cachemw._wsgi_environ import Environ, StartResponse
from cachemw.cache import record as codec
from cachemw.errors import RecordError, StoreError
from cachemw.stores import DiskStore
from cachemw.wsgi import CacheMiddleware
from tests.asgi_driver import Reply
from tests.faults.fault import Tally
from tests.faults.truth import answer_to, question, true_body
from tests.wsgi_driver import call

ROOT = Path(__file__).parents[2]
QUESTIONS = 200
KEPT = ("cache.db", "cache.db-wal", "cache.db-shm", "lock", "secret", "ledger.db", "ledger.db-wal", "ledger.db-shm")
"""The files of a store, and of the ledger beside it; the databases that were set aside come on top."""

_HEADERS = ((b"content-type", b"application/json"), (b"authorization", b"Bearer somebody"))
"""Whoever has a credential makes the store keep a secret."""

_SIZES = (500, 200_000)
_FRAMING = 5  # how many times larger the events of a stream are than its text


@cache
def body_of(number: int) -> bytes:
    """Return a question's body. Size and kind follow from the number: what is derived for another kind has bytes of its own."""
    low, high = _SIZES
    size = int(low * (high / low) ** Random(number).random())
    return question(number, size // _FRAMING, stream=True) if number % 2 else question(number, size)


@cache
def truth_of(number: int) -> bytes:
    """Return the bytes of the only true answer."""
    return true_body(body_of(number))


@cache
def truths() -> frozenset[bytes]:
    """Return the answers to all of the usual questions."""
    return frozenset(map(truth_of, range(QUESTIONS)))


def upstream(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Tell the truth."""
    told = answer_to(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
    start_response("200 OK", [(name.decode(), value.decode()) for name, value in told.headers])
    return [part for part in told.parts if isinstance(part, bytes)]


class Mount:
    """A WSGI mount over the store in a directory, used as any server would."""

    def __init__(self, path: Path) -> None:
        self.store = DiskStore(path)
        self._asked: set[int] = set()
        self._app = CacheMiddleware(upstream, name="truth", store=self.store)

    def ask(self, number: int, control: str = "on") -> Reply:
        """Ask a question."""
        self._asked.add(number)
        headers = (*_HEADERS, (b"cachemw", control.encode()))
        return call(self._app, "POST", "/v1/chat/completions", body_of(number), headers, is_validated=False)

    def judged(self, number: int, control: str = "on") -> Tally:
        """Ask a question, and judge the answer."""
        return judge(number, self.ask(number, control))

    def until_kept(self, limit: float) -> tuple[Tally, float]:
        """Ask what nobody asked before until three answers in a row are kept; say how many seconds that took."""
        tally, kept, began, seconds = Tally(), 0, time.monotonic(), 0.0
        for number in count(max(self._asked, default=0) + QUESTIONS):
            tally += self.judged(number)
            again = self.ask(number)
            tally += judge(number, again)
            kept = kept + 1 if b"; hit" in again.headers[b"cache-status"] else 0
            seconds = time.monotonic() - began
            if kept == 3 or seconds > limit:
                break
            time.sleep(0 if kept else 0.02)
        return tally if kept == 3 else tally + Tally(failed=1, examples=(f"nothing is kept for {seconds:.2f} s",)), seconds

    def records(self) -> Tally:
        """Read every record: each is whole, and says what the upstream says. `note` is how many there are."""
        try:
            records = [record for _, record in self.store.scan()]
        except StoreError as exc:
            return Tally(failed=1, note="0", examples=(f"the store cannot be read: {exc} {exc.__cause__}",))
        known = truths() | {truth_of(number) for number in self._asked}
        untrue = [why for record in records if (why := _fault(record, known))]
        return Tally(wrong=len(untrue), note=str(len(records)), examples=tuple(untrue))

    def replays(self, numbers: Iterable[int] = range(QUESTIONS)) -> Tally:
        """Ask the store alone, and judge what it answers. `note` is to how many it did."""
        replies = [(number, self.ask(number, "on, mode=replay")) for number in numbers]
        answered = [(number, reply) for number, reply in replies if reply.status != 504]
        return sum((judge(number, reply) for number, reply in answered), Tally()) + Tally(note=str(len(answered)))


def judge(number: int, reply: Reply) -> Tally:
    """Say what is to be said against an answer: nothing where it is what the upstream says, whole."""
    if reply.status == 200 and reply.complete and reply.body == truth_of(number):
        return Tally()
    said = f"question {number}: {reply.status}, {len(reply.body)} of {len(truth_of(number))} bytes, {reply.error!r}"
    if reply.status == 200 and reply.complete:
        return Tally(wrong=1, examples=(said,))
    return Tally(failed=1, examples=(f"{said}, {reply.headers.get(b'cache-status')!r}",))


def _fault(record: bytes, known: Set[bytes]) -> str:
    try:
        return "" if codec.decode(record).body in known else "a record of what nobody said"
    except RecordError as exc:
        return f"a record that is none: {exc}"


def orphans(path: Path) -> list[Path]:
    """Return the files in a store's directory that are no part of it. One database that was set aside may be there."""
    aside = [file for file in path.glob("cache.db.corrupt-*") if not file.name.endswith(("-wal", "-shm"))]
    return [file for file in path.glob("*") if file.name not in KEPT and ".corrupt-" not in file.name] + aside[1:]


def run_in_a_process(module: str, *arguments: object, prefix: Sequence[str] = ()) -> Tally:
    """Run a module's `main` in a process of its own. One that dies of it has failed; what it raises is raised here."""
    command = [*prefix, sys.executable, "-W", "error", "-m", module, *map(str, arguments)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if ended.returncode < 0:
        return Tally(trials=1, failed=1, examples=(f"died of signal {-ended.returncode}",))
    if ended.returncode:
        raise RuntimeError(ended.stderr)
    return unpacked(ended.stdout)


def tell(tally: Tally) -> None:
    """Hand a tally over to `run_in_a_process`."""
    print(packed(tally))


def packed(tally: Tally) -> str:
    """Return a tally as text."""
    return json.dumps(asdict(tally))


def unpacked(text: str) -> Tally:
    """Return it again."""
    said = json.loads(text)
    return Tally(**{**said, "examples": tuple(said["examples"])})


def forked(do: Callable[[], None]) -> int:
    """Do it in a child, and return its process; it ends with 1 where that raised."""
    pid = os.fork()
    if pid:
        return pid
    try:
        do()
        os._exit(0)  # which closes nothing: SQLite would empty its log
    except Exception:  # noqa: BLE001 - whatever it is
        traceback.print_exc()
    finally:
        os._exit(1)


def exit_code(pid: int) -> int:
    """Wait for a child; return how it ended."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
