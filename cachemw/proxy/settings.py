"""The settings of the proxy, from the command line or the environment: every worker reads them there."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from cachemw import limits
from cachemw.cache.policy import Policy
from cachemw.errors import ConfigurationError
from cachemw.proxy.admission import AccessRules
from cachemw.proxy.lending import lent_paths
from cachemw.stores import DiskStore
from cachemw.wire.hosts import host_of, hosts_of

PREFIX = "CACHEMW_"

LONGEST = 100_000
"""Bytes in one variable; Linux takes 128 KiB, and without a word less than all of it."""


def several(value: str) -> tuple[str, ...]:
    """Return what stands between the commas; an empty one is not left out, it is somebody's mistake."""
    return tuple(value.split(",")) if value else ()


_KINDS: Mapping[str, Callable[[str], Any]] = {
    "lifetime": float,
    **dict.fromkeys(("size_limit", "max_record_bytes", "max_request_bytes", "max_body"), int),
    **dict.fromkeys(("allow_host", "client_keys", "lend", "bookkeeping"), several),
    **dict.fromkeys(("allow_network", "insecure"), lambda value: value.lower() in ("1", "true", "yes", "on")),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """Each of these is `CACHEMW_<NAME>` in the environment, with commas between several. Seconds and bytes.

    `host` is where it listens: a name of its own, if it is one; `insecure`: beyond loopback, without client keys.
    """

    upstream: str = "cerebras"
    dir: str = ""
    default: str = "off"
    partition: str = "credential"
    lifetime: float = limits.LIFETIME
    size_limit: int = limits.STORE_BYTES
    allow_network: bool = False
    max_record_bytes: int = limits.RECORD_BYTES
    max_request_bytes: int = limits.REQUEST_BYTES
    max_body: int = limits.BODY_BYTES
    allow_host: tuple[str, ...] = field(default=(), repr=False)
    client_keys: tuple[str, ...] = field(default=(), repr=False)
    lend: tuple[str, ...] = field(default=(), repr=False)
    bookkeeping: tuple[str, ...] = field(default=(), repr=False)
    insecure: bool = False
    host: str = field(default="", repr=False)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read them. Raises `ConfigurationError` for a value that is not a number where one is due."""
        given = {field.name: environment.get(PREFIX + field.name.upper()) for field in fields(cls)}
        try:
            return cls(**{name: _KINDS.get(name, str)(value) for name, value in given.items() if value})
        except ValueError as exc:
            raise ConfigurationError(f"not a number among the CACHEMW_ variables: {exc}") from exc

    def to_environment(self) -> dict[str, str]:
        """Write them for the workers. Raises `ConfigurationError` for what is too long for a variable."""
        values = {PREFIX + field.name.upper(): getattr(self, field.name) for field in fields(self)}
        written = {name: ",".join(value) if isinstance(value, tuple) else str(value) for name, value in values.items()}
        for name, value in written.items():
            if len(os.fsencode(value)) > LONGEST:
                raise ConfigurationError(f"{name} is too long for a process's environment")
        return written

    def store(self) -> DiskStore:
        """Return the store; nothing is opened. Raises `ConfigurationError`."""
        return DiskStore(
            self.dir or None,
            size_limit=self.size_limit,
            record_limit=max(limits.ROW_BYTES, 2 * self.max_record_bytes),  # an answer with its events' ends and arrivals
            allow_network=self.allow_network,
        )

    def policy(self) -> Policy:
        """Return the operator's policy. Raises `ConfigurationError`."""
        if self.partition not in ("credential", "shared"):
            raise ConfigurationError('the partition is "credential" or "shared"')
        return Policy(
            default=self.default,
            partition="shared" if self.partition == "shared" else "credential",
            lifetime=self.lifetime,
            bookkeeping=frozenset(self.bookkeeping),
            max_record_bytes=self.max_record_bytes,
            max_request_bytes=self.max_request_bytes,
        )

    def rules(self) -> AccessRules:
        """Return whom the proxy answers. Raises `ConfigurationError`."""
        if self.max_body < 0:
            raise ConfigurationError("the largest body must not be negative")
        keys = tuple(key.encode(errors="surrogatepass") for key in self.client_keys)  # what is not ASCII is refused
        return AccessRules(
            self.policy(),
            hosts_of(self.allow_host),
            keys,
            self.max_body,
            own_hosts=_own_hosts(self.host),
            is_open=self.insecure,
            lend=lent_paths(self.lend),
        )


def _own_hosts(host: str) -> frozenset[str]:
    """Return the name that clients have for an address that is listened on: none for all of them at once."""
    named = host_of((f"[{host}]" if ":" in host else host).encode(errors="surrogatepass"))
    return frozenset() if named in (None, "0.0.0.0", "::") else frozenset({named})  # noqa: S104 - not to listen on it
