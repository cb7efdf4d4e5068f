"""Records hold the request as it was received, in the dialect of who asked, though another one was sent (ruling F5)."""

import json
from pathlib import Path
from typing import Any

import pytest

from cachemw import FileStore, MemoryStore, Policy
from cachemw.cache import record as codec
from cachemw.messages import StoredResponse
from cachemw.stores import Store
from tests.mounts.conftest import status_of
from tests.mounts.dialects import PATHS, SpokenTo
from tests.translation.talking_to_messages import message, text
from tests.upstream import JSON, Told, completion

pytestmark = pytest.mark.anyio

KEEPING = Policy(default="on", keep_requests=True, partition="shared")
ASKED: dict[str, dict[str, Any]] = {
    "messages": {
        "model": "gpt-oss-120b",
        "max_tokens": 64,
        "system": "Be short.",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        "tools": [{"name": "look", "input_schema": {"type": "object"}}],
    },
    "chat": {
        "model": "claude-sonnet-4-5",
        "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "hi"}],
    },
}
ANSWERS = {"chat": completion("hello"), "messages": Told([json.dumps(message(text())).encode()], headers=JSON)}
OTHER = {"chat": "messages", "messages": "chat"}
BY_DIALECT = pytest.mark.parametrize("asked", ["messages", "chat"])


def place(asked: str, store: Store | None = None, policy: Policy = KEEPING) -> SpokenTo:
    """Return a proxy whose upstream does not speak the dialect that is asked in."""
    spoken = OTHER[asked]
    return SpokenTo([spoken], lambda body: ANSWERS[spoken], store, policy)


def kept(store: Store) -> StoredResponse:
    """Return what the one record holds that there is."""
    [(_, record)] = store.scan()
    return codec.decode(record)


def read_file(directory: Path) -> tuple[str, Any]:
    """Return the name of the one file there is, and what it says."""
    [path] = directory.glob("*.json")
    return path.name, json.loads(path.read_text(encoding="utf-8"))


@BY_DIALECT
async def test_a_record_holds_the_request_that_came_and_which_endpoint_it_asked(asked: str) -> None:
    """Ruling F5: what is sent is made of it again, and the reverse is not so."""
    there = place(asked)

    await there.ask(PATHS[asked], ASKED[asked])

    stored = kept(there.store)
    assert json.loads(stored.request or b"") == ASKED[asked]
    assert (stored.asked_endpoint, stored.endpoint) == (asked, OTHER[asked])
    assert there.asked[0][0] == PATHS[OTHER[asked]]


@BY_DIALECT
async def test_it_is_canonical_so_that_no_member_says_how_the_answer_travelled(asked: str) -> None:
    """Ruling F5: recorded as a stream or not, in whatever order, it is one text."""
    requests = []
    for members in (ASKED[asked], {"stream": False, **dict(reversed(ASKED[asked].items()))}):
        there = place(asked)
        await there.ask(PATHS[asked], members)
        requests.append(kept(there.store).request)

    assert requests[0] == requests[1]


@BY_DIALECT
async def test_a_request_that_was_not_translated_is_kept_as_ever(asked: str) -> None:
    there = SpokenTo([asked], lambda body: ANSWERS[asked], policy=KEEPING)

    await there.ask(PATHS[asked], ASKED[asked])

    stored = kept(there.store)
    assert json.loads(stored.request or b"") == ASKED[asked]
    assert (stored.asked_endpoint, stored.endpoint) == ("", asked)


@BY_DIALECT
async def test_no_request_is_kept_unless_the_operator_wants_it(asked: str) -> None:
    there = place(asked, policy=Policy(default="on"))

    await there.ask(PATHS[asked], ASKED[asked])

    assert (kept(there.store).request, kept(there.store).asked_endpoint) == (None, "")


@pytest.mark.parametrize("is_file", [True, False], ids=["files", "memory"])
@BY_DIALECT
async def test_the_record_answers_both_dialects(asked: str, is_file: bool, tmp_path: Path) -> None:
    """Ruling F5: the key is that of what is sent, whoever asked first."""
    store = FileStore(tmp_path) if is_file else MemoryStore()
    there = place(asked, store)
    first = await there.ask(PATHS[asked], ASKED[asked])
    sent = there.asked[0][1]

    again = await there.ask(PATHS[asked], ASKED[asked])
    natively = await there.ask(PATHS[OTHER[asked]], sent)

    assert [status_of(reply).partition(";")[0] for reply in (again, natively)] == ["hit", "hit"]
    assert again.body == first.body
    assert natively.body == b"".join(part for part in ANSWERS[OTHER[asked]].parts if isinstance(part, bytes))
    assert there.calls == 1
    assert kept(store).asked_endpoint == asked


@BY_DIALECT
async def test_who_asks_anew_leaves_his_own_request(asked: str) -> None:
    there = place(asked)
    await there.ask(PATHS[asked], ASKED[asked])
    sent = there.asked[0][1]

    await there.ask(PATHS[OTHER[asked]], sent, "on, mode=refresh")

    assert (json.loads(kept(there.store).request or b""), kept(there.store).asked_endpoint) == (sent, "")


@BY_DIALECT
async def test_a_file_says_it_in_words(asked: str, tmp_path: Path) -> None:
    """Ruling F5: whatever the policy says, and the file is named after the model that was asked for."""
    there = place(asked, FileStore(tmp_path), Policy(default="on", partition="shared"))

    await there.ask(PATHS[asked], ASKED[asked])

    name, document = read_file(tmp_path)
    assert document["request"] == ASKED[asked]
    assert (document["endpoint"], document["asked_endpoint"]) == (OTHER[asked], asked)
    assert name.startswith(f"{ASKED[asked]['model']}--")


async def test_a_request_whose_own_upstream_would_not_be_cached_is_kept_as_it_came() -> None:
    """Who speaks chat may ask that the answer be stored: that cannot be said, and is told; there is no canonical body."""
    there = place("chat")
    body = {**ASKED["chat"], "store": True}

    reply = await there.ask(PATHS["chat"], body)

    assert b"store=dropped" in reply.headers[b"cachemw-translation"]
    assert kept(there.store).request == json.dumps(body).encode()
