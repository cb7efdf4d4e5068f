"""A hostile store: what others planted in it is not run, not followed and not believed.

Rows that are no rows of ours, settings, links to files elsewhere, and (`hostile_records`) records that lie. Each
batch runs in a process of its own, for an audit hook cannot be taken off again.
"""

import contextlib
import itertools
import math
import os
import pickle
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, NoReturn

import anyio

from cachemw import DiskStore, StoreError
from cachemw.cache import record as codec
from tests.faults.asking import ASKED, apart, ask, ask_and_judge, mounted, quiet, tell
from tests.faults.fault import Fault, Tally
from tests.faults.hostile_records import ask_for_lies
from tests.faults.truth import question

BATCH = 2_500


def plant(trials: int) -> Tally:
    """Half are rows, half are records; of settings and of links there are not so many."""
    counts = {"settings": max(8, trials // 25), "links": max(7, trials // 50)}
    counts["rows"] = (trials - sum(counts.values())) // 2
    counts["records"] = trials - sum(counts.values())
    tally = Tally()
    for how, count in counts.items():
        for start in range(0, count, BATCH):
            tally += apart("tests.faults.hostile", how, start, min(BATCH, count - start))
    return tally


# What must not happen.


@dataclass(slots=True)
class Watch:
    """Notes what is opened, removed, run or unpickled outside of one directory."""

    directory: str = ""
    seen: list[str] = field(default_factory=list)

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Be told by the interpreter."""
        if not self.directory:
            return
        if event in FORBIDDEN:
            self.seen.append(f"{event}{arguments!r:.200}")
        elif event in ON_FILES:
            for path in [path for path in arguments[:2] if isinstance(path, str | bytes)]:
                if not self._is_inside(os.fsdecode(path)):
                    self.seen.append(f"{event} {path!r}")

    def _is_inside(self, path: str) -> bool:
        known = (self.directory, sys.prefix, sys.base_prefix, str(Path(__file__).parents[2]), "/proc/self/")
        return os.path.abspath(path).startswith(known)

    def told(self, what: str) -> Tally:
        """Return what was seen since the last time, as wrong."""
        seen, self.seen = self.seen, []
        return Tally(wrong=len(seen), examples=tuple(f"{what}: {one}" for one in seen[:2]))


FORBIDDEN = {
    "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "socket.connect", "socket.bind", "ctypes.dlopen"
}  # fmt: skip
ON_FILES = {
    "open", "os.remove", "os.rename", "os.link", "os.symlink", "os.truncate", "os.rmdir", "os.mkdir", "os.chmod",
    "shutil.rmtree", "sqlite3.connect",
}  # fmt: skip
WATCH = Watch()


def _refuse(*_: object, **__: object) -> NoReturn:
    WATCH.seen.append("something was unpickled")
    raise AssertionError("something was unpickled")


class Planted:
    """Unpickled, it would make a file."""

    def __init__(self, flag: Path) -> None:
        self.flag = flag

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.flag),)


# Rows.


@dataclass(frozen=True, slots=True)
class Ground:
    """A store's directory, and beside it what is none of its business."""

    path: Path
    outside: Path
    database: Path
    flag: Path

    @classmethod
    def within(cls, directory: Path) -> "Ground":
        ground = cls(*(directory / "ground" / name for name in ("store", "outside", "others.db", "flag")))
        ground.path.parent.mkdir()
        ground.outside.write_bytes(OUTSIDE)
        with closing(sqlite3.connect(ground.database)) as database, database:
            database.execute("CREATE TABLE Others (x)")
        for file in (ground.outside, ground.database):
            file.chmod(0o644)
        return ground

    def fault(self) -> str | None:
        """Return what happened to what is outside."""
        if self.flag.exists():
            return "what was planted was run"
        if not (self.outside.exists() and self.database.exists()):
            return "a file outside was removed"
        if self.outside.read_bytes() != OUTSIDE or b"Cache" in self.database.read_bytes():
            return "a file outside was changed"
        if self.outside.with_name("nowhere").exists():
            return "a file was made outside"
        modes = {file.stat().st_mode & 0o777 for file in (self.outside, self.database)}
        return None if modes == {0o644} else "the mode of a file outside was changed"


OUTSIDE = b"what lies outside of the store"
QUESTIONS = [question(number, 300 * number, stream=number % 2 == 1) for number in range(14)]
NEW = (question(number) for number in itertools.count(1_000_000))


async def _rows(first: int, count: int) -> Tally:
    """Change some rows of a store each time, then ask for all there were."""
    tally, done = Tally(), 0
    while done < count:
        random = Random(first + done)
        with _ground() as ground:
            store = await _filled(ground, is_open=random.random() >= 0.5)
            planted = _planted_rows(ground, random)
            done += len(planted)
            told = await _asked_all(ground, store, f"{first + done}: {planted}")
            tally += told + Tally(trials=len(planted))
    return tally


async def _filled(ground: Ground, is_open: bool) -> DiskStore:
    store = DiskStore(ground.path)
    for body in QUESTIONS:
        await ask(mounted(store), body)
    if not is_open:
        store.close()
    return store


def _planted_rows(ground: Ground, random: Random) -> list[str]:
    """Change rows as a writer of the database could; return how."""
    changes = []
    with closing(sqlite3.connect(ground.path / "cache.db")) as database, database:
        rowids = [rowid for (rowid,) in database.execute("SELECT rowid FROM Cache")]
        records = [record for (record,) in database.execute("SELECT value FROM Cache")]
        for rowid in random.sample(rowids, random.randrange(1, len(rowids))):
            columns = random.choice(_ROWS)(ground, random, records)
            settings = ", ".join(f"{column} = ?" for column in columns)
            with contextlib.suppress(sqlite3.IntegrityError):  # a key that is taken
                database.execute(f"UPDATE Cache SET {settings} WHERE rowid = ?", (*columns.values(), rowid))
                changes.append(str({name: str(value)[:40] for name, value in columns.items()}))
    return changes or ["nothing"]


Columns = dict[str, Any]


def _pickled_value(ground: Ground, random: Random, records: list[bytes]) -> Columns:
    raw = pickle.dumps(Planted(ground.flag), random.randrange(6))
    return {"mode": random.choice((4, 4, 1)), "value": raw, "raw": random.choice((1, 1, 0))}


def _pickled_key(ground: Ground, random: Random, records: list[bytes]) -> Columns:
    return {"raw": random.choice((0, None, "0", b"0")), "key": pickle.dumps(Planted(ground.flag), random.randrange(6))}


def _file(ground: Ground, random: Random, records: list[bytes]) -> Columns:
    names = ("../outside", str(ground.outside), "link", "../../../../../../etc/passwd", "a/../../outside", "", "cache.db", "\0")
    with contextlib.suppress(FileExistsError):
        (ground.path / "link").symlink_to(ground.outside)
    value = random.choice((None, None, random.choice(records)))
    return {"mode": random.choice((0, 1, 2, 3, 4, None, "1")), "filename": random.choice(names), "value": value}


def _types(ground: Ground, random: Random, records: list[bytes]) -> Columns:
    column = random.choice(
        ("key", "raw", "store_time", "expire_time", "access_time", "size", "mode", "filename", "value", "tag")
    )
    values = (None, "text", "", b"", b"\xff\xfe", 0, -1, 2**63 - 1, 1.5, math.inf, -math.inf, "1e999", "\ud7ff", b"CMW\x01")
    return {column: random.choice(values)}


def _of_another(ground: Ground, random: Random, records: list[bytes]) -> Columns:
    return {"value": random.choice(records), "expire_time": random.choice((None, 9e12))}


def _no_record(ground: Ground, random: Random, records: list[bytes]) -> Columns:
    whole = random.choice(records)
    payload = random.choice((b"\x91" * 50_000, random.randbytes(200), whole[codec.RECORD_HEAD_BYTES : -5], b""))
    sealed = codec.MAGIC + bytes([random.choice((1, 1, 0, 2, 255))]) + codec.checksum(payload) + payload
    return {"value": random.choice((sealed, whole[: random.randrange(len(whole))], whole * 2, random.randbytes(100)))}


_ROWS = (_pickled_value, _pickled_key, _file, _types, _of_another, _no_record)


async def _asked_all(ground: Ground, store: DiskStore, what: str) -> Tally:
    """Ask all there was twice, and do what operators do; then look at what was touched."""
    app, tally = mounted(store), Tally()
    WATCH.directory = str(ground.path)
    try:
        for body in (*QUESTIONS, next(NEW), *QUESTIONS):
            told = await ask_and_judge(app, body, what)
            tally += Tally(wrong=told.wrong, failed=told.failed, examples=told.examples)
        tally += _operated(store, what)
    finally:
        WATCH.directory = ""
    if fault := ground.fault():
        tally += Tally(wrong=1, examples=(f"{what}: {fault}",))
    return tally + WATCH.told(what)


def _operated(store: DiskStore, what: str) -> Tally:
    """Go through all records, measure and clear: `StoreError` is the worst that comes of it."""
    try:
        for index, record in store.scan():
            assert (type(index), type(record)) == (bytes, bytes)
        store.size()
        store.clear()
    except StoreError:
        pass
    except Exception as exc:  # noqa: BLE001 - whatever it is
        return Tally(failed=1, examples=(f"{what}: an operator saw {exc!r}",))
    finally:
        store.close()
    return Tally()


@contextlib.contextmanager
def _ground() -> Iterator[Ground]:
    with tempfile.TemporaryDirectory() as name:
        yield Ground.within(Path(name))


# Settings, and what else a database may hold.


async def _settings(first: int, count: int) -> Tally:
    tally = Tally()
    for number in range(first, first + count):
        random = Random(number)
        with _ground() as ground:
            store = await _filled(ground, is_open=random.random() >= 0.7)
            statement = STATEMENTS[number * 37 % len(STATEMENTS)]
            _execute(ground, statement)
            tally += await _asked_all(ground, store, statement) + Tally(1)
    return tally


def _execute(ground: Ground, statement: str) -> None:
    refused = contextlib.suppress(sqlite3.OperationalError)  # not all goes while it is open
    with refused, closing(sqlite3.connect(ground.path / "cache.db")) as database:
        database.executescript(statement.replace("OUTSIDE", str(ground.outside)))


def _set(name: str, value: str) -> str:
    return f"INSERT OR REPLACE INTO Settings VALUES ({name}, {value});"


_NAMES = (
    "count size size_limit cull_limit eviction_policy statistics tag_index hits misses disk_min_file_size disk_pickle_protocol"
    " sqlite_mmap_size sqlite_journal_mode disk_x _disk get close __class__ sqlite_x"
).split()
STATEMENTS = (
    *[
        _set(f"'{name}'", value)
        for name in _NAMES
        for value in ("'text'", "NULL", "x'ff'", "-1", "9e999", "9223372036854775807")
    ],
    *[f"DELETE FROM Settings WHERE key = '{name}';" for name in _NAMES[:5]],
    _set("'sqlite_mmap_size; ATTACH ''OUTSIDE'' AS o'", "1"),
    _set("x'ff'", "1"),
    _set("7", "1"),
    "DROP TABLE Settings;",
    "DROP TABLE Cache;",
    "DROP INDEX Cache_key_raw;",
    "DROP TRIGGER Settings_count_insert;",
    "CREATE TRIGGER evil AFTER INSERT ON Cache BEGIN UPDATE Cache SET value = x'00'; END;",
    "CREATE TRIGGER evil AFTER INSERT ON Cache BEGIN DELETE FROM Cache; END;",
    "CREATE TRIGGER evil BEFORE INSERT ON Cache BEGIN SELECT raise(FAIL, 'no'); END;",
    "CREATE TRIGGER evil AFTER DELETE ON Cache BEGIN SELECT load_extension('OUTSIDE'); END;",
    "ALTER TABLE Cache RENAME COLUMN value TO worth;",
    "ALTER TABLE Cache RENAME TO Old; CREATE VIEW Cache AS SELECT * FROM Old;",
    "ALTER TABLE Cache RENAME TO Old; CREATE TABLE Cache (key, value);",
    "PRAGMA user_version = 7; PRAGMA application_id = 7;",
    "PRAGMA journal_mode = DELETE;",
)


# Links.


async def _links(first: int, count: int) -> Tally:
    """Let something of the store's be a link to what is elsewhere: it is refused, or does no harm."""
    tally = Tally()
    for number in range(first, first + count):
        name = LINKS[number % len(LINKS)]
        with _ground() as ground:
            store = DiskStore(ground.path)
            if (number // len(LINKS)) % 2:
                await ask(mounted(store), QUESTIONS[0], (*ASKED, (b"authorization", b"Bearer alice")))
                store.close()
            _link(ground, name)
            tally += await _asked_all(ground, store, f"{name or 'the directory'} is a link") + Tally(1)
    return tally


LINKS = ("cache.db", "cache.db to others.db", "cache.db to nowhere", "cache.db-wal", "lock", "secret", "secret to nowhere", "")


def _link(ground: Ground, name: str) -> None:
    name, _, to = name.partition(" to ")
    if not name:
        target = ground.path.with_name("elsewhere")
        target.mkdir()
        (target / "file").write_bytes(OUTSIDE)
        shutil.rmtree(ground.path, ignore_errors=True)
        ground.path.symlink_to(target)
        return
    ground.path.mkdir(mode=0o700, exist_ok=True)
    (ground.path / name).unlink(missing_ok=True)
    (ground.path / name).symlink_to(ground.outside.with_name(to or "outside"))


FAULTS: tuple[Fault, ...] = (
    Fault("hostile store", "planted pickles, modes, file names, settings, links, records that lie", 500, 10_000, plant),
)


def main(how: str, first: int, count: int) -> None:
    """Try it here, under watch."""
    for name in ("load", "loads", "Unpickler", "_Unpickler", "_load", "_loads"):
        setattr(pickle, name, _refuse)
    sys.addaudithook(WATCH.hook)
    trying = {"rows": _rows, "settings": _settings, "links": _links, "records": ask_for_lies}[how]
    with quiet():
        tell(anyio.run(trying, first, count))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
