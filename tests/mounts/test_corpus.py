"""Every recording of a real upstream through the product, asked for as it was: byte for byte, in both kinds and both dialects.

What is read of the other kind, and in the other dialect, is what the official SDKs put together.
"""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cachemw import Policy
from tests.cassettes import FOLDER, cassette
from tests.mounts.accumulated import READERS, raised, read
from tests.mounts.answering import Answered
from tests.mounts.conftest import status_of
from tests.mounts.dialects import PATHS, SpokenTo
from tests.real.recordings import ALL, KEPT_ELSEWHERE, STORED, USAGE, Body, Recording, name_of
from tests.upstream import EVENT_STREAM, JSON, Told

pytestmark = pytest.mark.anyio

NO_RECORDINGS = frozenset({"cerebras_error_bodies", "anthropic_error_bodies"})
"""Collections of error bodies: nobody answered with all of one."""

KEPT = [one for one in ALL if one in STORED or one.name in KEPT_ELSEWHERE]
WHY_NOT = {
    "anthropic_error_400_context": "not-200",
    "anthropic_error_401_stream": "not-200",
    "anthropic_stream_code_execution": "server-tool",
    "groq_stream_error_event": "was-error-event",
    "openai_error_400_context": "not-200",
    "openai_error_400_role": "not-200",
    "openai_error_401": "not-200",
    "openai_error_404": "not-200",
    "openai_responses_background_queued": "background",
    "openai_responses_stream_error": "was-error-event",
    "openai_web_search_annotations": "web-search",
}
"""Why a recording is not kept, as the second request for it is told."""

HIT = "hit; ttl=86400; key"
TRANSCODED = f"{HIT}; detail=transcoded"
NOT_HAD = {
    "openai_completion_stream": "no-usage",  # whoever reads a document is due the usage, which its stream did not say
}
"""What cannot be given in the other kind, and why."""

OTHER = {"chat": "messages", "messages": "chat"}
UNSAYABLE = {
    "openai_stream_n2": "a second choice",
    "anthropic_stream_code_execution": "server_tool_use",
}
"""What cannot be said in the other dialect, and what of it."""


def answered(recording: Recording) -> Answered:
    """Return a client of an upstream that answers everything with one recording."""
    return Answered(recording.told(), Policy(default="on"))


def in_other_kind(recording: Recording) -> Body:
    """Return its own request for the other kind; a document says what it took, so a stream that is to be one says it too."""
    asked = {name: value for name, value in recording.own_request().items() if name != "stream_options"}
    return asked | {"stream": not recording.is_stream}


@pytest.mark.parametrize("recording", KEPT, ids=name_of)
def test_a_recording_is_a_hit_byte_for_byte(recording: Recording) -> None:
    """S2, S3, S4, T10, T26."""
    recorded = answered(recording)

    first, again = [recorded.ask(recording.own_request(), recording.path()) for _ in range(2)]

    assert first.body == again.body == recording.body()
    assert status_of(again) == HIT
    assert recorded.calls == 1


@pytest.mark.parametrize("recording", [one for one in ALL if one not in KEPT], ids=name_of)
def test_what_is_not_kept_passes_untouched_and_its_reason_is_told(recording: Recording) -> None:
    """R2, H8, T25: errors, what depends on the day, and what an upstream does by itself."""
    recorded = answered(recording)

    replies = [recorded.ask(recording.own_request(), recording.path()) for _ in range(2)]

    assert [reply.body for reply in replies] == [recording.body()] * 2
    assert [reply.status for reply in replies] == [recording.told().status] * 2
    assert recorded.calls == 2
    assert status_of(replies[1]).endswith(f"; detail={WHY_NOT[recording.name]}")


@pytest.mark.parametrize("recording", [one for one in KEPT if one.endpoint in READERS], ids=name_of)
def test_a_recording_is_had_in_the_other_kind_and_reads_the_same(recording: Recording) -> None:
    """S4, T10, T26."""
    recorded = answered(recording)
    recorded.ask(recording.own_request(), recording.path())

    other = recorded.ask(in_other_kind(recording), recording.path())

    if recording.name in NOT_HAD:
        assert NOT_HAD[recording.name] in status_of(other)
        return
    assert (status_of(other), recorded.calls) == (TRANSCODED, 1)
    if recording.name != "openai_stream_n2":  # of two choices; `tests/real/test_transcode.py` reads them
        assert_same(recording, other.body)


def assert_same(recording: Recording, other: bytes) -> None:
    """Hold that two kinds of an answer are one to who reads them; in a stream of chat nobody asked what it took."""
    ours = read(recording.endpoint, recording.body(), is_stream=recording.is_stream)
    theirs = read(recording.endpoint, other, is_stream=not recording.is_stream)
    if recording.endpoint == "chat" and not recording.is_stream and not recording.name.startswith("cerebras"):
        assert theirs.usage == (0, 0, 0)  # Cerebras alone says it unasked
        theirs = replace(theirs, usage=ours.usage)
    assert theirs == ours


@pytest.mark.parametrize("recording", [one for one in KEPT if one.endpoint == "chat" and not one.is_stream], ids=name_of)
def test_a_stream_of_a_recorded_completion_says_what_it_took_to_who_asks(recording: Recording) -> None:
    """S4."""
    recorded = answered(recording)
    recorded.ask(recording.own_request(), recording.path())

    stream = recorded.ask(in_other_kind(recording) | USAGE, recording.path())

    assert (status_of(stream), recorded.calls) == (TRANSCODED, 1)
    ours = read("chat", recording.body(), is_stream=False)
    assert read("chat", stream.body, is_stream=True) == ours
    assert ours.usage != (0, 0, 0)


# In the other dialect.


def asked_in(dialect: str, recording: Recording, *, is_stream: bool) -> Body:
    """Return a plain request that the recording may answer, in a dialect; with the tools that it calls."""
    messages = [{"role": "user", "content": "Play it again."}]
    names = {name for _, name, _ in tools_of(recording)}
    common: Body = {"model": recording.name, "max_tokens": 1000, "messages": messages, "stream": is_stream}
    if dialect == "messages":
        tools = [{"name": name, "input_schema": {"type": "object"}} for name in sorted(names)]
    else:
        tools = [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in sorted(names)]
        common |= USAGE if is_stream else {}
    return common | ({"tools": tools} if tools else {})


def tools_of(recording: Recording) -> tuple[Any, ...]:
    if recording.name in UNSAYABLE or recording.told().status != 200 or recording.name == "groq_stream_error_event":
        return ()
    said = read(recording.endpoint, recording.body(), is_stream=recording.is_stream)
    return tuple(said.tools)


def spoken_to(recording: Recording) -> SpokenTo:
    """Return a proxy whose upstream speaks what was recorded alone, and says that."""
    return SpokenTo([recording.endpoint], lambda _: recording.told())


TRANSLATED = [one for one in ALL if one.endpoint in OTHER]
SAYABLE = [one for one in TRANSLATED if one in KEPT or one.name == "openai_web_search_annotations"]
SAYABLE = [one for one in SAYABLE if one.name not in UNSAYABLE]


@pytest.mark.parametrize("recording", SAYABLE, ids=name_of)
async def test_a_recording_reads_the_same_in_the_other_dialect_in_both_kinds_live_and_stored(recording: Recording) -> None:
    """T3, T5, T8, T9, T19: text, thinking, tools, the end, and what it took; one call serves all."""
    there, client = spoken_to(recording), OTHER[recording.endpoint]
    asked = [asked_in(client, recording, is_stream=is_stream) for is_stream in (recording.is_stream, not recording.is_stream)]

    live, again, other = [await there.ask(PATHS[client], body) for body in (asked[0], asked[0], asked[1])]

    ours = read(recording.endpoint, recording.body(), is_stream=recording.is_stream)
    assert read(client, live.body, is_stream=recording.is_stream) == ours
    assert read(client, again.body, is_stream=recording.is_stream) == ours
    assert read(client, other.body, is_stream=not recording.is_stream) == ours
    assert [status_of(reply).partition(" key")[0] for reply in (again, other)] == [HIT.removesuffix(" key")] * 2
    assert there.calls == 1


@pytest.mark.parametrize("recording", SAYABLE, ids=name_of)
async def test_what_was_asked_for_in_the_other_dialect_is_natively_every_byte_of_it(recording: Recording) -> None:
    """T9, T10: the record is what the upstream said."""
    there, client = spoken_to(recording), OTHER[recording.endpoint]
    await there.ask(PATHS[client], asked_in(client, recording, is_stream=recording.is_stream))
    sent = there.asked[0][1]

    reply = await there.ask(PATHS[recording.endpoint], sent)

    assert reply.body == recording.body()
    assert (status_of(reply), there.calls) == (HIT, 1)


@pytest.mark.parametrize("recording", [one for one in TRANSLATED if one.name in UNSAYABLE], ids=name_of)
async def test_what_cannot_be_said_in_the_other_dialect_is_an_error_there_and_no_answer(recording: Recording) -> None:
    """T22, ruling F3."""
    there, client = spoken_to(recording), OTHER[recording.endpoint]

    replies = [await there.ask(PATHS[client], asked_in(client, recording, is_stream=True)) for _ in range(2)]

    for reply in replies:
        error = raised(client, reply.body, is_stream=True)
        assert "cannot be said in this API" in str(error)
    assert there.calls == 2


ERRORS = [one for one in TRANSLATED if one.file.endswith(".json") and "_error_" in one.name]


@pytest.mark.parametrize("recording", ERRORS, ids=name_of)
async def test_a_recorded_error_is_raised_alike_in_the_other_dialect(recording: Recording) -> None:
    """T22: with its status and its words, in the shape of who asks; it is not kept."""
    there, client, status = spoken_to(recording), OTHER[recording.endpoint], recording.told().status

    replies = [await there.ask(PATHS[client], asked_in(client, recording, is_stream=False)) for _ in range(2)]

    for reply in replies:
        theirs = raised(client, reply.body, is_stream=False, status=reply.status or 0)
        ours = raised(recording.endpoint, recording.body(), is_stream=False, status=status)
        assert (reply.status, type(theirs).__name__) == (status, type(ours).__name__)
        assert message_in(theirs) == message_in(ours)
    assert there.calls == 2


def message_in(error: Any) -> str:
    """Return the words of an error, wherever an SDK has them."""
    body = error.body.get("error", error.body)
    return str(body["message"])


async def test_a_recorded_stream_that_fails_under_way_fails_in_the_other_dialect() -> None:
    """T7, T25: and nothing is kept."""
    recording = next(one for one in ALL if one.name == "groq_stream_error_event")
    there = spoken_to(recording)

    reply = await there.ask(PATHS["messages"], asked_in("messages", recording, is_stream=True))

    assert raised("messages", reply.body, is_stream=True) is not None
    assert b"message_stop" not in reply.body
    assert not list(there.store.scan())


# Nothing is left out.


def test_no_recording_is_left_out() -> None:
    """A new one gets its row."""
    cassette("INDEX.md")
    found = {Path(path.name).stem for path in FOLDER.iterdir() if path.suffix in (".json", ".sse")}

    names = {name for name in found if not name.endswith(".meta")} - NO_RECORDINGS
    assert names == {recording.name for recording in ALL}
    assert {one.name for one in KEPT} | WHY_NOT.keys() == names
    assert len(names) >= 51


QUOTED = [("cerebras_error_bodies", "chat"), ("anthropic_error_bodies", "messages")]


@pytest.mark.parametrize(("name", "dialect"), QUOTED)
async def test_every_quoted_error_passes_untouched_and_is_raised_alike_in_the_other_dialect(name: str, dialect: str) -> None:
    """T22, H8: bodies that others have quoted in public."""
    for quoted in json.loads(cassette(f"{name}.json")):
        body = quoted["body"]
        raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        if is_stream := quoted.get("stream", False):
            raw = b"event: error\ndata: " + raw + b"\n\n"
        there = SpokenTo([dialect], partial(told_once, raw, quoted["status"], is_stream))

        natively = await there.ask(PATHS[dialect], plain(dialect, is_stream))
        translated = await there.ask(PATHS[OTHER[dialect]], plain(OTHER[dialect], is_stream))

        assert (natively.status, natively.body, translated.status) == (quoted["status"], raw, quoted["status"])
        error = raised(OTHER[dialect], translated.body, is_stream=is_stream, status=quoted["status"])
        words = body if isinstance(body, str) else (body.get("error") or body).get("message") or body.get("detail")
        assert (words or "the upstream answered 404") in message_in(error)
        assert not list(there.store.scan())


def told_once(raw: bytes, status: int, is_stream: bool, asked: Body) -> Told:
    return Told([raw], status=status, headers=EVENT_STREAM if is_stream else JSON)


def plain(dialect: str, is_stream: bool) -> Body:
    return {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], "stream": is_stream}
