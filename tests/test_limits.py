"""Limits as an operator gives them."""

import math
from dataclasses import FrozenInstanceError, fields, replace
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


def test_limits_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        Limits().detached = 1  # type: ignore[misc]
