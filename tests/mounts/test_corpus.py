"""Every recording of a real upstream through the product: byte for byte, and in the other kind where it can be had."""

import json
from pathlib import Path

import httpx2
import pytest

from cachemw import Policy
from tests.cassettes import FOLDER, cassette
from tests.mounts.answering import Answered
from tests.mounts.conftest import status_of
from tests.mounts.mounting import PATH
from tests.real.recordings import NOT_STORED, OF_OTHER_ENDPOINTS, STORED, Body, Recording, name_of

ELSEWHERE = {"openai_responses_stream_error": "/v1/responses"}
"""Where the answers are from whose request was not recorded, if that is no chat completion."""

NO_RECORDINGS = frozenset({"cerebras_error_bodies", "anthropic_error_bodies"})
"""Collections of error bodies: nobody answered with all of one."""

OTHER_KINDS: dict[str, Body] = {
    "JSON": {"stream": False},
    "stream": {"stream": True},
    "stream with usage": {"stream": True, "stream_options": {"include_usage": True}},
}
TRANSCODED = "hit; ttl=86400; key; detail=transcoded"
REFUSED: dict[tuple[str, str], str] = {}
"""What a recording cannot be given as, and why: nothing, at present."""

BYPASSED = frozenset({"openai_web_search_annotations"})
OF_OTHER_APIS = {"responses": "no-input", "messages": "no-max-tokens"}
"""Why a chat request is not cached that goes to another API; where that is none of ours, it is `other-path`."""


def uri_of(recording: Recording) -> str:
    request = json.loads(cassette(f"{recording.name}.meta.json"))["request"]
    return str(request["uri"]) if request else ELSEWHERE.get(recording.name, PATH)


def is_chat(recording: Recording) -> bool:
    return uri_of(recording).endswith("/chat/completions")


def answered(recording: Recording) -> Answered:
    """Return a client of an upstream that answers everything with one recording."""
    return Answered(recording.told(), Policy(default="on"))


@pytest.mark.parametrize("recording", STORED, ids=name_of)
def test_a_recorded_completion_is_a_hit_byte_for_byte_and_every_kind_is_had(recording: Recording) -> None:
    """S2, S3, S4: a kind that is not there is refused for the reason that the table names."""
    recorded, asked = answered(recording), recording.request()

    first, again = recorded.ask(asked), recorded.ask(asked)

    assert first.body == again.body == recording.body()
    assert status_of(again) == "hit; ttl=86400; key"
    for name, kind in OTHER_KINDS.items():
        body = {member: value for member, value in asked.items() if member not in ("stream", "stream_options")} | kind
        if any(body.get(member) != asked.get(member) for member in ("stream", "stream_options")):
            assert status_of(recorded.ask(body)) == REFUSED.get((recording.name, name), TRANSCODED), name
    assert recorded.calls == 1 + len([one for one, _ in REFUSED if one == recording.name])


@pytest.mark.parametrize("recording", [one for one in NOT_STORED if one.name not in OF_OTHER_ENDPOINTS], ids=name_of)
def test_all_other_recordings_pass_untouched(recording: Recording) -> None:
    """R2, H8: errors, what depends on the day, and other APIs."""
    recorded, asked, path = answered(recording), recording.request(), httpx2.URL(uri_of(recording)).raw_path.decode()

    replies = [recorded.ask(asked, path if not is_chat(recording) else PATH) for _ in range(2)]

    assert [reply.body for reply in replies] == [recording.body()] * 2
    assert recorded.calls == 2
    other = OF_OTHER_APIS.get(path.partition("?")[0].rpartition("/")[2], "other-path")
    detail = other if not is_chat(recording) else recording.fault if recording.name in BYPASSED else None
    assert all("hit" not in status_of(reply) for reply in replies)
    assert all(status_of(reply).endswith(f"bypass; detail={detail}") for reply in replies if detail)


def test_no_recording_is_left_out() -> None:
    """A new one gets its row."""
    cassette("INDEX.md")
    found = {Path(path.name).stem for path in FOLDER.iterdir() if path.suffix in (".json", ".sse")}

    names = {name for name in found if not name.endswith(".meta")} - NO_RECORDINGS
    assert names == {recording.name for recording in (*STORED, *NOT_STORED)}
