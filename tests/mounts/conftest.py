"""Every mount there is, around or before the same scriptable upstream."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from cachemw import ExchangeReport, Limits, MemoryStore, Policy, Store
from tests.asgi_driver import Hears, RawHeaders, Reply, ignore
from tests.mounts import translating
from tests.mounts.mounting import AROUND_AN_APP, ASGI, KINDS, MAKERS, PATH, PULLED, SEVEN, TRANSPORTS, AsgiMount, Mount, Sent
from tests.patience import PATIENT
from tests.serving import serving, serving_in_thread
from tests.thorough import THOROUGH
from tests.upstream import Upstream, prompt

CREDENTIAL = (b"authorization", b"Bearer alice")


@dataclass(slots=True)
class Mounted:
    """A mount under test, and everything around it."""

    kind: str
    url: str
    upstream: Upstream
    policy: Policy = field(default_factory=Policy)
    limits: Limits = PATIENT
    store: Store = field(default_factory=MemoryStore)
    reports: list[ExchangeReport] = field(default_factory=list)
    mounts: list[Mount] = field(default_factory=list)

    def mount(self, policy: Policy | None = None) -> None:
        """Mount anew, with another policy."""
        self._mount(policy=policy or self.policy)

    def limit(self, **limits: Any) -> None:
        """Mount anew, with these limits besides."""
        self.limits = replace(self.limits, **limits)
        self.mount()

    def mount_by_default(self) -> None:
        """Mount anew, with the policy that is the mount's own."""
        self._mount()

    def _mount(self, **options: Any) -> None:
        options |= {"store": self.store, "limits": self.limits, "hooks": [self.reports.append]}
        self.mounts.append(MAKERS[self.kind](self.url, self.upstream, options))

    @property
    def now(self) -> Mount:
        """The mount as it is now."""
        return self.mounts[-1]

    @property
    def app(self) -> Any:
        """The application, of a mount that is one of ASGI."""
        assert isinstance(self.now, AsgiMount)
        return self.now.app

    @property
    def driver(self) -> Any:
        return self.now.driver

    @property
    def is_pulled(self) -> bool:
        """Whether it starts no thread and no task: no `abandon=finish`, no stale-while-revalidate, no collapsed streams."""
        return self.kind in PULLED

    @property
    def is_around_an_app(self) -> bool:
        return self.kind in AROUND_AN_APP

    @property
    def raises(self) -> bool:
        """Whether an upstream that fails before its answer is an exception here, not a 502."""
        return self.kind in TRANSPORTS or self.kind == "WSGI around an app"

    async def aclose(self) -> None:
        for mount in self.mounts:
            await mount.aclose()

    async def ask(
        self,
        control: str | None = "on",
        body: bytes | None = None,
        *,
        path: str = PATH,
        headers: RawHeaders = (CREDENTIAL,),
        leave_after: int | None = None,
        hears: Hears = ignore,
    ) -> Reply:
        """Send a chat request."""
        fields = [(b"content-type", b"application/json"), *headers]
        if control is not None:
            fields.append((b"cachemw", control.encode()))
        sent = prompt() if body is None else body
        return await self.now.send(Sent(sent, fields, path, leave_after=leave_after, hears=hears))


def note_recalled(driver: Any) -> list[bool]:
    """Return what is added to from now on when something known is looked for: whether it is given again."""
    recaller, noted = driver.recaller, list[bool]()
    find = recaller.find

    def noting(digest: bytes) -> Any:
        found = find(digest)
        noted.append(found is not None)
        return found

    recaller.find = noting
    return noted


def status_of(reply: Reply) -> str:
    """Return our `Cache-Status` member without its name and with the key's value left out."""
    text = reply.headers.get(b"cache-status", b"").decode()
    head, quote, tail = text.removeprefix("cachemw; ").partition('key="')
    return head + "key" + tail.partition('"')[2] if quote else head


def _named(param: tuple[str, translating.Client]) -> str:
    kind, client = param
    return f"{client.dialect} over {kind}"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Switch:
    """An app that is another one for every test: a server takes a while to start and stop."""

    target: ASGIApp = Upstream()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.target(scope, receive, send)


@pytest.fixture(scope="session")
def switch() -> Iterator[tuple[Switch, str]]:
    switch = Switch()
    with serving_in_thread(switch) as url:
        yield switch, url


@pytest.fixture(params=KINDS if THOROUGH else SEVEN)
async def mounted(request: pytest.FixtureRequest, anyio_backend: str, switch: tuple[Switch, str]) -> AsyncIterator[Mounted]:
    """Every mount, or one transport of each family; an HTTP upstream runs in a thread of its own."""
    app, url = switch
    mounted = Mounted(request.param, url, Upstream())
    app.target = mounted.upstream
    mounted.mount()
    yield mounted
    await mounted.aclose()


@pytest.fixture(params=ASGI)
async def mounted_here(request: pytest.FixtureRequest, anyio_backend: str) -> AsyncIterator[Mounted]:
    """The mounts of ASGI; an HTTP upstream runs in the test's event loop, where the test can hold it at barriers."""
    upstream = Upstream()
    async with serving(upstream) as url:
        mounted = Mounted(request.param, url, upstream)
        mounted.mount()
        yield mounted
        await mounted.aclose()


@pytest.fixture(params=[(kind, client) for kind in translating.KINDS for client in translating.BOTH_WAYS], ids=_named)
async def front(
    request: pytest.FixtureRequest, anyio_backend: str, switch: tuple[Switch, str], tmp_path: Path
) -> AsyncIterator[translating.Front]:
    """Every mount of an upstream that speaks another dialect than the client who asks there, both ways."""
    app, url = switch
    kind, client = request.param
    front = translating.Front(kind, url, client, Upstream(translating.OTHER[client].answers), tmp_path)
    app.target = front.upstream
    front.mount()
    yield front
    await front.aclose()
