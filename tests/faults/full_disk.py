"""A disk that is really full: a small file system in memory, which a user namespace lets anybody mount."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from random import Random

from tests.faults.fault import Fault, Tally
from tests.faults.worker import QUESTIONS, Mount, exit_code, forked, orphans, packed, run_in_a_process, tell, unpacked

MIB = 2**20
SIZES = (2, 16)
SOON = 60.0
"""How many seconds it may take until answers are kept again."""

UNSHARE = ("unshare", "--user", "--map-root-user", "--mount")


class Disk:
    """A small file system, and the file with which somebody else fills it."""

    def __init__(self, path: Path, mebibytes: int) -> None:
        self.path, self._ballast = path, path / "ballast"
        self.size = mebibytes * MIB
        path.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "none", path], check=True)

    @property
    def free(self) -> int:
        return shutil.disk_usage(self.path).free

    def fill(self, size: int) -> None:
        """Write so much, or as much as there is room for."""
        with open(self._ballast, "ab", buffering=0) as ballast:
            try:
                while size > 0:
                    size -= ballast.write(bytes(min(size, 4096)))
            except OSError:
                return

    def relieve(self) -> None:
        """Take away what filled it; where that was the store, enlarge it."""
        self._ballast.unlink()
        if self.free < self.size // 2:
            subprocess.run(["mount", "-o", f"remount,size={self.size * 2 + 16 * MIB}", self.path], check=True)

    def close(self) -> None:
        """Take it away."""
        subprocess.run(["umount", self.path], check=True)


def fill_by_itself(disk: Disk, mount: Mount, random: Random) -> Tally:
    """Have the store keep twice what there is room for."""
    tally, kept = Tally(), 0
    for number in count():
        if kept >= 2 * disk.size:
            return tally
        tally += mount.judged(number)
        kept += len(mount.ask(number).body)
    return tally


def fill_by_another(disk: Disk, mount: Mount, random: Random) -> Tally:
    """Have somebody else fill the disk, at once or little by little, while the store is used."""
    tally = Tally()
    for _ in range(random.randrange(disk.size // 2**17)):
        tally += mount.judged(random.randrange(QUESTIONS))
    step = random.choice((disk.size, disk.size // 100))
    while disk.free:
        disk.fill(step)
        tally += mount.judged(random.randrange(QUESTIONS))
    return tally


def _tried(scratch: Path, fill: Callable[[Disk, Mount, Random], Tally], random: Random) -> tuple[Tally, float]:
    """Fill a disk, start on it, relieve it; say how many seconds it took until answers were kept again."""
    disk = Disk(scratch, random.randint(*SIZES))
    path = disk.path / "store"
    start = _starter(path, disk.path / "fresh")
    mount = Mount(path)
    tally = fill(disk, mount, random)
    disk.fill(disk.size)
    for _ in range(30):
        tally += mount.judged(random.randrange(QUESTIONS), random.choice(("on", "on, mode=refresh")))
    tally += start()
    disk.relieve()
    kept, seconds = mount.until_kept(SOON)
    tally += kept + mount.records() + mount.replays()
    mount.store.close()
    left = [*orphans(path), *orphans(disk.path / "fresh")]
    disk.close()
    return tally + Tally(leaks=len(left), examples=tuple(map(str, left))), seconds


def _starter(*paths: Path) -> Callable[[], Tally]:
    """Return what has another process, which has nothing open yet, use stores in these places."""
    (ready, go), (reading, writing) = os.pipe(), os.pipe()

    def use() -> None:
        os.read(ready, 1)
        mounts = [Mount(path) for path in paths]
        said = sum((mount.judged(number) for number in range(10) for mount in mounts), Tally())
        os.write(writing, packed(said).encode())

    def start() -> Tally:
        os.write(go, b".")
        with open(reading) as told:
            said = told.read()
        ended = exit_code(pid)
        return unpacked(said) if ended == 0 else Tally(failed=1, examples=(f"a process that started ended with {ended}",))

    pid = forked(use)
    os.close(writing)
    return start


def main(trials: int) -> None:
    """Fill so many disks, and as many again."""
    random, tally, slowest = Random(trials), Tally(), 0.0
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(trials):
            tally += Tally(trials=1)
            for fill in (fill_by_another, fill_by_itself):
                tried, seconds = _tried(Path(scratch, f"{number} {fill.__name__}"), fill, random)
                tally, slowest = tally + tried, max(slowest, seconds)
    tell(tally + Tally(note=f"kept answers again within {slowest:.1f} s"))


def why_not() -> str | None:
    """Try it."""
    if shutil.which("unshare") is None:
        return "there is no unshare"
    with tempfile.TemporaryDirectory() as scratch:
        tried = subprocess.run([*UNSHARE, "mount", "-t", "tmpfs", "none", scratch], capture_output=True)
    return "nothing may be mounted in a user namespace" if tried.returncode else None


FAULTS = (
    Fault(
        "real full disk",
        "a store, or somebody else, fills a file system of 2 to 16 MiB; then there is room again",
        small=1,
        large=20,
        run=lambda trials: run_in_a_process("tests.faults.full_disk", trials, prefix=UNSHARE),
        why_not=why_not,
    ),
)

if __name__ == "__main__":
    main(int(sys.argv[1]))
