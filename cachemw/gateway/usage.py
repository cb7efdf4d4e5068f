"""Find out what an answer took while its bytes pass, without keeping or reading more of them than says so."""

import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import asdict, replace

from cachemw.endpoints.usage import read_usage, takes_more
from cachemw.messages import Usage
from cachemw.money import Cost, Price, cost_of, priced

LONGEST_USAGE = 8192
"""The bytes of what an answer says it took that are kept until it is whole; what is longer is not read."""

BYTES_A_TOKEN = 4
"""The bytes of text that a token is taken for where nobody has counted."""

USUAL_TIERS = frozenset({"default", "standard", "auto", "on_demand"})
"""The tiers of service whose prices are those that tables have."""

# A name in a JSON document: within a text its quotes would be escaped.
_SAID = re.compile(rb'(?<!\\)"(?:usage"[ \t\r\n]{0,64}:[ \t\r\n]{0,64}(\{)|service_tier"[ \t]{0,8}:[ \t]{0,8}"([a-z_]{1,32})")')
_REACH = 192  # no match is longer, with the byte before it
_decoder = json.JSONDecoder()


class UsageWatch:
    """Looks for what an answer took in its body, JSON or a stream, cut anywhere. What comes later counts, for each number.

    It finds the `usage` of an answer wherever providers have it: beside the choices or without them, in every chunk or the last
    one, within `x_groq`, and in the events of Anthropic and of Responses.
    """

    def __init__(self) -> None:
        self.tier: str | None = None
        """The tier of service that the answer names."""
        self._has_other = False
        self._usage: Usage | None = None
        self._rest = b"\n"  # what may be the beginning of a match, after the byte before it, or of what is said
        self._lines = 0
        self._is_within = False

    @property
    def events(self) -> int:
        """About how many events of a stream have passed: most are a line and a blank one."""
        return self._lines // 2

    def feed(self, chunk: bytes) -> None:
        """Take in the next bytes."""
        self._lines += chunk.count(b"\n")
        rest = self._rest + chunk
        if not self._is_within and b'"usage"' not in rest and b'"service_tier"' not in rest:  # nearly always
            self._rest = rest[-_REACH:]
            return
        self._look(rest, len(self._rest))

    def end(self) -> Usage | None:
        """Return what the answer took; `None` where it does not say."""
        return self._usage

    def cost(self, price: Price | None) -> Cost | None:
        """Return what the answer cost: what is reported, else what it took by this price; `None` where neither is known.

        Another tier of service has another price, which no table has.
        """
        has_its_price = self.tier is None or self.tier in USUAL_TIERS
        cost = cost_of(self._usage, price if has_its_price else None)
        if cost is None or cost.basis == "reported" or not self._has_other:
            return cost
        return replace(cost, at_least=True)

    def _look(self, rest: bytes, known: int) -> None:
        start = 0 if self._is_within else 1
        while True:
            if self._is_within:
                end = self._whole(rest[start:], max(0, known - start))
                if end is None:
                    self._rest = rest[start:]
                    return
                self._is_within, start = False, start + end
            found = _SAID.search(rest, start)
            if found is None:
                self._rest = rest[start - 1 :][-_REACH:]
                return
            start = self._take(found)

    def _take(self, found: re.Match[bytes]) -> int:
        """Return where to look on."""
        if found[2] is not None:
            self.tier = found[2].decode("ascii")
            return found.end()
        self._is_within = True
        return found.start(1)

    def _whole(self, said: bytes, known: int) -> int | None:
        """Return how long this object is; `None` while it is not whole. One that never gets so has no length."""
        if b"}" in said[known:] or known == 0:
            text = said[:LONGEST_USAGE].decode("latin-1")
            try:
                _, size = _decoder.raw_decode(text)
            except (ValueError, RecursionError):
                size = 0
            if size:
                self._note(said[:size])
                return 1  # a tier may stand in it
        return None if len(said) < LONGEST_USAGE else 1

    def _note(self, raw: bytes) -> None:
        usage = read_usage(raw)
        self._has_other |= takes_more(raw)
        if usage is not None:
            self._usage = usage if self._usage is None else _later(self._usage, usage)


def _later(before: Usage, now: Usage) -> Usage:
    """Return what is known of both; Anthropic says the input in the first event, and all of the output in the last."""
    return replace(before, **{name: number for name, number in asdict(now).items() if number is not None})


def usage_of(content: Mapping[str, Any] | bytes) -> Usage | None:
    """Return what an answer took, out of its body, or out of one of its events; `None` where it does not say."""
    watch = UsageWatch()
    watch.feed(content if isinstance(content, bytes) else msgspec.json.encode(content))
    return watch.end()


def estimated(bytes_in: int, bytes_out: int, price: Price | None, *, events: int = 0) -> Cost | None:
    """Return what an answer may have cost of which nobody has said what it took, by its sizes; `None` without a price.

    The bytes are those of the two bodies. In a stream most bytes are no text, but most of its `events` are a token.
    """
    if price is None:
        return None
    output = events or _tokens(bytes_out)
    cost = priced(Usage(_tokens(bytes_in), output), price)
    return None if cost is None else Cost(cost.nano, "estimated", cost.at_least)


def _tokens(size: int) -> int:
    return -(-size // BYTES_A_TOKEN)
