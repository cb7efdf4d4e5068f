"""Bodies of `/responses` that a lent key answers, and why it does not answer the others."""

import json
from typing import Any

import pytest

from cachemw.messages import Unread
from cachemw.proxy.lending import judge

JSON = ((b"content-type", b"application/json"),)
CODE = "endpoint_not_lent"


def told(body: bytes | Unread, headers: tuple[tuple[bytes, bytes], ...] = JSON) -> tuple[str, str | None]:
    """Return code and member of a refusal; nothing where there is none."""
    answer = judge(b"/v1/responses", headers, body)
    if answer is None:
        return "", None
    error = json.loads(answer[1])["error"]
    assert answer[0].status == 403
    assert "--lend" in error["message"]
    return error["code"], error["param"]


def of(**members: Any) -> tuple[str, str | None]:
    return told(json.dumps({"model": "m", "store": False, **members}).encode())


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"input": "hello"},
        {"input": [{"role": "user", "content": "hello"}]},
        {"input": [{"type": "message", "role": "user", "content": [], "id": "msg_1"}]},
        {"input": [{"role": "assistant", "content": "x", "id": "msg_1"}]},
        {"input": [{"type": "function_call_output", "call_id": "c", "output": "{}"}]},
        {"input": [{"content": "x", "id": None}]},
        {"previous_response_id": None, "conversation": None, "prompt": None, "background": None, "input": None},
        {"background": False, "stream": True},
    ],
    ids=str,
)
def test_what_keeps_nothing_is_answered(members: dict[str, Any]) -> None:
    """A4."""
    assert of(**members) == ("", None)


KEEPING: list[tuple[dict[str, Any], str]] = [
    ({"store": True}, "store"),
    ({"store": None}, "store"),
    ({"store": 0}, "store"),
    ({"store": "false"}, "store"),
    ({"previous_response_id": "resp_of_alice"}, "previous_response_id"),
    ({"previous_response_id": ""}, "previous_response_id"),
    ({"Previous_Response_ID": "resp_of_alice"}, "previous_response_id"),
    ({"conversation": "conv_of_alice"}, "conversation"),
    ({"conversation": {"id": "conv_of_alice"}}, "conversation"),
    ({"prompt": {"id": "pmpt_of_alice"}}, "prompt"),
    ({"background": True}, "background"),
    ({"background": 1}, "background"),
    ({"input": [{"type": "item_reference", "id": "msg_of_alice"}]}, "input"),
    ({"input": [{"role": "user", "content": "x"}, {"type": "item_reference", "id": "msg_of_alice"}]}, "input"),
    ({"input": {"type": "item_reference", "id": "msg_of_alice"}}, "input"),
    ({"input": [{"id": "msg_of_alice"}]}, "input"),
    ({"input": [{"id": "msg_of_alice", "type": None}]}, "input"),
    ({"input": [{"ID": "msg_of_alice"}]}, "input"),
    ({"input": [{"Type": "Item_Reference", "id": "msg_of_alice"}]}, "input"),
    ({"input": [{"type": "message", "Type": "item_reference", "id": "msg_of_alice"}]}, "input"),
]


@pytest.mark.parametrize(("members", "name"), KEEPING, ids=str)
def test_what_keeps_or_builds_on_what_is_kept_is_not_and_the_member_is_named(members: dict[str, Any], name: str) -> None:
    """F126, A4."""
    assert of(**members) == (CODE, name)


def test_to_say_nothing_of_store_is_to_have_it_kept() -> None:
    """F126, A4: the message says what to send."""
    answer = judge(b"/v1/responses", JSON, b'{"model": "m"}')

    assert answer is not None
    assert b"store: false" in answer[1]
    assert told(b'{"model": "m", "Store": false}') == (CODE, "store")


@pytest.mark.parametrize(
    "body",
    [
        None,
        b"",
        b"null",
        b"[]",
        b'"store"',
        b"{",
        b'{"store": false',
        b'{"store": false, "store": true}',
        b'{"store": false, "st\\u006fre": true}',
        b'{"store": false, "Store": true}',
        b'{"store": false, "\xc5\xbftore": true}',
        b'{"store": false} {}',
        b'\xef\xbb\xbf{"store": false}',
        b'{"store": false, "x": NaN}',
        b'{"store": false, "input": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
        '{"store": false}'.encode("utf-16"),
    ],
    ids=lambda body: repr(body)[:40],
)
def test_what_can_be_read_in_two_ways_or_in_none_is_not(body: bytes | Unread) -> None:
    """F126, A4."""
    assert told(body) == (CODE, None)


@pytest.mark.parametrize(
    "headers",
    [
        (),
        ((b"content-type", b"text/plain"),),
        ((b"content-type", b"application/json; charset=utf-7"),),
        (*JSON, *JSON),
        (*JSON, (b"content-encoding", b"gzip")),
        (*JSON, (b"Content-Encoding", b"identity"), (b"content-encoding", b"br")),
    ],
    ids=str,
)
def test_what_is_encoded_or_said_to_be_something_else_is_not(headers: tuple[tuple[bytes, bytes], ...]) -> None:
    """F126, A4: the upstream would read another body than we did."""
    assert told(b'{"store": false}', headers) == (CODE, None)


def test_a_body_is_not_repeated_in_what_is_said_of_it() -> None:
    """I4."""
    answer = judge(b"/v1/responses", JSON, b'{"store": false, "previous_response_id": "resp_of_alice"}')

    assert answer is not None
    assert b"resp_of_alice" not in answer[1]


@pytest.mark.parametrize("path", [b"/v1/messages", b"/messages", b"/v1/v1/messages/count_tokens"])
@pytest.mark.parametrize(
    ("members", "state"),
    [
        ({}, None),
        ({"messages": [{"role": "user", "content": "hello"}]}, None),
        ({"container": "container_1"}, "container"),
        ({"Container": "container_1"}, "container"),
        ({"thread": {"type": "continue"}}, "thread"),
        ({"messages": [{"content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}]}]}, "file"),
        ({"messages": [{"content": [{"type": "container_upload", "file_id": "f"}]}]}, "file"),
        ({"messages": [{"content": [{"type": "tool_use", "input": {"type": "file"}}]}]}, None),
    ],
)
def test_a_lent_key_answers_no_message_that_builds_on_what_its_account_keeps(
    path: bytes, members: dict[str, Any], state: str | None
) -> None:
    """A2: nobody's files, containers and threads."""
    answer = judge(path, JSON, json.dumps(members).encode())

    assert (None if answer is None else json.loads(answer[1])["error"]["param"]) == state
