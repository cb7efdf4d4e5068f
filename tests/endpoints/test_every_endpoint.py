"""One suite over all endpoints there are (T29): a new one joins by a line in `EXAMPLES`, and by its recordings."""

import json
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from cachemw.cache.policy import FINISH_REASONS
from cachemw.endpoints import ENDPOINTS
from cachemw.endpoints.base import PLAIN, ApiCall, Beginning, Bypass, Demands, Endpoint, Place, Saying
from cachemw.endpoints.errors import Refusal
from cachemw.limits import Work
from cachemw.messages import Kind, StoredResponse, Usage
from cachemw.wire.sse import Event, Parser
from tests.endpoints.calling import called, fault_of, read, stored_answer
from tests.mounts.accumulated import raised
from tests.real.recordings import ALL, Recording, name_of

Members = dict[str, Any]
USAGE = b'{"include_usage":true}'
HELLO = [{"role": "user", "content": "hi"}]


@dataclass(frozen=True, slots=True)
class Example:
    """The shortest request, and the kind of a stream in which nothing of an answer is lost, where there are streams."""

    request: Members
    streams: Kind | None = None


EXAMPLES = {
    "chat": Example({"model": "m", "messages": HELLO}, Kind(True, USAGE)),
    "messages": Example({"model": "m", "max_tokens": 9, "messages": HELLO}, Kind(True)),
    "responses": Example({"model": "m", "input": "hi"}, Kind(True)),
    "completions": Example({"model": "m", "prompt": "hi"}, Kind(True, USAGE)),
    "embeddings": Example({"model": "m", "input": ["hi", "you"]}),
    "count_tokens": Example({"model": "m", "messages": HELLO}),
    "moderations": Example({"model": "m", "input": "hi"}),
    "rerank": Example({"model": "m", "query": "hi", "documents": ["a", "b"]}),
}
UNRECORDED = frozenset({"moderations"})
"""Endpoints of which there is no recording."""

EACH = pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)

names = st.text(min_size=1, max_size=6)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)


def known(endpoint: Endpoint) -> st.SearchStrategy[str]:
    """Return the names of documented members, but for those by which the example is a call."""
    there = sorted(endpoint.fields.keys() - EXAMPLES[endpoint.name].request.keys())
    return st.sampled_from(there) if there else st.nothing()


def requests(endpoint: Endpoint) -> st.SearchStrategy[Members]:
    """Return requests that an endpoint may read, with members that it knows, and others, of any value."""
    own = EXAMPLES[endpoint.name].request
    return st.dictionaries(known(endpoint) | names, values, max_size=4).map(lambda members: members | own)


def dumped(body: Any) -> bytes:
    return json.dumps(body).encode()


def test_every_endpoint_has_its_example() -> None:
    assert EXAMPLES.keys() == {endpoint.name for endpoint in ENDPOINTS}
    for endpoint in ENDPOINTS:
        assert (EXAMPLES[endpoint.name].streams is None) is (endpoint.ends is None)
        assert isinstance(read(endpoint, dumped(EXAMPLES[endpoint.name].request)), ApiCall)


# The key.


@EACH
@given(data=st.data())
def test_a_canonical_body_is_its_own(endpoint: Endpoint, data: st.DataObject) -> None:
    """T29, K3: to read it again changes nothing."""
    call = read(endpoint, dumped(data.draw(requests(endpoint))))
    if isinstance(call, Bypass):
        return

    again = read(endpoint, call.canonical)

    assert isinstance(again, ApiCall)
    assert again.canonical == call.canonical


@EACH
@given(name=names, value=values)
def test_a_member_that_nobody_knows_changes_the_key(endpoint: Endpoint, name: str, value: Any) -> None:
    """T29, K1."""
    own = EXAMPLES[endpoint.name].request
    if name in endpoint.fields:
        return

    call = read(endpoint, dumped(own | {name: value}))

    assert not isinstance(call, ApiCall) or call.canonical != called(endpoint, **own).canonical


@EACH
@given(data=st.data())
def test_a_member_of_the_key_changes_it_whatever_its_value(endpoint: Endpoint, data: st.DataObject) -> None:
    """T29, K1: null is as good as absent where the endpoint says so, and nothing else is."""
    own = EXAMPLES[endpoint.name].request
    inside = [name for name, place in endpoint.fields.items() if place in (Place.KEY, Place.ECHOED) and name not in own]
    if not inside:
        return
    name, value = data.draw(st.sampled_from(sorted(inside))), data.draw(values.filter(lambda value: value is not None))

    call = read(endpoint, dumped(own | {name: value}))

    assert not isinstance(call, ApiCall) or call.canonical != called(endpoint, **own).canonical


@EACH
@given(data=st.data())
def test_how_an_answer_travels_is_in_its_kind_and_not_in_the_key(endpoint: Endpoint, data: st.DataObject) -> None:
    """T29, S4."""
    own = EXAMPLES[endpoint.name].request
    if EXAMPLES[endpoint.name].streams is None:
        return
    options = data.draw(st.none() | st.fixed_dictionaries({}, optional={"include_usage": st.booleans()}))
    travelling = {"stream": True} | (
        {} if options is None or "stream_options" not in endpoint.fields else {"stream_options": options}
    )

    call, plain = called(endpoint, **own, **travelling), called(endpoint, **own)

    assert call.canonical == plain.canonical
    assert (call.kind.stream, plain.kind) == (True, PLAIN)


@EACH
@given(data=st.data())
def test_the_order_of_members_changes_nothing(endpoint: Endpoint, data: st.DataObject) -> None:
    """T29, K3."""
    body = data.draw(requests(endpoint))
    shuffled = dict(data.draw(st.permutations(list(body.items()))))

    assert read(endpoint, dumped(body)) == read(endpoint, dumped(shuffled))


# What is hostile is a value.


@EACH
@given(body=values.map(dumped) | st.binary(max_size=40))
def test_any_body_is_a_call_or_none(endpoint: Endpoint, body: bytes) -> None:
    """T29."""
    assert isinstance(read(endpoint, body), ApiCall | Bypass)


@EACH
@given(data=st.data())
def test_any_value_of_any_member_is_a_call_or_none(endpoint: Endpoint, data: st.DataObject) -> None:
    """T29."""
    own = EXAMPLES[endpoint.name].request
    name = data.draw(st.sampled_from(sorted(endpoint.fields)))

    assert isinstance(read(endpoint, dumped(own | {name: data.draw(values)})), ApiCall | Bypass)


ODD = (
    b"[" * 100_000,
    b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    b'{"model":"\\ud800"}',
    b"1" * 5_000,
    b'{"usage":' + b"9" * 5_000 + b"}",
    b"\xff",
    b"",
)


@EACH
@given(body=values.map(dumped) | st.binary(max_size=40) | st.sampled_from(ODD), is_stream=st.booleans())
def test_any_answer_is_judged_begun_and_derived_or_refused(endpoint: Endpoint, body: bytes, is_stream: bool) -> None:
    """T29: by values, and nothing is raised."""
    streams = EXAMPLES[endpoint.name].streams
    kind = streams if is_stream and streams is not None else PLAIN
    call = call_of_kind(endpoint, kind)
    frame = b"data: " + body + b"\n\n" if kind.stream else body

    assert fault_of(call, frame, FINISH_REASONS) is None or isinstance(fault_of(call, frame, FINISH_REASONS), str)
    assert isinstance(endpoint.begins(body, is_whole=not kind.stream), Beginning)
    assert isinstance(endpoint.usage(body), Usage | None)
    for wanted in (kind, PLAIN, *([] if streams is None else [streams])):
        assert isinstance(endpoint.derive(stored_answer(frame, kind), wanted, Work()), StoredResponse | str)


def call_of_kind(endpoint: Endpoint, kind: Kind) -> ApiCall:
    options = json.loads(kind.options)
    travelling = {"stream": True, **({"stream_options": options} if options else {})} if kind.stream else {}
    return called(endpoint, **EXAMPLES[endpoint.name].request, **travelling)


# The recordings.


def endpoint_in(recording: Recording) -> Endpoint:
    return next(endpoint for endpoint in ENDPOINTS if endpoint.name == recording.endpoint)


def call_in(recording: Recording) -> ApiCall:
    """Return the call that a recording answers; one like it, where that is not for us to cache."""
    endpoint = endpoint_in(recording)
    call = read(endpoint, dumped(recording.own_request()))
    streams = EXAMPLES[endpoint.name].streams
    return call if isinstance(call, ApiCall) else call_of_kind(endpoint, streams if recording.is_stream and streams else PLAIN)


def events_of(recording: Recording) -> list[Event]:
    parser = Parser(ends=endpoint_in(recording).ends)
    return [*parser.feed(recording.body()), *parser.end()]


def is_whole(recording: Recording) -> bool:
    return recording.told().status == 200 and fault_of(call_in(recording), recording.body(), FINISH_REASONS) is None


ANSWERS = [one for one in ALL if "_error_4" not in one.name]
STREAMS = [one for one in ANSWERS if one.is_stream]
DOCUMENTS = [one for one in ANSWERS if not one.is_stream]
NOT_WHOLE = {
    "groq_stream_error_event": "error-event",
    "openai_responses_stream_error": "error-event",
    "openai_responses_background_queued": "finish-queued",
    "anthropic_stream_code_execution": "server-tool",
}
"""Recordings that are no answer that may be kept, and the fault."""


def test_every_endpoint_has_been_recorded() -> None:
    """But for one."""
    assert {one.endpoint for one in ANSWERS} | UNRECORDED == EXAMPLES.keys()


@pytest.mark.parametrize("recording", ANSWERS, ids=name_of)
def test_a_recorded_answer_is_whole(recording: Recording) -> None:
    """Else what follows here says nothing."""
    assert fault_of(call_in(recording), recording.body(), FINISH_REASONS) == NOT_WHOLE.get(recording.name)


@pytest.mark.parametrize("recording", STREAMS, ids=name_of)
def test_no_stream_that_ends_before_its_last_event_is_kept(recording: Recording) -> None:
    """T29: at every event, though it ended by itself."""
    call, events = call_in(recording), events_of(recording)

    for count in range(len(events)):
        judge = call.endpoint.judge(call, Demands(FINISH_REASONS), Work())
        for event in events[:count]:
            judge.see(event)
        judge.end()
        assert judge.fault() is not None, count


def smallest(endpoint: Endpoint) -> list[Recording]:
    """Return two streams, the shortest that there are; where the recordings are not here, none is read."""
    streams = [one for one in STREAMS if one.endpoint == endpoint.name and one.name not in NOT_WHOLE]
    return sorted(streams, key=lambda one: len(one.body()))[:2]


@pytest.mark.parametrize("endpoint", [one for one in ENDPOINTS if one.ends is not None], ids=lambda one: one.name)
def test_no_stream_that_ends_before_its_last_byte_is_kept(endpoint: Endpoint) -> None:
    """T29: at every byte of two streams; but for line ends behind the last event's content, which say nothing."""
    for recording in smallest(endpoint):
        call, body = call_in(recording), recording.body()
        for count in range(len(body.rstrip(b"\r\n"))):
            assert fault_of(call, body[:count], FINISH_REASONS) is not None, (recording.name, count)


@pytest.mark.parametrize("recording", DOCUMENTS, ids=name_of)
def test_no_document_that_is_cut_is_kept(recording: Recording) -> None:
    """T29: at every byte; of long ones at some, and at each of the last."""
    call, body = call_in(recording), recording.body().rstrip()
    step = max(1, len(body) // 2_000)

    for count in {*range(0, len(body), step), *range(max(0, len(body) - 300), len(body))}:
        assert fault_of(call, body[:count], FINISH_REASONS) is not None, count


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [without_nulls(one) for one in value] if isinstance(value, list) else value


DERIVED = [one for one in ANSWERS if EXAMPLES[one.endpoint].streams is not None and one.name not in NOT_WHOLE]
LOSSES = {"openai_completion_stream": "no-usage"}


@pytest.mark.parametrize("recording", DERIVED, ids=name_of)
def test_to_derive_the_other_kind_and_this_one_of_it_changes_nothing(recording: Recording) -> None:
    """T29: but for nulls; of a stream its answer is compared, for its slices are its own."""
    endpoint, streams = endpoint_in(recording), EXAMPLES[recording.endpoint].streams
    assert streams is not None
    stored = stored_answer(recording.body(), call_in(recording).kind)

    whole = endpoint.derive(stored, PLAIN, Work())

    if recording.name in LOSSES:
        assert whole == LOSSES[recording.name]
        return
    assert isinstance(whole, StoredResponse)
    stream = endpoint.derive(whole, streams, Work())
    assert isinstance(stream, StoredResponse)
    again = endpoint.derive(stream, PLAIN, Work())
    assert isinstance(again, StoredResponse)
    assert without_nulls(json.loads(again.body)) == without_nulls(json.loads(whole.body))
    assert fault_of(replace(call_in(recording), kind=streams), stream.body, FINISH_REASONS) is None


@pytest.mark.parametrize("recording", ANSWERS, ids=name_of)
def test_a_recorded_answer_has_a_beginning(recording: Recording) -> None:
    """T29: a gateway commits itself to it; one that says an error before it says anything has none."""
    begins = endpoint_in(recording).begins
    said = begun(recording, begins) if recording.is_stream else [begins(recording.body(), is_whole=True).saying]

    assert said[-1] is (Saying.ERROR if recording.name == "openai_responses_stream_error" else Saying.SOMETHING)


def begun(recording: Recording, begins: Any) -> list[Saying]:
    """Return what each event says, in order, up to the first that says something."""
    said = []
    for event in events_of(recording):
        said.append(begins(event.data, is_whole=False).saying)
        if said[-1] is not Saying.NOTHING:
            break
    return said


# Errors.

REFUSAL = Refusal(429, "too many of them", "rate_limit_error", "n", "busy")
READ_AS = {"count_tokens": "messages", "embeddings": "chat", "moderations": "chat", "rerank": "chat"}
"""By whose reader the SDK reads the errors of an endpoint that has none in `accumulated`: an SDK reads all alike."""


@EACH
def test_the_sdk_reads_an_error_in_the_shape_of_the_endpoint(endpoint: Endpoint) -> None:
    """T29, E1."""
    body = endpoint.errors.body(REFUSAL)

    error = raised(READ_AS.get(endpoint.name, endpoint.name), body, is_stream=False, status=429)

    assert type(error).__name__ == "RateLimitError"
    assert REFUSAL.message in str(error)


@pytest.mark.parametrize("endpoint", [one for one in ENDPOINTS if one.ends is not None], ids=lambda one: one.name)
def test_the_sdk_raises_an_error_that_ends_a_stream(endpoint: Endpoint) -> None:
    """T29, E1: after what came before it."""
    recording = smallest(endpoint)[0]
    before = recording.body()[: events_of(recording)[1].end]

    error = raised(endpoint.name, before + endpoint.errors.event(REFUSAL), is_stream=True)

    assert REFUSAL.message in str(error)
