"""Whom commands ask: the upstream of the proxy's settings, through the same mount, or a proxy that runs."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import typer
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from cachemw.asgi import CacheMiddleware
from cachemw.cli.addressing import refuse_unknown_client
from cachemw.errors import CommandError
from cachemw.inventory.asking import Asker, in_process, through
from cachemw.limits import Limits
from cachemw.messages import Caller, Headers
from cachemw.proxy import Settings
from cachemw.proxy.gateways import gateway_of
from cachemw.stores import Store

Through = Annotated[
    str, typer.Option("--through", help="Ask a proxy that runs, at this URL.", metavar="URL", show_default=False)
]
KeyVariable = Annotated[
    str,
    typer.Option(
        "--key-env",
        help="The variable with the key to ask with, as a client does; without it, without one.",
        metavar="VARIABLE",
        show_default=False,
    ),
]
AsClient = Annotated[
    str,
    typer.Option("--client", help="Ask as the client with this name; not with --through.", metavar="NAME", show_default=False),
]


def partition_fields(variable: str) -> Headers:
    """Return the field with the key of who asks. Raises `CommandError` where the variable has none."""
    if not variable:
        return ()
    key = os.environ.get(variable, "")
    if not key.isascii() or not key.isprintable() or not key:
        raise CommandError(f"{variable} (--key-env) holds no key")
    return ((b"authorization", b"Bearer " + key.encode()),)


_PATIENT = Limits(store_patience=30.0, store_opening=30.0)
"""Here nobody waits for an answer who would rather have it than have it kept."""


@asynccontextmanager
async def asked_by(settings: Settings, store: Store, url: str, variable: str, client: str) -> AsyncIterator[Asker]:
    """Open who is asked: the proxy at this URL, else the upstream in this process, whose answers are kept in the store."""
    fields = partition_fields(variable)
    if url and client:
        raise CommandError("a proxy knows its clients by their keys: give --key-env, and not --client, with --through")
    if client:
        refuse_unknown_client(settings, client)
    if url and not url.startswith(("http://", "https://")):
        raise CommandError(f"{url!r} (--through) is no URL of a proxy, as http://127.0.0.1:8080")
    if url:
        async with through(url, fields) as asked:
            yield asked
        return
    gateway = gateway_of(settings, store)
    mount = CacheMiddleware(
        _nowhere,
        upstream=settings.open_upstream() if gateway is None else None,
        gateway=gateway,
        store=store,
        policy=settings.policy(),
        limits=settings.limits(_PATIENT),
    )
    try:
        async with in_process(mount, fields, Caller(name=client) if client else None) as asked:
            yield asked
    finally:
        await mount.aclose()


async def _nowhere(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("no such endpoint", 404)(scope, receive, send)
