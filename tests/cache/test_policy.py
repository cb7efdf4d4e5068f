"""What the operator allows, and what cannot work."""

import math
from typing import Any

import pytest

from cachemw.cache.header_rules import HeaderRules
from cachemw.cache.policy import Policy
from cachemw.endpoints import CHAT, endpoint_of
from cachemw.endpoints.base import Demands
from cachemw.errors import CacheError, ConfigurationError
from cachemw.messages import AppTarget, ClientTarget, Closing, HttpRecipient, HttpTarget, Target


@pytest.mark.parametrize(
    ("named", "option"),
    [
        ("dictionary", {"default": "on;"}),
        ("ttl", {"default": "on, ttl=-1"}),
        ("mode", {"default": "mode=replya"}),
        ("on takes no parameters", {"default": "on; ttl=5"}),
        ("'tll'", {"default": "on, tll=5"}),
        ("'speeds'", {"default": "speeds=2"}),
        ("dictionary", {"default": "öffnen"}),
        ("Policy.lifetime", {"lifetime": -1}),
        ("Policy.lifetime", {"lifetime": math.nan}),
        ("Policy.max_lifetime", {"max_lifetime": -0.5}),
        ("speed", {"default": "speed=fast"}),
        ("abandon", {"default": "on, abandon=Finish"}),
        ("Policy.patience", {"patience": -1}),
        ("Policy.stale_if_error", {"stale_if_error": -1}),
        ("Policy.stale_if_error", {"stale_if_error": math.nan}),
        ("Policy.stale_while_revalidate", {"stale_while_revalidate": -0.5}),
        ("Policy.stale_while_revalidate", {"stale_while_revalidate": math.nan}),
        ("Policy.max_replay", {"max_replay": -1}),
        ("Policy.max_replay", {"max_replay": math.nan}),
        ("Policy.on_abandon", {"on_abandon": "Finish"}),
        ("Policy.on_abandon", {"on_abandon": ""}),
        ("Policy.on_abandon", {"on_abandon": False}),
        ("Policy.max_request_bytes", {"max_request_bytes": -1}),
        ("Policy.max_record_bytes", {"max_record_bytes": -1}),
        ("Policy.keep", {"keep": -1}),
        ("Policy.keep", {"keep": math.nan}),
        ("Policy.paths", {"paths": "/chat/completions"}),
        ("Policy.vary", {"vary": "x-tenant"}),
        ("Policy.inert", {"inert": "x-tenant"}),
        ("Policy.forward", {"forward": "x-tenant"}),
        ("Policy.store_when", {"store_when": "stop"}),
        ("Policy.done", {"done": "never"}),
        ("Policy.done", {"done": False}),
        ("Policy.honour", {"honour": "mode"}),
        ("content_filter", {"store_when": frozenset({"stop", "content_filter"})}),
        ("Policy.partition", {"partition": "everybody"}),
        ("Policy.partition", {"partition": None}),
        ("'abandoned'", {"honour": frozenset({"on", "abandoned"})}),
        ("authorization is in the key", {"vary": ("Authorization",)}),
        ("x-api-key is in the key", {"inert": ("x-tenant", "x-api-key")}),
        ("cookie is never forwarded", {"forward": ("x-tenant", "Cookie")}),
        ("content-length is never forwarded", {"forward": ("Content-Length",)}),
        ("cachemw is never forwarded", {"forward": ("cachemw",)}),
        ("host is never forwarded", {"forward": ("host",)}),
        ("connection is never forwarded", {"forward": ("connection",)}),
        ("keep-alive is never forwarded", {"forward": ("keep-alive",)}),
        ("proxy-authenticate is never forwarded", {"forward": ("proxy-authenticate",)}),
        ("proxy-authorization is never forwarded", {"forward": ("proxy-authorization",)}),
        ("proxy-connection is never forwarded", {"forward": ("proxy-connection",)}),
        ("^Policy.forward: te is never forwarded", {"forward": ("te",)}),
        ("trailer is never forwarded", {"forward": ("trailer",)}),
        ("transfer-encoding is never forwarded", {"forward": ("transfer-encoding",)}),
        ("upgrade is never forwarded", {"forward": ("upgrade",)}),
    ],
)
def test_a_policy_that_cannot_work_is_refused_at_construction(named: str, option: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=named):
        Policy(**option)


def test_a_mistake_in_a_policy_is_one_of_our_errors() -> None:
    assert issubclass(ConfigurationError, CacheError)


@pytest.mark.parametrize(
    "option",
    [
        {"default": ""},
        {"default": "on, mode=replay, ttl=5, namespace=a, sample=2, speed=1.5, abandon=finish"},
        {"lifetime": 0},
        {"lifetime": math.inf},
        {"max_record_bytes": 0},
        {"keep": None},
        {"keep": 0},
        {"keep": "windows"},
        {"paths": ()},
        {"partition": "shared"},
        {"partition": lambda request: b"everybody"},
        {"honour": frozenset()},
        {"honour": frozenset({"on", "speed", "abandon"})},
        {"stale_if_error": 0},
        {"stale_if_error": math.inf},
        {"stale_while_revalidate": 60},
        {"on_abandon": "finish"},
        {"on_abandon": "cancel"},
        {"on_abandon": None},
        {"max_replay": 0},
        {"vary": ("cookie", "user-agent")},
        {"store_when": frozenset({"stop"})},
        {"store_when": frozenset({"stop", "eos", ""})},
        {"done": "optional"},
        {"cache_stored": True},
        {"translation": "strict"},
        {"count_tokens": "ask"},
        {"count_tokens": "refuse"},
    ],
    ids=lambda option: "-".join(option),
)
def test_what_can_work_is_accepted(option: dict[str, Any]) -> None:
    policy = Policy(**option)

    assert {name: getattr(policy, name) for name in option} == option


def test_a_policy_says_nothing_unless_told() -> None:
    policy = Policy()

    assert policy.default == "off"
    assert policy.paths == ("/chat/completions",)
    assert (policy.lifetime, policy.max_lifetime, policy.keep) == (86_400, 31_536_000, "windows")
    assert (policy.partition, policy.keep_requests) == ("credential", False)
    assert policy.store_when == {"stop", "tool_calls", "function_call", "length"}
    assert (policy.done, policy.cache_stored) == ("required", False)
    assert (policy.translation, policy.count_tokens) == ("tell", "estimate")
    assert (policy.max_request_bytes, policy.max_record_bytes) == (10 * 2**20, 16 * 2**20)
    assert (policy.stale_if_error, policy.stale_while_revalidate) == (86_400, 0)
    assert (policy.patience, policy.on_abandon, policy.max_replay) == (30, None, 600)
    assert policy.honour == {"on", "mode", "ttl", "namespace", "sample", "speed", "abandon", "partial", "cache-control"}
    assert names_in(policy.header_rules) == ([], [], [])


EOS = Closing(frozenset({"eos"}), done=False)


@pytest.mark.parametrize(
    ("target", "reasons", "done"),
    [
        (AppTarget("bot", b"", b"/", b"/", b""), {"stop"}, True),
        (HttpTarget("https://api.example"), {"stop"}, True),
        (HttpTarget("https://api.example", HttpRecipient(closing=EOS)), {"stop", "eos"}, False),
        (ClientTarget("https://api.example"), {"stop"}, True),
        (ClientTarget("https://api.example", closing=EOS), {"stop", "eos"}, False),
    ],
)
def test_what_an_answer_must_be_the_operator_says_and_the_provider(target: Target, reasons: set[str], done: bool) -> None:
    """R1, R3."""
    assert Policy(store_when=frozenset({"stop"})).demands_on(target) == Demands(frozenset(reasons), done)
    assert Policy(store_when=frozenset({"stop"}), done="optional").demands_on(target) == Demands(frozenset(reasons), False)


def test_a_policy_is_read_once_and_frozen() -> None:
    policy = Policy(default="on, mode=replay", vary=("X-Tenant",), inert=("X-Noise",), forward=("X-Trace",))

    assert names_in(policy.header_rules) == ([b"x-tenant"], [b"x-noise"], [b"x-trace"])
    with pytest.raises(AttributeError):
        policy.lifetime = 5.0  # type: ignore[misc]


def test_a_policy_keeps_what_it_was_given_whatever_becomes_of_that() -> None:
    paths, store_when, honour = ["/ask"], {"stop"}, {"on", "ttl"}

    policy = Policy(paths=paths, store_when=store_when, honour=honour)  # type: ignore[arg-type]
    paths.clear()
    store_when.clear()
    honour.clear()

    assert policy.paths == ("/ask",)
    assert policy.store_when == {"stop"}
    assert policy.honour == {"on", "ttl"}
    assert isinstance(hash(policy.honour), int)
    assert endpoint_of("POST", "/ask", policy.paths) is CHAT


def names_in(rules: HeaderRules) -> tuple[list[bytes], list[bytes], list[bytes]]:
    return sorted(rules.vary), sorted(rules.inert), sorted(rules.forward)


@pytest.mark.parametrize(
    ("ttl", "lifetime"), [(None, 600), (0, 0), (60, 60), (3600, 3600), (3601, 3600), (999_999_999_999_999, 3600)]
)
def test_a_ttl_is_clamped_to_the_longest_lifetime(ttl: int | None, lifetime: float) -> None:
    assert Policy(lifetime=600, max_lifetime=3600).lifetime_of(ttl) == lifetime


def test_the_lifetime_itself_is_clamped_too() -> None:
    assert Policy(lifetime=600, max_lifetime=60).lifetime_of(None) == 60


@pytest.mark.parametrize(("if_error", "while_revalidate", "window"), [(0, 0, 0), (60, 0, 60), (0, 60, 60), (60, 61, 61)])
def test_the_window_of_a_record_is_the_larger_of_the_two(if_error: float, while_revalidate: float, window: float) -> None:
    assert Policy(stale_if_error=if_error, stale_while_revalidate=while_revalidate).window == window


@pytest.mark.parametrize(
    ("default", "replays"),
    [
        ("off", False),
        ("on", False),
        ("on, mode=refresh", False),
        ("mode=read", False),
        ("on, mode=replay", True),
        ("mode=replay", True),
    ],
)
def test_a_policy_that_only_replays_says_so(default: str, replays: bool) -> None:
    """F3: its store is opened for reading."""
    assert Policy(default=default).replays is replays
