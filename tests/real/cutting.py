"""Where to cut a body so that it hurts: every cut is one write of the upstream."""

import random
import re
import zlib
from collections.abc import Sequence

import anyio

from tests.upstream import Part

TENDER = (
    re.compile(rb".?(?:\r?\n\r?\n|\r\r).{0,8}", re.DOTALL),  # between two events
    re.compile(rb"\r\n"),
    re.compile(rb"data: ?"),
    re.compile(rb"\[DONE\]"),
    re.compile(rb"[\x80-\xff]+"),  # characters of several bytes
)
"""A byte at a time in these, and a few cuts elsewhere."""


def cut_awkwardly(body: bytes) -> list[bytes]:
    """Cut a body; the same body is cut alike every time."""
    dice = random.Random(zlib.crc32(body))
    cuts = {dice.randrange(len(body) + 1) for _ in range(len(body) // 200)}
    for pattern in TENDER:
        cuts |= {at for found in pattern.finditer(body) for at in range(found.start(), found.end() + 1)}
    ends = sorted(cuts | {len(body)})
    return [body[start:end] for start, end in zip([0, *ends], ends, strict=False) if end > start]


def write_by_write(writes: Sequence[bytes]) -> list[Part]:
    """Let whoever reads have each write before the next: both are in one event loop, and these events are already set."""
    moment = anyio.Event()
    moment.set()
    parts: list[Part] = []
    for write in writes:
        parts += [write, *[moment] * MOMENTS]
    return parts


MOMENTS = 3
"""Turns of the event loop until a reader in it has read what was written."""
