"""Find out what an answer took while its bytes pass, without keeping or reading more of them than says so."""

import json
import re

from msgspec.structs import asdict, replace

from cachemw.endpoints.usage import read_usage, takes_more
from cachemw.messages import Usage
from cachemw.money import Cost, Price, cost_of, priced

LONGEST_USAGE = 8192
"""The bytes of what an answer says it took that are kept until it is whole; what is longer is not read."""

BYTES_A_TOKEN = 4
"""The bytes of text that are taken for a token where nobody has counted."""

NOTHING_SAID = Usage()
"""The usage of an answer that has not said anything of it."""

USUAL_TIERS = frozenset({"default", "standard", "auto", "on_demand"})
"""The tiers of service whose prices are those that tables have."""

# Names in a JSON document: within a text their quotes would be escaped.
_NAME = b'"usage"'
_USAGE = re.compile(rb'(?<!\\)"usage"[ \t\r\n]{0,8}:[ \t\r\n]{0,8}(\{)')
_TIER = re.compile(rb'(?<!\\)"service_tier"[ \t]{0,8}:[ \t]{0,8}"([a-z_]{1,32})"')
_OPENERS = (b"{", b"[")
_REACH = 96  # no match is longer, with the byte before it
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
        self._is_json: bool | None = None  # nothing has come yet but blanks
        self._is_within = False

    @property
    def events(self) -> int:
        """About how many events of a stream have passed: most are a line and a blank one. Of JSON, none."""
        return 0 if self._is_json else self._lines // 2

    def feed(self, chunk: bytes) -> None:
        """Take in the next bytes."""
        if self._is_json is None and (begin := chunk.lstrip()[:1]):
            self._is_json = begin in _OPENERS
        self._lines += chunk.count(b"\n")
        rest = self._rest + chunk
        if b'"service_tier"' in rest:
            for found in _TIER.finditer(rest, 1):
                self.tier = found[1].decode("ascii")
        if self._is_within or _NAME in rest:
            self._look(rest, len(self._rest))
        else:  # nearly always
            self._rest = rest[-_REACH:]

    def end(self) -> Usage | None:
        """Return what the answer took; `None` where it does not say."""
        return self._usage

    def cost(self, price: Price | None) -> Cost | None:
        """Return what the answer cost: what is reported, else what it took by this price; `None` where neither is known.

        Another tier of service has another price, which no table has.
        """
        cost = cost_of(self._usage, self._own(price))
        if cost is None or cost.basis == "reported" or not self._has_other:
            return cost
        return replace(cost, at_least=True)

    def partial_cost(self, price: Price | None, bytes_in: int, bytes_out: int) -> Cost | None:
        """Return about what an answer cost that broke off, or does not say what it took; the bytes are those of both bodies.

        By then it may have said what its input took, and only the beginning of its output, as Anthropic's do.
        """
        told = self.cost(price)
        if told is not None and told.basis == "reported":
            return told
        likely = estimated(bytes_in, bytes_out, self._own(price), events=self.events, said=self._usage or NOTHING_SAID)
        is_all_told = told is not None and likely is not None and likely.nano <= told.nano
        return told if is_all_told else likely

    def _own(self, price: Price | None) -> Price | None:
        return price if self.tier is None or self.tier in USUAL_TIERS else None

    def _look(self, rest: bytes, known: int) -> None:
        """Read what `rest` holds, of which so many bytes were there before, and keep what may be of use."""
        start = 0 if self._is_within else 1
        while True:
            if self._is_within:
                if not self._is_read(rest[start:], max(0, known - start)):
                    self._rest = rest[start:]
                    return
                self._is_within, start = False, start + 1  # another one may stand in it
            opened = _opened(rest, start)
            if opened is None:
                self._rest = rest[start - 1 :][-_REACH:]
                return
            self._is_within, start = True, opened

    def _is_read(self, said: bytes, known: int) -> bool:
        """Take in an object, and say whether it is whole; one that is too long is done with, too."""
        if known and b"}" not in said[known:]:
            return len(said) >= LONGEST_USAGE
        try:
            _, size = _decoder.raw_decode(said[:LONGEST_USAGE].decode("latin-1"))
        except (ValueError, RecursionError):
            return len(said) >= LONGEST_USAGE
        self._note(said[:size])
        return True

    def _note(self, raw: bytes) -> None:
        usage = read_usage(raw)
        self._has_other |= takes_more(raw)
        if usage is not None:
            self._usage = usage if self._usage is None else _later(self._usage, usage)


def _opened(rest: bytes, start: int) -> int | None:
    """Return where the next object begins that says what an answer took."""
    while (at := rest.find(_NAME, start)) >= 0:
        if found := _USAGE.match(rest, at):
            return found.start(1)
        start = at + 1
    return None


def _later(before: Usage, now: Usage) -> Usage:
    """Return what is known of both; Anthropic says the input in the first event, and all of the output in the last."""
    return replace(before, **{name: number for name, number in asdict(now).items() if number is not None})


def estimated(
    bytes_in: int, bytes_out: int, price: Price | None, *, events: int = 0, said: Usage = NOTHING_SAID
) -> Cost | None:
    """Return what an answer may have cost, by the sizes of the two bodies and what is `said` of it; `None` without a price.

    In a stream most bytes are no text, but most of its `events` are a token.
    """
    if price is None:
        return None
    output = max(said.output_tokens or 0, events or _tokens(bytes_out))
    tokens = _tokens(bytes_in) if said.input_tokens is None else said.input_tokens
    cost = priced(replace(said, input_tokens=tokens, output_tokens=output), price)
    return None if cost is None else Cost(cost.nano, "estimated", cost.at_least)


def _tokens(size: int) -> int:
    return -(-size // BYTES_A_TOKEN)
