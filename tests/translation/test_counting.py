"""The tokens of a request, estimated or asked for."""

import json

import pytest

from cachemw.translation.base import Translated
from cachemw.translation.chat_rows import ChatRow, chat_row
from cachemw.translation.counting import asking_body, countable, counted, estimated_tokens
from cachemw.translation.messages_to_chat import messages_to_chat
from tests.translation.messages_reading import ASKED, translated


@pytest.mark.parametrize(("body", "tokens"), [(b"", 0), (b"a", 1), (b"abc", 1), (b"abcd", 2), ("ééé".encode(), 2)])
def test_an_estimate_is_a_third_of_the_bytes_rounded_up(body: bytes, tokens: int) -> None:
    """T24."""
    assert estimated_tokens(body) == tokens


def test_what_is_attached_is_not_counted_as_text() -> None:
    """T24: agents would make room at once."""
    picture = b'{"url":"data:image/png;base64,' + b"iVBORw0KGgo" * 100_000 + b'"}'

    assert estimated_tokens(picture) < 1_700


def test_a_request_to_count_is_translated_as_one_to_answer() -> None:
    """T24."""
    members = {"model": "m", "messages": ASKED["messages"], "stream": True}

    result = messages_to_chat(countable(members), ChatRow())

    assert isinstance(result, Translated)
    assert json.loads(result.body) == {"model": "m", "messages": ASKED["messages"], "max_tokens": 1}


def test_one_token_is_asked_for_and_no_stream() -> None:
    """T24."""
    row = chat_row("cerebras", "gpt-oss-120b")
    body = translated({"stream": True, "temperature": 0}, row).body

    assert json.loads(asking_body(body, row)) == {
        "model": "gpt-oss-120b",
        "messages": ASKED["messages"],
        "max_completion_tokens": 1,
        "temperature": 0,
    }


COUNTED = {
    "usage": (b'{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":1}}', 7),
    "no usage": (b'{"choices":[]}', None),
    "usage that is null": (b'{"usage":null}', None),
    "usage without the input": (b'{"usage":{"completion_tokens":1}}', None),
    "usage that is a text": (b'{"usage":"x"}', None),
    "an error": (b'{"error":{"message":"x"}}', None),
    "a list": (b"[]", None),
    "no JSON": (b"<", None),
    "a deep one": (b'{"usage":' + b"[" * 100_000, None),
}


@pytest.mark.parametrize(("body", "tokens"), COUNTED.values(), ids=COUNTED)
def test_an_answer_says_how_many_there_were(body: bytes, tokens: int | None) -> None:
    """T24."""
    assert counted(body) == tokens
