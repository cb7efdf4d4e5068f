"""The caches that are measured beside ours: nginx where it is installed, and where peers are asked for, those on PyPI."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path

from benchmarks.environments import Unavailable
from benchmarks.nginx import nginx
from benchmarks.peers import hishel, litellm
from benchmarks.plan import Plan
from benchmarks.servers import Server

Start = Callable[[Server, Path, int | None], AbstractContextManager[Server]]
"""Starts a cache before an upstream, which has a directory to make, and a core. Raises `Unavailable`."""

ALWAYS: Mapping[str, Start] = {"nginx": nginx}
PEERS: Mapping[str, Start] = {
    "LiteLLM, memory": partial(litellm, "local"),
    "LiteLLM, disk": partial(litellm, "disk"),
    "hishel": hishel,
}
PEERS_NOTE = "LiteLLM gives an answer of its own making; hishel keeps none to a POST, so an app around it asks it by GET."


def others(stack: ExitStack, upstream: Server, directory: Path, plan: Plan) -> tuple[dict[str, Server], list[str]]:
    """Start the others before the upstream; return them, and what is to be known of them, and of those that are missing."""
    found, remarks = {}, [PEERS_NOTE] if plan.with_peers else []
    for name, start in {**ALWAYS, **(PEERS if plan.with_peers else {})}.items():
        try:
            found[name] = stack.enter_context(start(upstream, directory / name, plan.cores.server))
        except Unavailable as exc:
            remarks.append(f"{name}: {exc}.")
    return found, remarks
