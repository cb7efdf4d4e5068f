"""The failures by their names, and a script of them: what goes wrong at a server, request after request."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil

from msgspec import MsgspecError, convert, json

from cachemw.simulator.asking import Count, Seconds, Simulate, Status
from cachemw.simulator.dialects import DIALECTS
from cachemw.simulator.dialects.base import Dialect
from cachemw.simulator.failures import Disguised, ErrorAnswer, Foreign, Hollow, SimulatedFailure, Unspoken
from cachemw.simulator.script import HangUp, Wait

SILENCE_SECONDS = 3600.0
HUGE_ERROR_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class NamedFailure:
    """What goes wrong, and in whose words; None: in those of the server that is asked."""

    failure: SimulatedFailure
    dialect: Dialect | None = None

    __repr__ = object.__repr__  # it holds what is said


SOUND = NamedFailure(Simulate())


def failure_named(name: str) -> NamedFailure:
    """Return the failure of this name, as `groq:rate`, `cut:100` or `silent`; raise ValueError for any other."""
    word, _, about = name.partition(":")
    if word in DIALECTS:
        return _of_provider(word, about)
    if not about and word in BARE:
        return NamedFailure(BARE[word])
    if about and word in WITH_NUMBER:
        return NamedFailure(_numbered(word, about))
    known = ", ".join((*BARE, *(f"{word}:N" for word in WITH_NUMBER), *(f"{provider}:…" for provider in DIALECTS)))
    raise ValueError(f"no failure is called '{name}'; there are {known}")


def _of_provider(provider: str, name: str) -> NamedFailure:
    failures = DIALECTS[provider].failures
    if name not in failures:
        raise ValueError(f"no failure is called '{provider}:{name}'; of {provider} there are {', '.join(failures)}")
    return NamedFailure(failures[name], DIALECTS[provider])


def _numbered(word: str, about: str) -> SimulatedFailure:
    kind, failure_of = WITH_NUMBER[word]
    try:
        return failure_of(convert(json.decode(about), kind))
    except MsgspecError as exc:
        raise ValueError(f"'{word}:{about}' will not do: {NUMBERS[kind]}") from exc


def _html(status: float) -> SimulatedFailure:
    page = f"<html><head><title>{status}</title></head><body><center><h1>{status}</h1></center></body></html>\n"
    return ErrorAnswer(int(status), page.encode(), media_type=b"text/html")


def _empty(status: float) -> SimulatedFailure:
    return ErrorAnswer(int(status), b"", media_type=b"text/plain")


def _simulating(member: str) -> Callable[[float], SimulatedFailure]:
    return lambda number: convert({member: number}, Simulate)


BARE: dict[str, SimulatedFailure] = {
    "ok": Simulate(),
    "silent": Unspoken((Wait(SILENCE_SECONDS),)),
    "reset": Unspoken((HangUp(),)),
    "no-choices": Hollow(None),
    "no-content": Hollow("stop"),
    "foreign": Foreign(),
    "huge-error": ErrorAnswer(500, {"error": {"message": "x" * HUGE_ERROR_BYTES, "type": "server_error"}}),
}
WITH_NUMBER: dict[str, tuple[object, Callable[[float], SimulatedFailure]]] = {
    "status": (Status, _simulating("status")),
    "html": (Status, _html),
    "empty": (Status, _empty),
    "in-200": (Status, lambda status: Disguised(int(status))),
    "cut": (Count, _simulating("cut_after")),
    "stall": (Count, _simulating("stall_after")),
    "error": (Count, _simulating("error_after")),
    "end": (Count, _simulating("end_after")),
    "slow": (Seconds, _simulating("first_token_seconds")),
}
NUMBERS: dict[object, str] = {
    Status: "a status is 400 to 599",
    Count: "say how many bytes, or events, go before",
    Seconds: "say how many seconds",
}

STEP = re.compile(r"(?P<name>\S+)(?: +(?:x(?P<times>[1-9]\d*)|for +(?P<seconds>\d+(?:\.\d+)?)s))?")


@dataclass(frozen=True, slots=True)
class FailStep:
    """A failure of so many requests, or for so many seconds from the first that meets it; of neither, for good."""

    failure: NamedFailure
    times: int | None = None
    seconds: float | None = None

    __repr__ = object.__repr__

    @property
    def is_for_good(self) -> bool:
        return self.times is None and self.seconds is None

    def is_over(self, met: int, elapsed: float) -> bool:
        if self.times is not None:
            return met >= self.times
        return self.seconds is not None and elapsed >= self.seconds


class FailScript:
    """What goes wrong at a server, request after request; after the last step nothing does."""

    def __init__(self, text: str) -> None:
        """Read a script, as `ok x5, cerebras:quota for 2s, ok`; raise ValueError if it is none."""
        self._steps = tuple(_step(step.strip()) for step in text.split(",")) if text.strip() else ()
        if any(step.is_for_good for step in self._steps[:-1]):
            raise ValueError(f"'{text}': only the last step may last for good; say 'x3' or 'for 2s' after the others")
        self._place = 0
        self._met = 0
        self._since: float | None = None

    def next_failure(self, now: float) -> NamedFailure:
        """Return what the next request meets."""
        for step in self._steps[self._place :]:
            self._since = now if self._since is None else self._since
            if not step.is_over(self._met, now - self._since):
                self._met += 1
                return step.failure if step.seconds is None else _until(step.failure, self._since + step.seconds - now)
            self._place, self._met, self._since = self._place + 1, 0, None
        return SOUND


def _until(named: NamedFailure, seconds: float) -> NamedFailure:
    """Return a failure whose fields say, where it has such, that it is over in so many seconds."""
    if not isinstance(named.failure, ErrorAnswer):
        return named
    said = {b"retry-after": ceil(seconds), b"retry-after-ms": ceil(seconds * 1000)}
    headers = tuple((name, str(said[name]).encode() if name in said else value) for name, value in named.failure.headers)
    return replace(named, failure=replace(named.failure, headers=headers))


def _step(text: str) -> FailStep:
    found = STEP.fullmatch(text)
    if found is None:
        raise ValueError(f"'{text}' is no step: say 'NAME', 'NAME x3' or 'NAME for 2s', with commas between steps")
    times, seconds = found["times"], found["seconds"]
    return FailStep(
        failure_named(found["name"]),
        None if times is None else int(times),
        None if seconds is None else float(seconds),
    )
