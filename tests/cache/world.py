"""What lies outside of the script, as a dictionary and a few scripted answers, and a driver for it.

The driver performs what the script asks for, and sends what its outcome says.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile

from msgspec.structs import replace

from cachemw.cache.directives import Directives, read_directives
from cachemw.cache.effects import (
    Account,
    AskPartition,
    AskPlan,
    Claim,
    ClaimResult,
    DeleteRecord,
    Effect,
    Forward,
    Found,
    FoundMany,
    GetAccount,
    GetOrder,
    Lookup,
    LookupMany,
    Ordered,
    Outcome,
    ReadSecret,
    RunInThread,
    Script,
    Serve,
    ShownResponse,
)
from cachemw.cache.exchange import exchange
from cachemw.cache.live_response import Part, Put, Relay, begin
from cachemw.cache.lookup import VerifiedRecords
from cachemw.cache.order import Order
from cachemw.cache.plans import Plan
from cachemw.cache.policy import Policy
from cachemw.cache.replay import respond
from cachemw.endpoints import CHAT
from cachemw.errors import CacheError, PartitionError, RecordError, StoreError, UpstreamError
from cachemw.limits import Limits
from cachemw.messages import Head, Headers, Request, header_values
from tests.cache.answers import COMPLETION, JSON_HEAD, ORDER, as_agreed, as_told

NOW = 1000.0


@dataclass
class World:
    """The store, other requests, the upstream."""

    records: dict[bytes, bytes] = field(default_factory=dict)
    store_error: StoreError | None = None
    claims: list[ClaimResult | ShownResponse | UpstreamError] = field(
        default_factory=list
    )  # how they go; then nobody else is there
    lands: dict[bytes, bytes] = field(default_factory=dict)  # what others store while this request waits for them
    meanwhile: dict[bytes, bytes] = field(default_factory=dict)  # and while the upstream has it
    upstream: Head | UpstreamError = JSON_HEAD
    secret: bytes | StoreError = b"secret"
    order: Order = ORDER
    account: str = "the store holds what it holds"
    nearest: str = ""
    name: bytes | PartitionError = b"name"
    plans: list[Plan] = field(default_factory=list)  # what a gateway says, one after the other; the last one goes on
    effects: list[Effect] = field(default_factory=list)  # what the script asked for
    orders: int = 0  # how often it asked for that

    def run(self, script: Script) -> Outcome:
        """Perform what the script asks for, and return what it ends in."""
        step = partial(next, script)
        while True:
            try:
                effect = step()
            except StopIteration as end:
                outcome: Outcome = end.value
                if isinstance(outcome, Relay) or self.plans:
                    return outcome
                return replace(outcome, report=as_told(outcome.report))
            if isinstance(effect, GetOrder):
                self.orders += 1
            else:
                self.effects.append(_as_told(effect))
            result = self._perform(effect)
            step = partial(script.throw, result) if isinstance(result, CacheError) else partial(script.send, result)

    def _perform(self, effect: Effect) -> object:
        match effect:
            case Lookup(index):
                return self.store_error or Found(self.records.get(index), NOW)
            case LookupMany(indexes, to_the_end):
                held = takewhile(lambda record: to_the_end or record is not None, map(self.records.get, indexes))
                return self.store_error or FoundMany(tuple(held), NOW)
            case RunInThread(call):
                try:
                    return call()
                except RecordError as error:
                    return error
            case DeleteRecord(indexes):
                for index in indexes:
                    self.records.pop(index, None)
                return None
            case Claim(may_lead=may_lead):
                self.records |= self.lands
                return self.claims.pop(0) if self.claims else ClaimResult.LEAD if may_lead else ClaimResult.ALONE
            case AskPlan():
                return self.plans.pop(0) if len(self.plans) > 1 else self.plans[0]
            case Forward(terms, bidding=bidding):
                self.records |= self.meanwhile
                upstream = self.upstream
                if bidding is not None and isinstance(upstream, Head):
                    terms = bidding.terms_for(upstream)
                return upstream if isinstance(upstream, UpstreamError) else ShownResponse(begin(upstream, terms, NOW), NOW)
            case GetOrder():
                return self.store_error or Ordered(self.order, NOW)
            case GetAccount():
                return Account(self.account, self.nearest)
            case ReadSecret():
                return self.secret
            case AskPartition():
                return self.name
        raise AssertionError(f"an effect nobody knows: {effect}")


def _as_told(effect: Effect) -> Effect:
    match effect:
        case Claim():
            return replace(effect, report=as_told(effect.report))
        case Forward():
            return replace(effect, report=as_told(effect.report), terms=as_agreed(effect.terms))
    return effect


@dataclass(frozen=True, slots=True)
class Answer:
    """What the client gets, and what is stored. `kind` is serve, relay or the status of an error of ours."""

    kind: str
    status: int
    headers: Headers
    body: bytes
    put: Put | None = None

    def values(self, name: bytes) -> list[bytes]:
        return header_values(self.headers, name)

    @property
    def cache_status(self) -> str:
        [value] = self.values(b"cache-status")
        return value.decode()


def answer(
    asked: Request, world: World, policy: Policy | None = None, body: bytes = COMPLETION, limits: Limits = Limits()
) -> Answer:
    """Let the script run, and do what its outcome says. `body` is the upstream's, and comes at once."""
    outcome = decided(asked, world, policy, limits)
    return relayed(outcome, body) if isinstance(outcome, Relay) else whole(outcome)


def decided(asked: Request, world: World, policy: Policy | None = None, limits: Limits = Limits()) -> Outcome:
    """Let the script run, and return what it ends in."""
    policy = policy or Policy(sketch=False)
    directives = read_directives(asked.headers, policy.default, policy.honour)
    assert isinstance(directives, Directives)
    return world.run(exchange(CHAT, asked, directives, policy, limits, VerifiedRecords(limits)))


def relayed(relay: Relay, body: bytes) -> Answer:
    """Pass on an answer that comes at once, and store what is to be stored."""
    response = relay.response
    response.feed(body, NOW)
    sent = list(relay.take())
    put = response.finish(NOW)
    response.close(None)
    return _answer("relay", [*sent, *relay.take()], put)


def followed(relay: Relay) -> Answer:
    """Read what another's forward has brought so far."""
    return _answer("relay", relay.take())


def whole(outcome: Outcome) -> Answer:
    """Return the answer of an outcome that needs no upstream any more."""
    assert not isinstance(outcome, Relay)
    return _answer("serve" if isinstance(outcome, Serve) else None, respond(outcome))


def _answer(kind: str | None, sent: Iterable[Part], put: Put | None = None) -> Answer:
    head, *chunks = sent
    assert isinstance(head, Head)
    body = b"".join(chunk for chunk in chunks if isinstance(chunk, bytes))
    return Answer(kind or str(head.status), head.status, head.headers, body, put)
