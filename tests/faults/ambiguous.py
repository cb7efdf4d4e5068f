"""K9, K4, K6: documents of ours with what must become of each: one key, keys of their own, or never cached."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import anyio

from cachemw import MemoryStore
from cachemw.cache.key import Key
from cachemw.endpoints import CHAT
from cachemw.endpoints.base import Bypass
from cachemw.endpoints.chat.request import read_chat
from cachemw.messages import Target
from tests.asgi_driver import Reply
from tests.cache.keying import APP, UPSTREAM, asking, key_of
from tests.faults.fault import ALL, Fault, Tally
from tests.faults.reflecting import KINDS, PATH, asked, is_hit, mount_of, reflect

CORPUS = Path(__file__).parents[1] / "data" / "ambiguous"
EQUAL, EQUAL_OVER_HTTP, DISTINCT = "equal", "equal-over-http", "distinct"
NEVER_CACHED = (
    "ambiguous-json", "invalid-json", "no-messages", "ambiguous-stream", "store-requested", "web-search", "audio"
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Document:
    """A request's body. What is not `EQUAL`, `EQUAL_OVER_HTTP` or `DISTINCT` is the `detail` of a bypass."""

    expected: str
    raw: bytes

    def __str__(self) -> str:
        return f"{self.expected}: {self.raw[:150]!r}"


def documents() -> Iterator[Document]:
    """Yield the corpus, then what is too long to be written down."""
    for expected in (EQUAL, EQUAL_OVER_HTTP, DISTINCT, *NEVER_CACHED):
        for line in (CORPUS / f"{expected}.txt").read_text(encoding="utf-8").split("\n"):
            if line and not line.startswith("# "):
                yield Document(expected, _raw(line))
    yield from generated()


def _raw(line: str) -> bytes:
    return re.sub(rb"\xe2\x80\xb9([0-9A-F ]+)\xe2\x80\xba", lambda found: bytes.fromhex(found[1].decode()), line.encode())


def _with(value: str) -> bytes:
    return b'{"model":"m","messages":[{"role":"user","content":"hi"}],"extra":' + value.encode() + b"}"


def generated() -> Iterator[Document]:
    """Yield documents that are deep, wide, long or not UTF-8."""
    for depth, expected in ((63, DISTINCT), (64, "ambiguous-json"), (500, "ambiguous-json"), (20_000, "ambiguous-json")):
        yield Document(expected, _with("[" * depth + "]" * depth))
        yield Document(expected, _with('{"a":' * (depth - 1) + "{}" + "}" * (depth - 1)))
    for digits, expected in ((4300, DISTINCT), (4301, "ambiguous-json"), (100_000, "ambiguous-json")):
        yield Document(expected, _with("7" * digits))
    yield Document(DISTINCT, _with("0." + "3" * 4000))
    yield Document(DISTINCT, _with(json.dumps(list(range(10_000)))))
    yield Document(DISTINCT, _with(json.dumps({str(number): None for number in range(5_000)})))
    yield Document("ambiguous-json", _with(json.dumps({str(number): 1 for number in range(5_000)})[:-1] + ',"7":1}'))
    yield Document("ambiguous-json", _with(json.dumps({str(number): 1 for number in range(5_000)})[:-1] + ', "\\u0037":1}'))
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
        yield Document("ambiguous-json", _with("1").decode().encode(encoding))
    yield from too_complex()


def too_complex() -> Iterator[Document]:
    """Yield documents of few bytes that would keep the parser, and with it everything else, too long."""
    for value in (
        "[" + "0," * 150_000 + "0]",
        "[" + "[]," * 100_000 + "[]]",
        "[" + '"",' * 150_000 + '""]',
        "{" + ",".join(f'"{number}":0' for number in range(100_000)) + "}",
        "[" + "1e307," * 5_000 + "0]",
        '"' + "\\u0041" * 1_200_000 + '"',
    ):
        yield Document("too-complex", _with(value))


@cache
def base() -> Document:
    return next(documents())


async def at_the_mounts(document: Document) -> Tally:
    """Ask it at every mount, after the base and on its own."""
    said = [fault for kind in KINDS for fault in await _faults(kind, document)]
    return Tally(wrong=len(said), examples=tuple(f"{fault}; {document}" for fault in said))


async def _faults(kind: str, document: Document) -> list[str]:
    """Return what is wrong with what becomes of it."""
    store = MemoryStore()
    mount = mount_of(kind, reflect, store=store)
    alone = await _ask(mount, document)
    faults = [] if _came(alone) == document.raw else [f"{kind}: not forwarded as it came"]
    if document.expected not in (EQUAL, EQUAL_OVER_HTTP, DISTINCT):
        return faults + await _never_cached(kind, document, mount, store, alone)
    mount = mount_of(kind, reflect)
    first = await _ask(mount, base())
    then = await _ask(mount, document)
    is_same = document.expected == EQUAL or document.expected == EQUAL_OVER_HTTP and not kind.endswith("around an app")
    if is_hit(then) is not is_same or not is_same and _came(then) != document.raw:
        faults.append(f"{kind}: {then.headers[b'cache-status'].decode()}")
    if not is_hit(again := await _ask(mount, base())) or again.body != first.body:
        faults.append(f"{kind}: the base was lost")
    return faults


async def _never_cached(kind: str, document: Document, mount: Any, store: MemoryStore, first: Reply) -> list[str]:
    again = await _ask(mount, document)
    status = f"cachemw; fwd=bypass; detail={document.expected}".encode()
    faults = [
        f"{kind}: {reply.headers[b'cache-status'].decode()}"
        for reply in (first, again)
        if reply.headers[b"cache-status"] != status
    ]
    faults += [] if _came(again) == document.raw else [f"{kind}: not forwarded again"]
    return [*faults, *(f"{kind}: stored" for _ in store.scan())]


async def _ask(mount: Any, document: Document) -> Reply:
    return await asked(mount, (PATH, document.raw, ()))


def _came(reply: Reply) -> bytes | None:
    """Return the body that the upstream says it received; `None` where it was asked nothing."""
    if reply.headers[b"content-type"] != b"application/json":
        return None
    body = json.loads(json.loads(reply.body)["choices"][0]["message"]["content"])[2]
    return bytes(body, "latin-1")


def in_core(every: list[Document]) -> Tally:
    """Judge the keys: of what is equal there is one, of what is distinct there are as many as documents."""
    told: list[str] = []
    for target in (UPSTREAM, APP):
        told += [f"core: {document}" for document in every if not _is_as_expected(document, target)]
        distinct = [document for document in every if document.expected == DISTINCT]
        keys = {_key(document, target) for document in (base(), *distinct)}
        told += [] if len(keys) == len(distinct) + 1 else [f"core: {len(keys)} keys of {len(distinct) + 1} documents"]
    return Tally(wrong=len(told), examples=tuple(told))


def _is_as_expected(document: Document, target: Target) -> bool:
    if document.expected in (EQUAL, EQUAL_OVER_HTTP):
        is_same = document.expected == EQUAL or target is UPSTREAM
        return (_key(document, target) == _key(base(), target)) is is_same
    said = read_chat(CHAT, asking(document.raw, target))
    return document.expected == DISTINCT or isinstance(said, Bypass) and said.detail == document.expected


def _key(document: Document, target: Target) -> Key:
    return key_of(document.raw, target)


def run(_: int) -> Tally:
    """Try every document."""
    every = list(documents())
    tally = in_core(every)
    for document in every:
        tally += Tally(1) + anyio.run(at_the_mounts, document)
    never = sum(document.expected not in (EQUAL, EQUAL_OVER_HTTP, DISTINCT) for document in every)
    return tally + Tally(note=f"{never} never cached, {len(KINDS)} mounts")


FAULTS = (Fault("ambiguous JSON", "documents with what must become of each", ALL, ALL, run),)
