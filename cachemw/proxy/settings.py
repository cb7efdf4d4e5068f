"""The settings of the proxy: one table, read from options, the environment and a file."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Self, TypeVar, cast

import msgspec

from cachemw.cache.policy import CountTokens, Done, Policy
from cachemw.errors import ConfigurationError, InvalidSetting
from cachemw.formats import (
    KEEP,
    KEYS,
    SECONDS,
    SWITCH,
    TEXT,
    Format,
    choice,
    counts,
    sizes,
    text,
    words,
)
from cachemw.gateway.files import read_gateway
from cachemw.gateway.routes import GatewayConfig
from cachemw.limits import BODY_BYTES, RECALL_BYTES, ROW_BYTES, STORE_BYTES, Limits, Timeouts
from cachemw.proxy.admission import AccessRules
from cachemw.proxy.client_keys import read_client_keys, with_clients
from cachemw.proxy.lending import lent_paths
from cachemw.proxy.settings_file import Given, as_it_is, from_file, meant, of_gateway
from cachemw.stores import DiskStore, Store
from cachemw.stores.disk.files import SECRET_VARIABLE
from cachemw.upstreams.base_urls import refuse_incomplete, refuse_without_scheme
from cachemw.upstreams.checking import Credentials
from cachemw.upstreams.http import HttpUpstream
from cachemw.upstreams.providers import KEY_VARIABLE, PROVIDERS, upstream_of
from cachemw.wire.hosts import host_of, hosts_of

PREFIX = "CACHEMW_"
CONFIG_VARIABLE = "CACHEMW_CONFIG"
PAGE_TOKEN_VARIABLE = "CACHEMW_PAGE_TOKEN"  # noqa: S105 - its name
GATEWAY_VARIABLE = "CACHEMW_GATEWAY"
GATEWAY_CLIENTS_VARIABLE = "CACHEMW_GATEWAY_CLIENTS"
"""What workers are told of a file with tables for a gateway: where it is, and whether it has clients. Nobody else sets them."""

LONGEST = 100_000
"""Bytes in one variable; Linux takes 128 KiB, and without a word less than all of it."""

LOG_LEVELS = ("critical", "error", "warning", "info", "debug")
"""From silence to everything. uvicorn's `trace` is left out: it logs credentials."""

LOG_FORMATS = ("text", "json")

T = TypeVar("T")

OptionValue = str | bool | tuple[str, ...]
"""The value of an option on the command line: text, a switch that is on, or what was repeated."""


def row(default: T, form: Format[T], help_text: str, *, flag: str = "") -> T:
    """Return a row of the table: a field of `Settings`; its flag is its name unless one is given."""
    metadata = {"form": form, "help_text": help_text, "flag": flag}
    return field(default=default, repr=isinstance(default, int | float), metadata=metadata)  # text may be a key


_POLICY, _TIMEOUTS = Policy(), Timeouts()
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PATH = re.compile(r"/[!-~]+")


@dataclass(frozen=True, slots=True)
class Settings:
    """The one table of settings: each is an option, a variable `CACHEMW_<NAME>` and a member of `[serve]` in the file."""

    host: str = row("127.0.0.1", text("ADDRESS"), "Where to listen; beyond loopback only with client keys, or --insecure.")
    port: int = row(8080, counts(0, 65535), "The port to listen on; 0 is any free one.")
    uds: str = row("", text("PATH"), "A Unix socket to listen on, in the place of --host and --port.")
    upstream: str = row("cerebras", text("PROVIDER|URL"), "A provider's name, or a base URL with its version segment.")
    speaks: tuple[str, ...] = row(
        (), words("DIALECT"), "What the upstream speaks itself: chat, messages, responses. Messages are translated to chat."
    )
    upstream_timeout: float = row(_TIMEOUTS.first_byte, SECONDS, "How long the upstream may take to begin an answer.")
    dir: str = row("", text("DIRECTORY"), "The store's directory; by default one in your cache directory.")
    default: str = row("off", TEXT, 'A Cachemw dictionary for requests that say nothing: "off", "on, ttl=60".')
    partition: str = row(
        "credential", choice("credential", "shared"), "credential: everyone has answers of their own; or shared."
    )
    lifetime: float = row(_POLICY.lifetime, SECONDS, "How long an answer is fresh.")
    max_lifetime: float = row(_POLICY.max_lifetime, SECONDS, "The longest that a client's ttl may be.")
    stale_if_error: float = row(
        _POLICY.stale_if_error, SECONDS, "How long after its lifetime an answer still serves where the upstream fails."
    )
    stale_while_revalidate: float = row(
        _POLICY.stale_while_revalidate, SECONDS, "How long after its lifetime one serves at once, while a newer one is fetched."
    )
    keep: float | Literal["windows"] | None = row(
        _POLICY.keep, KEEP, "How long the store holds an answer; windows: while it can serve."
    )
    size_limit: int = row(STORE_BYTES, sizes(1), "What the store holds on disk.")
    recall_memory: int = row(RECALL_BYTES, sizes(0), "What a worker keeps of hits to give them again at once; 0: nothing.")
    allow_network: bool = row(False, SWITCH, "Keep the store on a network file system all the same.")
    keep_requests: bool = row(False, SWITCH, "Keep each request with its answer: prompts are then on the disk.")
    max_record_bytes: int = row(_POLICY.max_record_bytes, sizes(0), "The largest answer that is stored.")
    max_request_bytes: int = row(_POLICY.max_request_bytes, sizes(0), "The largest request that is read.")
    max_body: int = row(BODY_BYTES, sizes(0), "The largest request body that is taken; beyond it, 413.")
    max_replay: float = row(_POLICY.max_replay, SECONDS, "The longest that an answer takes which is replayed at a pace.")
    patience: float = row(_POLICY.patience, SECONDS, "How long a request waits for an identical one that is under way.")
    on_abandon: str = row(
        "finish",
        choice("finish", "cancel"),
        "What becomes of an answer that every client has left: it is paid for, or stopped.",
    )
    chat_path: tuple[str, ...] = row((), words("PATH"), "The end of one more path of chat completions, such as /api/chat.")
    ignore_control: tuple[str, ...] = row((), words("CONTROL"), "A control of clients, such as ttl, that is not obeyed.")
    vary: tuple[str, ...] = row((), words("HEADER"), "One more request header that is in the key.")
    inert: tuple[str, ...] = row((), words("HEADER"), "One more request header that changes nothing.")
    forward: tuple[str, ...] = row((), words("HEADER"), "One more request header that the upstream is sent; it is in the key.")
    allow_host: tuple[str, ...] = row((), words("NAME"), "A name of this machine, besides localhost and the like.")
    client_keys: tuple[str, ...] = row(
        (), KEYS, "A key that clients bring; the server's goes in its place.", flag="--client-key"
    )
    client_keys_file: str = row("", text("FILE"), 'Client keys with names, alice = "KEY"; read again on SIGHUP.')
    lend: tuple[str, ...] = row(
        (), words("ENDPOINT"), "An endpoint, such as files, that the server's key opens to clients without their own."
    )
    bookkeeping: tuple[str, ...] = row(
        (), words("MEMBER"), "A member of requests, such as user, that the upstream only counts by: not in the key."
    )
    store_when: tuple[str, ...] = row(
        (), words("REASON"), "A finish reason of the upstream's own, such as eos, with which answers are stored too."
    )
    done: str = row("required", choice("required", "optional"), "optional: streams that finish without DONE are stored too.")
    cache_stored: bool = row(False, SWITCH, "Cache requests with store: true too; of a hit the upstream stores nothing.")
    translation: str = row(
        "tell", choice("tell", "strict"), "strict: what cannot be translated exactly is refused, and not done and told."
    )
    count_tokens: str = row(
        "estimate",
        choice("estimate", "ask", "refuse"),
        "How tokens of Messages are counted where the upstream cannot: ask is exact, and costs.",
    )
    insecure: bool = row(False, SWITCH, "Listen beyond loopback without client keys: everyone uses the server's.")
    workers: int = row(1, counts(1), "Processes.")
    log_level: str = row("warning", choice(*LOG_LEVELS), "How much is logged; info says why answers are not kept.")
    log_format: str = row("text", choice(*LOG_FORMATS), "How logs are written.")
    no_sketch: bool = row(False, SWITCH, "Keep no code of each part of a request, by which `cachemw why` says what differs.")
    otel: bool = row(False, SWITCH, "Make spans of exchanges, for the OpenTelemetry SDK that is set up.")
    no_ledger: bool = row(False, SWITCH, "Write down nothing of exchanges: no figures for stats, log, why and the page.")
    page: bool = row(False, SWITCH, "Show the page, too, in a process of its own: what is stored, missed and saved.")
    page_host: str = row("127.0.0.1", text("ADDRESS"), "Where the page listens; beyond loopback only with CACHEMW_PAGE_TOKEN.")
    page_port: int = row(8090, counts(0, 65535), "The port of the page; 0 is any free one.")
    access_log: bool = row(False, SWITCH, "Log a line for each exchange: who, what, how long; nothing of content.")

    config: str = field(default="", repr=False)
    """The file, where it has tables for a gateway. This is no setting, nor is `has_clients`: whether it has clients, too."""
    has_clients: bool = False

    @classmethod
    def read(cls, options: Mapping[str, OptionValue], environment: Mapping[str, str], config: str = "") -> Self:
        """Read them: options over the environment over the file. Raises `ConfigurationError`."""
        values, faults = gathered(options, environment, config)
        if faults:
            raise faults[0]
        return cls(**values)

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
        has_clients = "1" if self.has_clients else ""
        return {**written, CONFIG_VARIABLE: "", GATEWAY_VARIABLE: self.config, GATEWAY_CLIENTS_VARIABLE: has_clients}

    @property
    def demands_keys(self) -> bool:
        """Say whether clients have to bring a key."""
        return bool(self.client_keys or self.client_keys_file or self.has_clients)

    @property
    def credentials(self) -> Credentials:
        """Return whose credential upstreams are sent, as `HttpUpstream` has it."""
        return "lend" if self.demands_keys else "pass"

    def gateway_config(self, environment: Mapping[str, str] = os.environ) -> GatewayConfig | None:
        """Return what the file now says of a gateway; `None` where it has no tables for one. Raises `ConfigurationError`."""
        if not self.config:
            return None
        keyed = frozenset(read_client_keys(self.client_keys_file).values()) if self.client_keys_file else frozenset[str]()
        return msgspec.structs.replace(read_gateway(self.config, environment, keyed=keyed), default=self.upstream)

    def named_keys(self, environment: Mapping[str, str] = os.environ) -> dict[bytes, str]:
        """Return the names of clients by the SHA-256 of their keys, wherever these stand. Raises `ConfigurationError`."""
        named = read_client_keys(self.client_keys_file) if self.client_keys_file else {}
        config = self.gateway_config(environment)
        return named if config is None else with_clients(named, config, environment)

    def open_upstream(self) -> HttpUpstream:
        """Return who answers misses; nothing is opened. Raises `ConfigurationError`."""
        provider, option = PROVIDERS.get(self.upstream), SETTINGS["upstream"].option
        if provider is None:
            refuse_without_scheme(self.upstream, option)
        upstream = upstream_of(self.upstream, credentials=self.credentials, speaks=self.dialects)
        refuse_incomplete(upstream.base_url, option if provider is None else provider.url_variable)
        return upstream

    @property
    def dialects(self) -> frozenset[str] | None:
        """Return what the upstream speaks; `None`: what is known of it."""
        return frozenset(name for names in self.speaks for name in names.split(",")) if self.speaks else None

    @property
    def key_variable(self) -> str:
        """Return the variable that holds the server's key."""
        provider = PROVIDERS.get(self.upstream)
        return provider.key_variable(os.environ) if provider else KEY_VARIABLE

    def limits(self, limits: Limits = Limits()) -> Limits:
        """Return these limits with what is set of them. Raises `ConfigurationError`."""
        if not self.upstream_timeout:
            raise ConfigurationError("the upstream's time is more than 0, as in 30s; without a limit it is inf")
        total = max(limits.timeouts.total, self.upstream_timeout)
        timeouts = replace(limits.timeouts, first_byte=self.upstream_timeout, total=total)
        return replace(limits, recall_bytes=self.recall_memory, timeouts=timeouts)

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
        self._check_names()
        return Policy(
            default=self.default,
            paths=(*_POLICY.paths, *self.chat_path),
            lifetime=self.lifetime,
            max_lifetime=self.max_lifetime,
            stale_if_error=self.stale_if_error,
            stale_while_revalidate=self.stale_while_revalidate,
            keep=self.keep,
            partition="shared" if self.partition == "shared" else "credential",
            vary=self.vary,
            inert=self.inert,
            forward=self.forward,
            bookkeeping=frozenset(self.bookkeeping),
            keep_requests=self.keep_requests,
            sketch=not self.no_sketch,
            store_when=_POLICY.store_when.union(self.store_when),
            done=cast(Done, self.done),  # one of its words, or it says so itself
            cache_stored=self.cache_stored,
            max_record_bytes=self.max_record_bytes,
            max_request_bytes=self.max_request_bytes,
            patience=self.patience,
            on_abandon="cancel" if self.on_abandon == "cancel" else None,  # over HTTP that is to finish
            translation="strict" if self.translation == "strict" else "tell",
            count_tokens=cast(CountTokens, self.count_tokens),
            max_replay=self.max_replay,
            honour=_POLICY.honour - set(self.ignore_control),
        )

    def _check_names(self) -> None:
        for name in (*self.vary, *self.inert, *self.forward):
            if not _HEADER.fullmatch(name):
                raise ConfigurationError(f"{name!r} is no name of a header field")
        for path in self.chat_path:
            if not _PATH.fullmatch(path):
                raise ConfigurationError(f"{path!r} is no path: it begins with a slash, as /api/chat does")
        if unknown := set(self.ignore_control) - _POLICY.honour:
            known = ", ".join(sorted(_POLICY.honour))
            raise ConfigurationError(f"{min(unknown)!r} is no control of clients: there are {known}")

    def rules(self, named_keys: Mapping[bytes, str] | None = None) -> AccessRules:
        """Return whom the proxy answers; reads the clients' keys, if they are not given. Raises `ConfigurationError`."""
        if named_keys is None:
            named_keys = self.named_keys()
        keys = tuple(key.encode(errors="surrogatepass") for key in self.client_keys)  # what is not ASCII is refused
        rules = AccessRules(
            self.policy(),
            hosts_of(self.allow_host),
            keys,
            self.max_body,
            own_hosts=_own_hosts(self.host),
            is_open=self.insecure,
            lend=lent_paths(self.lend),
            named_keys=named_keys,
        )
        if self.demands_keys and not rules.demands_keys:  # else everybody would be let in
            raise ConfigurationError(f"clients bring keys, and no client in {self.config} has one: are their variables set?")
        if rules.demands_keys and not self.demands_keys:  # else their keys would be taken for those of a provider
            raise ConfigurationError(f"{self.config} had no clients when the server started: restart it")
        return rules


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
    def shown_default(self) -> str:
        """Its default as it is written; nothing where that is to be nothing, or off."""
        return "" if self.default is False else self.form.show(self.default)

    @property
    def option(self) -> str:
        """Its option, as `--max-body`."""
        return self.flag or "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """Its variable, as `CACHEMW_MAX_BODY`."""
        return PREFIX + self.name.upper()


SETTINGS: Mapping[str, Setting] = {
    member.name: Setting(member.name, member.default, **member.metadata) for member in fields(Settings) if member.metadata
}


def refuse_unknown_variables(environment: Mapping[str, str]) -> None:
    """Raise `ConfigurationError` for variables that are named like ours and that nobody reads."""
    ours = (CONFIG_VARIABLE, GATEWAY_VARIABLE, GATEWAY_CLIENTS_VARIABLE)
    read = {*ours, SECRET_VARIABLE, KEY_VARIABLE, PAGE_TOKEN_VARIABLE, *(setting.variable for setting in SETTINGS.values())}
    if unknown := sorted(name for name in environment if name.startswith(PREFIX) and name not in read):
        raise ConfigurationError(f"unknown in the environment: {', '.join(_with_likely(name, read) for name in unknown)}")


def _with_likely(unknown: str, known: Iterable[str]) -> str:
    """Name an unknown variable, and the known one that was probably meant."""
    return unknown + meant(unknown.removeprefix(PREFIX), [name.removeprefix(PREFIX) for name in known], PREFIX)


def gathered(
    options: Mapping[str, OptionValue], environment: Mapping[str, str], config: str = ""
) -> tuple[dict[str, Any], list[ConfigurationError]]:
    """Return the settings that can be read, options over the environment over the file, and what is wrong with the others."""
    values: dict[str, Any] = {}
    faults: list[ConfigurationError] = []
    path = config or environment.get(CONFIG_VARIABLE)
    for given in (
        *(from_file(path, {name: setting.form for name, setting in SETTINGS.items()}) if path else ()),
        *_from_variables(environment),
        *_from_options(options),
    ):
        if isinstance(given, ConfigurationError):
            faults.append(given)
            continue
        name, read, value, place = given
        try:
            values[name] = read(value)
        except ValueError as exc:
            faults.append(InvalidSetting(place, str(exc)))
    return values, faults


def _from_options(options: Mapping[str, OptionValue]) -> Iterator[Given]:
    for name, value in options.items():
        setting = SETTINGS[name]
        yield name, setting.form.from_text if isinstance(value, str) else as_it_is, value, setting.option


def _from_variables(environment: Mapping[str, str]) -> Iterator[Given]:
    """Read the variables; one that is empty is not set."""
    for name, setting in SETTINGS.items():
        if value := environment.get(setting.variable):
            yield name, setting.form.from_text, value, setting.variable
    if path := environment.get(GATEWAY_VARIABLE):
        yield from of_gateway(path, has_clients=bool(environment.get(GATEWAY_CLIENTS_VARIABLE)))
