"""`cachemw check`: everything that `cachemw serve` would find wrong, at once, and what to do about it."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path

from cachemw.cli.banner import how_many_keys, how_spoken
from cachemw.cli.check_online import asked
from cachemw.cli.check_routes import about_routes
from cachemw.cli.finding import Finding
from cachemw.cli.page import page_token
from cachemw.cli.serve import elsewhere, refuse_callers, try_out
from cachemw.errors import CacheError, ConfigurationError, StoreError
from cachemw.limits import GIB, MIB, Limits
from cachemw.proxy import Settings
from cachemw.proxy.client_keys import read_client_keys
from cachemw.proxy.gateways import default_upstream
from cachemw.proxy.lending import lent_paths
from cachemw.proxy.settings import gathered, refuse_unknown_variables
from cachemw.proxy.tracing import tracer_of
from cachemw.stores import Store
from cachemw.stores.base import records
from cachemw.stores.disk.files import FREE_SPACE, prepare_directory, refuse_network
from cachemw.upstreams.base_urls import as_written
from cachemw.upstreams.providers import PROVIDERS
from cachemw.wire.hosts import hosts_of

SOUND_SQLITE = (3, 51, 3)
"""Before it, two connections that begin a log anew at the same moment may damage the database: the WAL-reset bug."""

FEW_FILES = 1024
"""So many open files, or fewer, are a limit that a proxy may meet: each client takes one, and each call of the upstream."""


def examine(environment: Mapping[str, str], file: str, *, online: bool) -> list[Finding]:
    """Look at all that the proxy would have; nobody is contacted but, if so told, the upstream."""
    values, faults = gathered({}, environment, file)
    settings = Settings(**values)
    return [
        *_settings(settings, environment, file, faults),
        *_listening(settings),
        *_upstream(settings, online),
        *about_routes(settings, environment, online=online),
        *_store(settings),
        about_sqlite(sqlite3.sqlite_version_info, settings.workers),
        _limits(settings),
    ]


def _settings(
    settings: Settings, environment: Mapping[str, str], file: str, faults: list[ConfigurationError]
) -> Iterator[Finding]:
    """Check each part by itself: the faults of one do not hide those of another."""
    parts: list[Callable[[], object]] = [
        partial(refuse_unknown_variables, environment),
        settings.policy,
        settings.limits,
        partial(hosts_of, settings.allow_host),
        partial(lent_paths, settings.lend),
        partial(tracer_of, settings),
        *([partial(page_token, settings.page_host, environment)] if settings.page else ()),
    ]
    found = [*faults, *_raised_by(parts)]
    if not found:
        sources = f"{file} and the environment are" if file else "the environment is"
        yield Finding("ok", "settings", f"{sources} sound")
    for fault in found:
        yield Finding("wrong", "settings", str(fault))


def _raised_by(parts: list[Callable[[], object]]) -> Iterator[CacheError]:
    for part in parts:
        try:
            part()
        except CacheError as exc:
            yield exc


def _listening(settings: Settings) -> Iterator[Finding]:
    parts: list[Callable[[], object]] = [partial(refuse_callers, settings)]
    if settings.client_keys_file:
        parts.append(partial(read_client_keys, settings.client_keys_file))
    found = list(_raised_by(parts))
    for fault in found:
        yield Finding("wrong", "clients", str(fault))
    if found or not settings.demands_keys:
        who = "whoever reaches it uses the server's key" if settings.insecure else "only this machine's programs reach it"
        yield from () if found else (Finding("note" if settings.insecure else "ok", "clients", f"no key is demanded: {who}"),)
        return
    try:
        yield Finding("ok", "clients", f"they bring {how_many_keys(settings.rules())}")
    except ConfigurationError as exc:
        if not list(_raised_by([settings.policy, settings.gateway_config])):  # else it is said of the settings, or of routes
            yield Finding("wrong", "clients", str(exc))


def _upstream(settings: Settings, online: bool) -> Iterator[Finding]:
    yield _key(settings)
    try:
        upstream = default_upstream(settings)
    except ConfigurationError as exc:
        yield Finding("wrong", "upstream", str(exc))
        return
    if online:
        with closing(upstream):
            yield asked(upstream, settings.key_variable)[0]
    else:
        yield Finding("ok", "upstream", f"{as_written(upstream.place)}, which was not asked (--online does)")
    is_guessed = upstream.recipient.provider is None and settings.dialects is None
    guess = " (nobody knows what is at a URL: --speaks says it)" if is_guessed else ""
    yield Finding("ok", "speaks", f"{how_spoken(upstream.recipient.speaks)}{guess}")


def _key(settings: Settings) -> Finding:
    variable = settings.key_variable
    if os.environ.get(variable):
        return Finding("ok", "key", f"{variable} is set")
    is_known = settings.upstream in PROVIDERS  # else it may well want none
    if not settings.demands_keys:
        instead = "each client has to bring a key of its own" if is_known else "a client's own key is sent, if it brings one"
        return Finding("note", "key", f"{variable} is not set: {instead}")
    if settings.config:
        refused = "models that no route and no provider/model here names are refused"
        return Finding("note", "key", f"{variable} is not set: {refused}")
    if is_known:
        text = f"{variable} is not set, and no key of a client's is ever sent: every miss will be refused"
        return Finding("wrong", "key", text, f"set {variable}")
    return Finding("note", "key", f"{variable} is not set: the upstream is sent no key")


def _store(settings: Settings) -> Iterator[Finding]:
    try:
        store = settings.store()
    except ConfigurationError as exc:
        yield Finding("wrong", "store", str(exc))
        return
    place = Path(store.place)
    if _replays(settings):
        yield _replayed(store)
        return
    if not store.exists():
        yield _unmade(place, settings)
        return
    try:
        trouble = try_out(store, settings)
    except CacheError as exc:
        yield Finding("wrong", "store", str(exc))
        return
    if trouble is not None:
        yield Finding("wrong", "store", trouble, elsewhere())
        return
    yield _filled(settings)
    yield from little_room(shutil.disk_usage(place).free)


def _replays(settings: Settings) -> bool:
    """Say whether only the store answers; what is wrong with the policy is said elsewhere."""
    try:
        return settings.policy().replays
    except ConfigurationError:
        return False


def _replayed(store: Store) -> Finding:
    """Say whether there is something to replay, without changing a byte of it."""
    try:
        with closing(store):
            count = store.read_only().count()
            holds = "" if count is None else f", which holds {records(count)}"
            return Finding("ok", "store", f"answers are replayed from {store.place}{holds}")
    except (ConfigurationError, StoreError) as exc:
        return Finding("wrong", "store", str(exc))


def little_room(free_bytes: int) -> Iterator[Finding]:
    """Say so where a file system has too little room for anything to be stored."""
    if free_bytes < FREE_SPACE:
        text = f"only {_size(free_bytes)} are free on its file system: nothing is stored below {_size(FREE_SPACE)}"
        yield Finding("wrong", "store", text, f"make room, or {elsewhere()}")


def _unmade(place: Path, settings: Settings) -> Finding:
    """Say whether a store could be made, without making it."""
    parent = next((path for path in (place, *place.parents) if path.exists()), Path("/"))
    try:
        if not settings.allow_network:
            refuse_network(place)
        with tempfile.TemporaryDirectory(prefix=".cachemw-check-", dir=parent) as trial:
            prepare_directory(Path(trial) / "store")
    except (OSError, StoreError) as exc:
        why = f"{exc.strerror}: {parent}" if isinstance(exc, OSError) and exc.strerror else str(exc)
        return Finding("wrong", "store", f"none can be made in {place}: {why}", elsewhere())
    return Finding("ok", "store", f"there is none yet in {place}: it will be made")


def _filled(settings: Settings) -> Finding:
    with closing(settings.store()) as store:
        try:
            size = store.size()
        except StoreError as exc:
            return Finding("wrong", "store", f"{store.place}: {exc.__cause__ or exc}")
    share = round(100 * size / settings.size_limit)
    return Finding(
        "ok", "store", f"{store.place}: {_size(size)} of {_size(settings.size_limit)} ({share} %); it can be written"
    )


def about_sqlite(version: tuple[int, ...], workers: int) -> Finding:
    """Say whether this SQLite has a bug that concerns a store."""
    shown = ".".join(map(str, version))
    if version >= SOUND_SQLITE:
        return Finding("ok", "SQLite", shown)
    text = (
        f"{shown} has the WAL-reset bug (gone since {'.'.join(map(str, SOUND_SQLITE))}): very rarely, two processes that"
        " write to one store at the same moment damage it. That is noticed, the database is set aside, and answers are asked"
        " for anew: nothing wrong is ever served"
    )
    sharing = "one process alone (--workers 1) does not meet it; " if workers > 1 else ""
    return Finding("note", "SQLite", text, f"{sharing}a Python with a newer SQLite has no such bug: no need to hurry")


def _limits(settings: Settings) -> Finding:
    limits = Limits()
    held = (limits.requests_bytes + limits.flight_bytes + limits.derived_bytes + settings.recall_memory) * settings.workers
    text = (
        f"answers up to {_size(settings.max_record_bytes)} are stored, requests up to {_size(settings.max_request_bytes)}"
        f" read; at most {_size(held)} of memory go to bodies and hits, in {settings.workers}"
        f" process{'es' if settings.workers > 1 else ''}; {_files()}"
    )
    return Finding("ok", "limits", text)


def _files() -> str:
    try:
        import resource
    except ImportError:
        return "how many files may be open is not known"
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return "any number of files may be open"
    few = f", so about {soft // 2} clients may wait at once (ulimit -n raises it)" if soft <= FEW_FILES else ""
    return f"{soft:,} files may be open{few}"


def _size(count: float) -> str:
    return f"{count / GIB:,.1f} GiB" if count >= GIB else f"{count / MIB:,.1f} MiB"
