"""The key: its parts, its index, its proof."""

import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import xxhash
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

from cachemw.cache.header_rules import keyed
from cachemw.cache.key import Key, fingerprint, frame, index_beside, indexes_beside
from cachemw.messages import AppTarget, ClientTarget, Headers, HttpTarget, Kind, Target
from tests.cache import golden
from tests.cache.keying import APP, JSON, NO_RULES, UPSTREAM, asking, body_of, key_of

ROOT = Path(__file__).parents[2]
COLLISIONS: list[dict[str, Any]] = json.loads((ROOT / "tests" / "data" / "collision_pairs.json").read_text(encoding="utf-8"))


def sized(*parts: bytes) -> bytes:
    """Frame parts by hand: eight bytes of length before each."""
    return b"".join(bytes([0, 0, 0, 0, 0, 0, len(part) >> 8, len(part) & 255]) + part for part in parts)


@pytest.mark.parametrize(
    ("target", "identity", "keyed_headers"),
    [
        pytest.param(
            UPSTREAM, sized(b"http", b"https://api.example:443/v1/chat/completions"), sized(b"openai-beta", b"B"), id="http"
        ),
        pytest.param(
            AppTarget("bot", b"/acme", b"/v1/chat/completions", b"/v1/chat%2Fcompletions", b"a=1"),
            sized(b"app", b"bot", b"/acme", b"/v1/chat/completions", b"/v1/chat%2Fcompletions", b"a=1"),
            sized(b"cookie", b"c=1", b"openai-beta", b"B"),
            id="app",
        ),
    ],
)
def test_the_key_is_made_of_its_parts(target: Target, identity: bytes, keyed_headers: bytes) -> None:
    """K4: the scheme, written out."""
    headers: Headers = (*JSON, (b"OpenAI-Beta", b"B"), (b"Cookie", b"c=1"))
    body = b'{"messages": [], "model": "m"}'

    key = key_of(body, target, headers, partition=b"shared", namespace="evals", sample=2)

    canonical = b'{"messages":[],"model":"m"}'
    assert key.parts == sized(b"cachemw/2", b"shared", b"=evals", b"2", identity, keyed_headers, canonical)


def test_the_index_is_xxh3_and_the_proof_is_sha_256_of_the_same_parts() -> None:
    """K7."""
    key = key_of(body_of())

    assert key.index == xxhash.xxh3_128_digest(key.parts)
    assert key.proof == hashlib.sha256(key.parts).digest()


def test_a_key_cannot_be_changed_by_what_happens_later() -> None:
    """K5: computed once, from frozen bytes."""
    key = key_of(body_of())

    with pytest.raises(AttributeError):
        key.index = b""  # type: ignore[misc]
    assert key == key_of(body_of())


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("http://api.example:443/v1/chat/completions", id="scheme"),
        pytest.param("https://api.example.org:443/v1/chat/completions", id="host"),
        pytest.param("https://api.example:8443/v1/chat/completions", id="port"),
        pytest.param("https://api.example:443/team/v1/chat/completions", id="path prefix"),
        pytest.param("https://api.example:443/v2/chat/completions", id="version"),
        pytest.param("https://api.example:443/V1/chat/completions", id="letter case of the path"),
        pytest.param("https://api.example:443/v1/chat/completions/", id="slash"),
        pytest.param("https://api.example:443/v1/chat/completions?", id="empty query"),
        pytest.param("https://api.example:443/v1/chat/completions?version=2", id="query"),
    ],
)
def test_another_upstream_is_another_key(url: str) -> None:
    """K2."""
    assert key_of(body_of(), HttpTarget(url)).proof != key_of(body_of()).proof


def test_another_query_is_another_key() -> None:
    """K2."""
    urls = [f"{UPSTREAM.url}?{query}" for query in ("a=1", "a=2", "a=1&b=2", "b=2&a=1", "a=%31")]

    assert len({key_of(body_of(), HttpTarget(url)).proof for url in urls}) == len(urls)


def test_behind_a_transport_or_a_mount_an_upstream_is_the_same_one() -> None:
    """E5: what one of them stores, the other finds."""
    assert key_of(body_of(), ClientTarget(UPSTREAM.url)) == key_of(body_of(), UPSTREAM)


def test_another_host_or_another_url_is_another_key() -> None:
    """K2: one address may have several upstreams behind it, and one host several paths."""
    urls = (UPSTREAM.url, "https://api.example:443/team/v1/chat/completions", "https://192.0.2.7:443/v1/chat/completions")
    targets = [ClientTarget(url, host) for url in urls for host in (b"", b"a.example", b"b.example")]

    assert len({key_of(body_of(), target).proof for target in targets}) == 9


@pytest.mark.parametrize(
    "app",
    [
        pytest.param(replace(APP, name="other-bot"), id="name"),
        pytest.param(replace(APP, root=b"/acme"), id="where it is mounted"),
        pytest.param(replace(APP, path=b"/v2/chat/completions"), id="path"),
        pytest.param(replace(APP, raw_path=b"/v1/chat%2Fcompletions"), id="path as it was sent"),
        pytest.param(replace(APP, query=b"debug=1"), id="query"),
        pytest.param(HttpTarget("support-bot/v1/chat/completions"), id="no app"),
    ],
)
def test_another_app_is_another_key(app: Target) -> None:
    """K2."""
    assert key_of(body_of(), app).proof != key_of(body_of(), APP).proof


@pytest.mark.parametrize("target", [UPSTREAM, APP], ids=["http", "app"])
def test_another_model_is_another_key(target: Target) -> None:
    """K2."""
    models = ["llama3.1-8b", "llama-3.1-8b", "llama3.1-8B", "llama3.1-70b", "", None]

    assert len({key_of(body_of(model=model), target).proof for model in models}) == len(models)


@pytest.mark.parametrize("target", [UPSTREAM, APP], ids=["http", "app"])
@pytest.mark.parametrize(
    "others",
    [
        pytest.param({"partition": b"shared"}, id="partition"),
        pytest.param({"partition": b""}, id="empty partition"),
        pytest.param({"namespace": "evals"}, id="namespace"),
        pytest.param({"namespace": ""}, id="empty namespace"),
        pytest.param({"sample": 1}, id="sample"),
        pytest.param({"headers": (*JSON, (b"openai-beta", b"a"))}, id="header"),
        pytest.param({"headers": (*JSON, (b"openai-beta", b""))}, id="empty header"),
    ],
)
def test_every_part_is_in_the_key(target: Target, others: dict[str, Any]) -> None:
    """R4, I1: two samples, namespaces or partitions never meet."""
    key = key_of(body_of(), target, **others)

    assert key.index != key_of(body_of(), target).index
    assert key.proof != key_of(body_of(), target).proof


@pytest.mark.parametrize("target", [UPSTREAM, APP], ids=["http", "app"])
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"stop": "a", "user": "b"}, {"stop": "auser: b"}),
        ({"stop": "a", "tools": "b"}, {"stop": "atools: b"}),
        ({"stop": "a", "tools": "b"}, {"stop": 'a","tools":"b'}),
        ({"a": "bc"}, {"ab": "c"}),
    ],
    ids=repr,
)
def test_fields_joined_another_way_are_another_key(target: Target, one: dict[str, Any], other: dict[str, Any]) -> None:
    """K6."""
    assert key_of(body_of(**one), target).proof != key_of(body_of(**other), target).proof


def unframed(framed: bytes) -> list[bytes]:
    """Take a frame apart again."""
    parts = []
    while framed:
        size = int.from_bytes(framed[:8])
        assert len(framed) >= 8 + size
        parts.append(framed[8 : 8 + size])
        framed = framed[8 + size :]
    return parts


FRAGMENTS = st.sampled_from([b"", b"a", b"=", b"=a", b"0", b"1", b"\x00", bytes(8), sized(b""), sized(b"a"), sized(b"a", b"0")])


@given(st.lists(st.binary() | FRAGMENTS))
def test_a_frame_can_be_taken_apart_so_no_two_lists_frame_alike(parts: list[bytes]) -> None:
    """K6."""
    assert unframed(frame(parts)) == parts


@given(st.lists(FRAGMENTS, max_size=4), st.lists(FRAGMENTS, max_size=4))
def test_two_lists_never_frame_alike(one: list[bytes], other: list[bytes]) -> None:
    """K6."""
    assert (frame(one) == frame(other)) is (one == other)


TEXT = st.sampled_from(["", "a", "=", "=a", "0", "\x00", "a0"])
HEADERS = st.lists(st.tuples(st.sampled_from([b"a", b"b", b"ab"]), FRAGMENTS), max_size=2).map(tuple)
APPS = st.builds(AppTarget, TEXT, FRAGMENTS, FRAGMENTS, FRAGMENTS, FRAGMENTS)
PARTS = st.tuples(FRAGMENTS, st.none() | TEXT, st.integers(0, 10), APPS | TEXT.map(HttpTarget), HEADERS, FRAGMENTS)


def assembled(partition: bytes, namespace: str | None, sample: int, target: Target, headers: Headers, form: bytes) -> Key:
    return fingerprint(asking(b"", target, headers), form, partition, namespace, sample, NO_RULES)


@given(PARTS, PARTS, st.lists(st.booleans(), min_size=6, max_size=6))
def test_parts_cut_elsewhere_are_another_key(one: Any, other: Any, kept: list[bool]) -> None:
    """K6: partition, namespace, sample, answerer, headers and body never flow into one another."""
    other = tuple(first if keep else second for first, second, keep in zip(one, other, kept, strict=True))
    first, second = ((*parts[:4], keyed(parts[4], parts[3].recipient, NO_RULES), parts[5]) for parts in (one, other))
    assume(first != second)

    assert assembled(*one).parts != assembled(*other).parts
    assert assembled(*one).proof != assembled(*other).proof


def test_the_checked_in_keys_are_enough_to_mean_something() -> None:
    """K4."""
    vectors = golden.vectors()
    spelt_otherwise = [vector for vector in vectors if "same_as" in vector]

    assert len(vectors) >= 12
    assert len({vector["proof"] for vector in vectors}) == len(vectors) - len(spelt_otherwise)
    assert all(vector["proof"] == named(vectors, vector["same_as"])["proof"] for vector in spelt_otherwise)


def named(vectors: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(vector for vector in vectors if vector["name"] == name)


@pytest.mark.parametrize("vector", golden.vectors(), ids=lambda vector: vector["name"])
def test_a_checked_in_request_has_the_key_it_always_had(vector: dict[str, Any]) -> None:
    """K4: where this fails, raise `SCHEME` and write the vectors anew: every stored response is lost to its users."""
    key = golden.key_again(vector)

    assert (key.index.hex(), key.proof.hex()) == (vector["index"], vector["proof"])


def test_the_checked_in_keys_hold_in_every_process() -> None:
    """K4: under ten hash seeds."""
    expected = [{"index": vector["index"], "proof": vector["proof"]} for vector in golden.vectors()]

    with ThreadPoolExecutor(4) as processes:
        computed = list(processes.map(keys_under, range(1, 11)))

    assert computed == [expected] * 10


def keys_under(hash_seed: int) -> object:
    """Compute the keys in a process of its own."""
    environment = os.environ | {"PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.cache.golden"]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def test_a_record_beside_another_has_the_place_it_always_had() -> None:
    """K4, B4: whoever has the key's index, and nothing else, finds it."""
    as_json, as_stream = "0dbdf50bf203616416ce816551fb11bc", "7df87b31ecc6ea93cc6e623a393c0ed3"
    batch = "7253352ab1d8f5f2083439466417f65b"

    assert [index.hex() for index in indexes_beside(bytes(16))] == [as_json, as_stream, batch]
    assert index_beside(bytes(16), Kind(stream=False)).hex() == as_json
    assert index_beside(bytes(16), Kind(stream=True, options=b'{"include_usage":true}')).hex() == as_stream


@pytest.mark.parametrize("pair", COLLISIONS, ids=lambda pair: pair["name"])
def test_two_bodies_with_one_index_have_two_proofs(pair: dict[str, Any]) -> None:
    """K7: a hash collision is a miss."""
    one, other = (
        key_of(
            body.encode(),
            golden.answerer_of(pair),
            partition=pair["partition"].encode(),
            namespace=pair.get("namespace"),
            sample=pair.get("sample", 0),
        )
        for body in pair["bodies"]
    )

    assert pair["bodies"][0] != pair["bodies"][1]
    assert one.index == other.index
    assert one.proof != other.proof
    assert one.parts != other.parts


def test_there_are_collisions_enough() -> None:
    """K7."""
    assert len(COLLISIONS) >= 5
