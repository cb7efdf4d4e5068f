"""The requests that a load sends, one after the other and without end, in the segments in which they leave."""

import itertools
import secrets
from collections.abc import Callable, Iterator, Sequence

from benchmarks.asking import HEADERS, halves

Segments = tuple[bytes, bytes]
"""What is sent at once, and what is sent later; the second is empty where all of it is sent at once."""

Traffic = Callable[[Sequence[bytes]], Iterator[Segments]]
"""Makes requests of bodies, which are asked in turn."""


def in_one_segment(bodies: Sequence[bytes]) -> Iterator[Segments]:
    """Send head and body at once, as aiohttp, curl and Node's fetch do."""
    return itertools.cycle([(b"".join(halves(body)), b"") for body in bodies])


def in_two_segments(bodies: Sequence[bytes]) -> Iterator[Segments]:
    """Send the head, then the body, as httpx and the SDKs over it do."""
    return itertools.cycle([halves(body) for body in bodies])


def traced(bodies: Sequence[bytes]) -> Iterator[Segments]:
    """Send the head, then the body, and in each head a `traceparent` that no other has."""
    trace = secrets.randbits(64)  # so that no round sends those of another
    asked = [(*_around_traceparent(body), body) for body in bodies]
    for number, (before, after, body) in enumerate(itertools.cycle(asked)):
        yield b"%b00-%016x%016x-%016x-01%b" % (before, trace, number, number, after), body


def _around_traceparent(body: bytes) -> tuple[bytes, bytes]:
    head, _ = halves(body, (*HEADERS, (b"traceparent", b"?")))
    before, _, after = head.partition(b"?\r\n")
    return before, b"\r\n" + after
