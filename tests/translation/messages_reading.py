"""Read translated answers as Anthropic's own SDK does."""

import json
from collections.abc import Iterable
from typing import Any

import anthropic
import httpx2
from anthropic.types import Message

from cachemw.messages import Usage
from cachemw.translation.base import Translated, View
from cachemw.translation.chat_rows import ChatRow
from cachemw.translation.messages_to_chat import messages_to_chat
from cachemw.wire.sse import Event, Parser

ASKED: dict[str, Any] = {"model": "gpt-oss-120b", "max_tokens": 64, "messages": [{"role": "user", "content": "Hello"}]}


def translated(members: dict[str, Any], row: ChatRow = ChatRow()) -> Translated:  # noqa: B008 (it is frozen)
    """Return a request that can be translated, translated."""
    result = messages_to_chat({**ASKED, **members}, row)
    assert isinstance(result, Translated), result
    return result


def view_of(**members: Any) -> View:
    """Return the view of the answers to a request."""
    return translated(members).view


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **members: Any) -> dict[str, Any]:
    """Return a chunk of a chat stream; members that are not its own are its choice's."""
    own: dict[str, Any] = {name: members.pop(name) for name in ("usage", "id", "model", "choices") if name in members}
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish, **members}
    return {"id": "chatcmpl-1", "model": "m", "object": "chat.completion.chunk", "choices": [choice], **own}


def sse(*chunks: dict[str, Any], done: bool = True) -> bytes:
    """Return the bytes of a chat stream."""
    body = b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in chunks)
    return body + b"data: [DONE]\n\n" * done


def events_of(body: bytes) -> list[Event]:
    """Return the events of a stream."""
    parser = Parser()
    return [*parser.feed(body), *parser.end()]


def streamed(view: View, body: bytes, known: Usage | None = None) -> tuple[bytes, str | None]:
    """Return a whole stream translated, and its fault."""
    translator = view.stream(known)
    said = b"".join([translator.feed(event) for event in events_of(body)])
    return said + translator.end(), translator.fault


def said_by(events: bytes) -> list[dict[str, Any]]:
    """Return the events of a translated stream, each of which is named after its type."""
    found = [(event.name.decode(), json.loads(event.data)) for event in events_of(events)]
    assert all(name == value["type"] for name, value in found)
    return [value for _, value in found]


def check_nesting(events: Iterable[dict[str, Any]]) -> None:
    """Hold that the blocks of a whole message stand one after another, and that its ends are where they belong."""
    kinds, opened = [event["type"] for event in events], None
    assert kinds[0] == "message_start"
    assert kinds[-2:] == ["message_delta", "message_stop"]
    assert [kinds.count(kind) for kind in ("message_start", "message_delta", "message_stop")] == [1, 1, 1]
    due = 0
    for event in events:
        if event["type"] == "content_block_start":
            assert opened is None
            assert event["index"] == due
            opened, due = event["index"], due + 1
        elif event["type"].startswith("content_block"):
            assert event["index"] == opened
            opened = None if event["type"] == "content_block_stop" else opened
    assert opened is None


def read_by_sdk(events: bytes) -> Message:
    """Return the message that Anthropic's SDK puts together of a stream."""
    with client_for(events, "text/event-stream") as client, client.messages.stream(**ASKED) as stream:
        return stream.get_final_message()


def read_json_by_sdk(body: bytes) -> Message:
    """Return the message that Anthropic's SDK reads in a document."""
    with client_for(body, "application/json") as client:
        message = client.messages.create(**ASKED)
    assert isinstance(message, Message)
    assert message == Message.model_validate_json(body)  # the client itself takes any shape
    return message


def client_for(body: bytes, content_type: str, status: int = 200) -> anthropic.Anthropic:
    """Return a client of Anthropic's SDK to which every answer is this one."""
    transport = httpx2.MockTransport(lambda _: httpx2.Response(status, content=body, headers={"content-type": content_type}))
    return anthropic.Anthropic(api_key="k", http_client=httpx2.Client(transport=transport), max_retries=0)


def message_in(body: bytes) -> Message:
    """Return the message of a translated stream, which must be whole and well nested."""
    events, fault = streamed(view_of(), body)
    assert fault is None
    check_nesting(said_by(events))
    return read_by_sdk(events)


def blocks_of(message: Message) -> list[dict[str, Any]]:
    """Return the blocks of a message without what is null."""
    return [block.model_dump(exclude_none=True, exclude={"parsed_output"}) for block in message.content]
