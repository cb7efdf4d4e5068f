"""From a request's body to the script of its answer: every decision, and no I/O."""

from dataclasses import replace
from hashlib import sha256

from cachemw.simulator.answering import Answer, answer
from cachemw.simulator.asking import Ask, Body, Simulate, read
from cachemw.simulator.dialect import Dialect
from cachemw.simulator.framing import Event, events, failing, whole
from cachemw.simulator.refusing import Refusal, simulated
from cachemw.simulator.script import Pace, Script, cut, reply, stall, stream


def script_for(raw: bytes, dialect: Dialect, pace: Pace) -> Script:
    """Decide how a chat request is answered."""
    ask = read(raw)
    if isinstance(ask, Refusal):
        return refuse(ask, sha256(raw).digest(), dialect)
    simulate = ask.body.simulate
    return _broken(_answered(ask, dialect, _overridden(pace, simulate)), simulate)


def refuse(refusal: Refusal, digest: bytes, dialect: Dialect, seconds: float = 0.0) -> Script:
    headers = (*dialect.headers(digest), *refusal.headers)
    return reply(refusal.status, headers, whole(dialect.error(refusal)), seconds)


def _answered(ask: Ask, dialect: Dialect, pace: Pace) -> Script:
    status = ask.body.simulate.status
    if status is not None:
        return refuse(simulated(status), ask.digest, dialect, pace.first_token_seconds)
    said = answer(ask)
    headers = dialect.headers(ask.digest)
    if ask.body.stream:
        return stream(headers, _events(said, ask.body, dialect), pace)
    seconds = pace.first_token_seconds + pace.seconds(max(0, said.longest - 1))
    return reply(200, headers, whole(dialect.completion(said)), seconds)


def _events(said: Answer, body: Body, dialect: Dialect) -> tuple[Event, ...]:
    options = body.stream_options
    sent = events(said, dialect, include_usage=bool(options and options.include_usage))
    after = body.simulate.error_after
    return sent if after is None else failing(sent, after, dialect)


def _overridden(pace: Pace, simulate: Simulate) -> Pace:
    if simulate.first_token_seconds is not None:
        pace = replace(pace, first_token_seconds=simulate.first_token_seconds)
    if simulate.tokens_per_second is not None:
        pace = replace(pace, tokens_per_second=simulate.tokens_per_second)
    return pace


def _broken(script: Script, simulate: Simulate) -> Script:
    if simulate.stall_after is not None:
        script = stall(script, simulate.stall_after, simulate.stall_seconds)
    if simulate.cut_after is not None:
        script = cut(script, simulate.cut_after)
    return script
