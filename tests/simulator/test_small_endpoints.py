"""Embeddings, moderations, rerank and the old completions, as the SDK reads them."""

import json
import math
from base64 import b64decode
from collections.abc import Iterator
from struct import unpack
from typing import Any

import openai
import pytest

from cachemw.simulator import Simulator
from tests.simulator.endpoint_requests import ask_at, events_in, openai_client, whole_at

EMBEDDINGS, MODERATIONS, RERANK, COMPLETIONS = "/v1/embeddings", "/v1/moderations", "/v1/rerank", "/v1/completions"


@pytest.fixture(scope="module")
def client() -> Iterator[openai.OpenAI]:
    with openai_client(Simulator(dialect="openai")) as client:
        yield client


@pytest.mark.parametrize(
    ("given", "counts"),
    [
        ("one two three", [3]),
        (["one two", "three"], [2, 1]),
        ([1, 2, 3, 4], [4]),
        ([[1, 2], [3]], [2, 1]),
        (["same", "same"], [1, 1]),
    ],
)
def test_each_input_has_a_vector_and_usage_is_the_sum(client: openai.OpenAI, given: Any, counts: list[int]) -> None:
    answer = client.embeddings.create(model="m", input=given, dimensions=16)

    assert [entry.index for entry in answer.data] == list(range(len(counts)))
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (sum(counts), sum(counts))
    for entry in answer.data:
        assert math.isclose(math.hypot(*entry.embedding), 1.0, rel_tol=1e-5)
        assert len(entry.embedding) == 16


def test_the_forms_of_a_vector_say_the_same(client: openai.OpenAI) -> None:
    """The SDK asks for base64 where it is not told."""
    as_it_comes = client.embeddings.create(model="m", input="one two")
    as_numbers = client.embeddings.create(model="m", input="one two", encoding_format="float")
    as_text = client.embeddings.create(model="m", input="one two", encoding_format="base64")

    raw: Any = as_text.data[0].embedding
    assert as_it_comes.data[0].embedding == as_numbers.data[0].embedding
    assert list(unpack("<1536f", b64decode(raw))) == as_numbers.data[0].embedding


def test_a_text_has_its_vector_wherever_it_stands(client: openai.OpenAI) -> None:
    alone = client.embeddings.create(model="m", input="one two", dimensions=8).data[0].embedding
    amidst = client.embeddings.create(model="m", input=["three", "one two"], dimensions=8).data
    elsewhere = client.embeddings.create(model="other", input="one two", dimensions=8).data[0].embedding

    assert amidst[1].embedding == alone
    assert alone not in (amidst[0].embedding, elsewhere)


def test_fewer_dimensions_are_the_beginning_of_more(client: openai.OpenAI) -> None:
    long = client.embeddings.create(model="m", input="one two", dimensions=40).data[0].embedding[:8]
    short = client.embeddings.create(model="m", input="one two", dimensions=8).data[0].embedding

    assert short == pytest.approx([number / math.hypot(*long) for number in long], rel=1e-5)


@pytest.mark.anyio
@pytest.mark.parametrize("given", [None, "", [], ["a", 1], [None], 7])
async def test_what_is_no_input_is_refused(given: Any) -> None:
    reply = await ask_at(EMBEDDINGS, input=given)

    assert (reply.status, json.loads(reply.body)["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize(
    ("given", "flags"),
    [
        ("a walk", [[]]),
        (["a walk", "Violence"], [[], ["violence"]]),
        ([{"type": "text", "text": "hate"}, {"type": "image_url", "image_url": {"url": "data:"}}], [["hate"]]),
    ],
)
def test_a_text_that_names_a_category_is_flagged(client: openai.OpenAI, given: Any, flags: list[list[str]]) -> None:
    results = client.moderations.create(model="m", input=given).results

    found = [[name for name, hit in result.categories.to_dict().items() if hit] for result in results]
    assert found == flags
    assert [result.flagged for result in results] == [bool(names) for names in flags]
    for result in results:
        scores = result.category_scores.to_dict()
        assert {name for name, score in scores.items() if float(str(score)) > 0.5} == {
            name for name, hit in result.categories.to_dict().items() if hit
        }


@pytest.mark.anyio
async def test_documents_are_ranked_by_the_words_of_the_query() -> None:
    documents = ["stones are hard", {"text": "green plants grow"}, "plants"]

    ranked = (await whole_at(RERANK, query="green plants", documents=documents, return_documents=True))["results"]
    best = (await whole_at(RERANK, query="green plants", documents=documents, top_n=1))["results"]

    assert [one["index"] for one in ranked] == [1, 2, 0]
    assert [one["document"]["text"] for one in ranked] == ["green plants grow", "plants", "stones are hard"]
    assert [one["relevance_score"] for one in ranked] == sorted((one["relevance_score"] for one in ranked), reverse=True)
    assert best == [{name: ranked[0][name] for name in ("index", "relevance_score")}]


@pytest.mark.parametrize(
    ("members", "choices"),
    [
        ({"prompt": "one two"}, 1),
        ({"prompt": "one two", "n": 2}, 2),
        ({"prompt": ["one", "two"], "n": 2}, 4),
        ({"prompt": [1, 2]}, 1),
        ({"prompt": [[1], [2]]}, 2),
        ({"prompt": ["one", "two"], "echo": True, "logprobs": 1}, 2),
        ({"prompt": "one two", "max_tokens": 500, "stop": "."}, 1),
    ],
)
def test_stream_and_json_are_one_old_completion(client: openai.OpenAI, members: Any, choices: int) -> None:
    whole = client.completions.create(model="m", **members)
    chunks = list(client.completions.create(model="m", stream=True, stream_options={"include_usage": True}, **members))

    entries = [entry for chunk in chunks for entry in chunk.choices]
    assert [choice.index for choice in whole.choices] == list(range(choices))
    for choice in whole.choices:
        mine = [entry for entry in entries if entry.index == choice.index]
        assert "".join(entry.text for entry in mine) == choice.text
        assert [entry.finish_reason for entry in mine if entry.finish_reason] == [choice.finish_reason]
        assert [token for entry in mine if entry.logprobs for token in entry.logprobs.tokens or ()] == (
            [] if choice.logprobs is None else choice.logprobs.tokens
        )
    assert chunks[-1].usage == whole.usage
    assert {chunk.id for chunk in chunks} == {whole.id}


def test_usage_of_old_completions_is_the_sum(client: openai.OpenAI) -> None:
    usage = client.completions.create(model="m", prompt=["one two", "three"], n=3, max_tokens=5).usage

    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (3, 30, 33)


def test_sixteen_tokens_are_all_unless_more_are_asked_for(client: openai.OpenAI) -> None:
    short = client.completions.create(model="m", prompt="one two")
    long = client.completions.create(model="m", prompt="one two", max_tokens=500)

    assert short.usage is not None
    assert (short.choices[0].finish_reason, short.usage.completion_tokens) == ("length", 16)
    assert long.choices[0].finish_reason == "stop"


def test_an_echo_stands_before_the_text(client: openai.OpenAI) -> None:
    choices = client.completions.create(model="m", prompt=["one two", "three"], echo=True, logprobs=2).choices

    assert [choice.text.startswith(prompt) for choice, prompt in zip(choices, ["one two", "three"], strict=True)] == [
        True,
        True,
    ]
    for choice in choices:
        assert choice.logprobs is not None
        for token, offset in zip(choice.logprobs.tokens or (), choice.logprobs.text_offset or (), strict=True):
            assert choice.text[offset : offset + len(token)] == token


@pytest.mark.anyio
async def test_the_stream_of_an_old_completion_has_an_end_mark() -> None:
    events = events_in((await ask_at(COMPLETIONS, stream=True)).body)

    assert events[-1] == ("", "[DONE]")
    assert not any("usage" in content for _, content in events[:-1])
