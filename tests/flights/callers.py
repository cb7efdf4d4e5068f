"""Clients without a server: what they were sent and when, how slowly they read, and how they leave."""

from collections.abc import Callable
from typing import Literal

import anyio
import anyio.lowlevel
from starlette.types import ASGIApp, Message

from tests.asgi_driver import scope_for
from tests.upstream import prompt

PATH = "/v1/chat/completions"
STREAM = prompt(stream=True)
JSON = prompt()

Way = Literal["disconnect", "oserror"]


class Caller:
    """One request. It is listened to from its flight on: `listening` means that it has joined, or leads."""

    def __init__(
        self,
        body: bytes = STREAM,
        control: str = "on",
        *,
        headers: tuple[tuple[bytes, bytes], ...] = (),
        leaves_after: int | None = None,
        by: Way = "disconnect",
        ticks: int = 1,
        on_message: Callable[[Message], None] = lambda message: None,
        path: str = PATH,
    ) -> None:
        self.messages: list[Message] = []
        self.raised: BaseException | None = None
        self.listening, self.returned = anyio.Event(), anyio.Event()
        self._asked: bytes | None = body
        self._path = path
        self._headers = ((b"content-type", b"application/json"), (b"cachemw", control.encode()), *headers)
        self._leaves_after, self._by, self._ticks, self.on_message = leaves_after, by, ticks, on_message
        self._gone, self._news, self._may_read = anyio.Event(), anyio.Event(), anyio.Event()
        self._may_read.set()

    # What it does.

    async def call(self, app: ASGIApp) -> None:
        """Ask, and stay until the app returns; what it raises is kept."""
        try:
            await app(scope_for("POST", self._path, self._headers), self._receive, self._send)
        except Exception as exc:  # noqa: BLE001 - for the test to look at
            self.raised = exc
        finally:
            self.returned.set()
            self._tell()

    def leave(self) -> None:
        """Be gone; one that leaves by `oserror` is not noticed before something is sent to it."""
        self._gone.set()

    def stop_reading(self) -> None:
        """Let every `send` wait."""
        self._may_read = anyio.Event()

    def read_on(self) -> None:
        self._may_read.set()

    # What it got.

    @property
    def status(self) -> int | None:
        return self.messages[0]["status"] if self.messages else None

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.messages[0]["headers"]) if self.messages else {}

    @property
    def chunks(self) -> list[bytes]:
        return [message["body"] for message in self.messages if message.get("body")]

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def is_complete(self) -> bool:
        return bool(self.messages) and not self.messages[-1].get("more_body", True)

    @property
    def said(self) -> str:
        """Our `Cache-Status` member, without its name and key."""
        fields = self.headers.get(b"cache-status", b"").decode().removeprefix("cachemw; ").split("; ")
        return "; ".join(field for field in fields if not field.startswith("key="))

    async def hears(self, expected: bytes) -> None:
        """Wait until just these bytes have come."""
        with anyio.fail_after(5):
            while self.body != expected:
                assert not self.returned.is_set(), f"it returned with {self.body!r}, raised {self.raised!r}"
                await self._news.wait()

    async def hears_head(self) -> None:
        with anyio.fail_after(5):
            while not self.messages:
                assert not self.returned.is_set(), f"it returned without a head, raised {self.raised!r}"
                await self._news.wait()

    async def returns(self, within: float = 5) -> None:
        with anyio.fail_after(within):
            await self.returned.wait()

    # The server's side of it.

    async def _receive(self) -> Message:
        if self._asked is not None:
            body, self._asked = self._asked, None
            return {"type": "http.request", "body": body, "more_body": False}
        self.listening.set()
        if self._by == "oserror":
            await anyio.sleep_forever()
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if not self._may_read.is_set():
            await self._may_read.wait()
        if self._gone.is_set():
            if self._by == "oserror":
                raise OSError("the client left")  # ASGI 2.4
            return  # a server drops what comes too late
        self.messages.append(message)
        self.on_message(message)
        self._tell()
        if len(self.messages) == self._leaves_after:
            self._gone.set()
        for _ in range(self._ticks):  # as a socket would: other tasks get their turn
            await anyio.lowlevel.checkpoint()

    def _tell(self) -> None:
        news, self._news = self._news, anyio.Event()
        news.set()
