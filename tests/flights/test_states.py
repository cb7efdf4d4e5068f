"""The states of a flight as tables: what each event makes of each, and what becomes of one that is left or stopped."""

import math
from collections.abc import Callable

import anyio
import pytest

from cachemw.cache.directives import Abandon
from cachemw.cache.effects import Claim
from cachemw.cache.live_response import begin
from cachemw.errors import UpstreamError
from cachemw.flights.flight import Flight, State
from cachemw.flights.registry import FlightTable
from cachemw.limits import Limits
from cachemw.report import ExchangeReport
from tests.cache.answers import JSON_HEAD, STREAM_HEAD, chat, course, terms

pytestmark = pytest.mark.anyio

NOTICE = 10.0
FIND = Claim(course(chat()), may_lead=False, may_follow=True, on_abandon=Abandon.CANCEL, report=ExchangeReport())
LEAD = Claim(course(chat()), may_lead=True, may_follow=True, on_abandon=Abandon.CANCEL, report=ExchangeReport())

CLAIMED, OPEN, SHOWING, STORING, OVER, RELEASED = State
CANNOT = AssertionError


def shows_json(flight: Flight) -> None:
    response = begin(JSON_HEAD, terms(), 0.0)
    response.feed(b"{", 0.0)
    flight.show(response)


def release_held(flight: Flight) -> None:
    if flight.response is not None:
        flight.response.release_held()


def joins(flight: Flight) -> None:
    flight.join(Abandon.CANCEL)


def joins_to_finish(flight: Flight) -> None:
    flight.join(Abandon.FINISH)


def leaves(flight: Flight) -> None:
    (reader,) = flight.readers
    flight.leave(reader)


EVENTS: dict[str, Callable[[Flight], None]] = {
    "begin": lambda flight: flight.begin(NOTICE),
    "show a stream": lambda flight: flight.show(begin(STREAM_HEAD, terms(stream=True), 0.0)),
    "show JSON": shows_json,
    "release what is held": release_held,
    "complete": lambda flight: flight.complete(),
    "end": lambda flight: flight.end(None),
    "fail": lambda flight: flight.end(UpstreamError("refused")),
    "stop": lambda flight: flight.stop(),
    "cancel when unread": lambda flight: flight.cancel_when_unread(),
    "detach": lambda flight: flight.detach(),
    "join": joins,
    "join to finish": joins_to_finish,
    "leave": leaves,
}

COLUMNS = {
    "claimed": [],
    "open": ["begin"],
    "open, with JSON that is held": ["begin", "show JSON"],
    "showing": ["begin", "show a stream"],
    "storing": ["begin", "show a stream", "complete"],
    "over": ["begin", "show a stream", "complete", "end"],
    "released": ["end"],
}

# fmt: off
NEXT: dict[str, tuple[State | type[Exception], ...]] = {
    "":                      (CLAIMED,  OPEN,    OPEN,    SHOWING, STORING, OVER,   RELEASED),
    "begin":                 (OPEN,     CANNOT,  CANNOT,  CANNOT,  CANNOT,  CANNOT, CANNOT),
    "show a stream":         (CANNOT,   SHOWING, CANNOT,  CANNOT,  CANNOT,  CANNOT, CANNOT),
    "show JSON":             (CANNOT,   OPEN,    CANNOT,  CANNOT,  CANNOT,  CANNOT, CANNOT),
    "release what is held":  (CLAIMED,  OPEN,    SHOWING, SHOWING, STORING, OVER,   RELEASED),
    "complete":              (CANNOT,   CANNOT,  STORING, STORING, CANNOT,  CANNOT, CANNOT),
    "end":                   (RELEASED, OVER,    OVER,    OVER,    OVER,    OVER,   RELEASED),
    "fail":                  (RELEASED, OVER,    OVER,    OVER,    OVER,    OVER,   RELEASED),
    "stop":                  (CLAIMED,  OPEN,    OPEN,    SHOWING, STORING, OVER,   RELEASED),
    "cancel when unread":    (CLAIMED,  OPEN,    OPEN,    SHOWING, STORING, OVER,   RELEASED),
    "detach":                (CLAIMED,  OPEN,    OPEN,    SHOWING, STORING, OVER,   RELEASED),
    "join":                  (CLAIMED,  OPEN,    OPEN,    SHOWING, STORING, OVER,   RELEASED),
    "join, leave":           (CLAIMED,  OPEN,    OPEN,    SHOWING, STORING, OVER,   RELEASED),
    "join to finish, leave": (CLAIMED,  OPEN,    OPEN,    SHOWING, STORING, OVER,   RELEASED),
}

ENDINGS = {
    # events                                      can be joined, its upstream told to stop, cancelled, detached
    "":                                          (True,  False, "never",   0),
    "join":                                      (True,  False, "never",   0),
    "join, leave":                               (False, True,  "in time", 0),
    "join to finish, leave":                     (True,  False, "never",   1),
    "join to finish, leave, join":               (True,  False, "never",   0),
    "join to finish, leave, stop":               (False, True,  "in time", 0),
    "join to finish, leave, cancel when unread": (False, False, "at once", 1),
    "stop":                                      (False, True,  "in time", 0),
    "stop, end":                                 (False, True,  "never",   0),
    "cancel when unread":                        (False, False, "at once", 0),
    "join, cancel when unread":                  (False, False, "never",   0),
    "join, cancel when unread, leave":           (False, False, "at once", 0),
    "join, cancel when unread, end, leave":      (False, True,  "never",   0),
    "end":                                       (False, True,  "never",   0),
    "join, end, cancel when unread":             (False, True,  "at once", 0),
    "fail":                                      (False, True,  "never",   0),
}
# fmt: on


class Led:
    """A flight that others find, and how it is to end."""

    def __init__(self, way: list[str]) -> None:
        self._table: FlightTable[Flight] = FlightTable(Flight, Limits())
        _, flight = self._table.claim(LEAD)
        assert flight is not None
        self.flight = flight
        self.go(way)

    def go(self, events: list[str]) -> None:
        for event in events:
            EVENTS[event](self.flight)

    @property
    def ending(self) -> tuple[bool, bool, str, int]:
        can_be_joined = not self._table.is_alone(FIND)
        assert can_be_joined is not self.flight.closed_to_new.is_set()
        return can_be_joined, self.flight.ending.is_set(), self._cancelled, self._table.detached

    @property
    def _cancelled(self) -> str:
        if self.flight.scope.cancel_called:
            return "at once"
        if self.flight.scope.deadline == math.inf:
            return "never"
        assert self.flight.scope.deadline == pytest.approx(anyio.current_time() + NOTICE, abs=5)
        return "in time"


def split(events: str) -> list[str]:
    return events.split(", ") if events else []


@pytest.mark.parametrize("events", NEXT)
@pytest.mark.parametrize("column", COLUMNS)
async def test_each_event_in_each_state(column: str, events: str) -> None:
    """P1, P3: or cannot be there."""
    led, expected = Led(COLUMNS[column]), NEXT[events][list(COLUMNS).index(column)]

    if isinstance(expected, State):
        led.go(split(events))
        assert led.flight.state is expected
    else:
        with pytest.raises(expected):
            led.go(split(events))


def test_there_is_a_row_for_every_event() -> None:
    named = {event for events in NEXT for event in split(events)}

    assert named == set(EVENTS)
    assert {len(row) for row in NEXT.values()} == {len(COLUMNS)}


@pytest.mark.parametrize("events", ENDINGS)
@pytest.mark.parametrize("state", ["open", "open, with JSON that is held", "showing", "storing"])
async def test_who_may_join_and_what_is_cancelled_whatever_has_been_shown(state: str, events: str) -> None:
    """H3, P3: what is being stopped is joined by nobody; what is over is not cancelled any more."""
    led = Led(COLUMNS[state])

    led.go(split(events))

    assert led.ending == ENDINGS[events]


@pytest.mark.parametrize("events", ["join, leave", "join to finish, leave"])
async def test_a_follower_that_leaves_before_the_leader_has_joined_ends_nothing(events: str) -> None:
    """H3, P1."""
    led = Led(COLUMNS["claimed"])

    led.go(split(events))

    assert led.ending == (True, False, "never", 0)
