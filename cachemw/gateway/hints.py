"""Read in how many seconds a target says that it may be asked again: from its header fields, and from its error."""

import datetime
import re
from collections.abc import Iterator

from cachemw.messages import Headers, by_name

LONGEST_HINT = 86_400.0
"""A day, in seconds. Whoever says more is not believed."""

_NUMBER = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,9})?|\.[0-9]{1,9}")
_DURATION = re.compile(r"(?:[0-9]{1,9}(?:\.[0-9]{1,9})?(?:ms|us|µs|ns|[dhms]))+")
_PART = re.compile(r"([0-9.]+)([a-zµ]+)")
_UNITS = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_DATE = re.compile(r"[A-Z][a-z]{2}, ([0-9]{2}) ([A-Z][a-z]{2}) ([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) GMT")
_MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
_IN_TEXT = re.compile(rf"try again in ({_DURATION.pattern})")
_EPOCH_SECONDS, _EPOCH_MILLISECONDS = 1e9, 1e12  # no duration that anyone is told is as long


def waiting_hint(headers: Headers, now: float | None) -> float | None:
    """Return the hint of the fields that are for nothing else: `retry-after-ms`, else `retry-after`.

    A date counts from the response's own `date`, else from `now`, in seconds since the epoch.
    """
    fields = by_name(headers)
    clock = _clock(fields, now)
    in_milliseconds = [_milliseconds(value) for value in _texts(fields.get(b"retry-after-ms"))]
    in_seconds = [_after(value, clock) for value in _texts(fields.get(b"retry-after"))]
    return next((hint for hint in map(_sane, in_milliseconds + in_seconds) if hint is not None), None)


def bucket_hint(headers: Headers, now: float | None) -> float | None:
    """Return in how many seconds the last of the buckets that have nothing left is full again."""
    fields = by_name(headers)
    clock = _clock(fields, now)
    resets = (_reset(value, clock) for name in _exhausted(fields) for value in _texts(fields.get(name)))
    return max((hint for hint in map(_sane, resets) if hint is not None), default=None)


def duration_hint(text: str) -> float | None:
    """Return the seconds of a duration as Go and protobuf write it: `52s`, `6m0s`, `132ms`."""
    return _sane(_duration(text.strip()))


def text_hint(message: str) -> float | None:
    """Return the hint of a sentence: "try again in 4.77s"."""
    found = _IN_TEXT.search(message.lower())
    return _sane(_duration(found[1])) if found else None


def _sane(seconds: float | None) -> float | None:
    """Return a hint that says something; none, no time at all, and more than a day say nothing."""
    return seconds if seconds is not None and 0.0 < seconds <= LONGEST_HINT else None


def _texts(values: list[bytes] | None) -> Iterator[str]:
    return (value.decode("latin-1").strip() for value in values or ())


def _number(text: str) -> float | None:
    return float(text) if _NUMBER.fullmatch(text) else None


def _milliseconds(text: str) -> float | None:
    number = _number(text)
    return None if number is None else number * _UNITS["ms"]


def _after(text: str, clock: float | None) -> float | None:
    date = _http_date(text)
    return _number(text) if date is None else _until(date, clock)


def _clock(fields: dict[bytes, list[bytes]], now: float | None) -> float | None:
    """Return the time by the server's clock, which need not go as ours does."""
    return next((date for date in map(_http_date, _texts(fields.get(b"date"))) if date is not None), now)


def _http_date(text: str) -> float | None:
    """Return the seconds since the epoch of a date as HTTP writes it (RFC 9110 §5.6.7)."""
    found = _DATE.fullmatch(text)
    if found is None or found[2] not in _MONTHS:
        return None
    day, year, hour, minute, second = (int(found[group]) for group in (1, 3, 4, 5, 6))
    try:
        return datetime.datetime(year, _MONTHS.index(found[2]) + 1, day, hour, minute, second, tzinfo=datetime.UTC).timestamp()
    except ValueError:  # the 31st of a month that has none
        return None


def _exhausted(fields: dict[bytes, list[bytes]]) -> Iterator[bytes]:
    """Yield the names of the fields that say when the buckets without anything left are full again."""
    for name, values in fields.items():
        if b"ratelimit" in name and b"remaining" in name and any(_number(text) == 0.0 for text in _texts(values)):
            yield name.replace(b"remaining", b"reset")


def _reset(text: str, clock: float | None) -> float | None:
    """Return the seconds until a bucket is full: told as such, as a duration, or as the time when it is."""
    number = _number(text)
    if number is None:
        moment = _internet_date(text)
        return _duration(text) if moment is None else _until(moment, clock)
    if number < _EPOCH_SECONDS:
        return number
    return _until(number if number < _EPOCH_MILLISECONDS else number * _UNITS["ms"], clock)


def _until(moment: float, clock: float | None) -> float | None:
    return None if clock is None else moment - clock


def _duration(text: str) -> float | None:
    if not _DURATION.fullmatch(text):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def _internet_date(text: str) -> float | None:
    """Return the seconds since the epoch of a date as RFC 3339 writes it."""
    try:
        moment = datetime.datetime.fromisoformat(text) if "-" in text and ":" in text else None
        return moment.timestamp() if moment is not None and moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None
