"""A plain client gets the same from the upstream, on a miss and on a hit: for every recording of a real upstream."""

import json
from functools import partial
from pathlib import Path

import httpx
import pytest

from cachemw import DiskStore
from cachemw.upstreams import HttpUpstream
from cachemw.upstreams.base import AsyncResponse, UpstreamRequest
from tests.cassettes import FOLDER, cassette
from tests.real.cutting import cut_awkwardly
from tests.real.proxied import Servers, World, by_model
from tests.real.recordings import ASKED_OTHERWISE, NOT_STORED, STORED, Body, Recording, name_of, stored
from tests.real.sdks import KEY, ON, cache_status
from tests.thorough import THOROUGH
from tests.upstream import EVENT_STREAM, Told

KEPT = {"content-type", "openai-version"}
"""Recorded response fields that a hit has too."""

ADDED = {"age", "cache-control", "cache-status", "content-length", "transfer-encoding", "x-accel-buffering"}

WITH_FIELDS = tuple(
    one for one in STORED if one.name in ("cerebras_simple_llama", "openai_nonstream_tools", "openai_stream_usage")
)
"""Of each upstream and kind one whose response fields were recorded."""


def post(url: str, body: Body, on: bool = True) -> httpx.Response:
    headers = {"authorization": f"Bearer {KEY}", **(ON if on else {})}
    with httpx.Client(headers=headers, trust_env=False) as client:
        return client.post(f"{url}/v1/chat/completions", json=body)


def answers(world: World, body: Body) -> tuple[httpx.Response, httpx.Response, httpx.Response]:
    """Ask the upstream, then the proxy twice."""
    return post(world.direct, body, on=False), post(world.proxy, body), post(world.proxy, body)


@pytest.mark.parametrize("recording", STORED, ids=name_of)
def test_what_is_stored_is_what_the_upstream_sends(recording: Recording, servers: Servers) -> None:
    """S2, S9: status and body of the miss and of the hit, byte for byte."""
    with servers.proxied(by_model({recording.name: recording.told()})) as world:
        direct, miss, hit = answers(world, recording.request())

        assert world.calls == 2
    assert cache_status(hit.headers)["hit"] is True
    assert direct.content == recording.body()
    assert (miss.status_code, miss.content) == (direct.status_code, direct.content)
    assert (hit.status_code, hit.content) == (direct.status_code, direct.content)


ONE_A_FAULT = {(one.is_stream, one.fault): one for one in NOT_STORED}


@pytest.mark.parametrize(
    "recording",
    [*(NOT_STORED if THOROUGH else ONE_A_FAULT.values()), *ASKED_OTHERWISE],
    ids=lambda one: f"{one.name}-{one.fault}",
)
def test_what_is_not_stored_passes_as_it_is_and_says_why(recording: Recording, servers: Servers) -> None:
    """S9, R1, R2, R3, E1: an error, an error inside of a 200, another API's events, another answer than was asked for."""
    with servers.proxied(by_model({recording.name: recording.told()})) as world:
        direct, first, second = answers(world, recording.request())

        assert world.calls == 3
        assert world.records == 0
        assert [(report.stored, report.details) for report in world.reports] == [(False, (recording.fault,))] * 2
    assert direct.content == recording.body()
    assert (first.status_code, first.content) == (direct.status_code, direct.content)
    assert (second.status_code, second.content) == (direct.status_code, direct.content)


@pytest.mark.parametrize("recording", WITH_FIELDS, ids=name_of)
def test_a_miss_has_the_upstreams_header_fields_and_a_hit_the_lasting_ones(recording: Recording, servers: Servers) -> None:
    """I5: no rate limits, request ids, dates or rays in a replay."""
    with servers.proxied(by_model({recording.name: recording.told()})) as world:
        direct, miss, hit = answers(world, recording.request())

    sent = {name: value for name, value in direct.headers.items() if name not in ADDED}
    assert {name: value for name, value in miss.headers.items() if name not in ADDED} == sent
    assert {name: value for name, value in hit.headers.items() if name not in ADDED} == {
        name: value for name, value in sent.items() if name in KEPT
    }


@pytest.mark.parametrize("line_end", [b"\r\n", b"\r"], ids=["crlf", "cr"])
@pytest.mark.parametrize("name", ["openai_stream_usage", "openrouter_stream_annotations"])
def test_other_line_ends_are_kept_as_they_are(name: str, line_end: bytes, servers: Servers) -> None:
    """S8, S9: an event stream may end its lines in three ways."""
    recording = stored(name)
    body = recording.body().replace(b"\n", line_end)
    told = Told(recording.pieces(body), headers=EVENT_STREAM)

    with servers.proxied(by_model({name: told})) as world:
        _, miss, hit = answers(world, recording.request())

    assert cache_status(hit.headers)["hit"] is True
    assert miss.content == hit.content == body


@pytest.mark.parametrize("recording", WITH_FIELDS, ids=name_of)
def test_a_stored_recording_outlives_the_proxy_on_disk(recording: Recording, servers: Servers, tmp_path: Path) -> None:
    """S2: the record, not the process, has the bytes."""
    told = recording.told()
    for _ in range(2):
        store = DiskStore(tmp_path)
        with servers.proxied(by_model({recording.name: told}), store) as world:
            answer = post(world.proxy, recording.request())
            calls = world.calls
        store.close()

    assert calls == 0
    assert answer.content == recording.body()


class CountingResponse:
    """A response that notes the pieces in which it is read."""

    def __init__(self, response: AsyncResponse, seen: list[bytes]) -> None:
        self.head = response.head
        self._response, self._seen = response, seen

    async def read(self) -> bytes | None:
        chunk = await self._response.read()
        if chunk is not None:
            self._seen.append(chunk)
        return chunk

    async def aclose(self) -> None:
        await self._response.aclose()


class CountingUpstream(HttpUpstream):
    """The proxy's upstream, which notes in which pieces an answer comes."""

    def __init__(self, base_url: str, seen: list[bytes]) -> None:
        super().__init__(base_url)
        self._seen = seen

    async def aopen(self, request: UpstreamRequest) -> AsyncResponse:
        return CountingResponse(await super().aopen(request), self._seen)


def test_the_proxy_gets_the_awkward_pieces_one_by_one(servers: Servers) -> None:
    """S8: else the other tests here would show less than they say."""
    recording = stored("openrouter_stream_annotations")
    seen: list[bytes] = []

    counting = partial(CountingUpstream, seen=seen)
    with servers.proxied(by_model({recording.name: recording.told()}), make_upstream=counting) as world:
        post(world.proxy, recording.request())

    assert seen == cut_awkwardly(recording.body())
    assert {b"d", b"\n", b"["} <= set(seen)


def test_every_recording_there_is_is_tested() -> None:
    """Of the folder's files, those of errors are tested by the SDKs."""
    errors = json.loads(cassette("cerebras_error_bodies.json"))
    files = {file.name for file in FOLDER.iterdir() if file.suffix in (".sse", ".json") and ".meta" not in file.name}

    assert {file for file in files if not file.endswith("_error_bodies.json")} == {
        recording.file for recording in STORED + NOT_STORED
    }
    assert len(errors) == 10
