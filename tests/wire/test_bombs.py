"""Bombs: small or large, what would keep the parser busy, and everything else waiting, is refused before it is read."""

import json
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.cache.key import ANONYMOUS, fingerprint
from cachemw.cache.policy import FINISH_REASONS, Policy
from cachemw.endpoints import CHAT
from cachemw.endpoints.base import ApiCall, Bypass
from cachemw.endpoints.chat.request import read_chat
from cachemw.endpoints.chat.transcode import OTHER_KIND, derive
from cachemw.endpoints.chat.transcode.aggregate import MEMBERS_LIMIT
from cachemw.limits import MIB, Work
from cachemw.messages import Kind, StoredResponse
from cachemw.wire import strict_json
from cachemw.wire.sse import DONE, Parser, encode
from cachemw.wire.strict_json import AMBIGUOUS, TOO_COMPLEX, WORK_LIMIT, is_too_complex, parse
from tests.cache.answers import chat, record_of, recording, terms
from tests.cache.keying import NO_RULES, RICH, asking
from tests.endpoints.judging import json_fault
from tests.endpoints.transcoding import JSON, STREAM, WITH_USAGE, chunk, completion, piece, record
from tests.wire.bombs import ANSWERS, RECORD, REQUESTS, WORST, Make, answering, wide
from tests.wire.spelling import CHANCE, Pairs, refusal, spell

pytestmark = pytest.mark.faults

WORK = Work()

REFUSED = pytest.mark.parametrize("make", REQUESTS.values(), ids=REQUESTS)


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no parser that reads."""

    def read(*_: Any, **__: Any) -> Any:
        raise AssertionError("it was read")

    monkeypatch.setattr(msgspec.json, "decode", read)
    monkeypatch.setattr(json, "loads", read)


# Requests.


@REFUSED
@pytest.mark.usefixtures("unread")
def test_a_bomb_is_refused_unread(make: Make) -> None:
    """S13"""
    assert read_chat(CHAT, asking(make())) == Bypass(TOO_COMPLEX) == Bypass("too-complex")


@REFUSED
def test_to_refuse_a_bomb_takes_no_more_memory_than_some_copies_of_it(make: Make) -> None:
    """S13"""
    raw = make()
    tracemalloc.start()
    try:
        read_chat(CHAT, asking(raw))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak <= 4 * len(raw) + 1_000_000


def at_the_limit(unit: bytes, weight: int, end: bytes = b"") -> tuple[bytes, bytes]:
    """Return the longest array of such values that is read, and the shortest that is not."""
    low, high = 1, 2 * WORK_LIMIT // weight
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_too_complex(b"[" + b",".join([unit] * middle) + end + b"]") else (middle, high)
    return b"[" + b",".join([unit] * low) + end + b"]", b"[" + b",".join([unit] * high) + end + b"]"


@pytest.mark.parametrize(
    ("unit", "weight", "least"),
    [
        pytest.param(b"[]", 4 * 64, 30_000, id="arrays"),
        pytest.param(b'{"a":1}', 6 * 64, 20_000, id="objects"),
        pytest.param(b'""', 64, 120_000, id="texts"),
        pytest.param(b"1e307", 4096 + 6 * 64, 1_800, id="exponents"),
        pytest.param(b"1e22", 5 * 64, 25_000, id="short exponents"),
        pytest.param(b'"' + b"\\n" * 100 + b'"', 864, 9_000, id="escapes"),
    ],
)
def test_what_is_within_the_limit_is_read(unit: bytes, weight: int, least: int) -> None:
    """S13: and as the standard library reads it."""
    longest, too_long = at_the_limit(unit, weight)

    assert parse(longest) == json.loads(longest)
    assert len(parse(longest)) >= least
    assert refusal(too_long) == TOO_COMPLEX


def test_spaces_and_plain_text_are_no_work() -> None:
    """What is large is not complex."""
    text = "Zürich, {[(:\\n".replace("\\n", "") * 500_000
    raw = json.dumps({"messages": [{"role": "user", "content": text}]}, ensure_ascii=False).encode()

    read = read_chat(CHAT, asking(b" " * 1_000_000 + raw))

    assert isinstance(read, ApiCall)
    assert text.encode() in read.canonical


@pytest.mark.parametrize("indent", [None, 4])
def test_the_largest_honest_request_has_a_quarter_of_the_work_at_most(indent: int | None) -> None:
    """1,000 messages and 128 tools."""
    code = 'def f(x: dict[str, int]) -> str:\n\treturn "{}, {}".format(x["a"], x["b"])\n' * 10
    messages = [
        {"role": role, "content": [{"type": "text", "text": code}]} for role in ("user", "assistant") for _ in range(500)
    ]
    body = RICH | {"messages": messages, "tools": RICH["tools"] * 64}

    raw = json.dumps(body, indent=indent).encode()

    assert not is_too_complex(raw, WORK_LIMIT // 4)
    assert parse(raw) == body


@pytest.mark.parametrize("name", WORST)
def test_whatever_is_read_takes_no_longer_than_some_times_as_much_as_plain_text(name: str) -> None:
    """S13: reading 10 MiB of text, its canonical form and its digests cannot be had for less."""
    plain, raw = WORST["plain text"](), WORST[name]()

    assert not is_too_complex(raw)
    assert seconds(lambda: take_in(raw)) < 10 * seconds(lambda: take_in(plain))


def take_in(raw: bytes) -> None:
    """Do what is done for every request."""
    request = asking(raw)
    read = read_chat(CHAT, request)
    if isinstance(read, ApiCall):
        fingerprint(request, read.canonical, ANONYMOUS, None, 0, NO_RULES)


def seconds(work: Callable[[], object]) -> float:
    """Return how long it takes this thread, at best."""
    taken = []
    for _ in range(3):
        began = time.thread_time()
        work()
        taken.append(time.thread_time() - began)
    return min(taken)


# Names said twice: there are as many names as colons outside of strings.

TRICKY = st.sampled_from([*'":\\,{}[]', "a", "\\\\", '\\"', '":"', '{"a":1', "é", "\n", ""])
WORDS = st.lists(TRICKY, max_size=3).map("".join)
DOCUMENTS = st.recursive(
    WORDS | st.integers(0, 3),
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(WORDS, inner), max_size=3).map(lambda pairs: Pairs(pairs)),
    max_leaves=12,
)


@given(DOCUMENTS, CHANCE, st.booleans())
def test_the_colons_outside_of_strings_tell_of_every_name_said_twice(document: Any, random: Any, is_large: bool) -> None:
    """K9: exactly where the standard library, which gives every pair, tells of one."""
    raw = b"[" + spell(document, random) + b',"' + b"." * (140_000 if is_large else 0) + b'"]'
    repeats: list[bool] = []
    json.loads(raw, object_pairs_hook=lambda pairs: repeats.append(len(dict(pairs)) < len(pairs)))

    assert refusal(raw) == (AMBIGUOUS if any(repeats) else None)


@pytest.mark.parametrize("name", [b'"a"', b'"\\u0061"', b'"\\\\"', b'"\\""', b'":"'])
@pytest.mark.parametrize("size", [0, 200_000])
def test_a_name_said_twice_at_the_end_is_found_in_documents_of_any_size(name: bytes, size: int) -> None:
    """K9."""
    raw = b'{"text":"' + b".," * size + b'",' + name + b':":",' + name + b":1}"

    assert refusal(raw) == AMBIGUOUS


# Answers.

ASKED = chat()


@pytest.mark.parametrize("make", ANSWERS.values(), ids=ANSWERS)
def test_an_answer_that_takes_too_long_to_judge_is_not_kept(make: Make) -> None:
    """S13"""
    body = make()
    stream = [encode(body.replace(b'"message"', b'"delta"')), encode(DONE)]

    assert json_fault(body, ASKED, FINISH_REASONS) == TOO_COMPLEX
    assert record_of(stream, terms(stream=True, limit_bytes=Policy().max_record_bytes)) == TOO_COMPLEX


@pytest.mark.parametrize("unit", [b"[]", b"1e307", b"1" * 4300])
def test_what_nobody_judges_is_not_read(unit: bytes) -> None:
    """A member that we do not know is skipped, and so is usage: probabilities can be many."""
    body = answering(b'"hi"', b',"x":' + wide(unit, RECORD - 200))

    assert json_fault(body, ASKED, FINISH_REASONS) is None
    assert derive(record(body, JSON, b"application/json"), STREAM) == OTHER_KIND


@pytest.mark.parametrize("index", [10**9, 10**18, 10**4000])
def test_an_index_is_a_number_and_no_place(index: int) -> None:
    said = {
        "index": index,
        "delta": {"content": "a", "tool_calls": [{"index": index, "id": "c", "function": {"arguments": ""}}]},
    }
    chunks: list[dict[str, Any]] = [{"choices": [said]}, {"choices": [], "usage": {}}]
    body = b"".join(encode(json.dumps(one).encode()) for one in chunks)

    tracemalloc.start()
    try:
        assert record_of([body, encode(DONE)], terms(stream=True)) in ("missing-choice", "unreadable-event")
        derive(record(body + encode(DONE), STREAM), JSON)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 1_000_000


@pytest.mark.parametrize("line", [b"\n", b"\r", b"\r\n", b":\n", b"data\n", b"data:\n\n"])
def test_a_stream_of_too_many_lines_is_not_kept_and_not_read_on(line: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """F60, S13: in one chunk, and in all."""
    ends = len(line.splitlines())
    at_once, under_way = recording(terms(stream=True, limit_bytes=2**22)), recording(terms(stream=True, limit_bytes=2**22))

    for _ in range(WORK.lines // 1000 + 1):
        assert under_way.dropped is None
        under_way.feed(line * (1000 // ends), 0.0)
    under_way.feed(line * 1000, 0.0)
    monkeypatch.setattr(Parser, "read_on", lambda _: pytest.fail("it was read"))
    at_once.feed(line * (WORK.lines_at_once // ends + 1), 0.0)

    assert (at_once.dropped, under_way.dropped) == (TOO_COMPLEX, TOO_COMPLEX)


def test_a_stream_of_as_many_tokens_as_a_record_holds_is_kept() -> None:
    event = json.dumps(chunk(piece(content="Hello"), id="chatcmpl-" + "0" * 36, system_fingerprint="fp_" + "0" * 20)).encode()
    last = json.dumps(chunk(piece(finish="stop"))).encode()
    chunks = [encode(event) for _ in range(Policy().max_record_bytes // len(encode(event)) - 2)] + [encode(last), encode(DONE)]

    kept = record_of(chunks, terms(stream=True, limit_bytes=Policy().max_record_bytes))

    assert isinstance(kept, StoredResponse)
    assert len(kept.event_ends) > 15_000


# Nothing takes the square of what it is given.


def is_linear(work: Callable[[int], Callable[[], object]], few: int, many: int) -> bool:
    """Say whether more of it takes about as many times longer. A square would take as many times that."""
    return seconds(work(many)) < (many / few) * 5 * seconds(work(few))


@pytest.mark.parametrize("size", [1, 100])
def test_a_long_line_in_small_chunks_takes_as_long_as_it_is_long(size: int) -> None:
    """S8."""

    def feed(chunks: int) -> Callable[[], object]:
        stream = b"data: " + b"a" * (chunks * size)

        def work() -> None:
            under_way = recording(terms(stream=True, limit_bytes=Policy().max_record_bytes))
            for start in range(0, len(stream), size):
                under_way.feed(stream[start : start + size], 0.0)

        return work

    assert is_linear(feed, 2_000, 40_000)


def said_in(count: int, member: Callable[[int], dict[str, Any]]) -> bytes:
    """Return a stream that says so many things one by one."""
    answer = [
        chunk(piece(content="a")),
        *(chunk(**member(at)) for at in range(count)),
        chunk(piece(finish="stop"), usage={"a": 1}),
    ]
    return b"".join(encode(json.dumps(one).encode()) for one in answer) + encode(DONE)


@pytest.mark.parametrize(
    "member",
    [
        pytest.param(lambda at: {"usage": {f"a{at}": 1}}, id="usage"),
        pytest.param(lambda at: {f"a{at}": 1}, id="members"),
        pytest.param(lambda at: {"x": {f"a{at % MEMBERS_LIMIT}": at}}, id="an object"),
        pytest.param(lambda at: {"choices": [piece(tool_calls=[{"index": at, "id": f"c{at}"}])]}, id="tool calls"),
        pytest.param(lambda at: {"choices": [piece(x=[at])]}, id="a list"),
    ],
)
@pytest.mark.parametrize("kind", [JSON, WITH_USAGE], ids=["JSON", "usage"])
def test_to_put_a_stream_together_takes_as_long_as_it_is_long(member: Callable[[int], dict[str, Any]], kind: Kind) -> None:
    """F61"""

    def work(count: int) -> Callable[[], object]:
        stored = record(said_in(count, member), STREAM)
        return lambda: derive(stored, kind)

    assert is_linear(work, 100, 4_000)


@pytest.mark.parametrize("place", [lambda value: {"x": value}, lambda value: {"choices": [piece(more={"x": value})]}])
def test_an_object_that_grows_by_the_thousand_is_none_that_can_be_put_together(place: Callable[[Any], dict[str, Any]]) -> None:
    small, large = (said_in(count, lambda at: place({f"a{at}": 1})) for count in (MEMBERS_LIMIT, MEMBERS_LIMIT + 2))

    assert isinstance(derive(record(small, STREAM), JSON), StoredResponse)
    assert derive(record(large, STREAM), JSON) == OTHER_KIND


def test_a_completion_of_too_many_pieces_is_not_taken_apart() -> None:
    """F62"""

    def calling(times: int) -> StoredResponse:
        calls = [{"id": f"c{at}", "type": "function", "function": {"name": "f", "arguments": ""}} for at in range(times)]
        return record(json.dumps(completion({"role": "assistant", "tool_calls": calls})).encode(), JSON, b"application/json")

    assert isinstance(derive(calling(WORK.pieces - 10), STREAM), StoredResponse)
    assert derive(calling(WORK.pieces), STREAM) == OTHER_KIND


def test_a_usual_request_is_seen_to_be_none_at_a_glance(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a request of 45 KB costs is its text."""
    monkeypatch.setattr(strict_json, "_without_strings", lambda *_: pytest.fail("it was looked through"))
    messages = [{"role": "user", "content": "It is a truth universally acknowledged, that all text has commas. " * 34}] * 20
    raw = json.dumps({"model": "m", "messages": messages}, separators=(",", ":")).encode()

    assert len(raw) > 45_000
    assert isinstance(read_chat(CHAT, asking(raw)), ApiCall)


def test_as_many_objects_as_probabilities_need_are_judged() -> None:
    scores = wide(b'{"token":" a","logprob":-1.5,"bytes":[32]}', 4 * MIB)

    assert WORK.objects > scores.count(b"{") > 90_000
    assert json_fault(answering(b'"hi"', b',"logprobs":' + scores), ASKED, FINISH_REASONS) is None
