"""The transports by one name: of httpx or of httpx2, whichever an SDK speaks.

`OpenAI(http_client=http_client())`; `Anthropic(http_client=http_client(Anthropic))`. An SDK is told by its module, its client's
class or a client; by default it is `openai`, else `cerebras.cloud.sdk`, else `anthropic`, whichever is installed.
"""

import inspect
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from cachemw._transport import FAMILIES
from cachemw.errors import ConfigurationError

SDKS = ("openai", "cerebras.cloud.sdk", "anthropic")
"""The SDKs that are looked for where none is named, in this order."""

_CLIENT, _ASYNC_CLIENT = "DefaultHttpxClient", "DefaultAsyncHttpxClient"
"""The clients that SDKs give to who brings a transport: with timeouts and limits as their own."""


def transport(sdk: Any = None, inner: Any = None, **options: Any) -> Any:
    """Return a `CacheTransport` of the family that an SDK speaks; arguments as there. Raises `ConfigurationError`."""
    return _mount(family_of(sdk)).CacheTransport(inner, **options)


def async_transport(sdk: Any = None, inner: Any = None, **options: Any) -> Any:
    """Return an `AsyncCacheTransport` of the family that an SDK speaks; arguments as there. Raises `ConfigurationError`."""
    return _mount(family_of(sdk)).AsyncCacheTransport(inner, **options)


def http_client(sdk: Any = None, inner: Any = None, **options: Any) -> Any:
    """Return a client for an SDK's `http_client=`, with a `CacheTransport` in it. Raises `ConfigurationError`.

    `options` are the transport's. To close the client closes the transport.
    """
    return _client_class(sdk, _CLIENT, "Client")(transport=transport(sdk, inner, **options))


def async_http_client(sdk: Any = None, inner: Any = None, **options: Any) -> Any:
    """Return what `http_client` does, for an SDK's awaited client."""
    return _client_class(sdk, _ASYNC_CLIENT, "AsyncClient")(transport=async_transport(sdk, inner, **options))


def family_of(sdk: Any = None) -> str:
    """Return the family that an SDK speaks, "httpx" or "httpx2". Raises `ConfigurationError` where nobody can tell."""
    named = _default() if sdk is None else sdk
    for told in _telling(named):
        root = told.partition(".")[0]
        if root in FAMILIES:
            return root
    raise ConfigurationError(
        f"nobody can tell whether {_name(named)} speaks httpx or httpx2: pass the SDK's module, its client's class or a client"
        " of it, or take the transports of cachemw.httpx or cachemw.httpx2"
    )


def _mount(family: str) -> ModuleType:
    return import_module(f"cachemw.{family}")


def _client_class(sdk: Any, of_sdk: str, of_family: str) -> Any:
    own = getattr(import_module(family_of(sdk)), of_family)
    clients = (getattr(module, of_sdk, None) for module in _modules(_default() if sdk is None else sdk))
    return next((client for client in clients if inspect.isclass(client) and issubclass(client, own)), own)


def _default() -> ModuleType:
    for name in SDKS:
        try:
            is_there = find_spec(name) is not None
        except ModuleNotFoundError:  # the package around it
            is_there = False
        if is_there:
            return import_module(name)
    raise ConfigurationError(f"none of {', '.join(SDKS)} is installed: name the SDK whose client this is for")


def _telling(sdk: Any) -> Iterator[str]:
    """Yield the names of modules that tell what it speaks: of its own client's classes, then of those of its SDK."""
    clients = [sdk, getattr(sdk, "_client", None), *(getattr(module, _CLIENT, None) for module in _modules(sdk))]
    for client in clients:
        if isinstance(client, ModuleType):
            yield client.__name__
        elif client is not None:
            yield from (base.__module__ for base in _bases(client))


def _modules(sdk: Any) -> Iterator[ModuleType]:
    """Yield the modules that an SDK may be: itself, or those in which the classes of a client are, and what is around them."""
    if isinstance(sdk, ModuleType):
        yield sdk
        return
    for base in _bases(sdk):
        name = base.__module__
        while name and name != "builtins":
            if name in sys.modules:
                yield sys.modules[name]
            name = name.rpartition(".")[0]


def _bases(value: Any) -> tuple[type, ...]:
    return inspect.getmro(value if inspect.isclass(value) else type(value))


def _name(sdk: Any) -> str:
    if isinstance(sdk, ModuleType):
        return sdk.__name__
    found = sdk if inspect.isclass(sdk) else type(sdk)
    return f"{found.__module__}.{found.__qualname__}"
