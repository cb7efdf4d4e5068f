"""The values that flow: header fields, found by name; and the names of who answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.messages import (
    AppTarget,
    ClientTarget,
    Headers,
    HttpRecipient,
    HttpTarget,
    Target,
    by_name,
    header_values,
    values_of_two,
)

names = st.sampled_from([b"Cachemw", b"cachemw", b"CACHE-CONTROL", b"cache-control", b"x-cache", b"accept", b""])
fields = st.lists(st.tuples(names, st.binary(max_size=3)), max_size=8).map(tuple)


@given(fields)
def test_two_fields_are_found_at_once_as_they_are_one_by_one(headers: Headers) -> None:
    one, other = values_of_two(headers, b"cachemw", b"cache-control")

    assert one == header_values(headers, b"cachemw") == by_name(headers).get(b"cachemw", [])
    assert other == header_values(headers, b"cache-control") == by_name(headers).get(b"cache-control", [])
    assert one == [value for name, value in headers if name.lower() == b"cachemw"]


URL = "https://api.example/v1/chat/completions"
CEREBRAS = HttpTarget(URL, HttpRecipient("cerebras"))


@pytest.mark.parametrize(
    ("target", "model", "name"),
    [
        pytest.param(CEREBRAS, "m", "cerebras/m", id="a provider"),
        pytest.param(CEREBRAS, None, "cerebras", id="a provider, whose model nobody read"),
        pytest.param(HttpTarget(URL + "?key=secret"), "m", URL, id="a URL"),
        pytest.param(HttpTarget(URL + "?key=secret"), None, URL, id="a URL, unread"),
        pytest.param(ClientTarget(URL + "?key=secret"), "m", URL, id="a client's own"),
        pytest.param(AppTarget("bot", b"", b"/v1", b"/v1", b""), "m", "bot", id="an app"),
    ],
)
def test_who_answers_has_one_name(target: Target, model: str | None, name: str) -> None:
    """B5: a query may hold a key."""
    assert target.called(model) == name
