"""rulings F2, F3: clients of two dialects on one flight: each reads it live in his own, and in his own it breaks off."""

import anyio
import pytest
from starlette.types import Message

from tests.flights.callers import Caller
from tests.flights.conftest import House, until
from tests.flights.talking import Talker, caller_of, mount
from tests.mounts.test_translated import untranslatable_answer
from tests.mounts.translating import BOTH_WAYS, CHAT, MESSAGES, OTHER, PIECES, WHOLE_ANSWER, Client
from tests.upstream import EVENT_STREAM, JSON, Part, Told

pytestmark = pytest.mark.anyio

TRANSLATED = pytest.mark.parametrize("client", BOTH_WAYS, ids=lambda client: f"{client.dialect} client")
KINDS = pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
MISS, COLLAPSED = "fwd=miss; fwd-status=200", "fwd=miss; fwd-status=200; collapsed"


def answer(client: Client, stream: bool = True) -> Told:
    """Return an answer of who speaks as this client."""
    return Told(client.event_stream(), headers=EVENT_STREAM) if stream else Told([client.document()], headers=JSON)


def in_steps(client: Client) -> tuple[Told, list[anyio.Event]]:
    """Return the stream that waits behind each piece of text, and its gates."""
    parts: list[Part] = []
    gates = []
    for event in client.event_stream():
        parts.append(event)
        if any(piece in event for piece in PIECES):
            gates.append(anyio.Event())
            parts.append(gates[-1])
    return Told(parts, headers=EVENT_STREAM), gates


async def has_heard(caller: Caller, piece: bytes) -> None:
    await until(lambda: piece in caller.body)


def read(client: Client, caller: Caller, stream: bool = True) -> object:
    assert caller.is_complete, caller.body
    return client.read(caller.body, stream)


@TRANSLATED
@pytest.mark.parametrize("leads", [True, False], ids=["leads", "follows"])
async def test_both_read_one_flight_piece_by_piece(client: Client, leads: bool, house: House) -> None:
    """ruling F2, S6: each piece reaches both before the upstream says the next."""
    told, gates = in_steps(OTHER[client])
    talker = Talker(told)
    mount(house, talker, client)
    theirs, own = caller_of(client), caller_of(OTHER[client])
    leader, follower = (theirs, own) if leads else (own, theirs)

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, leader)
        await has_heard(leader, PIECES[0])
        await house.join(tasks, follower)
        for piece, gate in zip(PIECES, gates, strict=True):
            await has_heard(leader, piece)
            await has_heard(follower, piece)
            assert not gate.is_set()
            gate.set()

    assert read(client, theirs) == read(OTHER[client], own) == WHOLE_ANSWER
    assert (leader.said, follower.said) == (MISS, COLLAPSED)
    assert talker.calls == 1
    assert len(house.records) == 1


@TRANSLATED
@KINDS
async def test_a_hundred_of_both_make_one_call(client: Client, stream: bool, house: House) -> None:
    """P1, ruling F2, A6: each with a trace of its own."""
    talker = Talker(answer(OTHER[client], stream))
    mount(house, talker, client)
    traces = [(b"traceparent", b"00-%032x-b7ad6b7169203331-01" % number) for number in range(1, 51)]
    asking = [(speaker, trace) for trace in traces for speaker in (client, OTHER[client])]
    callers = [(speaker, caller_of(speaker, stream, headers=(trace,))) for speaker, trace in asking]

    await house.ask_at_once(caller for _, caller in callers)

    assert talker.calls == 1
    assert {caller.body for speaker, caller in callers if speaker is client} == {callers[0][1].body}
    assert read(client, callers[0][1], stream) == read(OTHER[client], callers[1][1], stream) == WHOLE_ANSWER
    assert all(caller.is_complete for _, caller in callers)
    assert sum(report.stored is True for report in house.reports) == 1


@TRANSLATED
@pytest.mark.parametrize("leads", [True, False], ids=["leads", "follows"])
async def test_a_reader_of_the_other_kind_waits_for_the_landing(client: Client, leads: bool, house: House) -> None:
    """ruling F2."""
    told, gates = in_steps(OTHER[client])
    talker = Talker(told)
    mount(house, talker, client)
    streamer, waiter = (client, OTHER[client]) if leads else (OTHER[client], client)
    streams, waits = caller_of(streamer), caller_of(waiter, stream=False)

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, streams)
        await has_heard(streams, PIECES[0])
        await house.join(tasks, waits)
        assert not waits.messages
        for gate in gates:
            gate.set()

    assert read(streamer, streams) == read(waiter, waits, False) == WHOLE_ANSWER
    assert waits.said == COLLAPSED + "; detail=transcoded"
    assert talker.calls == 1


async def test_a_chat_client_who_wants_no_usage_has_no_call_of_his_own(house: House) -> None:
    """ruling F2: from the record, where not live."""
    told, gates = in_steps(CHAT)
    talker = Talker(told)
    mount(house, talker, MESSAGES)
    theirs, plain = caller_of(MESSAGES), caller_of(CHAT, body=CHAT.asks(stream=True, stream_options=None))

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, theirs)
        await has_heard(theirs, PIECES[0])
        await house.join(tasks, plain)
        for gate in gates:
            gate.set()

    assert plain.is_complete
    assert b"usage" not in plain.body or b'"usage":null' in plain.body
    assert read(MESSAGES, theirs) == WHOLE_ANSWER
    assert talker.calls == 1


@TRANSLATED
@pytest.mark.parametrize("leads", [True, False], ids=["leads", "follows"])
async def test_a_leader_that_leaves_takes_nobody_along(client: Client, leads: bool, house: House) -> None:
    """H3, ruling F2."""
    told, gates = in_steps(OTHER[client])
    talker = Talker(told)
    mount(house, talker, client, on_abandon="cancel")
    staying = OTHER[client] if leads else client
    leaves, stays = caller_of(client if leads else OTHER[client]), caller_of(staying)

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, leaves)
        await has_heard(leaves, PIECES[0])
        await house.join(tasks, stays)
        await has_heard(stays, PIECES[0])
        leaves.leave()
        await until(lambda: house.readers == 1)
        for gate in gates:
            gate.set()

    assert not leaves.is_complete
    assert read(staying, stays) == WHOLE_ANSWER
    assert talker.calls == 1


@TRANSLATED
async def test_an_answer_that_all_have_left_is_read_on_and_serves_both(client: Client, house: House) -> None:
    """H4."""
    told, gates = in_steps(OTHER[client])
    talker = Talker(told)
    mount(house, talker, client, on_abandon="finish")
    leaves = caller_of(client)

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, leaves)
        await has_heard(leaves, PIECES[0])
        leaves.leave()
        await until(lambda: house.table.detached == 1)
        for gate in gates:
            gate.set()
    hits = [await house.ask(caller_of(speaker)) for speaker in (client, OTHER[client])]

    assert [read(client, hits[0]), read(OTHER[client], hits[1])] == [WHOLE_ANSWER] * 2
    assert all(hit.said.startswith("hit") for hit in hits)
    assert talker.calls == 1


@TRANSLATED
async def test_an_answer_that_its_last_reader_leaves_is_cancelled(client: Client, house: House) -> None:
    """H3."""
    told, _ = in_steps(OTHER[client])
    talker = Talker(told)
    mount(house, talker, client, on_abandon="cancel")
    leaves = caller_of(client)

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, leaves)
        await has_heard(leaves, PIECES[0])
        leaves.leave()

    assert talker.left == 1
    assert not house.records


def last_event(caller: Caller) -> bytes:
    return caller.body.rstrip(b"\n").rpartition(b"\n\n")[2] + b"\n\n"


@TRANSLATED
async def test_a_cut_is_told_to_each_in_his_own_dialect(client: Client, house: House) -> None:
    """R1, ruling F3: behind each event, and within it; an end that was said is not shown where the body broke off behind it."""
    events = OTHER[client].event_stream()
    for number, event in enumerate(events):
        for within in (0, len(event) // 2):
            told = Told([*events[:number], event[:within]], headers=EVENT_STREAM, ends=False)
            talker = Talker(told, gate=anyio.Event())
            mount(house, talker, client)
            callers = [(speaker, caller_of(speaker)) for speaker in (client, OTHER[client], client)]

            async with anyio.create_task_group() as tasks:
                await house.join(tasks, *[caller for _, caller in callers])
                assert talker.gate is not None
                talker.gate.set()

            for speaker, caller in callers:
                assert not caller.is_complete, (number, within)
                assert speaker.last not in caller.body
                assert "broke off" in speaker.error_event_in(last_event(caller))[1]
            assert not house.records


@TRANSLATED
async def test_a_document_that_is_cut_is_a_whole_error_of_each(client: Client, house: House) -> None:
    """ruling F3."""
    document = OTHER[client].document()
    talker = Talker(Told([document[:9]], headers=JSON, ends=False), gate=anyio.Event())
    mount(house, talker, client)
    callers = [(speaker, caller_of(speaker, stream=False)) for speaker in (client, OTHER[client], client)]

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, *[caller for _, caller in callers])
        assert talker.gate is not None
        talker.gate.set()

    for speaker, caller in callers:
        assert (caller.status, caller.is_complete) == (502, True)
        assert "broke off" in speaker.error_in(caller.body)[1]
        assert int(caller.headers.get(b"content-length", len(caller.body))) == len(caller.body)


@TRANSLATED
async def test_a_document_that_is_cut_late_is_a_whole_error_to_who_has_had_nothing_of_it(client: Client, house: House) -> None:
    """ruling F3: who speaks as the upstream has begun to read it."""
    document, gate = OTHER[client].document(), anyio.Event()
    house.limit(json_hold=0.0)
    talker = Talker(Told([b" ", document[:9], gate], headers=JSON, ends=False))
    mount(house, talker, client)
    theirs, own = caller_of(client, stream=False), caller_of(OTHER[client], stream=False)

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, theirs, own)
        await until(lambda: bool(own.body))
        assert not theirs.messages
        gate.set()

    assert (theirs.status, theirs.is_complete) == (502, True)
    assert "broke off" in client.error_in(theirs.body)[1]
    assert not own.is_complete


@TRANSLATED
@KINDS
async def test_an_error_is_said_to_each_in_his_own_dialect(client: Client, stream: bool, house: House) -> None:
    """A6: who would send the same key shares it."""
    body = b'{"type":"error","error":{"type":"x","message":"slow down"}}'
    told = Told([body], status=429, headers=(*JSON, (b"retry-after", b"7")))
    talker = Talker(told, gate=anyio.Event())
    mount(house, talker, client)
    callers = [(speaker, caller_of(speaker, stream)) for speaker in (client, OTHER[client], client)]

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, *[caller for _, caller in callers])
        assert talker.gate is not None
        talker.gate.set()

    for speaker, caller in callers:
        assert (caller.status, caller.is_complete, caller.headers[b"retry-after"]) == (429, True, b"7")
        assert speaker is OTHER[client] or speaker.error_in(caller.body)[1] == "slow down"
    assert talker.calls == 1


@TRANSLATED
@KINDS
async def test_what_cannot_be_said_to_one_is_said_to_the_other_and_stored(client: Client, stream: bool, house: House) -> None:
    """ruling F3."""
    talker = Talker(untranslatable_answer(client, stream), gate=anyio.Event())
    mount(house, talker, client)
    theirs, own = caller_of(client, stream), caller_of(OTHER[client], stream)

    async with anyio.create_task_group() as tasks:
        await house.join(tasks, theirs, own)
        assert talker.gate is not None
        talker.gate.set()

    said = b"".join(part for part in talker.answers[0].parts if isinstance(part, bytes))
    assert (own.body, own.is_complete) == (said, True)
    assert house.records == [said]
    assert client.last not in theirs.body
    if stream:
        assert not theirs.is_complete
        assert "cannot be said" in client.error_event_in(last_event(theirs))[1]
    else:
        assert (theirs.status, theirs.is_complete) == (502, True)
        assert "cannot be said" in client.error_in(theirs.body)[1]


@TRANSLATED
async def test_who_may_hold_nothing_passes_on_all_the_same(client: Client, house: House) -> None:
    """D7: and holds no more of it than has yet to be read."""
    house.limit(flight_bytes=0)
    talker = Talker(answer(OTHER[client]))
    mount(house, talker, client)

    caller = await house.ask(caller_of(client))

    assert read(client, caller) == WHOLE_ANSWER
    assert house.reports[-1].details == ("busy",)
    assert not house.records


@TRANSLATED
@pytest.mark.parametrize("control", ["on", "off"])
async def test_an_upstream_that_stays_behind_its_end_keeps_nobody_waiting(client: Client, control: str, house: House) -> None:
    """S6: most clients hang up at the end, and some upstreams wait for that."""
    house.limit(done_hold=0.01)
    never = anyio.Event()
    talker = Talker(Told([*OTHER[client].event_stream(), never], headers=EVENT_STREAM))
    mount(house, talker, client, on_abandon="cancel")
    caller = caller_of(client, control=control)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(caller.call, house.app)
        await has_heard(caller, client.last)
        assert not never.is_set()
        caller.leave()
        never.set()

    assert client.read(caller.body, True) == WHOLE_ANSWER


@TRANSLATED
async def test_the_record_is_there_before_the_end_leaves(client: Client, house: House) -> None:
    """P2, R1b: an SDK hangs up at it, and the answer is stored all the same."""
    talker = Talker(answer(OTHER[client]))
    mount(house, talker, client, on_abandon="cancel")
    stored: list[tuple[bool, int]] = []
    heard = bytearray()

    def look(message: Message) -> None:
        heard.extend(message.get("body", b""))
        stored.append((client.last in heard, len(house.records)))

    await house.ask(caller_of(client, on_message=look))

    assert {count for is_over, count in stored if is_over} == {1}
    assert stored[0] == (False, 0)


@TRANSLATED
async def test_a_slow_reader_of_a_large_answer_has_all_of_it(client: Client, house: House) -> None:
    """D7: it sets the pace, and what was read is forgotten, in the middle of an event too."""
    events = OTHER[client].event_stream()
    body = b"".join(events)
    cut = [body[at : at + 7] for at in range(0, len(body), 7)]
    mount(house, Talker(Told(cut, headers=EVENT_STREAM)), client, max_record_bytes=50)

    slow = await house.ask(caller_of(client, ticks=5))

    assert read(client, slow) == WHOLE_ANSWER
    assert not house.records
