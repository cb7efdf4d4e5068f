"""Header fields: what passes, what is kept, what is sent again, and to whom."""

import json

import pytest

from cachemw.cache import record as codec
from tests.proxy.conftest import ALICE, CHAT, ON, Place, status_of
from tests.upstream import Told, always, completion, prompt, stream
from tests.upstreams.raw import CHUNKED, Part, answer, chunk, listening

pytestmark = pytest.mark.anyio

MISS = "fwd=miss; fwd-status=200; stored; key"
STREAM_MISS = "fwd=miss; fwd-status=200; key"
HIT = "hit; ttl=86400; key"

# RFC 9110 §7.6.1: nine that are known by their names, and four that Connection has to name
KNOWN = (
    *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection"),
    *(b"te", b"trailer", b"transfer-encoding", b"upgrade"),
)
NOMINATED = (b"http2-settings", b"proxy-authentication-info", b"trailers", b"x-private")
SPELLINGS = {"lower": bytes.lower, "title": bytes.title, "upper": bytes.upper}


def hop_by_hop(spell: str, connection: bytes) -> list[tuple[bytes, bytes]]:
    """Return all thirteen, repeated where they may be; Connection names four of them, in another spelling."""
    named = [
        (b"connection", connection),
        *((name, b"v1") for name in KNOWN if name not in (b"connection", b"transfer-encoding")),
    ]
    fields = [*named, *((name, value) for name in NOMINATED for value in (b"v1", b"v2"))]
    return [(SPELLINGS[spell](name), value) for name, value in fields]


CONNECTIONS = [
    b"http2-settings, proxy-authentication-info, trailers, x-private",
    b"HTTP2-SETTINGS,Proxy-Authentication-Info , ,\tTrailers,X-Private, close",
]


@pytest.mark.parametrize("spell", SPELLINGS)
@pytest.mark.parametrize("connection", CONNECTIONS, ids=["plain", "odd"])
@pytest.mark.parametrize("streaming", [False, True], ids=["JSON", "stream"])
async def test_what_is_between_two_neighbours_does_not_come_down(
    place: Place, spell: str, connection: bytes, streaming: bool
) -> None:
    """H11: nor into the store, nor out of it."""
    told = stream() if streaming else completion()
    body = b"".join(part for part in told.parts if isinstance(part, bytes))
    fields = [b": ".join(field) for field in (*hop_by_hop(spell, connection), *told.headers[:1], (b"X-Kept", b"v1"))]
    said: list[Part] = [
        b"\r\n".join([b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked", *fields, b"", b""]),
        chunk(body),
        chunk(b""),
    ]

    async with listening(*said) as raw:
        place.put_up_url(raw.url)
        replies = [await place.ask(prompt(stream=streaming), headers) for headers in (ALICE, ON, ON)]

    assert [status_of(reply) for reply in replies] == ["", STREAM_MISS if streaming else MISS, HIT]
    for reply in replies:
        names = {name.lower() for name, _ in reply.headers.raw}
        assert not names & {*KNOWN, *NOMINATED} - {b"transfer-encoding"}  # the server's own, where it sends chunks
        assert reply.content == body
    assert [reply.headers.get("x-kept") for reply in replies] == ["v1", "v1", None]
    assert not {name for name, _ in codec.decode(place.records()[0]).headers} & {*KNOWN, *NOMINATED}


@pytest.mark.parametrize("spell", SPELLINGS)
@pytest.mark.parametrize("connection", CONNECTIONS, ids=["plain", "odd"])
@pytest.mark.parametrize(("path", "control"), [(CHAT, "on"), (CHAT, "off"), ("/v1/models", "off")])
async def test_what_is_between_two_neighbours_does_not_go_up(
    place: Place, spell: str, connection: bytes, path: str, control: str
) -> None:
    """H11: nor what Connection names among the fields that are forwarded else."""
    nominated = SPELLINGS[spell](b"X-Stainless-Lang")
    fields = [
        *hop_by_hop(spell, connection + b"," + nominated),
        (b"x-stainless-lang", b"python"),
        (b"x-stainless-os", b"linux"),
        (b"cachemw", control.encode()),
        (b"content-type", b"application/json"),
    ]
    del fields[[name.lower() for name, _ in fields].index(b"upgrade")]  # a server may take that up

    async with listening(answer(completion().parts[0], b"Content-Type: application/json")) as raw:  # type: ignore[arg-type]
        place.put_up_url(raw.url)
        reply = await place.client.post(path, content=prompt(), headers=fields)

    assert reply.status_code == 200
    names = {name for name, _ in raw.fields()}
    assert not names & {*KNOWN, *NOMINATED, b"x-stainless-lang", b"cachemw"}
    assert raw.sent(b"x-stainless-os") == [b"linux"]


OWN = (
    b"set-cookie date server etag last-modified expires vary via link alt-svc age retry-after retry-after-ms cf-ray"
    b" x-amz-cf-id x-request-id request-id inference-id openai-processing-ms openai-organization x-ratelimit-limit-requests"
    b" x-ratelimit-remaining-tokens x-ratelimit-reset-requests-day x-should-retry access-control-allow-origin www-authenticate"
    b" strict-transport-security cf-cache-status x-anything"
).split()


@pytest.mark.parametrize("streaming", [False, True], ids=["JSON", "stream"])
async def test_what_was_said_to_one_caller_is_not_said_again(place: Place, streaming: bool) -> None:
    """I5: it passes on a miss, is not in the record, and a hit has what is on the list and what is ours."""
    told = stream() if streaming else completion()
    kept = [*told.headers[:1], (b"openai-version", b"2020-10-01")]
    own = [(name, b"of alice") for name in OWN]
    place.upstream.respond = always(Told(told.parts, headers=(*kept, *own)))

    miss, hit = [await place.ask(prompt(stream=streaming)) for _ in range(2)]

    assert {name: miss.headers[name.decode()] for name in OWN} == dict.fromkeys(OWN, "of alice")
    assert codec.decode(place.records()[0]).headers == tuple(kept)
    ours = {"cache-status", "cache-control"} | ({"x-accel-buffering", "transfer-encoding"} if streaming else {"content-length"})
    assert set(hit.headers) - {"age"} == {"content-type", "openai-version"} | ours
    assert hit.headers["age"] == "0"
    assert b"of alice" not in place.records()[0]
    assert hit.content == miss.content


async def test_the_length_and_coding_of_the_original_are_not_sent_again(place: Place) -> None:
    """I5."""
    told = completion()
    body = told.parts[0]
    assert isinstance(body, bytes)

    async with listening(CHUNKED.replace(b"text/event-stream", b"application/json"), chunk(body), chunk(b"")) as raw:
        place.put_up_url(raw.url)
        miss, hit = [await place.ask() for _ in range(2)]

    assert (status_of(miss), status_of(hit)) == (MISS, HIT)
    assert hit.headers["content-length"] == str(len(body))
    assert {"transfer-encoding", "content-encoding"}.isdisjoint(hit.headers)


async def test_a_cookie_of_one_caller_reaches_nobody_else(place: Place) -> None:
    """I1, I5: not the upstream, not a later caller."""
    told = completion()
    place.upstream.respond = always(Told(told.parts, headers=(*told.headers, (b"set-cookie", b"session=alice"))))

    miss = await place.ask(headers={**ON, "cookie": "a=b"})
    place.client.cookies.clear()
    hit = await place.ask()
    other = await place.ask(prompt("other"))

    assert miss.headers["set-cookie"] == "session=alice"
    assert "set-cookie" not in hit.headers
    assert other.headers["set-cookie"] == "session=alice"
    assert [asked.header(b"cookie") for asked in place.upstream.asked] == [None, None]


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("streaming", [False, True], ids=["JSON", "stream"])
async def test_who_is_refused_by_the_upstream_learns_nothing_of_what_is_stored(
    place: Place, status: int, streaming: bool
) -> None:
    """I2: the answer is the same for what is stored and what is not."""
    await place.ask(prompt("stored", stream=streaming))
    place.upstream.respond = always(Told((b'{"error": "who?"}',), status))

    for key in (
        {"authorization": "Bearer sk-mallory"},
        {"authorization": ""},
        {"authorization": "Bearer cachemw"},
        {"x-api-key": "k"},
    ):
        told = [await place.ask(prompt(text, stream=streaming), {**ON, **key}) for text in ("stored", "unheard of")]

        assert [(reply.status_code, reply.content) for reply in told] == [(status, b'{"error": "who?"}')] * 2
        assert [status_of(reply) for reply in told] == [f"fwd=miss; fwd-status={status}; key; detail=not-200"] * 2
        assert told[0].headers.keys() == told[1].headers.keys()


@pytest.mark.parametrize(
    "control", [{"cache-control": "only-if-cached"}, {"cachemw": "mode=replay"}], ids=["only-if-cached", "replay"]
)
async def test_who_asks_only_for_what_is_stored_finds_what_is_their_own(place: Place, control: dict[str, str]) -> None:
    """I1, I2."""
    await place.ask(prompt("stored"))

    mine = await place.ask(prompt("stored"), {**ON, **control})
    others = [
        await place.ask(prompt(text), {**ON, **control, "authorization": "Bearer sk-bob"}) for text in ("stored", "unheard of")
    ]

    assert mine.status_code == 200
    assert [(reply.status_code, reply.json()["error"]["code"]) for reply in others] == [(504, "not_cached")] * 2
    assert others[0].content == others[1].content
    assert status_of(others[0]) == status_of(others[1]) == "detail=not-cached"
    assert place.upstream.calls == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("headers", [ALICE, ON], ids=["not opted in", "opted in"])
async def test_a_redirect_is_passed_and_not_followed(place: Place, status: int, headers: dict[str, str]) -> None:
    """I6, R2."""
    async with listening() as elsewhere:
        location = elsewhere.url + CHAT
        place.upstream.respond = always(Told((b"over there",), status, headers=((b"location", location.encode()),)))
        reply = await place.ask(headers=headers)

    assert (reply.status_code, reply.content, reply.headers["location"]) == (status, b"over there", location)
    assert elsewhere.requests == []
    assert not place.records()


@pytest.mark.parametrize("streaming", [False, True], ids=["JSON", "stream"])
async def test_an_answer_to_one_that_opted_in_is_kept_by_no_cache_but_ours(place: Place, streaming: bool) -> None:
    """The upstream's own Cache-Control is neither consulted nor passed; an earlier Cache-Status stays."""
    told = stream() if streaming else completion()
    own = ((b"cache-control", b"public, max-age=9"), (b"cache-status", b"edge; fwd=miss"), (b"x-accel-buffering", b"yes"))
    place.upstream.respond = always(Told(told.parts, headers=(*told.headers, *own)))

    plain = await place.ask(prompt(stream=streaming), ALICE)
    miss = await place.ask(prompt(stream=streaming))

    assert (plain.headers["cache-control"], plain.headers["cache-status"]) == ("public, max-age=9", "edge; fwd=miss")
    assert miss.headers["cache-control"] == "private, no-store" + (", no-transform" if streaming else "")
    assert miss.headers.get_list("cache-status")[0] == "edge; fwd=miss"
    assert miss.headers.get_list("cache-status")[1].startswith("cachemw; fwd=miss; fwd-status=200;")
    assert miss.headers["x-accel-buffering"] == ("no" if streaming else "yes")


async def test_what_the_key_is_made_of_is_not_told(place: Place) -> None:
    """I4: a digest is."""
    reply = await place.ask(prompt("a secret prompt"))

    said = json.dumps(dict(reply.headers))
    assert "sk-alice" not in said
    assert "secret" not in said
