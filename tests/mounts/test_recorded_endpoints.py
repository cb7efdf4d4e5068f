"""Recorded answers of the endpoints beside chat, asked for otherwise than they were; as they were they are in `test_corpus`."""

import json
from typing import Any

import httpx2
import pytest

from cachemw import Policy
from tests.cassettes import cassette
from tests.mounts.answering import Answered
from tests.mounts.conftest import status_of
from tests.real.recordings import OF_OTHER_ENDPOINTS, Recording

HIT = "hit; ttl=86400; key"


class Recorded:
    """A client whose upstream answers everything with one recording, and the request that it answered."""

    def __init__(self, name: str) -> None:
        asked = json.loads(cassette(f"{name}.meta.json"))["request"]
        file = f"{name}.sse" if asked["body"].get("stream") else f"{name}.json"
        self.path, self.asked = httpx2.URL(asked["uri"]).path, asked["body"]
        self.client, self.body = Answered(Recording(file).told(), Policy(default="on")), cassette(file)

    def ask(self, **members: Any) -> Any:
        return self.client.ask(self.asked | members, self.path)


@pytest.mark.parametrize("name", OF_OTHER_ENDPOINTS)
def test_a_member_that_nobody_knows_makes_it_another_request(name: str) -> None:
    recorded = Recorded(name)

    replies = [recorded.ask(), recorded.ask(unknown=1)]

    assert ["hit" in status_of(reply) for reply in replies] == [False, False]


@pytest.mark.parametrize("options", [{}, {"stream_options": {"include_usage": True}}], ids=str)
def test_a_recorded_completion_is_had_as_a_stream(options: dict[str, Any]) -> None:
    recorded = Recorded("openai_completion")
    recorded.ask()

    reply = recorded.ask(stream=True, **options)

    assert (status_of(reply), recorded.client.calls) == (f"{HIT}; detail=transcoded", 1)
    lines = [line.removeprefix(b"data: ") for line in reply.body.split(b"\n\n") if line]
    assert lines.pop() == b"[DONE]"
    chunks = [json.loads(line) for line in lines]
    text = "".join(choice["text"] for chunk in chunks for choice in chunk["choices"])
    answer = json.loads(recorded.body)
    assert text == answer["choices"][0]["text"]
    assert [chunk["usage"] for chunk in chunks if chunk.get("usage")] == ([answer["usage"]] if options else [])


@pytest.mark.parametrize("name", ["openai_embeddings_base64", "openai_embeddings_float_dimensions"])
def test_recorded_vectors_are_assembled_as_they_came(name: str) -> None:
    recorded = Recorded(name)
    recorded.ask()

    reply = recorded.ask(input=[recorded.asked["input"]] * 2)

    one, both = json.loads(recorded.body), json.loads(reply.body)
    assert (status_of(reply), recorded.client.calls) == (f"{HIT}; detail=assembled", 1)
    assert [entry["embedding"] for entry in both["data"]] == [one["data"][0]["embedding"]] * 2
    assert both["usage"] == {member: 2 * count for member, count in one["usage"].items()}
