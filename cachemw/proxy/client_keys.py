"""The file of client keys with names, read when the proxy starts, and again when it is told to by SIGHUP."""

import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping

from cachemw.errors import ConfigurationError
from cachemw.gateway.files import read_text
from cachemw.gateway.routes import ClientEntry, GatewayConfig
from cachemw.proxy.admission import checked_digest
from cachemw.toml import toml_name

LARGEST_FILE = 2**22
"""Bytes: of a hundred thousand keys."""

_NAME = re.compile(r"[\w.@+-]{1,64}")
_LIKE_A_KEY = re.compile(r"sk[-_]|.*[0-9a-f]{32}", re.IGNORECASE)
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})", re.IGNORECASE)
_IS_DIGEST = "sha256:"


def read_client_keys(path: str) -> dict[bytes, str]:
    """Return the names of clients by the SHA-256 of their keys.

    The file is TOML: `alice = "sk-…"`, `alice = "sha256:…"`, or a list of several keys, of which all are hers. Nobody else may
    read it. Raises `ConfigurationError`, which shows no key.
    """
    text = read_text(os.path.expanduser(path), LARGEST_FILE, _refuse_shared)
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as exc:
        raise ConfigurationError(f"{path} is not TOML: {exc}{_hint(exc)}") from None
    names: dict[bytes, str] = {}
    for name, digest in _entries(document, path):
        other = names.setdefault(digest, name)
        if other != name:
            raise ConfigurationError(f"{path}: {other} and {name} have the same key: give each client one of its own")
    if not names:
        raise ConfigurationError(f'{path} names no client: a line of it says alice = "KEY"')
    return names


def with_clients(named: Mapping[bytes, str], config: GatewayConfig, environment: Mapping[str, str]) -> dict[bytes, str]:
    """Return these names of clients, and those of a gateway's file that have keys of their own. Raises `ConfigurationError`.

    Who has a key in a variable that is not set has none.
    """
    names = dict(named)
    for client in config.clients.values():
        digest = _own_digest(client, environment)
        other = client.name if digest is None else names.setdefault(digest, client.name)
        if other != client.name:
            raise ConfigurationError(f"{other} and {client.name} have the same key: give each client one of its own")
    return names


def _own_digest(client: ClientEntry, environment: Mapping[str, str]) -> bytes | None:
    if client.key_sha256 is not None:
        return bytes.fromhex(client.key_sha256)
    key = environment.get(client.key_env) if client.key_env else None
    return _digest(key, client.key_env or "") if key else None


def _hint(exc: Exception) -> str:
    return ': two keys of one client are a list, ["KEY", "KEY"]' if "overwrite" in str(exc) else ""


def _entries(document: Mapping[str, object], path: str) -> Iterator[tuple[str, bytes]]:
    for number, (name, value) in enumerate(document.items(), 1):
        if not _NAME.fullmatch(name) or _LIKE_A_KEY.match(name):  # not shown: who mixes the sides up has a key there
            raise ConfigurationError(
                f"{path}: what stands on the left in entry {number} is no name of a client: it has 1 to 64 letters, digits"
                " and . _ @ + -, and does not look like a key, which stands on the right"
            )
        for key in _keys(value, f"{path}: {name}"):
            yield name, _digest(key, f"{path}: {name}")


def _keys(value: object, place: str) -> Iterator[str]:
    keys = value if isinstance(value, list) else [value]
    if not keys:
        raise ConfigurationError(f"{place} has an empty list of keys: give one, or leave the client out")
    for key in keys:
        if not isinstance(key, str):
            raise ConfigurationError(f'{place}: {toml_name(key)} is no key: give "KEY", "sha256:…" or a list of them')
        yield key


def _digest(key: str, place: str) -> bytes:
    if key.lower().startswith(_IS_DIGEST):
        matched = _DIGEST.fullmatch(key)
        if matched is None:
            raise ConfigurationError(f"{place}: behind sha256: stand 64 hexadecimal digits, as sha256sum writes them")
        return bytes.fromhex(matched[1])
    try:
        return checked_digest(key.encode(errors="surrogatepass"))
    except ConfigurationError as exc:
        raise ConfigurationError(f"{place}: {exc}") from None


def _refuse_shared(path: str, found: os.stat_result) -> None:
    """Raise for a file of keys that others than its owner may read or change."""
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid not in (0, os.geteuid()):
        raise ConfigurationError(f"{path} holds keys, and belongs to the user {found.st_uid}: chown it to {os.geteuid()}")
    if mode & 0o077:
        raise ConfigurationError(
            f"{path} holds keys, and others may read or change it (its mode is {mode:04o}): chmod 600 {path}"
        )
