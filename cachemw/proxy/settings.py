"""The settings of the proxy: one table, read from options, the environment and a file."""

import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Self, TypeVar

from cachemw.cache.policy import Policy
from cachemw.errors import ConfigurationError, InvalidSetting
from cachemw.limits import BODY_BYTES, RECALL_BYTES, ROW_BYTES, STORE_BYTES
from cachemw.proxy.admission import AccessRules
from cachemw.proxy.formats import KEYS, LIST, SECONDS, SWITCH, TEXT, Format, choice, counts, sizes, toml_name
from cachemw.proxy.lending import lent_paths
from cachemw.stores import DiskStore, Store
from cachemw.stores.disk.files import SECRET_VARIABLE
from cachemw.upstreams.base import AsyncUpstream
from cachemw.upstreams.providers import KEY_VARIABLE, upstream_of
from cachemw.wire.hosts import host_of, hosts_of

PREFIX = "CACHEMW_"
CONFIG_VARIABLE = "CACHEMW_CONFIG"
SECTION = "serve"
"""The table of the file that holds them."""

LONGEST = 100_000
"""Bytes in one variable; Linux takes 128 KiB, and without a word less than all of it."""

LOG_LEVELS = ("critical", "error", "warning", "info", "debug")
"""From silence to everything. uvicorn's `trace` is left out: it logs credentials."""

T = TypeVar("T")

OptionValue = str | bool | tuple[str, ...]
"""The value of an option on the command line: text, a switch that is on, or what was repeated."""


def row(default: T, form: Format[T], help_text: str, *, flag: str = "") -> T:
    """Return a row of the table: a field of `Settings`; its flag is its name unless one is given."""
    metadata = {"form": form, "help_text": help_text, "flag": flag}
    return field(default=default, repr=isinstance(default, int | float), metadata=metadata)  # text may be a key


_POLICY = Policy()


@dataclass(frozen=True, slots=True)
class Settings:
    """The one table of settings: each is an option, a variable `CACHEMW_<NAME>` and a member of `[serve]` in the file."""

    host: str = row("127.0.0.1", TEXT, "Where to listen; beyond loopback only with client keys, or --insecure.")
    port: int = row(8080, counts(0, 65535), "The port to listen on; 0 is any free one.")
    upstream: str = row("cerebras", TEXT, "A provider's name, or a base URL with its version segment.")
    dir: str = row("", TEXT, "The store's directory; by default one in your cache directory.")
    default: str = row("off", TEXT, 'A Cachemw dictionary for requests that say nothing: "off", "on, ttl=60".')
    partition: str = row("credential", TEXT, "credential: everyone has answers of their own; or shared.")
    lifetime: float = row(_POLICY.lifetime, SECONDS, "How long an answer is fresh.")
    size_limit: int = row(STORE_BYTES, sizes(1), "What the store holds on disk.")
    recall_memory: int = row(RECALL_BYTES, sizes(0), "What a worker keeps of hits to give them again at once; 0: nothing.")
    allow_network: bool = row(False, SWITCH, "Keep the store on a network file system all the same.")
    max_record_bytes: int = row(_POLICY.max_record_bytes, sizes(0), "The largest answer that is stored.")
    max_request_bytes: int = row(_POLICY.max_request_bytes, sizes(0), "The largest request that is read.")
    max_body: int = row(BODY_BYTES, sizes(0), "The largest request body that is taken; beyond it, 413.")
    allow_host: tuple[str, ...] = row((), LIST, "A name of this machine, besides localhost and the like.")
    client_keys: tuple[str, ...] = row(
        (), KEYS, "A key that clients bring; the server's goes in its place.", flag="--client-key"
    )
    lend: tuple[str, ...] = row(
        (), LIST, "An endpoint, such as files, that the server's key opens to clients without their own."
    )
    bookkeeping: tuple[str, ...] = row(
        (), LIST, "A member of requests, such as user, that the upstream only counts by: not in the key."
    )
    insecure: bool = row(False, SWITCH, "Listen beyond loopback without client keys: everyone uses the server's.")
    workers: int = row(1, counts(1), "Processes.")
    log_level: str = row("warning", choice(*LOG_LEVELS), "How much is logged.")

    @classmethod
    def read(cls, options: Mapping[str, OptionValue], environment: Mapping[str, str], config: str = "") -> Self:
        """Read them: options over the environment over the file. Raises `ConfigurationError`."""
        path = config or environment.get(CONFIG_VARIABLE)
        return cls(**{**(_from_file(path) if path else {}), **_from_variables(environment), **_from_options(options)})

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read them without options. Raises `ConfigurationError`."""
        return cls.read({}, environment)

    def to_environment(self) -> dict[str, str]:
        """Write them for the workers, who read no file. Raises `ConfigurationError` for what is too long for a variable."""
        written = {setting.variable: setting.form.show(getattr(self, setting.name)) for setting in SETTINGS.values()}
        for name, value in written.items():
            if len(os.fsencode(value)) > LONGEST:
                raise ConfigurationError(f"{name} is too long for a process's environment")
        return {**written, CONFIG_VARIABLE: ""}

    def open_upstream(self) -> AsyncUpstream:
        """Return who answers misses; nothing is opened. Raises `ConfigurationError`."""
        return upstream_of(self.upstream, credentials="lend" if self.client_keys else "pass")

    def store(self) -> Store:
        """Return the store; nothing is opened. Raises `ConfigurationError`."""
        return DiskStore(
            self.dir or None,
            size_limit=self.size_limit,
            record_limit=max(ROW_BYTES, 2 * self.max_record_bytes),  # an answer with its events' ends and arrivals
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


@dataclass(frozen=True, slots=True)
class Setting:
    """A row of the table."""

    name: str
    default: Any
    form: Format[Any]
    help_text: str
    flag: str

    @property
    def is_list(self) -> bool:
        """Say whether its option may be repeated."""
        return isinstance(self.default, tuple)

    @property
    def option(self) -> str:
        """Its option, as `--max-body`."""
        return self.flag or "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """Its variable, as `CACHEMW_MAX_BODY`."""
        return PREFIX + self.name.upper()


SETTINGS: Mapping[str, Setting] = {
    member.name: Setting(member.name, member.default, **member.metadata) for member in fields(Settings)
}


def refuse_unknown_variables(environment: Mapping[str, str]) -> None:
    """Raise `ConfigurationError` for variables that are named like ours and that nobody reads."""
    read = {CONFIG_VARIABLE, SECRET_VARIABLE, KEY_VARIABLE, *(setting.variable for setting in SETTINGS.values())}
    if unknown := sorted(name for name in environment if name.startswith(PREFIX) and name not in read):
        raise ConfigurationError(f"unknown in the environment: {', '.join(_with_likely(name, read) for name in unknown)}")


def _with_likely(unknown: str, known: Iterable[str]) -> str:
    """Name an unknown variable, and the known one that was probably meant."""
    likely = get_close_matches(unknown.removeprefix(PREFIX), [name.removeprefix(PREFIX) for name in known], 1, 0.8)
    return f"{unknown} (is it {PREFIX}{likely[0]}?)" if likely else unknown


def _from_options(options: Mapping[str, OptionValue]) -> dict[str, Any]:
    return {
        name: _read(SETTINGS[name].form.from_text, value, SETTINGS[name].option) if isinstance(value, str) else value
        for name, value in options.items()
    }


def _from_variables(environment: Mapping[str, str]) -> dict[str, Any]:
    """Read the variables; one that is empty is not set."""
    return {
        name: _read(setting.form.from_text, value, setting.variable)
        for name, setting in SETTINGS.items()
        if (value := environment.get(setting.variable))
    }


def _from_file(path: str) -> dict[str, Any]:
    """Read the members of `[serve]`; what else there is, is refused, and named without its value."""
    document = _document(path)
    if unknown := [name for name in document if name != SECTION]:
        raise ConfigurationError(f"unknown in {path}: {', '.join(map(repr, unknown))}; there may be [{SECTION}]")
    section = document.get(SECTION, {})
    if not isinstance(section, dict):
        raise ConfigurationError(f"{SECTION} in {path} is a table, [{SECTION}], not {toml_name(section)}")
    if unknown := [name for name in section if name not in SETTINGS]:
        raise ConfigurationError(
            f"unknown in [{SECTION}] of {path}: {', '.join(map(repr, unknown))}; there may be {', '.join(SETTINGS)}"
        )
    return {
        name: _read(SETTINGS[name].form.from_toml, value, f"{name} in [{SECTION}] of {path}") for name, value in section.items()
    }


def _document(path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as exc:
        raise ConfigurationError(f"cannot read {path}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise ConfigurationError(f"{path} is not UTF-8") from exc
    except ValueError as exc:  # TOML's own error, or Python's of a number with thousands of digits
        raise ConfigurationError(f"{path} is not TOML: {exc}") from exc


def _read(reader: Callable[[Any], T], value: object, place: str) -> T:
    try:
        return reader(value)
    except ValueError as exc:
        raise InvalidSetting(place, str(exc)) from exc
