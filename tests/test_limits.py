"""Limits as an operator gives them."""

import math
from dataclasses import FrozenInstanceError, asdict, fields, replace
from typing import Any

import pytest

from cachemw import ConfigurationError, Limits, Timeouts
from cachemw.limits import Work

BOUNDS = [
    (bounds, field.name)
    for bounds in (Limits(), Timeouts(), Work())
    for field in fields(bounds)
    if isinstance(getattr(bounds, field.name), int | float)
]


@pytest.mark.parametrize("bound", [-1, -0.5, math.nan])
@pytest.mark.parametrize(("bounds", "name"), BOUNDS)
def test_a_bound_that_cannot_work_is_refused_by_its_name(bounds: Limits | Timeouts | Work, name: str, bound: float) -> None:
    """D7"""
    bound_so: dict[str, Any] = {name: bound}

    with pytest.raises(ConfigurationError, match=rf"{type(bounds).__name__}\.{name} "):
        replace(bounds, **bound_so)


@pytest.mark.parametrize("bound", [0, math.inf])
def test_nothing_and_everything_are_bounds(bound: float) -> None:
    assert Limits(store_patience=bound).store_patience == bound


@pytest.mark.parametrize("bounds", [Limits(), Timeouts(), Work()])
def test_each_bound_is_documented(bounds: Limits | Timeouts | Work) -> None:
    documented = [line.split()[0] for line in (type(bounds).__doc__ or "").splitlines() if line.strip()]

    assert {field.name for field in fields(bounds)} <= set(documented)


def test_the_bounds_are_these_unless_told() -> None:
    """D7, P3: who runs it has sized their machine by them."""
    memory = {
        "requests_bytes": 2**28,
        "flight_bytes": 2**28,
        "derived_bytes": 2**24,
        "recall_bytes": 2**26,
        "judged_bytes": 2**18,
    }
    flights = {"detached": 32, "abandon_grace": 120, "stop_notice": 1, "apart": 4, "json_hold": 10, "done_hold": 1}
    store = {"store_patience": 0.05, "store_opening": 0.25, "store_call": 1, "store_calls": 64, "store_queue_bytes": 2**26}
    rests = {"store_faults": 5, "store_first_rest": 0.25, "store_rest": 5}
    heads = {"head_bytes": 2**16, "head_fields": 100, "head_time": 10, "body_time": 60}
    clients = {"write_time": 120, "linger_time": 1, "drain_bytes": 2**20}
    timeouts = {"first_byte": 600, "idle": 120, "total": 3600, "connect": 10, "pool": 1}
    work = {"document": 2**23, "answer": 2**25, "objects": 2**17, "lines": 2**18, "lines_at_once": 2**15, "pieces": 4096}

    mount = memory | flights | store | rests | heads | clients
    assert asdict(Limits()) == mount | {"timeouts": timeouts, "work": work}


def test_limits_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        Limits().detached = 1  # type: ignore[misc]
