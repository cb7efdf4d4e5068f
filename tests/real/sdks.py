"""The official SDKs, each with and without `await`, behind one way of asking."""

import asyncio
import contextlib
import inspect
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol

import cerebras.cloud.sdk
import http_sf
import openai
import pytest

from tests.real.recordings import Body
from tests.thorough import THOROUGH

ON = {"Cachemw": "on"}
KEY = "sk-a-key-of-the-caller"


@dataclass(frozen=True, slots=True)
class Answer:
    """What an SDK made of a response: one completion, or the chunks of one."""

    parsed: tuple[Any, ...]
    headers: Mapping[str, str]

    @property
    def members(self) -> list[tuple[type, dict[str, Any]]]:
        """The objects as values that can be compared: without the request's id, which a replay does not have."""
        return [(type(one), one.to_dict()) for one in self.parsed]

    @property
    def cache(self) -> Mapping[str, Any]:
        """The parameters of our member of `Cache-Status`."""
        return cache_status(self.headers)


def cache_status(headers: Mapping[str, str]) -> Mapping[str, Any]:
    """Return the parameters of our member of `Cache-Status`; empty where there is none."""
    members: Any = http_sf.parse(headers.get("cache-status", "").encode(), tltype="list")
    return {name: value for _, parameters in members for name, value in parameters.items()}


class Client(Protocol):
    """An SDK's client, opened."""

    def ask(self, body: Body, headers: Mapping[str, str] | None = None) -> Answer:
        """Send a chat request, and read the answer to the end as the SDK does."""

    def read(self, body: Body, headers: Mapping[str, str] | None = None) -> bytes:
        """Send a chat request, and read the answer's bytes."""


class WaitingClient:
    """A client without `await`."""

    def __init__(self, client: Any) -> None:
        self._chat = client.chat.completions

    def ask(self, body: Body, headers: Mapping[str, str] | None = None) -> Answer:
        response = self._chat.with_raw_response.create(**_arguments(self._chat, body), extra_headers=headers)
        parsed = response.parse()
        return Answer(tuple(parsed) if body.get("stream") else (parsed,), response.headers)

    def read(self, body: Body, headers: Mapping[str, str] | None = None) -> bytes:
        create = self._chat.with_streaming_response.create
        with create(**_arguments(self._chat, body), extra_headers=headers) as response:
            return b"".join(response.iter_bytes())


class AwaitingClient:
    """A client with `await`, run in an event loop of its own."""

    def __init__(self, client: Any, run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self._chat, self._run = client.chat.completions, run

    def ask(self, body: Body, headers: Mapping[str, str] | None = None) -> Answer:
        answer: Answer = self._run(self._ask(body, headers))
        return answer

    def read(self, body: Body, headers: Mapping[str, str] | None = None) -> bytes:
        read: bytes = self._run(self._read(body, headers))
        return read

    async def _ask(self, body: Body, headers: Mapping[str, str] | None) -> Answer:
        response = await self._chat.with_raw_response.create(**_arguments(self._chat, body), extra_headers=headers)
        parsed = response.parse()
        parsed = await parsed if inspect.isawaitable(parsed) else parsed
        return Answer(tuple([one async for one in parsed]) if body.get("stream") else (parsed,), response.headers)

    async def _read(self, body: Body, headers: Mapping[str, str] | None) -> bytes:
        create = self._chat.with_streaming_response.create
        async with create(**_arguments(self._chat, body), extra_headers=headers) as response:
            return b"".join([chunk async for chunk in response.iter_bytes()])


def _arguments(chat: Any, body: Body) -> dict[str, Any]:
    """Sort a request's members into what the SDK knows and what goes into its `extra_body`."""
    known = inspect.signature(chat.create).parameters
    extra = {name: value for name, value in body.items() if name not in known}
    return {**{name: value for name, value in body.items() if name in known}, "extra_body": extra or None}


Headers = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Sdk:
    """One of the four. `module` has its exceptions; `base` is what its base URL ends in."""

    name: str
    module: ModuleType
    base: str
    make: Callable[..., Any]

    @contextlib.contextmanager
    def open(self, url: str, defaults: Headers | None = None, retries: int = 0) -> Iterator[Client]:
        """Make a client for a server, with these default headers, and close it."""
        client = self.make(api_key=KEY, base_url=url + self.base, default_headers=defaults, max_retries=retries, timeout=10.0)
        if not inspect.iscoroutinefunction(client.close):
            with client:
                yield WaitingClient(client)
            return
        with asyncio.Runner() as runner:
            try:
                yield AwaitingClient(client, runner.run)
            finally:
                runner.run(client.close())


OPENAI = Sdk("openai", openai, "/v1", openai.OpenAI)
ASYNC_OPENAI = Sdk("async-openai", openai, "/v1", openai.AsyncOpenAI)
CEREBRAS = Sdk("cerebras", cerebras.cloud.sdk, "", cerebras.cloud.sdk.Cerebras)
ASYNC_CEREBRAS = Sdk("async-cerebras", cerebras.cloud.sdk, "", cerebras.cloud.sdk.AsyncCerebras)
SDKS = (OPENAI, ASYNC_OPENAI, CEREBRAS, ASYNC_CEREBRAS)


def sdk_name(sdk: Sdk) -> str:
    """Return what a parametrised test calls this one."""
    return sdk.name


every_sdk = pytest.mark.parametrize("sdk", SDKS, ids=sdk_name)
some_sdks = pytest.mark.parametrize("sdk", SDKS if THOROUGH else (OPENAI, ASYNC_CEREBRAS), ids=sdk_name)
"""Each family and each colour, once."""
