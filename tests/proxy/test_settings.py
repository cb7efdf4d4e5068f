"""What the proxy is told by the environment, and the proxy that is made of it."""

import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from cachemw import ConfigurationError, DiskStore, Policy
from cachemw.asgi import CacheMiddleware
from cachemw.cache.policy import FINISH_REASONS
from cachemw.limits import BODY_BYTES, STORE_BYTES, Limits, Timeouts
from cachemw.messages import Sends
from cachemw.proxy import Gate, Proxy, Settings, create
from cachemw.proxy.settings import SETTINGS
from tests.asgi_driver import call
from tests.proxy.conftest import CHAT
from tests.serving import serving_in_thread
from tests.upstream import Upstream, prompt

OTHER = Settings(
    upstream="http://127.0.0.1:8000/v1",
    dir="/var/cache/answers",
    default="on, ttl=60",
    partition="shared",
    lifetime=12.5,
    size_limit=1_000_000,
    allow_network=True,
    max_record_bytes=5_000,
    max_request_bytes=6_000,
    max_body=7_000,
    allow_host=("cache.example", "192.0.2.7"),
    client_keys=("sk-of-alice", "sk-of-bob"),
    lend=("files", "/v1/batches"),
    bookkeeping=("user", "metadata"),
    store_when=("eos", ""),
    done="optional",
    cache_stored=True,
    speaks=("chat",),
    translation="strict",
    count_tokens="ask",
    insecure=True,
    host="192.0.2.9",
    upstream_timeout=30.0,
    max_lifetime=1_000.0,
    stale_if_error=20.0,
    stale_while_revalidate=10.0,
    keep=None,
    keep_requests=True,
    no_sketch=True,
    max_replay=5.0,
    patience=1.5,
    on_abandon="cancel",
    chat_path=("/api/chat",),
    ignore_control=("ttl", "cache-control"),
    vary=("x-tenant",),
    inert=("x-trace",),
    forward=("x-region",),
)


HEADERS = [(b"host", b"localhost"), (b"content-type", b"application/json")]


def test_without_an_environment_they_are_the_defaults_of_the_policy() -> None:
    """D7: the defaults are stated once."""
    settings = Settings.from_environment({})

    assert settings == Settings()
    assert repr(settings.policy()) == repr(Policy())
    assert (settings.upstream, settings.dir, settings.size_limit) == ("cerebras", "", STORE_BYTES)


@pytest.mark.parametrize("settings", [Settings(), OTHER], ids=["defaults", "others"])
def test_what_is_written_for_the_workers_is_what_they_read(settings: Settings) -> None:
    """E5."""
    assert Settings.from_environment(settings.to_environment()) == settings


def test_a_variable_that_is_empty_is_not_set() -> None:
    assert Settings.from_environment(dict.fromkeys(OTHER.to_environment(), "")) == Settings()


def test_the_process_environment_is_read_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CACHEMW_DEFAULT", "on")

    assert Settings.from_environment().default == "on"


@pytest.mark.parametrize("name", ["LIFETIME", "SIZE_LIMIT", "MAX_RECORD_BYTES", "MAX_REQUEST_BYTES", "MAX_BODY"])
def test_what_is_no_number_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="number"):
        Settings.from_environment({"CACHEMW_" + name: "4 GiB"})


@pytest.mark.parametrize(
    "settings",
    [
        Settings(partition="everyone"),
        Settings(partition=""),
        Settings(done="never"),
        Settings(store_when=("content_filter",)),
        Settings(default="maybe"),
        Settings(default="on, ttl=soon"),
        Settings(lifetime=-1.0),
        Settings(lifetime=float("nan")),
        Settings(max_record_bytes=-1),
        Settings(max_request_bytes=-1),
        Settings(on_abandon="cancel", keep=-1.0),
        Settings(chat_path=("api/chat",)),
        Settings(chat_path=("/",)),
        Settings(ignore_control=("tll",)),
        Settings(vary=("x tenant",)),
        Settings(vary=("authorization",)),
        Settings(inert=("",)),
        Settings(forward=("\u2192",)),
    ],
)
def test_what_cannot_work_is_refused(settings: Settings) -> None:
    """E7."""
    with pytest.raises(ConfigurationError):
        settings.policy()


@pytest.mark.parametrize(
    "environment",
    [
        {"MAX_BODY": "-1"},
        {"ALLOW_HOST": "*"},
        {"ALLOW_HOST": "cache.example,"},
        {"ALLOW_HOST": "http://cache.example"},
        {"ALLOW_HOST": "bücher.example"},
        {"LEND": ","},
        {"LEND": "files,"},
        {"LEND": "/v1"},
        {"LEND": "files/../batches"},
        {"CLIENT_KEYS": ","},
        {"CLIENT_KEYS": "sk-alice,"},
        {"CLIENT_KEYS": "sk-alice, sk-bob"},
        {"CLIENT_KEYS": "sk-alice\n"},
        {"CLIENT_KEYS": "sk-älice"},
        {"CLIENT_KEYS": "cachemw"},
        {"CLIENT_KEYS": "sk-alice,CacheMW"},
    ],
    ids=str,
)
def test_whom_nobody_could_mean_is_refused_and_no_key_is_named(environment: dict[str, str]) -> None:
    """E7, I4: an empty key, above all, would let everyone in."""
    with pytest.raises(ConfigurationError) as refused:
        Settings.from_environment({"CACHEMW_" + name: value for name, value in environment.items()}).rules()

    assert "alice" not in str(refused.value)


def test_a_key_with_a_comma_is_not_two_keys_for_the_workers() -> None:
    with pytest.raises(ConfigurationError, match="commas"):
        Settings(client_keys=("sk-of-alice,b",)).rules()


def test_more_keys_than_a_variable_holds_are_refused_and_not_cut_short() -> None:
    """F53"""
    with pytest.raises(ConfigurationError, match="CACHEMW_CLIENT_KEYS is too long"):
        Settings(client_keys=tuple(f"sk-{number:040}" for number in range(3_000))).to_environment()


def test_a_directory_whose_name_is_no_text_reaches_the_workers() -> None:
    """D9: a variable holds bytes, and so does a path."""
    told = Settings(dir=os.fsdecode(b"/tmp/\xff"))

    assert Settings.from_environment(told.to_environment()) == told


def test_settings_become_the_rules() -> None:
    rules = OTHER.rules()

    assert rules.hosts == {"cache.example", "192.0.2.7"}
    assert (rules.client_keys, rules.max_body) == ((b"sk-of-alice", b"sk-of-bob"), 7_000)
    assert sorted(rules.lend) == [(b"batches",), (b"files",)]
    assert (rules.is_open, rules.own_hosts) == (True, frozenset({"192.0.2.9"}))
    assert repr(rules.policy) == repr(OTHER.policy())
    assert (Settings().rules().client_keys, Settings().rules().max_body) == ((), BODY_BYTES)


@pytest.mark.parametrize(
    ("host", "names"),
    [
        ("192.0.2.9", {"192.0.2.9"}),
        ("2001:DB8::1", {"2001:db8::1"}),
        ("Cache.Example", {"cache.example"}),
        *((host, set()) for host in ("", "0.0.0.0", "::", "b\u00fccher.example", "fe80::1%lo")),
    ],
)
def test_where_it_listens_is_a_name_of_its_own(host: str, names: set[str]) -> None:
    """I8: all addresses at once are none."""
    assert Settings(host=host).rules().own_hosts == names


def test_no_key_is_shown() -> None:
    """I4."""
    assert "sk-of" not in repr(OTHER) + repr(OTHER.rules())


def test_settings_become_the_policy() -> None:
    assert OTHER.policy() == Policy(
        default="on, ttl=60",
        paths=(*Policy().paths, "/api/chat"),
        partition="shared",
        lifetime=12.5,
        max_lifetime=1_000.0,
        stale_if_error=20.0,
        stale_while_revalidate=10.0,
        keep=None,
        vary=("x-tenant",),
        inert=("x-trace",),
        forward=("x-region",),
        bookkeeping=frozenset({"user", "metadata"}),
        keep_requests=True,
        sketch=False,
        max_record_bytes=5_000,
        max_request_bytes=6_000,
        patience=1.5,
        on_abandon="cancel",
        max_replay=5.0,
        honour=Policy().honour - {"ttl", "cache-control"},
        store_when=frozenset({*FINISH_REASONS, "eos", ""}),
        done="optional",
        cache_stored=True,
        translation="strict",
        count_tokens="ask",
    )


NOT_SETTINGS = {"header_rules"}
"""The fields of the policy that the proxy is not told: it is made of others."""

OTHERWISE_CALLED = {"paths": "chat_path", "honour": "ignore_control", "sketch": "no_sketch"}


def test_every_field_of_the_policy_can_be_set() -> None:
    """F20: a field that is added is a setting, too, or has a reason not to be."""
    names = {OTHERWISE_CALLED.get(name, name) for name in Policy.__dataclass_fields__} - NOT_SETTINGS

    assert names - SETTINGS.keys() == set()
    assert [name for name in names if getattr(OTHER, name) == SETTINGS[name].default] == []


def test_settings_become_limits() -> None:
    """F20: who waits longer than an hour for the first byte waits as long for the last."""
    limits = Limits(timeouts=Timeouts(idle=7.0))

    assert Settings(recall_memory=5).limits() == Limits(recall_bytes=5)
    assert OTHER.limits(limits).timeouts == Timeouts(first_byte=30.0, idle=7.0)
    assert Settings(upstream_timeout=7_200.0).limits().timeouts == Timeouts(first_byte=7_200.0, total=7_200.0)
    assert Settings(recall_memory=1).limits().recall_bytes == 1
    with pytest.raises(ConfigurationError, match="more than 0"):
        Settings(upstream_timeout=0.0).limits()


def test_a_file_of_client_keys_becomes_the_rules(tmp_path: Path) -> None:
    """F21: beside keys without names, and not one with both."""
    path = tmp_path / "keys.toml"
    path.write_text('alice = "sk-of-alice"\n')
    path.chmod(0o600)
    settings = Settings(client_keys_file=str(path), client_keys=("sk-of-bob",))

    rules = settings.rules()

    assert sorted(map(str, rules.by_digest.values())) == ["None", "alice"]
    assert rules.demands_keys
    assert settings.open_upstream().recipient.sends is Sends.OURS
    with pytest.raises(ConfigurationError, match="that of alice and without a name") as refused:
        replace(settings, client_keys=("sk-of-alice",)).rules()
    assert "sk-" not in str(refused.value)


@pytest.mark.parametrize(("name", "value"), [("UPSTREAM", "nobody"), ("DEFAULT", "perhaps"), ("LIFETIME", "long")])
def test_no_proxy_is_made_of_what_cannot_work(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CACHEMW_" + name, value)

    with pytest.raises(ConfigurationError):
        create()


@pytest.fixture
def no_other_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine has set."""
    for name in Settings().to_environment():
        monkeypatch.delenv(name, raising=False)


@pytest.mark.anyio
@pytest.mark.usefixtures("no_other_settings")
async def test_the_proxy_of_the_environment_keeps_what_it_is_told_to_where_it_is_told_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """D6, D9: and nothing is made before the first request that opts in."""
    upstream, directory = Upstream(), tmp_path / "answers"
    with serving_in_thread(upstream) as url:
        told = Settings(upstream=url + "/v1", dir=str(directory), default="on, ttl=60")
        for name, value in told.to_environment().items():
            monkeypatch.setenv(name, value)
        proxy = create()
        before = threading.active_count()
        await call(proxy, "POST", CHAT, prompt(), [*HEADERS, (b"cachemw", b"off")])
        assert (directory.exists(), threading.active_count()) == (False, before)
        replies = [await call(proxy, "POST", CHAT, prompt(), HEADERS) for _ in range(2)]

    assert replies[1].headers[b"cache-status"].startswith(b"cachemw; hit; ttl=60;")
    assert upstream.calls == 2
    assert os.stat(directory).st_mode & 0o777 == 0o700
    store = DiskStore(directory)
    assert len(list(store.scan())) == 1
    store.close()
    await cache_of(proxy).aclose()
    cache_of(proxy)._store.close()  # it belongs to nobody but the process


def cache_of(gate: Gate) -> CacheMiddleware:
    assert isinstance(gate.app, Proxy)
    return gate.app._cache


@pytest.mark.usefixtures("no_other_settings")
def test_every_limit_that_is_set_reaches_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """F20."""
    monkeypatch.setenv("CACHEMW_UPSTREAM_TIMEOUT", "30s")
    monkeypatch.setenv("CACHEMW_RECALL_MEMORY", "0")

    limits = cache_of(create(Limits(timeouts=Timeouts(idle=7.0)))).driver.limits

    assert limits == Limits(recall_bytes=0, timeouts=Timeouts(first_byte=30.0, idle=7.0))


@pytest.mark.usefixtures("no_other_settings")
def test_the_default_store_is_in_the_users_cache_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    store = cache_of(create())._store

    assert isinstance(store, DiskStore)
    assert store.path == tmp_path / "cachemw"
    assert not list(tmp_path.iterdir())
