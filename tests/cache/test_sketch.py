"""The sketch of a key: which parts it has, which of them are equal, and that nothing can be read in it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.cache.key import Key, frame
from cachemw.cache.sketch import (
    FIRST_PLACES,
    HEADER,
    LAST_PLACES,
    LONGEST_NAME,
    NAMESPACE,
    SAMPLE,
    URL,
    Sketch,
    read_sketch,
    sketch_of,
    sketch_of_body,
)

SECRET, OTHER_SECRET = b"s" * 32, b"t" * 32
CALLER, OTHER_CALLER = b"credential:alice", b"credential:bob"
BODY = {"messages": [{"content": "Name a colour.", "role": "user"}], "model": "gpt-oss-120b", "seed": 7}


def canonical(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def key(
    body: Any = BODY,
    *,
    partition: bytes = CALLER,
    namespace: bytes = b"",
    sample: bytes = b"0",
    url: bytes = b"https://api.example/v1/chat/completions",
    fields: tuple[bytes, ...] = (),
) -> Key:
    parts = frame((b"cachemw/2", partition, namespace, sample, frame((b"http", url)), frame(fields), canonical(body)))
    return Key(parts, b"", b"")


def sketch(made: Key, secret: bytes = SECRET) -> Sketch:
    read = read_sketch(sketch_of(made, secret))
    assert read is not None
    return read


def names(found: Sketch) -> list[str]:
    return [part.name for part in found.parts]


def differing(one: Sketch, other: Sketch) -> set[str]:
    """Return the names of the parts that are not the same in both."""
    return {part.name for part in {*one.parts} ^ {*other.parts}}


def test_a_sketch_names_every_part_in_order() -> None:
    found = sketch(key(namespace=b"=night", sample=b"2", fields=(b"openai-project", b"p1")))

    assert names(found) == [NAMESPACE, SAMPLE, URL, f"{HEADER}openai-project", "messages[0]", "model", "seed"]


@pytest.mark.parametrize(
    ("other", "parts"),
    [
        (key(), set()),
        (key({**BODY, "seed": 8}), {"seed"}),
        (key({**BODY, "top_p": 1}), {"top_p"}),
        (key({**BODY, "tools": []}), {"tools"}),
        (key({**BODY, "messages": [{"content": "Name a town.", "role": "user"}]}), {"messages[0]"}),
        (key({**BODY, "messages": [*BODY["messages"], {"content": "Go on.", "role": "user"}]}), {"messages[1]"}),  # type: ignore[misc]
        (key(namespace=b"=night"), {NAMESPACE}),
        (key(sample=b"1"), {SAMPLE}),
        (key(url=b"https://other.example/v1/chat/completions"), {URL}),
        (key(fields=(b"openai-project", b"p1")), {f"{HEADER}openai-project"}),
    ],
)
def test_the_parts_that_differ_are_those_that_were_changed(other: Key, parts: set[str]) -> None:
    """O5"""
    assert differing(sketch(key()), sketch(other)) == parts
    assert (sketch(key()).whole == sketch(other).whole) == (not parts)
    assert sketch(key()).caller == sketch(other).caller


def test_two_callers_have_no_code_in_common_but_those_that_the_operator_compares_them_by() -> None:
    alice, bob = sketch(key()), sketch(key(partition=OTHER_CALLER))

    assert {part.code for part in alice.parts} & {part.code for part in bob.parts} == set()
    assert (alice.whole, alice.body) == (bob.whole, bob.body)
    assert alice.caller != bob.caller


def test_without_the_secret_nobody_can_search_for_what_a_sketch_is_made_of() -> None:
    one, other = sketch(key()), sketch(key(), OTHER_SECRET)

    assert {part.code for part in one.parts} & {part.code for part in other.parts} == set()
    assert {one.caller, one.body, one.whole} & {other.caller, other.body, other.whole} == set()


def test_a_body_alone_has_the_parts_that_it_has_in_a_key() -> None:
    alone, whole = sketch_of_body(canonical(BODY), CALLER, SECRET), sketch(key())

    assert {*alone.parts} < {*whole.parts}
    assert (alone.body, alone.caller) == (whole.body, whole.caller)


@pytest.mark.parametrize("count", [1, FIRST_PLACES + LAST_PLACES, FIRST_PLACES + LAST_PLACES + 1, 500])
def test_of_a_long_list_the_first_and_the_last_elements_are_told_apart(count: int) -> None:
    inputs = [f"number {place}" for place in range(count)]

    found = names(sketch(key({"input": inputs})))[1:]

    if count <= FIRST_PLACES + LAST_PLACES:
        assert found == [f"input[{place}]" for place in range(count)]
    else:
        assert found[FIRST_PLACES] == f"input[{FIRST_PLACES}..{count - LAST_PLACES - 1}]"
        assert found[:FIRST_PLACES] == [f"input[{place}]" for place in range(FIRST_PLACES)]
        assert found[FIRST_PLACES + 1 :] == [f"input[{place}]" for place in range(count - LAST_PLACES, count)]


@pytest.mark.parametrize("place", [0, FIRST_PLACES, 200, 499])
def test_of_a_long_list_every_element_counts(place: int) -> None:
    inputs = [f"number {each}" for each in range(500)]
    changed = [*inputs[:place], "another", *inputs[place + 1 :]]

    (part,) = differing(sketch(key({"input": inputs})), sketch(key({"input": changed})))

    assert part in (f"input[{place}]", f"input[{FIRST_PLACES}..{499 - LAST_PLACES}]")


def test_the_name_of_a_member_that_nobody_knows_is_kept_in_part() -> None:
    found = sketch(key({"x" * 100: 1}))

    assert names(found) == [URL, "x" * LONGEST_NAME]


@pytest.mark.parametrize("encoded", [b"", b"\xff", b"\x94\xc4\x00\xc4\x00\xc4\x00\xc0", b"a sketch"])
def test_what_is_no_sketch_is_none(encoded: bytes) -> None:
    assert read_sketch(encoded) is None


@given(st.binary(max_size=200))
def test_any_bytes_can_be_read_as_a_sketch_or_not(encoded: bytes) -> None:
    found = read_sketch(encoded)

    assert found is None or isinstance(found, Sketch)


words = st.text(min_size=16, max_size=40)


@given(st.lists(words, min_size=1, max_size=5), words)
def test_a_sketch_holds_nothing_of_what_was_said(messages: list[str], seed: str) -> None:
    """O3"""
    body = {"messages": [{"content": text, "role": "user"} for text in messages], "seed": seed}

    encoded = sketch_of(key(body, fields=(b"openai-project", seed.encode())), SECRET)

    assert not any(
        text.encode()[at : at + 16] in encoded for text in (*messages, seed) for at in range(len(text.encode()) - 15)
    )


def test_what_is_no_json_is_one_part() -> None:
    parts = frame((b"cachemw/2", CALLER, b"", b"0", frame((b"http", b"u")), frame(()), b"\x00 not JSON"))

    assert names(sketch(Key(parts, b"", b""))) == [URL, "body"]


def test_a_sketch_of_an_ordinary_request_is_small() -> None:
    assert len(sketch_of(key(), SECRET)) < 200
