"""What two sketches have in common, and in what they differ."""

import pytest

from cachemw.cache.differences import Difference, compare, grouped
from cachemw.cache.sketch import Sketch, SketchPart
from tests.cache.sketching import sketch


def of(**codes: str) -> Sketch:
    """Return a sketch with these parts, `_` in the name of an element of a list: `messages_3`, `messages_8_43`."""
    return Sketch(b"", b"", b"", tuple(SketchPart(_name(name), code.encode()) for name, code in codes.items()))


def _name(name: str) -> str:
    listed, _, places = name.partition("_")
    return f"{listed}[{places.replace('_', '..')}]" if places else name


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ((), ()),
        (("model", "seed"), ("model", "seed")),
        (("messages[0]",), ("messages[0]",)),
        (("messages[0]", "messages[1]", "messages[2]", "model"), ("messages[0..2]", "model")),
        (("messages[7]", "messages[8..43]", "messages[44]", "messages[46]"), ("messages[7..44]", "messages[46]")),
        (("messages[0]", "tools[0]", "tools[1]"), ("messages[0]", "tools[0..1]")),
        (("tools[0]", "messages[1]"), ("tools[0]", "messages[1]")),
        (("@header x[", "odd]", "odd[]", "odd[-1]"), ("@header x[", "odd]", "odd[]", "odd[-1]")),
    ],
)
def test_elements_that_follow_one_another_are_told_as_one(names: tuple[str, ...], told: tuple[str, ...]) -> None:
    assert grouped(names) == told


@pytest.mark.parametrize(
    ("here", "there", "difference"),
    [
        pytest.param(of(url="u", seed="1"), of(url="u", seed="1"), Difference(("url", "seed")), id="nothing"),
        pytest.param(of(url="u", seed="1"), of(url="u", seed="2"), Difference(("url",), ("seed",)), id="a value"),
        pytest.param(of(url="u", seed="1"), of(url="u", top="1"), Difference(("url",), (), ("seed",), ("top",)), id="members"),
        pytest.param(
            of(url="u", messages_0="a", messages_1="b", messages_2="c"),
            of(url="u", messages_0="a", messages_1="b"),
            Difference(("url", "messages[0]", "messages[1]"), (), ("messages[2]",), (), (), 2),
            id="a conversation that goes on",
        ),
        pytest.param(
            of(messages_0="a", messages_1_3="b", messages_4="c"),
            of(messages_0="a", messages_1_3="b", messages_4="d"),
            Difference(("messages[0]", "messages[1..3]"), ("messages[4]",), (), (), (), 4),
            id="a long conversation",
        ),
        pytest.param(
            of(messages_0="a", messages_1_4="b", messages_5="c", messages_6="d"),
            of(messages_0="a", messages_1_3="e", messages_4="f", messages_5="c"),
            Difference(
                ("messages[0]", "messages[5]"), (), ("messages[6]",), (), ("messages[1..4]", "messages[1..3]", "messages[4]"), 1
            ),
            id="a long conversation that goes on",
        ),
        pytest.param(
            of(messages_0="a", messages_1_4="b", messages_5="c"),
            of(messages_0="a"),
            Difference(("messages[0]",), (), ("messages[1..4]", "messages[5]"), (), (), 1),
            id="a long conversation and its first turn",
        ),
        pytest.param(
            of(seed="1"),
            Sketch(b"", b"", b"", (SketchPart("@url", b"u"), SketchPart("@header x", b"1"), SketchPart("seed", b"1"))),
            Difference(("seed",), (), (), (), ("@url", "@header x")),
            id="a body alone",
        ),
        pytest.param(
            Sketch(b"", b"", b"", (SketchPart("@url", b"u"), SketchPart("@header x", b"1"), SketchPart("@header x", b"2"))),
            Sketch(b"", b"", b"", (SketchPart("@url", b"u"), SketchPart("@header x", b"3"), SketchPart("@header x", b"2"))),
            Difference(("@url",), ("@header x",)),
            id="a field that stands there twice",
        ),
    ],
)
def test_what_two_have_in_common_and_in_what_they_differ(here: Sketch, there: Sketch, difference: Difference) -> None:
    assert compare(here, there) == difference


@pytest.mark.parametrize(
    ("here", "there", "is_telling"),
    [
        ({"model": "a", "messages": ["b"]}, {"model": "a", "messages": ["c"]}, True),
        ({"model": "a", "messages": ["b"], "seed": 1}, {"model": "a", "messages": ["c"], "seed": 2}, False),
        ({"model": "a", "messages": ["b", "c", "d", "e", "f", "g"]}, {"model": "b", "messages": ["b", "c"]}, True),
        ({"model": "a"}, {"model": "b"}, False),
    ],
)
def test_two_requests_have_something_to_do_with_each_other_by_half_of_a_body_or_the_beginning_of_a_conversation(
    here: dict[str, object], there: dict[str, object], is_telling: bool
) -> None:
    assert compare(sketch(here), sketch(there)).is_telling is is_telling
