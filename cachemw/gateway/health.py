"""The health of targets and of keys: values, and what every attempt changes in them."""

import math
from collections.abc import Iterable
from typing import Literal

import msgspec
from msgspec.structs import replace

from cachemw.gateway.failure_kinds import TREATMENTS, Cools, Failure, FailureKind
from cachemw.redaction import redacted_repr

Readiness = Literal["ready", "probe", "cooling"]


class Good(msgspec.Struct, frozen=True):
    """A sound answer: in how many seconds it began, and how many tokens a second came then. `None`: that was not to be seen."""

    first_token: float | None
    tokens_per_second: float | None = None


class Gone(msgspec.Struct, frozen=True):
    """An attempt that says nothing of its target: the client left, another target was faster, or our own time was up."""


GONE = Gone()


Quantiles = tuple[float, float, float, float]
"""The p50, p90, p95 and p99 of the seconds in which the last answers of a target began."""


_SLOT = 3.0
_SLOTS = 10
_FEWEST, _SHARE = 5, 0.5
_IN_A_ROW = 3
_MOST_STRIKES = 16
_QUIET = 300.0
_JITTER = 0.2
_HALF_LIFE = 60.0
_KEPT, _FEWEST_KEPT = 64, 8
_USUAL = 31
_PROOF = 8
_PROBE_LAPSE = 120.0
_PROBE_PAUSE = 1.0


class Slot(msgspec.Struct, frozen=True):
    """How many attempts ended well, and how many badly, in the same three seconds."""

    number: int
    good: int = 0
    bad: int = 0


class Standing(msgspec.Struct, frozen=True):
    """The health of what failures are about: a key, a key with one model, or a model with every key.

    Times are in monotonic seconds. `why`: it was `cooled_at` a failure, `until` then, and is on probation after that, until an
    attempt goes well that was begun later than the failure; `probe` is when the one that finds out was begun. `strikes` double
    the next cooldown, and halve with every five minutes of quiet. `slots` are the last 30 seconds; `recent` are the seconds in
    which the last answers began, and `recent_rates` the tokens a second in which they came.
    """

    until: float = 0.0
    cooled_at: float = 0.0
    why: FailureKind | None = None
    probe: float | None = None
    strikes: int = 0
    in_a_row: int = 0
    good_in_a_row: int = 0
    slots: tuple[Slot, ...] = ()
    first_token: float | None = None
    rate: float | None = None
    measured_at: float = 0.0
    recent: tuple[float, ...] = ()
    recent_rates: tuple[float, ...] = ()
    quantiles: Quantiles | None = None
    usual_first_token: float | None = None
    usual_rate: float | None = None
    busy: int = 0

    __repr__ = redacted_repr


FRESH = Standing()
"""That of which nothing is known."""


class Health(msgspec.Struct, frozen=True):
    """The health of one target, as it is for one credential: that of its key, of its model, and of both, together.

    `until` is when its cooldown ends, in monotonic seconds, and `why` is the kind of failure that began it. `first_token`, in
    seconds, and `rate`, in tokens a second, are those of its last good answers, the worst most of all; `usual_first_token` and
    `usual_rate` are the medians of a few more. `busy` is how many requests it has of ours. One that `is_unproven` has failed
    lately, and answered too seldom since to be relied on.
    """

    readiness: Readiness = "ready"
    until: float = 0.0
    why: str = ""
    first_token: float | None = None
    rate: float | None = None
    busy: int = 0
    quantiles: Quantiles | None = None
    usual_first_token: float | None = None
    usual_rate: float | None = None
    is_unproven: bool = False

    __repr__ = redacted_repr


def readiness(standing: Standing, now: float) -> Readiness:
    """Say whether requests may go there: all of them, one that finds out, or none."""
    if standing.why is None:
        return "ready"
    return "cooling" if now < standing.until or _is_probed(standing, now) else "probe"


def _is_probed(standing: Standing, now: float) -> bool:
    return standing.probe is not None and now - standing.probe < _PROBE_LAPSE


def begun(standing: Standing, now: float) -> Standing:
    """Return the standing when an attempt begins. Where one is to find out, it is this one."""
    probe = now if readiness(standing, now) == "probe" else standing.probe
    return replace(standing, busy=standing.busy + 1, probe=probe)


def answering(standing: Standing, began: float) -> Standing:
    """Return the standing when the attempt that `began` then gets a sound answer, which may take long to end."""
    if standing.why is None or began <= standing.cooled_at:
        return standing  # what was asked before the last failure says nothing of what is asked now
    return replace(standing, until=min(standing.until, began), why=None, probe=None, in_a_row=0)


def ended(
    standing: Standing, result: Good | Failure | Gone, now: float, *, began: float | None = None, roll: float = 0.5
) -> Standing:
    """Return the standing when an attempt ends. `began` is when it did; `None`: after everything that was known.

    The `roll`, at least 0 and below 1, spreads the cooldowns that nobody gave a hint for.
    """
    is_probe = began is None or began == standing.probe
    standing = replace(standing, busy=max(0, standing.busy - 1), probe=None if is_probe else standing.probe)
    began = now if began is None else began
    if isinstance(result, Good):
        return _measured(_counted(answering(standing, began), now, good=1), result, now)
    if isinstance(result, Failure) and TREATMENTS[result.kind].cools is not Cools.NEVER:
        return _failed(_counted(standing, now, bad=1), result, now, began, roll)
    return standing


def _counted(standing: Standing, now: float, *, good: int = 0, bad: int = 0) -> Standing:
    """Return a standing with one more in its last 30 seconds; those in a row are counted by `_failed`."""
    number = int(now // _SLOT)
    kept = [slot for slot in standing.slots if number - _SLOTS < slot.number]
    slot = kept.pop() if kept and kept[-1].number >= number else Slot(number)
    kept.append(Slot(slot.number, slot.good + good, slot.bad + bad))
    in_a_row, good_in_a_row = (0, standing.good_in_a_row + 1) if good else (standing.in_a_row, 0)
    return replace(standing, slots=tuple(kept), in_a_row=in_a_row, good_in_a_row=good_in_a_row)


def _failed(standing: Standing, failure: Failure, now: float, began: float, roll: float) -> Standing:
    cools = TREATMENTS[failure.kind].cools
    in_a_row = standing.in_a_row + (cools is Cools.IN_A_ROW)
    standing = replace(standing, in_a_row=in_a_row)
    is_on_probation = standing.why is not None and now >= standing.until and began >= standing.until
    is_at_once = cools is Cools.AT_ONCE or failure.hint is not None or is_on_probation
    if is_at_once or in_a_row >= _IN_A_ROW or _fails_often(standing):
        return _cooled(standing, failure, now, roll)
    return standing


def _fails_often(standing: Standing) -> bool:
    bad = sum(slot.bad for slot in standing.slots)
    total = bad + sum(slot.good for slot in standing.slots)
    return total >= _FEWEST and bad >= _SHARE * total


def _cooled(standing: Standing, failure: Failure, now: float, roll: float) -> Standing:
    """Return a standing that is cooled, for no less long than it is already.

    Failures in one cooldown are one strike, and none where they come with a hint: that says all about how long it takes.
    """
    is_cooling = standing.why is not None and now < standing.until
    left = standing.strikes if is_cooling else _left_of(standing, now)
    strikes = max(1, left) if is_cooling and failure.hint is None else left + (failure.hint is None)
    until = max(standing.until, now + _seconds(failure, strikes, roll))
    why = standing.why if is_cooling and until == standing.until else failure.kind
    return replace(standing, until=until, cooled_at=now, why=why, probe=None, strikes=min(strikes, _MOST_STRIKES))


def _left_of(standing: Standing, now: float) -> int:
    """Return the strikes that the quiet since the last cooldown has left."""
    return standing.strikes >> int(min(max(0.0, now - standing.until) // _QUIET, _MOST_STRIKES))


def _seconds(failure: Failure, strikes: int, roll: float) -> float:
    if failure.hint is not None:
        return failure.hint
    treatment = TREATMENTS[failure.kind]
    return min(treatment.cap, treatment.first * 2.0 ** (strikes - 1)) * (1.0 + _JITTER * (2.0 * roll - 1.0))


def _measured(standing: Standing, good: Good, now: float) -> Standing:
    """Return a standing that has measured an answer. Half of what it knew fades in a minute; what is worse counts at once."""
    weight = 0.5 ** (max(0.0, now - standing.measured_at) / _HALF_LIFE)
    if good.tokens_per_second is not None:
        standing = _with_rate(standing, good.tokens_per_second, weight)
    if good.first_token is None:
        return replace(standing, measured_at=now)
    first_token = standing.first_token
    mixed = good.first_token if first_token is None else max(good.first_token, _mixed(first_token, good.first_token, weight))
    recent = (*standing.recent[1 - _KEPT :], good.first_token)
    return replace(
        standing,
        first_token=mixed,
        measured_at=now,
        recent=recent,
        quantiles=_quantiles(recent),
        usual_first_token=_median(recent[-_USUAL:]),
    )


def _with_rate(standing: Standing, new: float, weight: float) -> Standing:
    rate = new if standing.rate is None else min(new, _mixed(standing.rate, new, weight))
    recent = (*standing.recent_rates[1 - _USUAL :], new)
    return replace(standing, rate=rate, recent_rates=recent, usual_rate=_median(recent))


def _median(values: tuple[float, ...]) -> float | None:
    return sorted(values)[len(values) // 2] if len(values) >= _FEWEST_KEPT else None


def _mixed(old: float, new: float, weight: float) -> float:
    return old * weight + new * (1.0 - weight)


def _quantiles(recent: tuple[float, ...]) -> Quantiles | None:
    """Return the quantiles of what was measured; `None` where that is too little to tell."""
    if len(recent) < _FEWEST_KEPT:
        return None
    ordered = sorted(recent)
    p50, p90, p95, p99 = (ordered[math.ceil(share * len(ordered)) - 1] for share in (0.5, 0.9, 0.95, 0.99))
    return p50, p90, p95, p99


def health_of(standings: Iterable[Standing], measured: Standing, now: float) -> Health:
    """Return the health of a target of which these are the standings; `measured` has what its answers took."""
    found: Readiness = "ready"
    until, why, is_unproven = 0.0, "", False
    for standing in standings:
        is_unproven = is_unproven or _is_unproven(standing, now)
        one = readiness(standing, now)
        if one == "ready" or one == "probe" and found == "cooling":
            continue
        end = standing.until if now < standing.until or one == "probe" else now + _PROBE_PAUSE
        if one != found or end > until:
            found, until, why = one, end, standing.why.value if standing.why else ""
    return Health(
        found,
        until,
        why,
        measured.first_token,
        measured.rate,
        measured.busy,
        measured.quantiles,
        measured.usual_first_token,
        measured.usual_rate,
        is_unproven,
    )


def _is_unproven(standing: Standing, now: float) -> bool:
    return standing.good_in_a_row < _PROOF and standing.strikes > 0 and _left_of(standing, now) > 0
