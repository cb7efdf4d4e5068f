"""The field `Cachemw-Route` of a request: a table of what it says, and of what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.gateway.wishes import NO_WISHES, InvalidWish, Wishes, read_wishes


def read(*fields: bytes) -> Wishes | InvalidWish:
    return read_wishes(tuple((b"Cachemw-Route", field) for field in fields))


@pytest.mark.parametrize(
    ("fields", "wishes"),
    [
        ([], NO_WISHES),
        ([b""], NO_WISHES),
        ([b"pick=first"], Wishes(pick="first")),
        ([b"pick=race"], Wishes(pick="race")),
        ([b'only=("a/b" "c/d/e")'], Wishes(only=frozenset({"a/b", "c/d/e"}))),
        ([b"spares"], NO_WISHES),
        ([b"spares=?0"], Wishes(spares=False)),
        ([b"hedge"], Wishes(hedge=True)),
        ([b"hedge=?0"], Wishes(hedge=False)),
        ([b"hedge=0"], Wishes(hedge=0.0)),
        ([b"hedge=0.8"], Wishes(hedge=0.8)),
        ([b"deadline=30"], Wishes(deadline=30.0)),
        ([b"deadline=0.25"], Wishes(deadline=0.25)),
        ([b'max-cost="0.0005"'], Wishes(max_cost=500_000)),
        ([b'max-cost="0"'], Wishes(max_cost=0)),
        ([b"pick=cheapest", b"spares=?0"], Wishes(pick="cheapest", spares=False)),
        ([b"pick=first, pick=cheapest"], Wishes(pick="cheapest")),
        ([b"pick=first, weather=fine, aaaaaaaaaaaaaaaaaaaa=1"], Wishes(pick="first", ignored=("weather", "a" * 16))),
    ],
)
def test_a_request_wishes(fields: list[bytes], wishes: Wishes) -> None:
    """E1: `max-cost` is a String of dollars; the last of two members counts (RFC 9651 §4.2.2)."""
    assert read(*fields) == wishes


@pytest.mark.parametrize(
    ("field", "param", "words"),
    [
        (b"pick", "pick", "pick is one of first, cheapest, fastest, weighted, race"),
        (b"pick=best", "pick", "pick is one of first, cheapest"),
        (b'pick="first"', "pick", "pick is one of first, cheapest"),
        (b"only=()", "only", "only is a list of 1 to 64 targets in quotes"),
        (b'only="a/b"', "only", "only is a list of 1 to 64 targets in quotes"),
        (b"only=(a b)", "only", "only is a list of 1 to 64 targets in quotes"),
        (b'only=("a/b";x)', "only", "only is a list of 1 to 64 targets in quotes"),
        (b"only=(%s)" % b" ".join([b'"a"'] * 65), "only", "only is a list of 1 to 64 targets in quotes"),
        (b"spares=0", "spares", "spares takes no value, or ?0 for no"),
        (b"hedge=-1", "hedge", "hedge is a number of seconds, 0 or more"),
        (b"hedge=p95", "hedge", "hedge is a number of seconds, 0 or more"),
        (b"deadline", "deadline", "deadline is a number of seconds, more than 0"),
        (b"deadline=0", "deadline", "deadline is a number of seconds, more than 0"),
        (b"max-cost=0.5", "max-cost", 'such as max-cost="0.0005"'),
        (b'max-cost="-1"', "max-cost", "max-cost is dollars"),
        (b'max-cost="1e3"', "max-cost", "max-cost is dollars"),
        (b'max-cost="0.0000000001"', "max-cost", "at most 9 after the point"),
        (b"pick=first;x", "pick", "pick takes no parameters; members are separated by commas"),
        (b"max_cost=1", "cachemw-route", "no member 'max_cost' (did you mean max-cost?)"),
        (b"model=gpt", "cachemw-route", "no member 'model'; its members are pick, only, spares, hedge, deadline, max-cost"),
        (b"pick first", "cachemw-route", "Cachemw-Route is a dictionary"),
        (b"pick=first,", "cachemw-route", "Cachemw-Route is a dictionary"),
        (b"\xff", "cachemw-route", "Cachemw-Route is a dictionary"),
    ],
)
def test_a_bad_wish_is_refused_in_plain_words(field: bytes, param: str, words: str) -> None:
    refused = read(field)

    assert isinstance(refused, InvalidWish)
    assert refused.param == param
    assert words in refused.message


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_field_is_wishes_or_is_refused(field: bytes) -> None:
    assert isinstance(read(field), Wishes | InvalidWish)
