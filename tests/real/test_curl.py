"""curl, as in every provider's documentation."""

import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.real.answers import request
from tests.real.proxied import Servers, by_model
from tests.real.recordings import STORED, Body, Recording, name_of, stored
from tests.real.sdks import cache_status
from tests.upstream import EVENT_STREAM, Told, stream_events

CURL = shutil.which("curl")
PARTIAL_FILE = 18
"""How curl ends when a transfer broke off."""

pytestmark = pytest.mark.skipif(CURL is None, reason="curl is not installed")


@dataclass(frozen=True, slots=True)
class Fetched:
    """What curl wrote."""

    exit_code: int
    status: int
    headers: Mapping[str, str]
    body: bytes


def curl(url: str, body: Body, folder: Path, *options: str) -> Fetched:
    """Post a chat request; `folder` is where curl writes."""
    head, written = folder / "head", folder / "body"
    fields = ["-H", "Content-Type: application/json", "-H", "Authorization: Bearer sk-curl", *options]
    ran = subprocess.run(
        [str(CURL), "-sSN", *fields, "-D", str(head), "-o", str(written), "--data-binary", "@-", f"{url}/v1/chat/completions"],
        input=json.dumps(body).encode(),
        capture_output=True,
        timeout=30,
        check=False,
    )
    first, *lines = head.read_text().split("\n")
    headers = {name.lower(): value.strip() for name, colon, value in (line.partition(":") for line in lines) if colon}
    return Fetched(ran.returncode, int(first.split()[1]), headers, written.read_bytes())


@pytest.mark.parametrize("recording", STORED, ids=name_of)
def test_curl_gets_a_miss_then_a_hit_with_the_recorded_bytes(recording: Recording, servers: Servers, tmp_path: Path) -> None:
    """S1, S2: with header fields that say what happened."""
    told, body = recording.told(), recording.request()
    with servers.proxied(by_model({recording.name: told})) as world:
        miss = curl(world.proxy, body, tmp_path, "-H", "Cachemw: on")
        hit = curl(world.proxy, body, tmp_path, "-H", "Cachemw: on")

        assert world.calls == 1
    assert (miss.exit_code, miss.status, miss.body) == (0, 200, recording.body())
    assert (hit.exit_code, hit.status, hit.body) == (0, 200, recording.body())
    assert cache_status(miss.headers)["fwd"] == "miss"
    assert cache_status(hit.headers)["hit"] is True
    assert hit.headers["content-type"] == miss.headers["content-type"]
    assert "age" in hit.headers
    assert "age" not in miss.headers


def test_the_header_fields_of_a_hit_say_that_nobody_else_may_keep_it(servers: Servers, tmp_path: Path) -> None:
    """H8, I5: JSON has a length, a stream is passed on at once by whatever is in between."""
    recordings = stored("cerebras_simple_llama"), stored("openai_stream_usage")
    with servers.proxied(by_model({one.name: one.told() for one in recordings})) as world:
        answers = [curl(world.proxy, one.request(), tmp_path, "-H", "Cachemw: on") for one in recordings * 2]

    of_json, of_stream = answers[2].headers, answers[3].headers
    assert of_json["cache-control"] == "private, no-store"
    assert of_json["content-length"] == str(len(recordings[0].body()))
    assert of_stream["cache-control"] == "private, no-store, no-transform"
    assert of_stream["x-accel-buffering"] == "no"
    assert not {"x-request-id", "x-ratelimit-limit-requests", "cf-ray", "inference-id"} & (of_json.keys() | of_stream.keys())


def test_without_the_header_curl_gets_what_the_upstream_says_every_time(servers: Servers, tmp_path: Path) -> None:
    """E2: off means off."""
    recording = stored("openai_stream_usage")
    with servers.proxied(by_model({recording.name: recording.told()})) as world:
        answers = [curl(world.proxy, recording.request(), tmp_path) for _ in range(2)]

        assert world.calls == 2
        assert world.records == 0
    assert [answer.body for answer in answers] == [recording.body()] * 2
    assert not any("cache-status" in answer.headers for answer in answers)


def test_curl_notices_a_broken_stream(servers: Servers, tmp_path: Path) -> None:
    """H10: the transfer breaks too, for those who do not read events; and no `[DONE]` is made up."""
    broken = Told(stream_events()[:3], headers=EVENT_STREAM, ends=False)
    with servers.proxied(lambda _: broken) as world:
        answer = curl(world.proxy, request(stream=True), tmp_path, "-H", "Cachemw: on")

        assert world.records == 0
    assert answer.exit_code == PARTIAL_FILE
    assert answer.body.startswith(b"".join(stream_events()[:3]) + b'data: {"error":')
    assert b"[DONE]" not in answer.body
