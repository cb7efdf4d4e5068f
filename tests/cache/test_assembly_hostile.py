"""Parts in a store that lies, is damaged, or holds another's: an answer is exact, or it is asked for (T27, ruling F6)."""

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from cachemw import MemoryStore, Policy
from cachemw.cache import record as codec
from cachemw.cache.lookup import CLOCK_AHEAD
from cachemw.messages import StoredResponse
from tests.asgi_driver import Reply
from tests.cache.embedder import Place, answered, status_of, vector

pytestmark = pytest.mark.anyio

FIELD = b"cachemw-batch"
ALICE, BOB = [(b"authorization", b"Bearer sk-alice")], [(b"authorization", b"Bearer sk-bob")]

Records = dict[bytes, bytes]
Change = Callable[[StoredResponse], StoredResponse]


def is_assembled(reply: Reply) -> bool:
    return "detail=assembled" in status_of(reply)


def words_of(stored: StoredResponse) -> list[bytes]:
    """Return what a record says of its batch; nothing where it is that of a whole answer."""
    return [word for name, value in stored.headers if name == FIELD for word in value.split(b" ")]


def of(place: Place, count: int) -> Records:
    """Return the records with so many words: 0 are wholes, 2 batches, 3 parts."""
    return {index: record for index, record in place.store.scan() if len(words_of(codec.decode(record))) == count}


async def known() -> Place:
    """Return a place where the inputs "a" and "b" have been asked for, together."""
    place = await Place().after(["a", "b"])
    assert (len(of(place, 3)), len(of(place, 2))) == (2, 1)
    return place


async def assert_asked_for(place: Place) -> None:
    """Hold that the answer is asked for, and then known again: what was wrong is replaced."""
    reply = await place.ask(["b", "a"])

    assert not is_assembled(reply)
    assert (reply.status, json.loads(reply.body)) == (200, answered({"input": ["b", "a"]}))
    assert place.upstream.asked == [{"model": "m", "input": ["b", "a"]}]
    again = await place.ask(["a", "b", "a", "b"])
    assert is_assembled(again)
    assert [entry["embedding"] for entry in json.loads(again.body)["data"]] == [vector(one) for one in "abab"]


def saying(*words: bytes) -> Change:
    """Return the change to a record that says this of its batch."""
    return lambda stored: replace(stored, headers=(stored.headers[0], (FIELD, b" ".join(words))))


def at(number: int, word: bytes) -> Change:
    """Return the change to a record that says another word there."""

    def change(stored: StoredResponse) -> StoredResponse:
        words = words_of(stored)
        return saying(*words[:number], word, *words[number + 1 :])(stored)

    return change


def having(**members: Any) -> Change:
    return lambda stored: replace(stored, **members)


HUGE = b"9" * 5000
"""More digits than Python turns into a number."""

ODD_COUNTS = (b"0", b"-1", b"+1", b"1.0", b"", b"x", HUGE, "\u0661".encode(), b"1_0")
PARTS: dict[str, Change] = {
    **{f"{count[:9]!r} times": at(2, count) for count in ODD_COUNTS},
    "twice": at(2, b"2"),
    "of no whole": at(1, b""),
    "of a whole that is no index": at(1, b"zz"),
    "of half a digit": at(1, b"abc"),
    "of another whole": at(1, b"00" * 16),
    "of another batch": at(0, b"00" * 16),
    "no words": saying(b""),
    "a word too few": saying(b"a", b"b"),
    "a word too many": saying(b"a", b"b", b"1", b"1"),
    "words that are not ASCII": at(1, b"\xff\xfe"),
    "of another key": having(proof=bytes(32)),
    "no vector": having(body=b""),
    "an empty vector": having(body=b"[]"),
    "a vector that is cut": having(body=b"[1,2"),
    "a text that is cut": having(body=b'"AAAA'),
    "a vector and more": having(body=b'[1],"embedding":[2]'),
    "a number": having(body=b"123"),
    "null": having(body=b"null"),
    "no UTF-8": having(body=b"\xff\xff\xff"),
}
BATCHES: dict[str, Change] = {
    **{f"{count[:9]!r} inputs": at(1, count) for count in ODD_COUNTS},
    "of more inputs": at(1, b"3"),
    "another name": at(0, b"00" * 16),
    "no words": saying(b""),
    "a part's words": saying(b"a", b"b", b"1"),
    "no model": having(model=None),
    "no usage": having(body=b""),
    "usage that is cut": having(body=b'{"total_tokens":1'),
    "usage and more": having(body=b'{},"x":1'),
    "stored at no time": having(stored_at=math.nan),
    "stored at the end of time": having(stored_at=math.inf),
    "stored long after now": having(stored_at=1000.0 + CLOCK_AHEAD + 1),
    "stored for ever ago": having(stored_at=-math.inf),
    "fresh for no time": having(lifetime=math.nan),
    "fresh for ever": having(lifetime=math.inf),
    "fresh until before it was stored": having(lifetime=-1.0),
}
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda record: b"",
    "cut": lambda record: record[:-1],
    "a bit": lambda record: record[:-1] + bytes([record[-1] ^ 1]),
    "another version": lambda record: record[:3] + b"\x01" + record[4:],
    "no record": lambda record: b"\x00" * 64,
    "a payload that is none": lambda record: record[:4] + codec.checksum(b"\xc0") + b"\xc0",
}


@pytest.mark.parametrize("change", PARTS.values(), ids=PARTS)
async def test_a_part_that_lies_is_none(change: Change) -> None:
    """T27: one is enough, whichever; nothing is raised."""
    for which in range(2):
        place = await known()
        index, record = sorted(of(place, 3).items())[which]
        place.store.put(index, codec.encode(change(codec.decode(record))), None)

        await assert_asked_for(place)


@pytest.mark.parametrize("change", BATCHES.values(), ids=BATCHES)
async def test_the_parts_of_a_batch_that_lies_are_none(change: Change) -> None:
    """T27: nothing is raised."""
    place = await known()
    [(index, record)] = of(place, 2).items()
    place.store.put(index, codec.encode(change(codec.decode(record))), None)

    await assert_asked_for(place)


@pytest.mark.parametrize("words", [2, 3], ids=["batch", "part"])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
async def test_what_is_damaged_is_none(damage: Callable[[bytes], bytes], words: int) -> None:
    """D5, T27."""
    place = await known()
    index, record = min(of(place, words).items())
    place.store.put(index, damage(record), None)

    await assert_asked_for(place)


@pytest.mark.parametrize("words", [2, 3], ids=["batch", "part"])
async def test_what_was_evicted_is_asked_for(words: int) -> None:
    place = await known()
    place.store.discard(min(of(place, words)))

    await assert_asked_for(place)


async def test_parts_are_of_use_when_their_whole_was_evicted() -> None:
    """What is purged has gone with its batch; to be evicted says nothing of what an answer is worth."""
    place = await known()
    place.store.discard(*of(place, 0))

    assert is_assembled(await place.ask(["b", "a"]))


async def test_a_part_at_the_index_of_another_is_not_taken_for_it() -> None:
    """K2: xxh3 is no proof, and two bodies with one digest are made in milliseconds."""
    place = await known()
    (one, its), (other, others) = of(place, 3).items()
    place.store.put(one, others, None)
    place.store.put(other, its, None)

    await assert_asked_for(place)


async def test_a_whole_at_the_index_of_a_part_is_no_part_and_a_part_no_whole() -> None:
    """K2: each is judged by its own proof."""
    place = await known()
    [(whole, record)] = of(place, 0).items()
    part, its = min(of(place, 3).items())
    place.store.put(part, record, None)
    place.store.put(whole, its, None)

    reply = await place.ask(["a", "b"])

    assert "key-mismatch" in status_of(reply)
    assert json.loads(reply.body) == answered({"input": ["a", "b"]})


async def test_another_callers_parts_are_no_parts_even_at_the_right_index() -> None:
    """I1: whoever can copy records from one index to another cannot show one caller's to the other."""
    place = await Place().after("a", fields=ALICE)
    alices = of(place, 3) | of(place, 2)
    await place.ask("a", fields=BOB)
    bobs = {index: record for index, record in (of(place, 3) | of(place, 2)).items() if index not in alices}
    for (index, record), copied in zip(sorted(bobs.items()), [r for _, r in sorted(alices.items())], strict=True):
        assert record != copied
        place.store.put(index, copied, None)
    place.upstream.asked.clear()

    reply = await place.ask(["a", "a"], fields=BOB)

    assert not is_assembled(reply)
    assert len(place.upstream.asked) == 1


@pytest.mark.parametrize(
    ("seconds", "is_known"),
    [(3600.0, True), (-3600.0, True), (-CLOCK_AHEAD, True), (-CLOCK_AHEAD - 60, False), (86_401.0, False)],
    ids=str,
)
async def test_a_clock_that_is_set_makes_no_part_older_than_its_whole(seconds: float, is_known: bool) -> None:
    """As of a whole answer: one that seems to be of the future is used for a day."""
    place = await known()
    place.now += seconds

    whole, assembled = await place.ask(["a", "b"]), await place.ask(["b", "a"], "on, mode=read")

    assert ("; hit" in status_of(whole)) is is_known
    assert is_assembled(assembled) or not is_known


@pytest.mark.parametrize("control", ["on, ttl=0", "off", "on, mode=read", "on, mode=replay"])
async def test_what_is_not_stored_leaves_no_parts(control: str) -> None:
    place = Place()

    await place.ask(["a", "b"], control)

    assert not [index for index, record in place.store.scan() if codec.decode(record).lifetime > 0]


@pytest.mark.parametrize(("times", "is_known"), [(2, True), (2000, False)], ids=str)
async def test_a_short_request_does_not_make_a_huge_answer(times: int, is_known: bool) -> None:
    """A1: one large vector that a request names thousands of times is put together up to 64 MiB, and asked for beyond."""
    place, answer = Place(), answered({"input": "a"})
    answer["data"][0]["embedding"] = [0.25] * 10_000
    place.upstream.respond = lambda asked: answer
    await place.ask("a")
    place.upstream.respond = answered

    reply = await place.ask(["a"] * times)

    assert is_assembled(reply) is is_known
    assert len(json.loads(reply.body)["data"]) == times


async def test_no_store_leaves_no_parts() -> None:
    place = Place()

    await place.ask(["a", "b"], fields=[(b"cache-control", b"no-store")])

    assert list(place.store.scan()) == []


@pytest.mark.parametrize("asked", [["a", "b"], ["a"], "a"], ids=str)
async def test_a_purge_between_two_requests_leaves_the_parts_of_others(asked: Any) -> None:
    """Ruling F6: a part names its whole, and goes with that one alone."""
    place = await Place().after(["c"])
    reply = await place.ask(asked)
    place.purge(reply)

    inputs = [asked] if isinstance(asked, str) else asked
    assert not is_assembled(await place.ask([*inputs, *inputs], "on, mode=read"))
    assert is_assembled(await place.ask(["c", "c"]))


async def test_a_purge_of_everything_purges_parts() -> None:
    place = await known()

    place.store.clear()

    await assert_asked_for(place)


async def test_the_index_of_a_part_purges_that_one_alone() -> None:
    """Nobody is told it, but it may be guessed by who can read the store."""
    place = await known()
    place.store.delete(min(of(place, 3)))

    await assert_asked_for(place)


async def test_a_partition_by_name_keeps_parts_apart() -> None:
    """I1."""
    policy = Policy(partition=lambda request: request.values("x-tenant")[0])
    place = await Place(policy=policy).after(["a", "b"], fields=[(b"x-tenant", b"one")])

    assert not is_assembled(await place.ask(["b", "a"], fields=[(b"x-tenant", b"two")]))
    assert is_assembled(await place.ask(["a", "b", "a", "b"], fields=[(b"x-tenant", b"one")]))


STEPS = st.lists(
    st.tuples(
        st.lists(st.sampled_from("abc"), min_size=1, max_size=3),
        st.sampled_from(["on", "on, mode=refresh", "on, ttl=5", 'on, namespace="n"', "on, sample=1", "purge"]),
        st.sampled_from([0.0, 3.0, 7.0]),
    ),
    min_size=1,
    max_size=8,
)


@given(steps=STEPS)
async def test_whatever_was_stored_refreshed_and_purged_an_answer_is_what_was_last_said_or_older_and_never_mixed(
    steps: list[tuple[list[str], str, float]],
) -> None:
    """T27: of every input what the upstream has said of it, at its own index, with the usage that all of them take."""
    place, said = Place(MemoryStore()), dict[str, set[float]]()
    place.upstream.respond = lambda asked: said_by(place, said, asked)
    for inputs, control, passing in steps:
        place.now += passing
        reply = await place.ask(inputs, "on" if control == "purge" else control)

        document = json.loads(reply.body)
        assert [entry["index"] for entry in document["data"]] == list(range(len(inputs)))
        assert all(
            entry["embedding"][0] in said[one] and entry["embedding"][1] == vector(one)[0]
            for entry, one in zip(document["data"], inputs, strict=True)
        )
        assert document["usage"] == {"prompt_tokens": len(inputs), "total_tokens": len(inputs)}
        if "refresh" in control:
            assert {entry["embedding"][0] for entry in document["data"]} == {place.now}
        if control == "purge" and 'key="' in status_of(reply):
            place.purge(reply)


def said_by(place: Place, said: dict[str, set[float]], asked: Any) -> dict[str, Any]:
    """Answer with the time of day, and with what was asked for."""
    answer = answered(asked)
    for entry, one in zip(answer["data"], asked["input"], strict=True):
        entry["embedding"] = [place.now, vector(one)[0]]
        said.setdefault(one, set()).add(place.now)
    return answer
