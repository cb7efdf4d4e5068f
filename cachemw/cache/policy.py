"""The permissions of the operator: one frozen `Policy`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from cachemw.cache.directives import FOREVER, ControlMembers, InvalidControl, Mode, likely_member, parse_members
from cachemw.cache.freshness import Keep
from cachemw.cache.header_rules import NEVER_FORWARDED, HeaderRules
from cachemw.endpoints import CHAT, ENDPOINTS
from cachemw.endpoints.base import Demands, Place
from cachemw.errors import ConfigurationError
from cachemw.limits import MIB
from cachemw.messages import USUAL_CLOSING, AppTarget, ClientTarget, Closing, HttpTarget, Request, RouteTarget, Target
from cachemw.wire.fields import CREDENTIALS

CONTROLS = frozenset({"on", "mode", "ttl", "namespace", "sample", "speed", "abandon", "partial", "cache-control"})
FINISH_REASONS = frozenset({"stop", "tool_calls", "function_call", "length"})

Partition = Literal["credential", "shared"] | Callable[[Request], bytes | None]

Done = Literal["required", "optional"]

CountTokens = Literal["estimate", "ask", "refuse"]

_NUMBERS = (
    *("lifetime", "max_lifetime", "stale_if_error", "stale_while_revalidate", "patience", "max_replay"),
    *("max_request_bytes", "max_record_bytes"),
)

_ASKED = frozenset(
    name
    for endpoint in ENDPOINTS
    for name, place in endpoint.fields.items()
    if place not in (Place.BOOKKEEPING, Place.ECHOED)  # what is echoed is in the key of its endpoint all the same
)
"""The members that answers depend on; one that is not documented may be either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The operator's side of the contract. Durations are in seconds, sizes in bytes.

    default            a `Cachemw` dictionary that applies where the request says nothing: "off", "on", "on, mode=replay"
    paths              suffixes of the paths, below `root_path`, that are chat completions
    lifetime           how long an answer is fresh unless the request says `ttl`
    max_lifetime       what `ttl` is clamped to
    stale_if_error     how long after its lifetime a record answers when the upstream cannot
    stale_while_revalidate
                       how long a stale record answers at once while one flight fetches anew; not under WSGI and in transports
    keep               how long the store holds a record: a number, "windows" (its lifetime and the larger stale window)
                       or None (until evicted)
    partition          "credential", "shared", or a function of the request; its `None` is the anonymous partition
    vary               more request headers that are in the key
    inert              more request headers that change nothing
    forward            more request headers that an HTTP upstream is sent; they are in the key
    bookkeeping        members of a request's body that an HTTP upstream only counts and pays by; they are not in the key.
                       Those that the providers with a name take so need not be named
    store_when         the finish reasons that may be stored, besides those that a provider with a name is known to say;
                       "length" counts only where the caller bounded the answer. "" is for upstreams that give no reason
    done               "required": a stream is stored only if it came to its `[DONE]`, but for providers that are known to send
                       none; "optional": one without is stored too, if every choice finished, usage that was due came, and the
                       body ended by its own framing (its last chunk, its length), which a cut does not
    cache_stored       whether requests are cached whose answers the upstream is to store (`store: true`): of a hit it stores
                       nothing
    keep_requests      whether records hold the request's canonical body too
    sketch             whether records and reports of misses hold a code of each part of the key, by which `cachemw why` says
                       which parts differ; it has no value of any part
    max_request_bytes  the largest request body that is read into memory
    max_record_bytes   the largest response body that is stored
    patience           how long a request waits for an identical one that is under way
    on_abandon         what becomes of a response every reader has left: "finish", "cancel" or None, which is to finish over
                       an HTTP upstream and to cancel around an app; under WSGI and in transports it is always cancelled
    translation        what becomes of a request that an upstream of another dialect cannot be told exactly: "tell" says in a
                       field of the response what was dropped or changed, "strict" refuses it with a 400
    count_tokens       how tokens are counted for Messages where the upstream cannot: "estimate" from the size of the request,
                       "ask" by a completion of one token, which costs, or "refuse" with a 404
    max_replay         the longest a paced replay may take; what would take longer is sent faster
    honour             the client's controls that are obeyed

    Raises `ConfigurationError` where a value cannot work.
    """

    default: str = "off"
    paths: tuple[str, ...] = CHAT.paths
    lifetime: float = 86_400.0
    max_lifetime: float = 31_536_000.0
    stale_if_error: float = 86_400.0
    stale_while_revalidate: float = 0.0
    keep: Keep = "windows"
    partition: Partition = field(default="credential", repr=False)  # a function may hold anything
    vary: tuple[str, ...] = ()
    inert: tuple[str, ...] = ()
    forward: tuple[str, ...] = ()
    bookkeeping: frozenset[str] = frozenset()
    store_when: frozenset[str] = FINISH_REASONS
    done: Done = "required"
    cache_stored: bool = False
    keep_requests: bool = False
    sketch: bool = True
    max_request_bytes: int = 10 * MIB
    max_record_bytes: int = 16 * MIB
    patience: float = 30.0
    on_abandon: Literal["finish", "cancel"] | None = None
    translation: Literal["tell", "strict"] = "tell"
    count_tokens: CountTokens = "estimate"
    max_replay: float = 600.0
    honour: frozenset[str] = CONTROLS
    header_rules: HeaderRules = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        members = parse_members(self.default.encode())
        if isinstance(members, InvalidControl):
            raise ConfigurationError(f"Policy.default: {members.message}")
        if members.unknown:
            likely = likely_member(members.unknown[0])
            hint = f" (did you mean {likely}?)" if likely else ""
            raise ConfigurationError(f"Policy.default: unknown member {members.unknown[0]!r}{hint}")
        self._check()
        for name, whole in (("paths", tuple), ("bookkeeping", frozenset), ("store_when", frozenset), ("honour", frozenset)):
            object.__setattr__(self, name, whole(getattr(self, name)))  # nobody else's to change
        rules = HeaderRules(*map(_names, (self.vary, self.inert, self.forward)))
        _check_rules(rules)
        object.__setattr__(self, "header_rules", rules)

    def _check(self) -> None:
        for name in _NUMBERS:
            if not getattr(self, name) >= 0:
                raise ConfigurationError(f"Policy.{name} must not be negative")
        for name in ("paths", "vary", "inert", "forward", "bookkeeping", "store_when", "honour"):
            if isinstance(getattr(self, name), str):
                raise ConfigurationError(f"Policy.{name} is a collection of strings")
        if self.partition not in ("credential", "shared") and not callable(self.partition):
            raise ConfigurationError('Policy.partition is "credential", "shared" or a function')
        if self.done not in ("required", "optional"):
            raise ConfigurationError('Policy.done is "required" or "optional"')
        if self.on_abandon not in ("finish", "cancel", None):
            raise ConfigurationError('Policy.on_abandon is "finish", "cancel" or None')
        if self.translation not in ("tell", "strict"):
            raise ConfigurationError('Policy.translation is "tell" or "strict"')
        if self.count_tokens not in ("estimate", "ask", "refuse"):
            raise ConfigurationError('Policy.count_tokens is "estimate", "ask" or "refuse"')
        if "content_filter" in self.store_when:  # a filtered answer is a fragment, and the next may not be
            raise ConfigurationError("Policy.store_when cannot hold content_filter")
        if asked := _ASKED.intersection(self.bookkeeping):
            raise ConfigurationError(f"Policy.bookkeeping cannot hold {min(asked)!r}, on which answers depend")
        if unknown := set(self.honour) - CONTROLS:
            raise ConfigurationError(f"Policy.honour: unknown control {min(unknown)!r}")
        if self.keep is not None and self.keep != "windows" and not self.keep >= 0:
            raise ConfigurationError("Policy.keep must not be negative")

    def demands_on(self, target: Target) -> Demands:
        """Return the demands on an answer of this target that is to be kept."""
        closing = _closing_of(target)
        return Demands(self.store_when | closing.store_when, self.done == "required" and closing.done)

    @property
    def replays(self) -> bool:
        """Say whether only the store answers, unless a request says otherwise."""
        members = parse_members(self.default.encode())
        return isinstance(members, ControlMembers) and members.known.get("mode") is Mode.REPLAY

    @property
    def window(self) -> float:
        """Return the seconds after its lifetime for which a record may still be of use: the larger of the two stale windows."""
        return max(self.stale_if_error, self.stale_while_revalidate)

    def lifetime_of(self, ttl: int | None) -> float:
        """Return the lifetime of what a request stores that asked for `ttl` seconds."""
        return min(self.lifetime if ttl is None else ttl, self.max_lifetime, FOREVER)


def _closing_of(target: Target) -> Closing:
    match target:
        case HttpTarget() | RouteTarget():
            return target.recipient.closing
        case ClientTarget():
            return target.closing
        case AppTarget():
            return USUAL_CLOSING


def _names(names: tuple[str, ...]) -> frozenset[bytes]:
    return frozenset(name.lower().encode("latin-1") for name in names)


def _check_rules(rules: HeaderRules) -> None:
    if credentials := (rules.vary | rules.inert).intersection(CREDENTIALS):
        raise ConfigurationError(f"Policy.vary, Policy.inert: {min(credentials).decode()} is in the key by Policy.partition")
    if never := rules.forward & NEVER_FORWARDED:
        raise ConfigurationError(f"Policy.forward: {min(never).decode()} is never forwarded")
