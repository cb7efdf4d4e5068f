"""Exchanges of every endpoint, by the official SDKs over real sockets, and the files that are exported of what they left."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anthropic
import openai

from cachemw import DiskStore, Policy, sdk
from cachemw.inventory.admitting import Addressee
from cachemw.inventory.exporting import ExportFolder, ExportForm, export
from cachemw.inventory.importing import ImportTerms
from cachemw.messages import HttpTarget
from cachemw.stores import Store

CREDENTIAL = "sk-canary-of-somebody"
KEEPING = Policy(default="on", keep_requests=True)
_MESSAGES: list[Any] = [{"role": "user", "content": "Why is the sky blue?"}]
_TOOL: Any = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}

OPENAI_CALLS: Mapping[str, Callable[[openai.OpenAI], Any]] = {
    "chat": lambda client: client.chat.completions.create(model="gpt-oss-120b", messages=_MESSAGES, seed=7),
    "chat, streamed": lambda client: list(
        client.chat.completions.create(
            model="gpt-oss-120b",
            messages=[*_MESSAGES, {"role": "user", "content": "And red?"}],
            stream=True,
            stream_options={"include_usage": True},
        )
    ),
    "tools": lambda client: client.chat.completions.create(model="gpt-oss-120b", messages=_MESSAGES, tools=[_TOOL], n=2),
    "responses": lambda client: client.responses.create(model="gpt-5", input="Why?", store=False),
    "responses, streamed": lambda client: list(client.responses.create(model="gpt-5", input="How?", store=False, stream=True)),
    "completions": lambda client: client.completions.create(model="davinci", prompt="Once upon"),
    "embeddings": lambda client: client.embeddings.create(model="e", input=["sky", "sea"]),
}
ANTHROPIC_CALLS: Mapping[str, Callable[[anthropic.Anthropic], Any]] = {
    "messages": lambda client: client.messages.create(model="claude", max_tokens=99, messages=_MESSAGES),
    "messages, streamed": lambda client: list(
        client.messages.create(model="claude", max_tokens=98, messages=_MESSAGES, stream=True)
    ),
}
COUNT = len(OPENAI_CALLS) + len(ANTHROPIC_CALLS)


def said_by_all(url: str, openai_http: Any, anthropic_http: Any, credential: str = CREDENTIAL) -> dict[str, Any]:
    """Make every call, by clients of these; return what the SDKs read."""
    ours = openai.OpenAI(base_url=f"{url}/v1", api_key=credential, http_client=openai_http, max_retries=0)
    theirs = anthropic.Anthropic(base_url=url, api_key=credential, http_client=anthropic_http, max_retries=0)
    said = {name: call(ours) for name, call in OPENAI_CALLS.items()}
    return said | {name: call(theirs) for name, call in ANTHROPIC_CALLS.items()}


def record_all(url: str, store: Store, policy: Policy = KEEPING) -> dict[str, Any]:
    """Record every call in a store; return what the SDKs read."""
    clients = [sdk.http_client(family, store=store, policy=policy) for family in (openai, anthropic)]
    try:
        return said_by_all(url, *clients)
    finally:
        for client in clients:
            client.close()


def files_of(store: Store, place: Path, *, times: bool = True, secret: bytes | None = None) -> dict[str, str]:
    """Export a store; return its files."""
    export(store.scan(), ExportFolder(place), ExportForm(times=times, secret=secret))
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(place.glob("*--*.json"))}


def terms_for(**members: Any) -> ImportTerms:
    """Return terms on which records come in, from whichever URL they say."""
    terms: dict[str, Any] = {"by_name": by_url, "policy": KEEPING, "keep": None, **members}
    return ImportTerms(**terms)


def by_url(name: str, path: bytes, asked: bytes) -> Addressee | None:
    return Addressee(HttpTarget(name)) if "://" in name else None


def disk(place: Path) -> DiskStore:
    """Return a store with a secret of its own."""
    return DiskStore(place)
