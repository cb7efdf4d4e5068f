"""What is sent is what the anthropic SDK lets its own callers send: its types are the judge."""

from typing import Any

import pytest
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming, MessageCreateParamsStreaming
from hypothesis import given
from pydantic import TypeAdapter, ValidationError

from cachemw.translation.claude_rows import ClaudeRow
from tests.translation.talking_to_messages import TOOL, Members, chat, sent
from tests.translation.test_properties_to_messages import REQUESTS, ROWS
from tests.translation.test_request_to_messages import CHOICES, MESSAGES, OPTIONS

_WHOLE: TypeAdapter[Any] = TypeAdapter(MessageCreateParamsNonStreaming)
_STREAM: TypeAdapter[Any] = TypeAdapter(MessageCreateParamsStreaming)


def check(body: Members) -> None:
    """Raise `ValidationError` for a body that the SDK's types do not have; lists are looked through as they are read."""
    _read((_STREAM if "stream" in body else _WHOLE).validate_python(body))


def _read(value: Any) -> None:
    if isinstance(value, str | int | float | None):
        return
    for inner in value.values() if isinstance(value, dict) else value:
        _read(inner)


CASES: dict[str, Members] = {
    **{f"option: {name}": chat(**row[0]) for name, row in OPTIONS.items()},
    **{f"messages: {name}": chat(*row[0]) for name, row in MESSAGES.items()},
    **{f"choice: {name}": chat(tools=[TOOL], tool_choice=row[0]) for name, row in CHOICES.items()},
}


@pytest.mark.parametrize("name", CASES)
def test_every_row_is_a_request_by_the_types_of_the_sdk(name: str) -> None:
    check(sent(CASES[name])[0])


@given(members=REQUESTS, row=ROWS)
def test_any_request_is_one_by_the_types_of_the_sdk(members: Members, row: ClaudeRow) -> None:
    check(sent(members, row)[0])


def test_the_types_of_the_sdk_are_looked_through() -> None:
    body, _ = sent(chat())
    body["messages"][0]["content"] = [{"type": "txt", "text": "x"}]

    with pytest.raises(ValidationError):
        check(body)
