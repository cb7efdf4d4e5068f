"""`Cachemw: partial`: an upstream is asked for those inputs only that are not known, and its answer is whole all the same."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import anyio
import pytest

from cachemw import MemoryStore, Policy
from cachemw.cache.key import index_of_batch, indexes_beside
from tests.asgi_driver import RawHeaders, Reply
from tests.cache.embedder import answered, vector
from tests.mounts.conftest import CREDENTIAL, Mounted, Switch, status_of
from tests.mounts.gates import Gate
from tests.mounts.mounting import KINDS, OVER_HTTP, SEVEN
from tests.thorough import THOROUGH
from tests.upstream import JSON, Asked, Part, Told, Upstream

pytestmark = pytest.mark.anyio

PATH = "/v1/embeddings"
PARTIAL = "on, partial"
BOB = (b"authorization", b"Bearer bob")

Answer = Callable[[Mapping[str, Any]], Any]


class Watched(MemoryStore):
    """Counts how often it was looked into."""

    looks = 0

    def get(self, index: bytes) -> bytes | None:
        self.looks += 1
        return super().get(index)


class Embeddings:
    """A client of a mount whose upstream gives embeddings, and notes what it is asked."""

    def __init__(self, mounted: Mounted) -> None:
        self.mounted, self.now = mounted, 1000.0
        self.answer: Answer = answered
        self.gate: Gate | None = None
        mounted.upstream.respond = self._respond
        self._set_clock()

    def _set_clock(self) -> None:
        self.mounted.driver.clock = lambda: self.now

    def _respond(self, asked: Asked) -> Told:
        answer = self.answer(json.loads(asked.body))
        parts: list[Part] = [] if self.gate is None else [self.gate]
        return answer if isinstance(answer, Told) else Told([*parts, json.dumps(answer).encode()])

    def mount(self, policy: Policy) -> None:
        self.mounted.mount(policy)
        self._set_clock()

    @property
    def asked(self) -> list[Any]:
        """What the upstream was asked since the last `after`."""
        return [json.loads(one.body) for one in self.mounted.upstream.asked]

    async def ask(self, given: Any, control: str | None = PARTIAL, fields: RawHeaders = (CREDENTIAL,), **more: Any) -> Reply:
        body = json.dumps({"model": "m", "input": given} | more).encode()
        return await self.mounted.ask(control, body, path=PATH, headers=fields)

    async def after(self, *batches: Any, **more: Any) -> "Embeddings":
        for given in batches:
            assert (await self.ask(given, "on", **more)).status == 200
        self.mounted.upstream.asked.clear()
        return self


@pytest.fixture
def embeddings(mounted: Mounted) -> Embeddings:
    return Embeddings(mounted)


@pytest.fixture(params=[kind for kind in (KINDS if THOROUGH else SEVEN) if kind in OVER_HTTP])
async def over_http(
    request: pytest.FixtureRequest, anyio_backend: str, switch: tuple[Switch, str]
) -> AsyncIterator[Embeddings]:
    """The mounts whose upstream is an API."""
    app, url = switch
    mounted = Mounted(request.param, url, Upstream(), store=Watched())
    app.target = mounted.upstream
    mounted.mount()
    yield Embeddings(mounted)
    await mounted.aclose()


def inputs_of(asked: list[Any]) -> list[Any]:
    return [one["input"] for one in asked]


def vectors(reply: Reply) -> list[Any]:
    data = json.loads(reply.body)["data"]
    assert [entry["index"] for entry in data] == list(range(len(data)))
    return [entry["embedding"] for entry in data]


MIXED: list[tuple[list[Any], list[Any], list[Any], str]] = [
    (["a"], ["a", "b"], ["b"], "1-of-2"),
    (["b"], ["a", "b", "c"], ["a", "c"], "1-of-3"),
    (["b"], ["c", "b", "a"], ["c", "a"], "1-of-3"),
    (["aa", "bbb"], ["bbb", "c", "aa"], ["c"], "2-of-3"),
    ([["a", "b"]], ["c", "b", "a"], ["c"], "2-of-3"),
    ([["a", "b", "a"]], ["a", "x", "a", "b"], ["x"], "3-of-4"),
    (["a"], ["a", "a", "b"], ["b"], "2-of-3"),
    (["a"], ["b", "a", "b"], ["b"], "1-of-3"),
    (["a"], ["c", "b", "a", "b", "c"], ["c", "b"], "1-of-5"),
    (["a"], ["c", "b", "a", "b"], ["c", "b", "b"], "1-of-4"),
    ([["a", "b"], "d"], ["a", "d", "e"], ["a", "e"], "1-of-3"),
    ([["a", "b", "c"], "d"], ["a", "b", "d"], ["a", "b"], "1-of-3"),
    ([[[1, 2]]], [[1, 2], [3]], [[3]], "1-of-2"),
    ([[1, 2]], [[3, 4], [1, 2]], [[3, 4]], "1-of-2"),
    (["[1,2]"], ["1", "[1,2]"], ["1"], "1-of-2"),
    (['ä\n"'], ["\\u00e4", 'ä\n"'], ["\\u00e4"], "1-of-2"),
]


@pytest.mark.parametrize(("before", "given_inputs", "sent", "told"), MIXED, ids=lambda value: json.dumps(value)[:40])
async def test_only_what_is_not_known_is_asked_for(
    over_http: Embeddings, before: list[Any], given_inputs: Any, sent: list[Any], told: str
) -> None:
    """T27: litellm#41799 said index [0, 1, 1], with another's vector, and billed what was known again."""
    place = await over_http.after(*before, user="u")

    reply = await place.ask(given_inputs, user="u")

    assert place.asked == [{"model": "m", "input": sent, "user": "u"}]
    assert json.loads(reply.body) == answered({"input": given_inputs})
    assert status_of(reply) == f"fwd=miss; fwd-status=200; stored; key; detail=partial-{told}"
    assert reply.headers[b"content-length"] == b"%d" % len(reply.body)


@pytest.mark.parametrize(
    ("before", "given_inputs"),
    [([], ["a", "b"]), ([["a", "b"]], ["a", "c"]), ([["a", "b"]], ["a", "a", "b", "c"]), ([[1, 2]], ["1", "2"])],
    ids=str,
)
async def test_where_nothing_is_known_exactly_all_is_asked_for(
    embeddings: Embeddings, before: list[Any], given_inputs: Any
) -> None:
    """T27: a part of a batch took nobody knows how much, and no usage is made up."""
    place = await embeddings.after(*before)

    reply = await place.ask(given_inputs)

    assert inputs_of(place.asked) == [given_inputs]
    assert json.loads(reply.body) == answered({"input": given_inputs})
    assert "detail=partial" not in status_of(reply)


async def test_nobody_asks_for_less_who_has_not_said_so(embeddings: Embeddings) -> None:
    place = await embeddings.after("a")

    for control in ("on", "on, partial=?0", None):
        await place.ask(["a", "b" * (len(place.asked) + 1)], control)

    assert [len(one) for one in inputs_of(place.asked)] == [2, 2, 2]


async def test_an_app_always_sees_what_its_client_sent(embeddings: Embeddings) -> None:
    """And of an HTTP upstream that may be asked for less an operator can say so, too."""
    place = await embeddings.after("a")
    place.mount(Policy(default="on, partial"))

    reply = await place.ask(["a", "b"], None)

    assert inputs_of(place.asked) == [["a", "b"] if place.mounted.is_around_an_app else ["b"]]
    assert ("detail=ignored-partial" in status_of(reply)) is place.mounted.is_around_an_app
    assert json.loads(reply.body) == answered({"input": ["a", "b"]})


async def test_an_operator_can_refuse_it(embeddings: Embeddings) -> None:
    place = await embeddings.after("a")
    place.mount(Policy(honour=Policy().honour - {"partial"}))

    reply = await place.ask(["a", "b"])

    assert inputs_of(place.asked) == [["a", "b"]]
    assert status_of(reply).endswith("detail=ignored-partial")


async def test_what_it_builds_is_kept_as_parts_only(over_http: Embeddings) -> None:
    """F6: no record is made of what came at two times; and the next one is a hit."""
    place = await over_http.after("a")

    first = await place.ask(["a", "b"])
    index = bytes.fromhex(first.headers[b"cache-status"].decode().partition('key="')[2].partition('"')[0])
    again, alone = await place.ask(["a", "b"]), await place.ask("b", "on")

    assert place.mounted.store.get(index) is None
    assert place.mounted.store.get(index_of_batch(index)) is not None
    assert [status_of(one).startswith("hit") for one in (again, alone)] == [True, True]
    assert again.body == first.body
    assert json.loads(alone.body) == answered({"input": "b"})
    assert len(place.asked) == 1


async def test_a_purge_of_the_request_purges_what_it_brought(over_http: Embeddings) -> None:
    """F6: and nothing else."""
    place = await over_http.after("a")
    first = await place.ask(["a", "b"])
    index = bytes.fromhex(first.headers[b"cache-status"].decode().partition('key="')[2].partition('"')[0])

    place.mounted.store.delete(index, *indexes_beside(index))
    again = await place.ask(["a", "b"])

    assert inputs_of(place.asked) == [["b"], ["b"]]
    assert "partial-1-of-2" in status_of(again)


async def test_what_it_brought_is_fresh_as_long_as_the_request_says(over_http: Embeddings) -> None:
    place = await over_http.after("a")
    await place.ask(["a", "b"], "on, partial, ttl=5")
    place.now += 6

    await place.ask(["a", "b"])

    assert inputs_of(place.asked) == [["b"], ["b"]]


@pytest.mark.parametrize("control", ["on, partial, mode=refresh", "on, partial, mode=read"])
async def test_a_refresh_and_who_may_store_nothing_ask_for_all(over_http: Embeddings, control: str) -> None:
    place = await over_http.after("a")

    reply = await place.ask(["a", "b"], control)

    assert inputs_of(place.asked) == [["a", "b"]]
    assert json.loads(reply.body) == answered({"input": ["a", "b"]})


@pytest.mark.parametrize("field", [b"no-cache", b"no-store", b"max-age=5", b"min-fresh=99999"])
async def test_cache_control_restricts_what_is_known(over_http: Embeddings, field: bytes) -> None:
    place = await over_http.after("a")
    place.now += 6

    await place.ask(["a", "b"], fields=(CREDENTIAL, (b"cache-control", field)))

    assert inputs_of(place.asked) == [["a", "b"]]


async def test_what_is_stale_is_not_known(over_http: Embeddings) -> None:
    await over_http.ask("a", "on, ttl=5")
    place = await over_http.after("b")
    place.now += 6

    reply = await place.ask(["a", "b"])

    assert inputs_of(place.asked) == [["a"]]
    assert "partial-1-of-2" in status_of(reply)


async def test_where_only_the_store_may_answer_all_has_to_be_known(embeddings: Embeddings) -> None:
    place = await embeddings.after("a", "b")

    replies = [await place.ask(given, "partial, mode=replay") for given in (["a", "b"], ["a", "c"])]

    assert [reply.status for reply in replies] == [200, 504]
    assert place.asked == []


@pytest.mark.parametrize(
    "other",
    [
        {"fields": (BOB,)},
        {"control": 'on, partial, namespace="n"'},
        {"control": "on, partial, sample=1"},
        {"dimensions": 3},
        {"encoding_format": "base64"},
        {"encoding_format": "float"},
        {"unknown": 1},
    ],
    ids=str,
)
async def test_what_is_known_of_another_question_is_not_known(over_http: Embeddings, other: dict[str, Any]) -> None:
    """K1, T27: tensorzero#3633, litellm#2943: base64 and numbers are never mixed."""
    place = await over_http.after("a")

    await place.ask(["a", "b"], **other)

    assert inputs_of(place.asked) == [["a", "b"]]


async def test_base64_is_placed_as_it_came(over_http: Embeddings) -> None:
    place = await over_http.after("b", encoding_format="base64")

    reply = await place.ask(["a", "b", "c"], encoding_format="base64")

    assert inputs_of(place.asked) == [["a", "c"]]
    assert vectors(reply) == [vector(one, "base64") for one in "abc"]


async def test_vectors_are_placed_by_the_answers_own_index(over_http: Embeddings) -> None:
    place = await over_http.after("b")
    place.answer = lambda asked: answered(asked) | {"data": answered(asked)["data"][::-1]}

    reply = await place.ask(["a", "b", "c", "d"])

    assert vectors(reply) == [vector(one) for one in "abcd"]
    assert "partial-1-of-4" in status_of(reply)


def entries(*indexes: int) -> list[Any]:
    return [{"object": "embedding", "index": index, "embedding": [9.0]} for index in indexes]


def when_less_is_asked_for(change: Callable[[dict[str, Any]], Any]) -> Answer:
    """Answer less than three inputs otherwise."""
    return lambda asked: change(answered(asked)) if len(asked["input"]) < 3 else answered(asked)


UNFIT: dict[str, Callable[[dict[str, Any]], Any]] = {
    "another model": lambda answer: answer | {"model": "m-2"},
    "no model": lambda answer: {name: answer[name] for name in ("object", "data", "usage")},
    "too few": lambda answer: answer | {"data": entries(0)},
    "too many": lambda answer: answer | {"data": entries(0, 1, 2)},
    "one index twice": lambda answer: answer | {"data": entries(0, 0)},
    "indexes of the whole": lambda answer: answer | {"data": entries(0, 2)},
    "a negative index": lambda answer: answer | {"data": entries(-1, 0)},
    "an index that is none": lambda answer: answer | {"data": [*entries(0), {"index": "1"}]},
    "an empty vector": lambda answer: answer | {"data": [*entries(0), entries(1)[0] | {"embedding": []}]},
    "more than OpenAI says": lambda answer: answer | {"id": "e-1"},
    "usage that does not add up": lambda answer: answer | {"usage": {"total_tokens": 1.5}},
    "other usage": lambda answer: answer | {"usage": {"total_tokens": 1}},
    "no usage": lambda answer: answer | {"usage": None},
    "an error": lambda answer: {"error": {"message": "no"}},
    "no object": lambda answer: [1],
    "no JSON": lambda answer: Told([b"<html>"]),
    "another media type": lambda answer: Told([json.dumps(answer).encode()], headers=((b"content-type", b"text/plain"),)),
}


@pytest.mark.parametrize("change", UNFIT.values(), ids=UNFIT)
async def test_what_does_not_fit_is_never_shown_and_all_is_asked_for_once(
    over_http: Embeddings, change: Callable[[dict[str, Any]], Any]
) -> None:
    """T27: at LiteLLM a hit's model is that of the first part, whatever the others say."""
    place = await over_http.after("a")
    place.answer = when_less_is_asked_for(change)

    reply = await place.ask(["a", "b", "c"])

    assert inputs_of(place.asked) == [["b", "c"], ["a", "b", "c"]]
    assert json.loads(reply.body) == answered({"input": ["a", "b", "c"]})
    assert status_of(reply).startswith("fwd=miss; fwd-status=200; stored; key; detail=")
    assert "partial-unfit" in status_of(reply)
    assert place.mounted.reports[-1].attempts == 2


async def test_a_model_that_has_changed_is_that_of_all_from_then_on(over_http: Embeddings) -> None:
    """Nothing is mixed, and the second request is a hit."""
    place = await over_http.after("a")
    place.answer = lambda asked: answered(asked) | {"model": "m-2"}

    replies = [await place.ask(["a", "b"]) for _ in range(2)]

    assert [json.loads(reply.body)["model"] for reply in replies] == ["m-2", "m-2"]
    assert inputs_of(place.asked) == [["b"], ["a", "b"]]
    assert status_of(replies[1]).startswith("hit")


async def test_usage_that_nobody_can_add_to_is_seen_before_anybody_is_asked(over_http: Embeddings) -> None:
    """T27: litellm#30046, #24806: nothing is counted again, nor left out."""
    place = over_http
    place.answer = lambda asked: answered(asked) | {"usage": {"prompt_tokens": 1, "cost": 0.25}}
    await place.after("a")

    reply = await place.ask(["a", "b"])

    assert inputs_of(place.asked) == [["a", "b"]]
    assert json.loads(reply.body)["usage"] == {"prompt_tokens": 1, "cost": 0.25}


async def test_usage_has_all_its_details(over_http: Embeddings) -> None:
    place = over_http
    usage = {"prompt_tokens": 2, "total_tokens": 2, "prompt_tokens_details": {"image_tokens": 1}}
    place.answer = lambda asked: answered(asked) | {"usage": usage}
    await place.after("a")

    reply = await place.ask(["a", "b"])

    assert json.loads(reply.body)["usage"] == {
        "prompt_tokens": 4,
        "total_tokens": 4,
        "prompt_tokens_details": {"image_tokens": 2},
    }


async def test_the_report_says_what_was_taken_and_not_what_was_known(over_http: Embeddings) -> None:
    place = await over_http.after("aaaa")

    await place.ask(["aaaa", "bb"])

    report = place.mounted.reports[-1]
    assert report.usage is not None
    assert (report.hit, report.usage.input_tokens, report.attempts) == (False, 2, 1)


ERRORS = [400, 401, 404, 413, 422, 429, 500, 503]


@pytest.mark.parametrize("status", ERRORS)
async def test_an_error_is_passed_on_as_to_the_whole(over_http: Embeddings, status: int) -> None:
    place = await over_http.after("a")
    fields = (*JSON, (b"retry-after", b"7"))
    place.answer = lambda asked: Told([b'{"error":{"message":"no"}}'], status, fields)

    reply = await place.ask(["a", "b"])

    assert (reply.status, reply.body, reply.headers[b"retry-after"]) == (status, b'{"error":{"message":"no"}}', b"7")
    assert inputs_of(place.asked) == [["b"]]
    assert ("not-200" in status_of(reply), "partial-1-of-2" in status_of(reply)) == (True, True)


async def test_an_answer_that_breaks_off_is_as_that_to_the_whole(over_http: Embeddings) -> None:
    place = await over_http.after("a")
    place.answer = lambda asked: Told([b'{"object":"list"'], headers=(*JSON, (b"content-length", b"99")), ends=False)

    reply = await place.ask(["a", "b"])

    assert reply.status in (502, None)
    assert inputs_of(place.asked) == [["b"]]


async def test_an_answer_that_comes_slowly_is_whole_when_it_leaves(over_http: Embeddings) -> None:
    """What is held for longer than JSON is held otherwise is not let go half-way."""
    over_http.mounted.limit(json_hold=0.01)
    place = await over_http.after("a")
    body, gates = json.dumps(answered({"input": ["b"]})).encode(), [Gate(), Gate()]
    place.answer = lambda asked: Told([body[:20], gates[0], body[20:40], gates[1], body[40:]])
    replies: list[Reply] = []

    async def ask() -> None:
        replies.append(await place.ask(["a", "b"]))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            for gate in gates:
                await anyio.sleep(0.1)
                gate.set()

    assert json.loads(replies[0].body) == answered({"input": ["a", "b"]})
    assert "partial-1-of-2" in status_of(replies[0])


async def together(place: Embeddings, *questions: tuple[Any, str], looks: int) -> list[Reply]:
    """Ask all at once; the upstream answers nobody until they have looked into the store so often."""
    place.gate, replies = Gate(), dict[int, Reply]()
    store = place.mounted.store
    assert isinstance(store, Watched)
    store.looks = 0

    async def ask(at: int, given: Any, control: str) -> None:
        replies[at] = await place.ask(given, control)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            for at, (given, control) in enumerate(questions):
                tasks.start_soon(ask, at, given, control)
            while store.looks < looks:  # noqa: ASYNC110 - other threads'
                await anyio.sleep(0.002)
            await anyio.sleep(0.05)
            place.gate.set()
    return [replies[at] for at in sorted(replies)]


ONE_LOOK = 4
"""What is looked for by who asks for two inputs, one of which is known: the whole, both parts, and the batch of the one."""


async def test_who_asks_for_the_same_rest_shares_one_call(over_http: Embeddings) -> None:
    """Each makes his own answer of it: the rest of one question is sent once."""
    place = await over_http.after("a")

    replies = await together(place, *[(["a", "b"], PARTIAL)] * 8, looks=8 * ONE_LOOK)

    assert [json.loads(reply.body) for reply in replies] == [answered({"input": ["a", "b"]})] * 8
    assert inputs_of(place.asked) == [["b"]]
    assert sum("collapsed" in status_of(reply) for reply in replies) == 7


async def test_who_shares_an_answer_that_does_not_fit_shares_the_next_one_too(over_http: Embeddings) -> None:
    place = await over_http.after("a")
    place.answer = when_less_is_asked_for(UNFIT["another model"])

    replies = await together(place, *[(["a", "b", "c"], PARTIAL)] * 8, looks=8 * (ONE_LOOK + 1))

    assert [json.loads(reply.body) for reply in replies] == [answered({"input": ["a", "b", "c"]})] * 8
    assert inputs_of(place.asked) == [["b", "c"], ["a", "b", "c"]]


async def test_nobody_else_reads_along_with_it(over_http: Embeddings) -> None:
    """Who wants all of it, or the rest alone, asks for that: a forward of some inputs is nobody else's answer."""
    place = await over_http.after("a")
    questions: list[tuple[Any, str]] = [(["a", "b"], PARTIAL), (["a", "b"], "on"), (["b"], "on"), (["b", "a"], PARTIAL)]

    replies = await together(place, *questions, looks=2 * ONE_LOOK + 3 + 2)

    assert [json.loads(reply.body) for reply in replies] == [answered({"input": given}) for given, _ in questions]
    assert sorted(inputs_of(place.asked)) == [["a", "b"], ["b"], ["b"], ["b"]]
    assert not any("collapsed" in status_of(reply) for reply in replies)


async def test_a_client_that_leaves_takes_nothing_from_the_others(over_http: Embeddings) -> None:
    place = await over_http.after("a")
    body = json.dumps({"model": "m", "input": ["a", "b"]}).encode()

    await place.mounted.ask(PARTIAL, body, path=PATH, leave_after=0)
    reply = await place.ask(["a", "b"])

    assert json.loads(reply.body) == answered({"input": ["a", "b"]})


async def test_an_upstream_is_asked_at_the_same_url_with_the_same_fields(over_http: Embeddings) -> None:
    place = over_http
    path, fields = f"{PATH}?api-version=1", (CREDENTIAL, (b"user-agent", b"bot/1"))
    for given in ("a", ["a", "b"]):
        body = json.dumps({"model": "m", "input": given}).encode()
        await place.mounted.ask(PARTIAL, body, path=path, headers=fields)

    whole, some = place.mounted.upstream.asked
    assert (some.path, some.query, json.loads(some.body)["input"]) == (whole.path, b"api-version=1", ["b"])
    assert some.header(b"content-length") == b"%d" % len(some.body)
    assert [some.header(name) == whole.header(name) for name in (b"authorization", b"user-agent", b"content-type")] == [
        True
    ] * 3
    assert some.header(b"cachemw") is None


async def test_an_idempotency_key_is_another_one_for_another_question(over_http: Embeddings) -> None:
    """A5: an upstream that knows a key gives what it gave to it."""
    place = await over_http.after("a")
    place.answer = when_less_is_asked_for(UNFIT["another model"])

    await place.ask(["a", "b", "c"], fields=(CREDENTIAL, (b"idempotency-key", b"k")))

    some, whole = place.mounted.upstream.asked
    assert some.header(b"idempotency-key") is not None
    assert some.header(b"idempotency-key") != whole.header(b"idempotency-key")
