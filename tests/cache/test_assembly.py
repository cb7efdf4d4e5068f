"""An answer that is put together of parts: exact, or a miss (T27, ruling F6)."""

import base64
import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anyio
import httpx2
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from cachemw import DiskStore, Limits, MemoryStore, Policy
from cachemw.cache import record as codec
from cachemw.cache.directives import Directives
from cachemw.cache.effects import Found, GetOrder, Lookup, LookupMany
from cachemw.cache.exchange import exchange
from cachemw.cache.key import Key, index_of_batch
from cachemw.cache.live_response import Relay
from cachemw.cache.lookup import VerifiedRecords
from cachemw.cache.parts import read_batch, read_part
from cachemw.endpoints.embeddings import EMBEDDINGS
from cachemw.endpoints.embeddings.request import INPUTS_LIMIT
from cachemw.errors import StoreError
from cachemw.httpx2 import CacheTransport
from cachemw.messages import Head
from cachemw.stores import Store
from cachemw.stores.file.store import FileStore
from cachemw.wsgi import CacheMiddleware as WsgiMiddleware
from tests import wsgi_driver
from tests.asgi_driver import Reply
from tests.cache.embedder import PATH, Place, answered, status_of, vector
from tests.cache.world import NOW, World
from tests.endpoints.calling import JSON_FIELDS, request_to

pytestmark = pytest.mark.anyio

ALICE, BOB = [(b"authorization", b"Bearer sk-alice")], [(b"authorization", b"Bearer sk-bob")]


def is_assembled(reply: Reply) -> bool:
    return "cachemw; hit" in status_of(reply) and "detail=assembled" in status_of(reply)


def vectors(reply: Reply) -> list[Any]:
    data = json.loads(reply.body)["data"]
    assert [entry["index"] for entry in data] == list(range(len(data)))
    return [entry["embedding"] for entry in data]


@pytest.mark.parametrize(
    ("before", "given_inputs"),
    [
        ([["a"], ["b"]], ["a", "b"]),
        ([["a"], ["b"]], ["b", "a"]),
        (["a", "b"], ["b", "a", "b", "b"]),
        ([["a", "b"]], ["b", "a"]),
        ([["a", "b"], "c"], ["c", "b", "a"]),
        ([["a", "b"], ["c", "d"]], ["a", "c", "b", "d"]),
        ([["a", "b", "a"]], ["a", "a", "b"]),
        ([["a", "b"]], ["a", "b", "a", "b"]),
        ([["a"]], "a"),
        (["a"], ["a"]),
        ([[1, 2]], [[1, 2]]),
        ([[[1, 2]], [[3]]], [[3], [1, 2], [3]]),
    ],
    ids=str,
)
async def test_a_batch_whose_inputs_are_all_known_is_assembled(before: list[Any], given_inputs: Any) -> None:
    """T27: every vector at its own index, duplicates repeated, the usage as the upstream would count it."""
    place = await Place().after(*before)

    reply = await place.ask(given_inputs)

    asked = {"model": "m", "input": given_inputs}
    assert json.loads(reply.body) == answered(asked)
    assert is_assembled(reply)
    assert (reply.status, place.upstream.asked) == (200, [])


@pytest.mark.parametrize(
    ("before", "given_inputs"),
    [
        ([["a"]], ["a", "b"]),
        ([["a", "b"]], ["a"]),
        ([["a", "b"]], ["a", "b", "b"]),
        ([["a", "b", "a"]], ["a", "b"]),
        ([["a", "b", "c"], "d"], ["a", "b", "d"]),
        ([[1, 2]], ["1", "2"]),
        ([[1, 2]], [[1], [2]]),
        ([["1", "2"]], [1, 2]),
        (["[1,2]"], [1, 2]),
    ],
    ids=str,
)
async def test_what_is_not_known_exactly_is_asked_for_whole(before: list[Any], given_inputs: Any) -> None:
    """T27: a part of a batch took nobody knows how much."""
    place = await Place().after(*before)

    reply = await place.ask(given_inputs)

    assert "fwd=miss" in status_of(reply)
    assert place.upstream.asked == [{"model": "m", "input": given_inputs}]
    assert json.loads(reply.body) == answered(place.upstream.asked[0])


async def test_a_mixed_batch_has_every_vector_at_its_own_index() -> None:
    """T27: litellm#41799 said index [0, 1, 1], with another's vector."""
    place = await Place().after("b")

    reply = await place.ask(["a", "b", "c"])

    assert vectors(reply) == [vector(one) for one in "abc"]
    assert json.loads(reply.body)["usage"]["prompt_tokens"] == 3


async def test_vectors_are_placed_by_the_answers_own_index() -> None:
    """T27."""
    place = Place()

    def shuffled(asked: Mapping[str, Any]) -> dict[str, Any]:
        answer = answered(asked)
        return answer | {"data": answer["data"][::-1]}

    place.upstream.respond = shuffled
    await place.after(["a", "b", "c"])

    reply = await place.ask(["c", "a", "b"])

    assert is_assembled(reply)
    assert vectors(reply) == [vector(one) for one in "cab"]


@pytest.mark.parametrize(("before", "now"), [("float", "base64"), ("base64", "float"), ("float", None), (None, "float")])
async def test_formats_are_never_mixed(before: str | None, now: str | None) -> None:
    """T27: tensorzero#3633, litellm#2943. What is not said is no format."""
    said: list[dict[str, Any]] = [{} if one is None else {"encoding_format": one} for one in (before, now)]
    place = await Place().after("a", "b", **said[0])

    reply, same = await place.ask(["a", "b"], **said[1]), await place.ask(["b", "a"], **said[0])

    assert not is_assembled(reply)
    assert is_assembled(same)
    assert vectors(same) == [vector(one, before or "float") for one in "ba"]


async def test_models_that_differ_are_not_mixed() -> None:
    """T27: at LiteLLM a hit's model is that of the first part, whatever the others say."""
    place = await Place().after("a")
    place.upstream.respond = lambda asked: answered(asked) | {"model": "m-2"}
    await place.after("b")

    assert is_assembled(await place.ask(["b"]))
    assert is_assembled(await place.ask(["a"]))
    assert not is_assembled(await place.ask(["a", "b"]))


@pytest.mark.parametrize(
    ("usage", "together"),
    [
        (lambda count: {"prompt_tokens": count, "prompt_tokens_details": {"image_tokens": 1}}, {"image_tokens": 2}),
        (lambda count: {"prompt_tokens": count, "prompt_tokens_details": {"cached_tokens": None}}, None),
        (lambda count: {"prompt_tokens": count, "cost": 0.25}, None),
        (lambda count: {"prompt_tokens": count, "cost": "0.25"}, None),
    ],
)
async def test_usage_is_added_up_with_all_its_details_or_the_answer_is_not_assembled(
    usage: Callable[[int], dict[str, Any]], together: Any
) -> None:
    """T27: litellm#30046, #24806."""
    place = Place()
    place.upstream.respond = lambda asked: answered(asked) | {"usage": usage(2)}
    await place.after("a", "b")

    reply = await place.ask(["a", "b"])

    assert is_assembled(reply) is (together is not None)
    assert together is None or json.loads(reply.body)["usage"] == {"prompt_tokens": 4, "prompt_tokens_details": together}


async def test_no_number_is_written_anew() -> None:
    place, numbers = Place(), b"[1e-9,-0.01704406738281250,0.1,1E+2]"
    entry = b'{"object":"embedding","index":0,"embedding":' + numbers + b"}"
    answer = b'{"object":"list","data":[' + entry + b'],"model":"m","usage":{"total_tokens":1}}'
    place.upstream.respond = lambda asked: answer
    await place.after("a")

    reply = await place.ask(["a"])

    assert is_assembled(reply)
    assert reply.body == answer


@pytest.mark.parametrize("member", [{"late_chunking": True}, {"user_id": "u"}, {"extra_body": {}}], ids=str)
async def test_a_request_with_a_member_that_nobody_knows_has_no_parts(member: dict[str, Any]) -> None:
    """T27."""
    place = await Place().after("a", "b", **member)

    assert not is_assembled(await place.ask(["a", "b"], **member))
    assert len(list(place.store.scan())) == 3


@pytest.mark.parametrize("more", [{"id": "e-1"}, {"created": 1}, {"meta": {}}], ids=str)
async def test_an_answer_that_says_more_has_no_parts(more: dict[str, Any]) -> None:
    place = Place()
    place.upstream.respond = lambda asked: answered(asked) | more
    await place.after("a", "b")

    assert not is_assembled(await place.ask(["a", "b"]))


@pytest.mark.parametrize(
    "other",
    [
        {"fields": BOB},
        {"control": 'on, namespace="n"', "fields": ALICE},
        {"control": "on, sample=1", "fields": ALICE},
        {"dimensions": 3, "fields": ALICE},
        {"user": "u", "fields": ALICE},
    ],
    ids=str,
)
async def test_parts_are_as_far_apart_as_answers_are(other: dict[str, Any]) -> None:
    """K1: the credential, the namespace, the sample, every other member."""
    place = await Place().after("a", "b", fields=ALICE)

    assert not is_assembled(await place.ask(["a", "b"], **other))
    assert is_assembled(await place.ask(["b", "a"], fields=ALICE))


async def test_the_age_of_an_assembled_answer_is_that_of_its_oldest_part() -> None:
    place = Place()
    await place.ask("a", "on, ttl=100")
    place.now += 30
    await place.ask("b", "on, ttl=20")
    place.now += 10

    reply = await place.ask(["b", "a"])

    assert (reply.headers[b"age"], "ttl=10" in status_of(reply)) == (b"40", True)
    place.now += 10
    assert not is_assembled(await place.ask(["b", "a", "a"]))  # the younger part is the first to be stale


async def test_ttl_is_that_of_the_parts_too() -> None:
    """T27."""
    place = await Place().after("a", control="on, ttl=5")
    place.now += 6

    assert not is_assembled(await place.ask(["a"]))


@pytest.mark.parametrize("control", [b"max-age=5", b"min-fresh=99999", b"no-cache", b"max-age=0"])
async def test_a_request_restricts_the_age_of_an_assembled_answer(control: bytes) -> None:
    place = await Place().after("a")
    place.now += 6

    assert not is_assembled(await place.ask(["a"], fields=[(b"cache-control", control)]))


@pytest.mark.parametrize("control", ["on, mode=replay", "on, mode=read"])
async def test_where_only_the_store_answers_its_parts_do(control: str) -> None:
    place = await Place().after("a", "b")

    assert is_assembled(await place.ask(["a", "b"], control))
    assert is_assembled(await place.ask(["b", "a"], fields=[(b"cache-control", b"only-if-cached")]))
    assert (await place.ask(["c"], "on, mode=replay")).status == 504


@pytest.mark.parametrize("fresh", [{"control": "on, mode=refresh"}, {"fields": [(b"cache-control", b"no-cache")]}], ids=str)
async def test_a_refresh_ignores_parts_and_replaces_them(fresh: dict[str, Any]) -> None:
    """T27."""
    place = await Place().after("a", "b")
    place.upstream.respond = lambda asked: (
        answered(asked)
        | {"data": [{"object": "embedding", "index": index, "embedding": [9, index]} for index in range(len(asked["input"]))]}
    )

    refreshed = await place.ask(["a", "b"], **fresh)
    reply = await place.ask(["b", "a"])

    assert "fwd=request" in status_of(refreshed)
    assert is_assembled(reply)
    assert vectors(reply) == [[9, 1], [9, 0]]


async def test_a_purge_of_the_whole_purges_its_parts() -> None:
    """T27: and no others."""
    place = Place()
    whole = await place.ask(["a", "b"])
    await place.ask("c")

    place.purge(whole)

    assert not is_assembled(await place.ask(["b", "a"]))
    assert is_assembled(await place.ask(["c"]))


async def test_parts_of_a_purged_whole_stay_purged_when_it_is_asked_for_again_otherwise() -> None:
    place = Place()
    whole = await place.ask(["a", "b"])
    place.purge(whole)
    place.upstream.respond = lambda asked: answered(asked) | {"id": "says more"}

    await place.ask(["a", "b"])

    assert not is_assembled(await place.ask(["b", "a"]))


async def test_what_is_not_kept_has_no_parts() -> None:
    place = Place(policy=Policy(max_record_bytes=10))

    reply = await place.ask("a")

    assert "record-too-large" in status_of(reply)
    assert list(place.store.scan()) == []


async def test_an_assembled_answer_is_not_kept_as_a_whole() -> None:
    """It is assembled again, and no part is older or younger for that."""
    place = await Place().after("a", "b")
    held = sorted(place.store.scan())

    replies = [await place.ask(["a", "b"]) for _ in range(3)]

    assert all(map(is_assembled, replies))
    assert sorted(place.store.scan()) == held


async def test_an_assembled_answer_is_reported_with_what_it_would_have_taken() -> None:
    reports: list[Any] = []
    place = await Place().after("aa", "b")
    place.mount.driver.hooks = (reports.append,)

    await place.ask(["aa", "b"])

    [report] = reports
    assert (report.hit, report.answered_model, report.usage.input_tokens) == (True, "m-1", 3)


async def test_a_batch_at_the_limit_is_assembled_and_one_beyond_it_never() -> None:
    place = await Place().after([f"{number}" for number in range(INPUTS_LIMIT)], ["x"])

    at, beyond = [[f"{number}" for number in range(count)][::-1] for count in (INPUTS_LIMIT, INPUTS_LIMIT + 1)]

    assert is_assembled(await place.ask(at))
    assert not is_assembled(await place.ask([*beyond[:-1], "x"]))


async def test_records_hold_the_request_of_a_part_where_requests_are_kept() -> None:
    place = await Place(policy=Policy(keep_requests=True)).after(["a", "b"])

    requests = {codec.decode(record).request for _, record in place.store.scan()}

    assert requests == {None, *(b'{"input":%b,"model":"m"}' % one for one in (b'["a","b"]', b'"a"', b'"b"'))}


@pytest.mark.parametrize("name", ["memory", "disk"])
async def test_parts_are_kept_in_every_store_that_keeps_any(name: str, tmp_path: Path) -> None:
    store: Store = MemoryStore() if name == "memory" else DiskStore(tmp_path)
    place = await Place(store).after(["a", "b"], "c")
    with anyio.fail_after(10):
        while len(list(store.scan())) < 7:  # two wholes, two batches, three parts: they come behind the answer
            await anyio.lowlevel.checkpoint()

    reply = await place.ask(["c", "b", "a"])

    assert is_assembled(reply)
    assert json.loads(reply.body) == answered({"input": ["c", "b", "a"]})
    store.close()


async def test_a_directory_of_files_holds_what_was_recorded_and_no_parts_of_it(tmp_path: Path) -> None:
    """They are read and compared by people, and each answer stands there already."""
    store = FileStore(tmp_path)
    place = await Place(store, Policy(partition="shared")).after(["a", "b"])

    assert [codec.decode(record).endpoint for _, record in store.scan()] == ["embeddings"]
    assert not is_assembled(await place.ask(["b", "a"]))


def test_a_transport_assembles_too() -> None:
    calls: list[Any] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        calls.append(json.loads(request.content))
        return httpx2.Response(200, json=answered(calls[-1]))

    transport = CacheTransport(httpx2.MockTransport(answer), store=MemoryStore())
    with httpx2.Client(transport=transport) as client:
        for given_inputs in ("a", ["b"], ["b", "a"]):
            response = client.post("https://api.example" + PATH, json={"model": "m", "input": given_inputs})

    assert len(calls) == 2
    assert response.json() == answered({"input": ["b", "a"]})
    assert "detail=assembled" in response.headers["cache-status"]


def test_the_sdk_reads_from_an_assembled_answer_what_it_reads_from_the_upstreams() -> None:
    """It asks for base64 where its caller asks for nothing, and decodes that itself."""
    calls: list[Any] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        calls.append(json.loads(request.content))
        packed = [base64.b64encode(struct.pack("<2f", *vector(one))).decode() for one in calls[-1]["input"]]
        data = [{"object": "embedding", "index": index, "embedding": one} for index, one in enumerate(packed)]
        return httpx2.Response(200, json=answered(calls[-1]) | {"data": data})

    transport = CacheTransport(httpx2.MockTransport(answer), store=MemoryStore())
    with openai.OpenAI(
        api_key="sk", base_url="https://api.example/v1", http_client=httpx2.Client(transport=transport)
    ) as client:
        told = {one: client.embeddings.create(model="m", input=[one]).data[0].embedding for one in "ab"}
        both = client.embeddings.create(model="m", input=["b", "a", "b"])

    assert [one["encoding_format"] for one in calls] == ["base64"] * 2
    assert [one.embedding for one in both.data] == [told["b"], told["a"], told["b"]]
    assert (both.model, both.usage.prompt_tokens) == ("m-1", 3)


def test_a_wsgi_mount_assembles_too() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        asked = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(answered(asked)).encode()]

    mount = WsgiMiddleware(app, name="bot", store=MemoryStore())
    for given_inputs in ("a", ["b"], ["b", "a"]):
        body = json.dumps({"model": "m", "input": given_inputs}).encode()
        reply = wsgi_driver.call(mount, "POST", PATH, body, (*JSON_FIELDS, (b"cachemw", b"on")))

    assert is_assembled(reply)
    assert json.loads(reply.body) == answered({"input": ["b", "a"]})
    mount.close()


def outcome_of(world: World, given_inputs: Any) -> Any:
    """Return what the script comes to with what there is in a world's store."""
    body = json.dumps({"model": "m", "input": given_inputs}).encode()
    asked = request_to(EMBEDDINGS, body)
    return world.run(exchange(EMBEDDINGS, asked, Directives(), Policy(), Limits(), VerifiedRecords()))


def recorded(*batches: Any) -> dict[bytes, bytes]:
    """Return what a store holds after these were asked for."""
    world = World(upstream=Head(200, JSON_FIELDS))
    for given_inputs in batches:
        relay = outcome_of(world, given_inputs)
        assert isinstance(relay, Relay)
        relay.response.feed(json.dumps(answered({"input": given_inputs})).encode(), NOW)
        put = relay.response.finish(NOW)
        assert put is not None
        assert put.parts is not None
        world.records |= {put.index: put.record, **dict(put.parts())}
    return world.records


def test_the_batch_of_parts_lies_beside_their_whole() -> None:
    records = recorded(["a", "b"])

    [whole] = [index for index, record in records.items() if index_of_batch(index) in records]
    batch = read_batch(records[index_of_batch(whole)])
    assert batch is not None
    assert batch.inputs == 2
    assert sum(codec.decode(record).proof != codec.decode(records[whole]).proof for record in records.values()) == 2


def test_of_a_store_that_holds_all_of_it_nothing_is_forwarded() -> None:
    assert "assembled" in outcome_of(World(records=recorded("a", "b")), ["a", "b"]).report.details


@pytest.mark.parametrize("lost", range(4))
def test_with_any_record_lost_it_is_a_miss(lost: int) -> None:
    records = recorded("a", "b")
    needed = [index for index, record in records.items() if b"cachemw-batch" in record]
    assert len(needed) == 4

    del records[needed[lost]]

    assert isinstance(outcome_of(World(records=records), ["a", "b"]), Relay)


@given(st.data())
@settings(max_examples=60)
def test_no_record_that_is_damaged_or_another_one_makes_an_answer(drawn: st.DataObject) -> None:
    """Nothing is raised, and no vector stands for another's input."""
    records = recorded("a", "b", ["c", "d"])
    index = drawn.draw(st.sampled_from(sorted(records)))
    record = records[index]
    at = drawn.draw(st.integers(0, len(record) - 1))
    changed = record[:at] + bytes([record[at] ^ drawn.draw(st.integers(1, 255))]) + record[at + 1 :]
    records[index] = drawn.draw(st.sampled_from([changed, b"", record[:at], *records.values()]))

    outcome = outcome_of(World(records=records), ["a", "d", "b", "c"])

    if not isinstance(outcome, Relay):
        assert json.loads(outcome.stored.body) == answered({"input": ["a", "d", "b", "c"]})


def test_a_store_that_fails_is_an_empty_one() -> None:
    assert isinstance(outcome_of(World(store_error=StoreError("no")), ["a", "b"]), Relay)


def test_a_store_that_fails_only_when_it_is_asked_for_parts_is_an_empty_one() -> None:
    body = json.dumps({"model": "m", "input": ["a", "b"]}).encode()
    script = exchange(EMBEDDINGS, request_to(EMBEDDINGS, body), Directives(), Policy(), Limits(), VerifiedRecords())

    assert isinstance(next(script), Lookup)
    assert isinstance(script.send(Found(None, NOW)), LookupMany)
    assert isinstance(script.throw(StoreError("no")), GetOrder)


@pytest.mark.parametrize("words", [b"", b"x", b"x y 1", b"x zz 1", b"x 00 z", b"x 00 1 2", b"\xff \xff \xff"])
def test_a_record_that_names_its_whole_otherwise_is_no_part(words: bytes) -> None:
    [record, *_] = [record for record in recorded("a").values() if b"cachemw-batch" in record][1:]
    stored = replace(codec.decode(record), headers=((b"cachemw-batch", words),))

    assert read_part(codec.encode(stored), Key(b"", b"", stored.proof)) is None


@given(st.binary(max_size=64))
def test_what_is_no_record_is_no_part_and_no_batch(raw: bytes) -> None:
    assert read_batch(raw) is None
    assert read_part(raw, Key(b"", b"", b"")) is None
