"""Batches: lines of requests and of answers are read, paired and told of, and a finished one is in the store."""

import json
from typing import Any

import pytest

from cachemw.inventory.batches import BatchAnswer, BatchRequest, FaultyLine, answer_line, answers_in, failure_line, requests_in

CHAT = {"model": "m", "messages": [{"role": "user", "content": "Why?"}]}


def line(**members: Any) -> bytes:
    return json.dumps(members).encode() + b"\n"


REQUESTS = [
    (line(custom_id="a", method="POST", url="/v1/chat/completions", body=CHAT), ("a", "chat", "/v1/chat/completions")),
    (line(custom_id="a", body=CHAT), ("a", "chat", "/v1/chat/completions")),
    (line(body={"model": "m", "prompt": "x"}), ("line-1", "completions", "/v1/completions")),
    (line(**CHAT), ("line-1", "chat", "/v1/chat/completions")),
    (line(custom_id="a", url="/v1/embeddings", body={"model": "e", "input": "x"}), ("a", "embeddings", "/v1/embeddings")),
    (line(custom_id="a", url="/v1/messages", body=CHAT), ("a", "messages", "/v1/messages")),
]


@pytest.mark.parametrize(("raw", "expected"), REQUESTS)
def test_a_line_is_a_request_whether_it_is_of_a_batch_or_a_body(raw: bytes, expected: tuple[str, str, str]) -> None:
    [read] = requests_in([raw])

    assert isinstance(read, BatchRequest)
    assert (read.id, read.endpoint.name, read.path) == expected


FAULTS = [
    (b"{", "no line of a batch's input"),
    (b"[1]", "no line of a batch's input"),
    (b"\xff\xfe", "no line of a batch's input"),
    (b"[" * 100_000, "no line of a batch's input"),
    (line(custom_id="a", body=[1]), "no line of a batch's input"),
    (line(custom_id=7, body=CHAT), "no line of a batch's input"),
    (line(custom_id="a", body={"model": "m", "input": "x"}), "meant for several endpoints"),
    (line(custom_id="a", url="/v1/files", body=CHAT), "that of no endpoint"),
    (line(custom_id="a", method="GET", url="/v1/chat/completions", body=CHAT), "that of no endpoint"),
]


@pytest.mark.parametrize(("raw", "why"), FAULTS)
def test_a_line_of_which_nothing_can_be_made_is_told_with_its_number(raw: bytes, why: str) -> None:
    read = list(requests_in([b"\n", line(**CHAT), raw]))

    assert isinstance(read[0], BatchRequest)
    assert isinstance(read[1], FaultyLine)
    assert read[1].number == 3
    assert why in read[1].why


def test_one_id_is_one_request_and_one_answer() -> None:
    twice = line(custom_id="a", body=CHAT)
    answered = line(custom_id="a", response={"status_code": 200, "body": {}})

    assert list(requests_in([twice, twice]))[1] == FaultyLine(2, "its custom_id is that of line 1")
    assert list(answers_in([answered, answered]))[1] == FaultyLine(2, "its custom_id is that of line 1")


def test_the_bytes_of_bodies_stay_as_they_came() -> None:
    raw = b'{"custom_id": "a", "body": {"model":"m",  "messages": [], "temperature": 1.0}}'

    [read] = requests_in([raw])

    assert isinstance(read, BatchRequest)
    assert read.body == b'{"model":"m",  "messages": [], "temperature": 1.0}'


def test_answers_say_their_status_and_those_that_failed_have_none() -> None:
    raw = [
        line(id="1", custom_id="a", response={"status_code": 200, "request_id": "r", "body": {"x": 1}}, error=None),
        line(id="2", custom_id="b", response={"status_code": 400, "body": {}}),
        line(id="3", custom_id="c", response=None, error={"code": "expired", "message": "too late"}),
        b"nothing",
    ]

    assert list(answers_in(raw)) == [
        BatchAnswer("a", 200, b'{"x": 1}'),
        BatchAnswer("b", 400, b"{}"),
        BatchAnswer("c", None, b""),
        FaultyLine(4, "it is no line of a batch's output"),
    ]


def test_what_is_written_is_a_line_of_a_batchs_output() -> None:
    written = [
        answer_line("a", "batch_req_1", 200, b'{\n  "x": 1.0\n}'),
        answer_line("b", "batch_req_2", 200, b"data: 1\n\n"),
        failure_line("c", "batch_req_3", "no answer: ConnectError"),
    ]

    assert all(one.count(b"\n") == 1 for one in written)
    assert list(answers_in(written)) == [
        BatchAnswer("a", 200, b'{"x":1.0}'),
        BatchAnswer("b", 200, b'"data: 1\\n\\n"'),
        BatchAnswer("c", None, b""),
    ]
    assert json.loads(written[0]) == {
        "id": "batch_req_1",
        "custom_id": "a",
        "response": {"status_code": 200, "request_id": "batch_req_1", "body": {"x": 1}},
        "error": None,
    }
