"""S4: however an answer was cut into deltas, it is put together to itself or to nothing, and never to another."""

from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cachemw.endpoints.chat.transcode import OTHER_KIND
from tests.endpoints.transcoding import Members, as_json, chunk, piece, says

Column = list[tuple[str, Any]]
"""The pieces of one member, in their order."""

KNOWN = ("content", "refusal", "reasoning", "reasoning_content", "thinking")
UNKNOWN = ("x_note", "x_mood", "notes")

texts = st.text(st.sampled_from("ab ha\n.é"), min_size=1, max_size=12)
words = st.sampled_from(["ha", "final", "gpt-oss", "v1", "said so."])
scalars = st.integers(-2, 2) | st.booleans() | st.just(0.5)


@st.composite
def cut(draw: st.DrawFn, text: str) -> list[str]:
    """Cut a text into pieces, of which some may be empty."""
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=5)))
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@st.composite
def texts_in_pieces(draw: st.DrawFn, names: tuple[str, ...]) -> tuple[Members, list[Column]]:
    message = draw(st.dictionaries(st.sampled_from(names), texts))
    return message, [[(name, part) for part in draw(cut(text))] for name, text in message.items()]


@st.composite
def said_again(draw: st.DrawFn) -> tuple[Members, list[Column]]:
    """Labels and numbers, known or not, that come once or again and again."""
    known = {"channel": words, "format": words, "id": words, "name": words}
    message = draw(st.fixed_dictionaries({}, optional=known | {"x_label": words, "x_count": scalars, "x": st.just({"y": "z"})}))
    return message, [[(name, value)] * draw(st.integers(1, 4)) for name, value in message.items()]


@st.composite
def listed(draw: st.DrawFn) -> tuple[Members, list[Column]]:
    """A list without indexes, of which each piece is a part."""
    entries = draw(st.lists(st.fixed_dictionaries({"n": st.integers(0, 2)}), min_size=1, max_size=6))
    cuts = sorted(draw(st.lists(st.integers(0, len(entries)), max_size=3)))
    parts = [entries[start:end] for start, end in zip([0, *cuts], [*cuts, len(entries)], strict=True)]
    return {"annotations": entries}, [[("annotations", part) for part in parts]]


@st.composite
def indexed(draw: st.DrawFn) -> tuple[Members, list[Column]]:
    """Entries that are told apart by type and index; those of one index come in the order in which they begin."""
    places = draw(st.lists(st.tuples(st.integers(0, 1), st.sampled_from(["a", "b"])), min_size=1, max_size=4, unique=True))
    entries, column = [], Column()
    for index, kind in sorted(places, key=lambda place: place[0]):
        text = draw(texts)
        header = {"type": kind, "index": index, "format": draw(words)}
        entries.append(header | {"text": text})
        column += [("reasoning_details", [header | {"text": part}]) for part in draw(cut(text))]
    return {"reasoning_details": entries}, [column]


@st.composite
def parts(draw: st.DrawFn) -> tuple[Members, list[Column]]:
    """Content in parts, no two of one type beside each other."""
    thought, said = draw(texts), draw(texts)
    content = [{"type": "thinking", "thinking": [{"type": "text", "text": thought}]}, {"type": "text", "text": said}]
    thinking: list[Any] = [[{"type": "thinking", "thinking": [{"type": "text", "text": part}]}] for part in draw(cut(thought))]
    return {"content": content}, [[("content", part) for part in [*thinking, *draw(cut(said))]]]


@st.composite
def deltas(draw: st.DrawFn, columns: list[Column]) -> list[Members]:
    """Return deltas that say each column in its order, one or more of them at once."""
    return list(_mixed(draw, [column[:] for column in columns if column]))


def _mixed(draw: st.DrawFn, queues: list[Column]) -> Iterator[Members]:
    while queues:
        told = draw(st.lists(st.sampled_from(range(len(queues))), min_size=1, unique=True))
        yield dict(queues[at].pop(0) for at in told)
        queues = [queue for queue in queues if queue]


def put_together(said: list[Members]) -> Any:
    answer = as_json(says(*said))
    return answer if isinstance(answer, str) else answer["choices"][0]["message"]


@given(st.data(), texts_in_pieces(KNOWN))
def test_what_is_known_is_put_together_however_it_was_cut(data: st.DataObject, told: tuple[Members, list[Column]]) -> None:
    message, columns = told

    assert put_together(data.draw(deltas(columns))) == {"content": None, "role": "assistant"} | message


@given(st.data(), indexed() | parts())
def test_so_are_entries_and_parts(data: st.DataObject, told: tuple[Members, list[Column]]) -> None:
    message, columns = told

    assert put_together(data.draw(deltas(columns))) == {"content": None, "role": "assistant"} | message


@given(st.data(), st.tuples(texts_in_pieces((*KNOWN, *UNKNOWN)), said_again(), listed(), indexed()))
def test_what_nobody_knows_is_itself_or_nothing(data: st.DataObject, told: tuple[tuple[Members, list[Column]], ...]) -> None:
    message = {name: value for members, _ in told for name, value in members.items()}
    columns = [column for _, some in told for column in some]

    back = put_together(data.draw(deltas(columns)))

    assert back == OTHER_KIND or back == {"content": None, "role": "assistant"} | message


@given(st.data(), texts, st.sampled_from(["choice", "completion"]), st.sampled_from(["text", "x_note"]))
def test_so_is_what_is_beside_the_delta(data: st.DataObject, text: str, level: str, name: str) -> None:
    """A piece is never told for the whole."""
    chunks = [
        chunk(piece(more={name: part})) if level == "choice" else chunk(piece(), **{name: part})
        for part in data.draw(cut(text))
    ]

    answer = as_json([*chunks, *says({"content": "a"})])

    assert answer == OTHER_KIND or (answer["choices"][0] if level == "choice" else answer)[name] == text


@given(st.data(), st.lists(st.integers(0, 1), min_size=1, max_size=5), st.sampled_from(["choice", "completion"]))
def test_so_is_a_list_beside_the_delta(data: st.DataObject, entries: list[int], level: str) -> None:
    """A piece is never told for the whole, nor the pieces that are alike for one."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(entries)), max_size=3)))
    told = [{"ids": entries[start:end]} for start, end in zip([0, *cuts], [*cuts, len(entries)], strict=True)]
    chunks = [chunk(piece(more=one)) if level == "choice" else chunk(piece(), **one) for one in told]

    answer = as_json([*chunks, *says({"content": "a"})])

    assert answer == OTHER_KIND or (answer["choices"][0] if level == "choice" else answer)["ids"] == entries
