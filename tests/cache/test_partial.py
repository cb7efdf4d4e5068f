"""What is asked for of a batch of which some inputs are known, and what is made of the answer: exact, or all is asked for."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cachemw import Limits, Policy
from cachemw.cache.directives import Directives
from cachemw.cache.effects import Claim, Forward, LookupMany, Outcome, ShownResponse
from cachemw.cache.exchange import exchange
from cachemw.cache.key import index_of_batch
from cachemw.cache.live_response import Put, Relay, begin
from cachemw.cache.lookup import VerifiedRecords
from cachemw.cache.parts import read_batch
from cachemw.endpoints.embeddings import EMBEDDINGS
from cachemw.endpoints.embeddings.parts import body_for
from cachemw.errors import StoreError
from cachemw.messages import Head
from tests.cache.embedder import answered
from tests.cache.test_assembly import recorded
from tests.cache.world import NOW, World
from tests.endpoints.calling import JSON_FIELDS, request_to

Respond = Callable[[Mapping[str, Any]], Any]


PARTIAL = Directives(partial=True)


class Answering(World):
    """A world whose upstream answers what it is sent, to its end, and notes that; what is put is stored."""

    def __init__(self, records: Mapping[bytes, bytes], respond: Respond = answered) -> None:
        super().__init__(records=dict(records))
        self.respond, self.sent, self.asked = respond, list[Any](), dict[str, Any]()
        self.puts: list[Put] = []

    def after(self, batches: list[list[str]]) -> "Answering":
        """Return it when all of these batches have been asked for, one way or the other."""
        for number, given_inputs in enumerate(batches):
            self.ask(given_inputs, PARTIAL if number % 2 else Directives())
        self.sent.clear()
        return self

    def ask(self, given_inputs: Any, asked: Directives = PARTIAL) -> Outcome:
        """Return what comes of a request for these inputs."""
        self.asked = {"model": "m", "input": given_inputs}
        request = request_to(EMBEDDINGS, json.dumps(self.asked).encode())
        return self.run(exchange(EMBEDDINGS, request, asked, Policy(), Limits(), VerifiedRecords()))

    def _perform(self, effect: Any) -> object:
        if not isinstance(effect, Forward):
            return super()._perform(effect)
        sent = self.asked if effect.translated is None else json.loads(effect.translated.body)
        self.sent.append(sent["input"])
        response = begin(Head(200, JSON_FIELDS), effect.terms, NOW)
        response.feed(json.dumps(self.respond(sent)).encode(), NOW)
        put = response.finish(NOW)
        response.close(None)
        if put is not None:
            self.puts.append(put)
            self.records |= {put.index: put.record, **dict(() if put.parts is None else put.parts())}
        return ShownResponse(response, NOW)


def body_of(outcome: Outcome) -> Any:
    """Return the answer that an outcome shows."""
    return json.loads(outcome.response.body if isinstance(outcome, Relay) else outcome.stored.body)  # type: ignore[union-attr]


LETTERS = st.sampled_from(["a", "b", "c", "dd", "e\n"])
BATCHES = st.lists(st.lists(LETTERS, min_size=1, max_size=4), max_size=4)
ASKED = st.lists(LETTERS, min_size=1, max_size=7)


@given(BATCHES, ASKED)
@settings(max_examples=150)
def test_whatever_is_known_the_answer_is_that_of_the_upstream(before: list[list[str]], given_inputs: list[str]) -> None:
    """T27: every vector, and the usage."""
    world = Answering({}).after(before)

    outcome = world.ask(given_inputs)

    assert body_of(outcome) == answered({"input": given_inputs})
    assert len(world.sent) <= 1
    assert all(set(sent) <= set(given_inputs) for sent in world.sent)


@given(BATCHES, ASKED)
@example([["b", "c"], ["b", "a", "c", "a"], ["b"]], ["b", "a", "c", "a"])  # its own batch was of what is asked for twice
@settings(max_examples=100)
def test_what_was_asked_for_is_not_asked_for_again(before: list[list[str]], given_inputs: list[str]) -> None:
    """Two requests, one call: what the first brought is known from then on."""
    world = Answering({}).after(before)
    world.ask(given_inputs)
    world.sent.clear()

    again = world.ask(given_inputs)

    assert world.sent == []
    assert body_of(again) == answered({"input": given_inputs})


@given(st.lists(LETTERS, max_size=3), ASKED)
def test_what_is_known_of_answers_to_one_input_is_never_sent(alone: list[str], given_inputs: list[str]) -> None:
    world = Answering(recorded(*[[one] for one in dict.fromkeys(alone)]))

    world.ask(given_inputs)

    unknown = [one for one in given_inputs if one not in alone]
    is_even = len({unknown.count(one) for one in unknown}) == 1
    once = is_even and len(unknown) < len(given_inputs)  # where nothing is known it is sent as it came
    assert world.sent == ([] if not unknown else [list(dict.fromkeys(unknown)) if once else unknown])


@given(st.data())
@settings(max_examples=60)
def test_no_record_that_is_damaged_or_another_one_is_shown(drawn: st.DataObject) -> None:
    records = recorded("a", "b", ["c", "dd"])
    index = drawn.draw(st.sampled_from(sorted(records)))
    record = records[index]
    at = drawn.draw(st.integers(0, len(record) - 1))
    changed = record[:at] + bytes([record[at] ^ drawn.draw(st.integers(1, 255))]) + record[at + 1 :]
    records[index] = drawn.draw(st.sampled_from([changed, b"", record[:at], *records.values()]))

    outcome = Answering(records).ask(["a", "dd", "x", "b", "c"])

    assert body_of(outcome) == answered({"input": ["a", "dd", "x", "b", "c"]})


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from(["data", "index", "object", "model", "usage", "id"]), JSON_VALUES))
@settings(max_examples=150)
def test_whatever_is_said_of_some_inputs_nothing_else_is_shown(said: dict[str, Any]) -> None:
    """Nothing is raised; and all is asked for once."""
    world = Answering(recorded("a"), lambda asked: answered(asked) | said if asked["input"] == ["b"] else answered(asked))

    outcome = world.ask(["a", "b"])

    assert body_of(outcome) == answered({"input": ["a", "b"]})
    assert world.sent in ([["b"]], [["b"], ["a", "b"]])


def test_of_what_is_brought_only_the_parts_are_put_and_first_their_batch() -> None:
    """F6: no part is of use before it, and none after it is gone."""
    world = Answering(recorded("a"))

    world.ask(["a", "b", "c"])

    [put] = world.puts
    batch = read_batch(put.record)
    assert batch is not None
    assert (batch.inputs, batch.record.model, json.loads(batch.record.body)["total_tokens"]) == (2, "m-1", 2)
    whole = recorded(["a", "b", "c"])
    assert put.index == next(index_of_batch(index) for index in whole if index_of_batch(index) in whole)
    assert len(world.records) - len(recorded("a")) == 3  # the batch, and two parts


def test_a_flight_is_claimed_for_what_is_sent() -> None:
    """Who knows other inputs sends another rest, and reads along with nobody who sends this one."""
    courses = []
    for known in (["a"], ["b"], ["a"]):
        world = Answering(recorded(*known))
        world.ask(["a", "b"])
        courses += [effect.course.parts for effect in world.effects if isinstance(effect, Claim)]
    world = Answering({})
    world.ask(["a", "b"])
    courses += [effect.course.parts for effect in world.effects if isinstance(effect, Claim)]

    one, other, same, whole = courses
    assert one == same
    assert len({one, other, whole}) == 3


def test_who_leads_sends_what_was_claimed_whatever_is_known_by_then() -> None:
    """Others read along with that."""
    world = Answering(recorded("a"))
    world.lands = recorded("a", ["c"])  # while the claim is made

    outcome = world.ask(["a", "b", "c"])

    assert world.sent == [["b", "c"]]
    assert body_of(outcome) == answered({"input": ["a", "b", "c"]})


def test_a_store_that_fails_when_it_is_asked_for_parts_is_an_empty_one() -> None:
    world = Answering(recorded("a"))
    world.store_error = StoreError("no")

    outcome = world.ask(["a", "b"])

    assert world.sent == [["a", "b"]]
    assert body_of(outcome) == answered({"input": ["a", "b"]})


@pytest.mark.parametrize(("asked", "to_the_end"), [(Directives(), False), (Directives(partial=True), True)])
def test_who_does_not_ask_for_it_pays_no_look_for_it(asked: Directives, to_the_end: bool) -> None:
    world = Answering(recorded("a"))

    world.ask(["b", "a"], asked)

    assert {effect.to_the_end for effect in world.effects if isinstance(effect, LookupMany)} == {to_the_end}


@given(
    st.dictionaries(st.sampled_from(["model", "user", "zz", "dimensions"]), JSON_VALUES),
    st.lists(st.text(max_size=3), min_size=1, max_size=5)
    | st.lists(st.lists(st.integers(), min_size=1), min_size=2, max_size=4),
    st.data(),
    st.sampled_from([None, 2]),
)
def test_a_body_for_some_inputs_is_the_same_but_for_them(
    members: dict[str, Any], inputs: list[Any], drawn: st.DataObject, indent: int | None
) -> None:
    places = drawn.draw(st.lists(st.integers(0, len(inputs) - 1), min_size=1))
    body = json.dumps({"a": 1, "input": inputs} | members, indent=indent).encode()

    said = json.loads(body_for(body, places))

    assert list(said.items()) == list(({"a": 1, "input": [inputs[place] for place in places]} | members).items())
