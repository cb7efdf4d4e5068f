"""The values that flow: header fields, found by name."""

from hypothesis import given
from hypothesis import strategies as st

from cachemw.messages import Headers, by_name, header_values, values_of_two

names = st.sampled_from([b"Cachemw", b"cachemw", b"CACHE-CONTROL", b"cache-control", b"x-cache", b"accept", b""])
fields = st.lists(st.tuples(names, st.binary(max_size=3)), max_size=8).map(tuple)


@given(fields)
def test_two_fields_are_found_at_once_as_they_are_one_by_one(headers: Headers) -> None:
    one, other = values_of_two(headers, b"cachemw", b"cache-control")

    assert one == header_values(headers, b"cachemw") == by_name(headers).get(b"cachemw", [])
    assert other == header_values(headers, b"cache-control") == by_name(headers).get(b"cache-control", [])
    assert one == [value for name, value in headers if name.lower() == b"cachemw"]
