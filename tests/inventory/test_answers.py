"""What a stored answer says, as people read it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from cachemw.inventory.answers import answer_text
from cachemw.messages import StoredResponse
from tests.inventory.records import chunks, completion, streamed, whole

CALL = {"id": "c", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bonn"}'}}
MESSAGE = {
    "type": "message",
    "role": "assistant",
    "content": [
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "t", "name": "weather", "input": {"city": "Bonn"}},
    ],
}
OUTPUT = [
    {"type": "reasoning", "summary": []},
    {"type": "message", "content": [{"type": "output_text", "text": "I look."}]},
    {"type": "function_call", "call_id": "c", "name": "weather", "arguments": '{"city":"Bonn"}'},
]
LOOKS = 'I look.\n\nweather({"city":"Bonn"})'
CALL_CHUNKS = [
    {"choices": [{"index": 0, "delta": {"content": "I look."}}]},
    {
        "choices": [
            {"index": 0, "delta": {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "weather", "arguments": ""}}]}}
        ]
    },
    {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": '{"city":'}}]}}]},
    {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": '"Bonn"}'}}]}}]},
]
TEXTS: dict[str, tuple[StoredResponse, str]] = {
    "a completion": (completion("Blue.\nVery."), "Blue.\nVery."),
    "chunks": (chunks("Bl", "ue."), "Blue."),
    "chunks of a call": (streamed(*CALL_CHUNKS), LOOKS),
    "chunks of two choices": (
        streamed(
            *({"choices": [{"index": place, "delta": {"content": text}}]} for place, text in enumerate(("Blue.", "Grey.")))
        ),
        "Blue.\n\nGrey.",
    ),
    "chunks of text": (streamed({"choices": [{"index": 0, "text": "Blue."}]}, endpoint="completions"), "Blue."),
    "several choices": (whole({"choices": [{"message": {"content": text}} for text in ("Blue.", "Grey.")]}), "Blue.\n\nGrey."),
    "parts of a content": (whole({"choices": [{"message": {"content": [{"type": "text", "text": "Blue."}]}}]}), "Blue."),
    "a refusal": (whole({"choices": [{"message": {"content": None, "refusal": "No."}}]}), "No."),
    "a call": (whole({"choices": [{"message": {"content": "I look.", "tool_calls": [CALL]}}]}), LOOKS),
    "a legacy completion": (whole({"choices": [{"text": "Blue."}]}, endpoint="completions"), "Blue."),
    "a message": (whole(MESSAGE, endpoint="messages"), LOOKS),
    "a response": (whole({"object": "response", "output": OUTPUT}, endpoint="responses"), LOOKS),
    "embeddings": (whole({"data": [{"embedding": [0.5]}]}, endpoint="embeddings"), '{"data":[{"embedding":[0.5]}]}'),
    "what nobody knows": (whole(["x"], endpoint="of-later"), '["x"]'),
    "a stream of what nobody knows": (streamed({"x": 1}, endpoint="of-later"), 'data: {"x":1}\n\ndata: [DONE]\n\n'),
}


@pytest.mark.parametrize(("stored", "text"), TEXTS.values(), ids=TEXTS)
def test_an_answer_is_told_by_its_words_and_its_calls(stored: StoredResponse, text: str) -> None:
    assert answer_text(stored) == text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from("choices message content text refusal tool_calls function name arguments output input".split()),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_whatever_an_answer_is_something_is_told_of_it(document: Any) -> None:
    stored = whole(document)

    assert answer_text(stored) or not stored.body


@given(st.binary(max_size=20))
def test_what_is_no_text_is_told_with_its_bytes(body: bytes) -> None:
    told = answer_text(replace(whole({}), body=body))

    assert told.encode(errors="strict") or not body
