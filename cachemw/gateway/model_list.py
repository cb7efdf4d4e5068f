"""The list of models that a gateway answers: its routes and its targets, instead of one provider's own list."""

from collections.abc import Iterable

import msgspec

from cachemw.cache.plans import Bid
from cachemw.gateway.routes import GatewayConfig
from cachemw.messages import HttpTarget
from cachemw.money import Cost
from cachemw.routing import Bill, Routed, RoutedHead
from cachemw.translation.models import anthropic_models
from cachemw.wire.paths import below_version

MODELS_BID = Bid("models", HttpTarget("gateway:/models"))
"""The bid of the gateway itself, for the one path that it answers."""

_OWN = "cachemw"


def asks_for_models(method: str, raw_path: bytes) -> bool:
    """Say whether a request is for the list of models."""
    return method in ("GET", "HEAD") and below_version(raw_path).strip(b"/") == b"models"


def models_of(config: GatewayConfig, allowed: Iterable[str] = (), *, as_anthropic: bool = False) -> bytes:
    """Return the list, in OpenAI's shape or Anthropic's: of those that a client is `allowed`, if it may not use all of them.

    An alias that stands for many names is none of them.
    """
    aliases = [alias for alias in config.models if "*" not in alias]
    names = {**dict.fromkeys(config.routes, _OWN), **dict.fromkeys(aliases, _OWN)}
    names |= {name: target.provider for name, target in config.targets.items()}
    only = frozenset(allowed)
    rows = [
        {"id": name, "object": "model", "created": 0, "owned_by": owner}
        for name, owner in names.items()
        if not only or name in only or config.models.get(name) in only
    ]
    if as_anthropic:
        return anthropic_models([str(row["id"]) for row in rows])
    return msgspec.json.encode({"object": "list", "data": rows})


class OwnAnswer:
    """A response of our own: JSON, in one piece, awaited or not."""

    def __init__(self, content: bytes, method: str) -> None:
        fields = ((b"content-type", b"application/json"), (b"content-length", b"%d" % len(content)))
        self.head = RoutedHead(200, fields, routed=Routed(0, 0, (), _free()))
        self._content: bytes | None = None if method == "HEAD" else content

    def take(self) -> bytes | None:
        """Return the content, once."""
        content, self._content = self._content, None
        return content


def _free() -> Bill:
    """Return the bill of what nobody was asked for."""
    bill = Bill()
    bill.cost = Cost(0, "priced")
    return bill


class SyncOwnAnswer(OwnAnswer):
    """The same, in threads."""

    def read(self, within: float | None) -> bytes | None:
        return self.take()

    def close(self) -> None:
        """There is nothing to close."""


class AsyncOwnAnswer(OwnAnswer):
    """The same, in event loops."""

    async def read(self) -> bytes | None:
        return self.take()

    async def aclose(self) -> None:
        """There is nothing to close."""
