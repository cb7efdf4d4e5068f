"""Misses by their reasons."""

import msgspec
import pytest

from cachemw.cache.sketch import HEADER, URL
from cachemw.ledger.reasons import Expired, NeverStored, OtherCircumstance, OtherFields, Reason
from cachemw.ledger.row import Row
from cachemw.page.grouping import group_of, grouped_misses

NOTHING = dict.fromkeys(Row.__struct_fields__)


def row(place: int, **members: object) -> Row:
    names = dict.fromkeys(("client", "route", "target", "model", "answered_model", "endpoint"), "")
    numbers = {"place": place, "at_ms": place * 1000, "worker": 1, "at_least": 0, "attempts": 1, "count": 1, "outcome": "miss"}
    return msgspec.convert({**NOTHING, **names, **numbers, **members}, Row)


GROUPS: list[tuple[Reason, tuple[str, tuple[str, ...]]]] = [
    (OtherFields(("seed",)), ("field", ("seed",))),
    (OtherFields(("messages[0]",)), ("field", ("messages[0]",))),
    (OtherFields(("messages[7]",)), ("field", ("messages[\u2026]",))),
    (OtherFields(("messages[7]", "messages[8..63]", "seed")), ("field", ("messages[\u2026]", "seed"))),
    (OtherCircumstance((URL,)), ("other-url", (URL,))),
    (OtherCircumstance((f"{HEADER}openai-project",)), ("header openai-project", (f"{HEADER}openai-project",))),
    (Expired(5), ("expired", ())),
    (NeverStored(), ("new", ())),
]


@pytest.mark.parametrize(("reason", "group"), GROUPS)
def test_what_is_one_habit_is_one_group(reason: Reason, group: tuple[str, tuple[str, ...]]) -> None:
    """Later turns of conversations differ anyhow: they are one."""
    assert group_of(reason) == group


def test_groups_are_summed_and_the_dearest_comes_first() -> None:
    seeds = [row(place, cost=10, input_tokens=5, output_tokens=2, model="m", client="c") for place in range(1, 5)]
    dear = row(9, cost=1_000, model="n")
    unknown = row(10, model="n")

    first, second = grouped_misses(
        [*((each, OtherFields(("seed",))) for each in seeds), (dear, NeverStored()), (unknown, NeverStored())]
    )

    assert (first.name, first.count, first.cost, first.unpriced, first.place, first.is_near) == ("new", 2, 1_000, 1, 10, False)
    assert (second.name, second.count, second.cost, second.tokens, second.place) == ("seed", 4, 40, 28, 4)
    assert (second.models, second.clients, second.is_near) == (("m",), ("c",), True)
    assert "`sample=`" in second.advice
    assert not first.advice
