"""Recall plain hits: the same request, as far as its decision reads it, is given the same answer again.

What a request is told by is digested and forgotten; what a hit was made of is kept, within bounds.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Hashable
from contextlib import AbstractContextManager
from functools import lru_cache
from operator import itemgetter
from typing import Any

import msgspec

from cachemw.cache import replay
from cachemw.cache.effects import Basis, Serve
from cachemw.cache.freshness import age, remaining
from cachemw.cache.header_rules import Counts, HeaderRules, fate
from cachemw.messages import Attested, Caller, Head, Headers, Recipient, StoredResponse
from cachemw.report import ExchangeReport

try:
    import blake3
except ImportError:
    _blake3: Any = None
else:
    _blake3 = blake3.blake3

RECALLED_BODY = 256 * 1024
"""The largest body of a request that is recalled."""

HEADS = 8192
"""How many heads of requests are known at once."""

_LARGE = 4096
"""The bytes from which on BLAKE3 takes less time than SHA-256, of which machines have a part."""

SENT_AS_ONE = 256 * 1024
"""The bytes up to which a listener holds an answer once more, as it is sent: to send it in parts takes twice as long."""

_ENTRY_BYTES = 4 * 1024
"""About what a hit takes besides."""

_DIGEST_BYTES = 400
"""About what a digest takes that leads to a hit."""

_ALSO_READ = frozenset(
    b"content-type content-encoding content-length transfer-encoding te expect upgrade connection"
    b" cachemw cachemw-route cache-control host origin referer sec-fetch-site".split()
)
"""The fields that are read before there is a key, though they need not be in it."""

_NAME, _VALUE = itemgetter(0), itemgetter(1)


class Moment:
    """A recalled hit in one second of its age: the head that says so, and the report.

    It is for who asks at least `age` seconds after the response was stored, and less than `ends`.
    """

    __slots__ = ("age", "ends", "head", "report", "wire")

    def __init__(self, stored: StoredResponse, report: ExchangeReport, now: float, fresh_until: float) -> None:
        self.age = age(stored, now)
        self.ends = min(self.age + 1, fresh_until - stored.stored_at)
        self.report = msgspec.structs.replace(report, ttl=remaining(stored, self.age), age=self.age)
        self.head: Head = replay.head(stored, self.report, now)
        self.wire: Any = None
        """What a listener makes of it, to send it again and again."""


class Recalled:
    """A plain hit, to be given again for as long as it is as it was `found`."""

    def __init__(self, serve: Serve, basis: Basis, version: Hashable | None) -> None:
        self.found, self.pieces = basis.found, tuple(replay.pieces(serve.stored))
        self.version = version
        """What the store said of itself before it was found so."""
        self._stored, self._report, self._fresh_until = _all_but_events(serve.stored), serve.report, basis.fresh_until
        self.stored_at = serve.stored.stored_at
        self.moment = Moment(self._stored, serve.report, serve.now, basis.fresh_until)
        """What was said of it last."""
        self.uses = 0
        """How many digests lead to it."""
        self.body_size = len(serve.stored.body)
        bodies = self.body_size * (2 if self.body_size <= SENT_AS_ONE else 1)
        self.size = bodies + sum(len(record or b"") for _, record in self.found) + _ENTRY_BYTES
        """About how many bytes it takes: what was found is held beside the body that was made of it."""

    def at(self, now: float) -> Moment | None:
        """Return what is said of it now; `None` where it is no longer fresh, or a clock was set back."""
        moment, since = self.moment, now - self.stored_at
        if moment.age <= since < moment.ends:
            return moment
        if since < 0 or now >= self._fresh_until:
            return None
        self.moment = Moment(self._stored, self._report, now, self._fresh_until)
        return self.moment


def _all_but_events(stored: StoredResponse) -> StoredResponse:
    """Return what a head is made of: a stream's events are held in pieces, and once is enough."""
    body = b"" if stored.kind.stream else stored.body
    return msgspec.structs.replace(stored, body=body, event_ends=(), arrivals=(), request=None)


class Recall:
    """The plain hits of a mount, by digests of the requests that they answer; those asked for last, in so many bytes.

    `salt` is secret, and this process's own. Used by any number of threads.
    """

    def __init__(self, salt: bytes, limit_bytes: int, lock: AbstractContextManager[object]) -> None:
        self._start = hashlib.sha256(salt)
        self._key = hashlib.sha256(salt).digest()
        self._limit_bytes, self._lock = limit_bytes, lock
        self._heads: OrderedDict[bytes, None] = OrderedDict()
        self._kept: OrderedDict[bytes, Recalled] = OrderedDict()
        self.size = 0

    def digest(self, *parts: bytes | memoryview) -> bytes:
        """Return the digest of parts, of which all but the last are of one length."""
        if _blake3 is not None and len(parts[-1]) >= _LARGE:
            large = _blake3(key=self._key)
            for part in parts:
                large.update(part)
            return bytes(large.digest())
        state = self._start.copy()
        for part in parts:
            state.update(part)
        return state.digest()

    def knows(self, head: bytes) -> bool:
        """Say whether a request with this head was given a plain hit."""
        with self._lock:
            is_known = head in self._heads
            if is_known:
                self._heads.move_to_end(head)
            return is_known

    def get(self, digest: bytes) -> Recalled | None:
        """Return what a request with this digest was given."""
        with self._lock:
            recalled = self._kept.get(digest)
            if recalled is not None:
                self._kept.move_to_end(digest)
            return recalled

    def keep(self, head: bytes, digest: bytes, recalled: Recalled) -> None:
        """Remember a plain hit; what was asked for longest ago is forgotten."""
        if recalled.size + _DIGEST_BYTES > self._limit_bytes:
            return
        with self._lock:
            self._heads[head] = None
            self._heads.move_to_end(head)
            if len(self._heads) > HEADS:
                self._heads.popitem(last=False)
            self._forget(digest)
            self._kept[digest] = recalled
            self._count(recalled, 1)
            while self.size > self._limit_bytes:
                self._count(self._kept.popitem(last=False)[1], -1)

    def forget(self, digest: bytes) -> None:
        """Forget what a request with this digest was given."""
        with self._lock:
            self._forget(digest)

    def _forget(self, digest: bytes) -> None:
        recalled = self._kept.pop(digest, None)
        if recalled is not None:
            self._count(recalled, -1)

    def _count(self, recalled: Recalled, change: int) -> None:
        """Count a digest, and the hit with the first that leads to it and the last one."""
        before, recalled.uses = recalled.uses, recalled.uses + change
        self.size += change * (_DIGEST_BYTES + (recalled.size if 0 in (before, recalled.uses) else 0))


def told_by(
    asked: tuple[str | bytes | None, ...],
    headers: Headers,
    attested: Attested,
    caller: Caller | None,
    recipient: Recipient,
    rules: HeaderRules,
) -> bytes:
    """Return all of a request but its body that its decision reads; `asked` is what is asked for, and where.

    `caller` is who asks, where somebody in front of the mount has told that. The fields that `cache.header_rules` calls inert
    are left out, but for those that are read all the same: requests that differ in nothing else are given the same.
    """
    names, positions = _read(tuple(map(_NAME, headers)), recipient, rules)
    values = list(map(_VALUE, map(headers.__getitem__, positions)))
    return msgspec.msgpack.encode((asked, names, values, attested, caller))


@lru_cache(128)  # one client sends the same names again and again
def _read(names: tuple[bytes, ...], recipient: Recipient, rules: HeaderRules) -> tuple[tuple[bytes, ...], tuple[int, ...]]:
    positions = tuple([at for at, name in enumerate(names) if _is_read(name.lower(), recipient, rules)])
    return tuple([names[at].lower() for at in positions]), positions


def _is_read(name: bytes, recipient: Recipient, rules: HeaderRules) -> bool:
    return name in _ALSO_READ or fate(name, recipient, rules).counts is not Counts.INERT
