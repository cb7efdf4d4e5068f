"""The decision how a chat request is answered: soundly, or with the failure that is its lot."""

from dataclasses import replace
from typing import Literal

from msgspec import structs

from cachemw.simulator.answering import Said, SimulatedAnswer, answer
from cachemw.simulator.asking import Ask, AskedBody, Simulate, SimulatedRefusal, simulated
from cachemw.simulator.dialects.base import Dialect
from cachemw.simulator.events import event, events, failing, without_choices
from cachemw.simulator.failing import SOUND, NamedFailure
from cachemw.simulator.failures import ErrorAnswer, ErrorWithin, Hollow, Unspoken
from cachemw.simulator.script import Pace, RawHeaders, ResponseScript, ScriptEvent, cut, reply, stall, stream, whole


def script_for(ask: Ask, dialect: Dialect, pace: Pace, named: NamedFailure = SOUND) -> ResponseScript:
    """Decide how a chat request is answered by a server of this dialect; an error may be in another's."""
    speaker = named.dialect or dialect
    paced = _overridden(pace, ask.body.simulate)
    match named.failure:
        case Unspoken(script):
            return script
        case ErrorAnswer() as error:
            return _error(error, speaker, ask.digest)
        case ErrorWithin() as error:
            return _error_within(error, ask, speaker, paced)
        case Hollow(reason):
            return _hollow(reason, ask, speaker, paced)
        case Simulate() as wanted:
            simulate = _overlaid(ask.body.simulate, wanted)
            return _broken(_answered(ask, simulate, dialect, _overridden(paced, simulate)), simulate)


def refuse(refusal: SimulatedRefusal, digest: bytes, dialect: Dialect, seconds: float = 0.0) -> ResponseScript:
    headers = (*dialect.headers(digest), *refusal.headers)
    return reply(refusal.status, headers, whole(dialect.error(refusal)), seconds)


def _error(error: ErrorAnswer, speaker: Dialect, digest: bytes) -> ResponseScript:
    """Answer with an error, at once: who refuses has nothing to write."""
    if isinstance(error.content, bytes):  # by something in front of the provider
        return reply(error.status, error.headers, error.content, media_type=error.media_type)
    return reply(error.status, _merged(speaker.headers(digest), error.headers), whole(error.content))


def _merged(usual: RawHeaders, own: RawHeaders) -> RawHeaders:
    names = {name for name, _ in own}
    return (*((name, value) for name, value in usual if name not in names), *own)


def _error_within(error: ErrorWithin, ask: Ask, speaker: Dialect, pace: Pace) -> ResponseScript:
    if not ask.body.stream:
        return _error(error.whole, speaker, ask.digest)
    said = answer(ask)
    chunk = {} if error.entry is None else speaker.chunk(said, error.entry, 0, include_usage=False)
    sent = failing(_events(said, ask.body, speaker), error.after, event(chunk | error.event, error.name))
    return stream(speaker.headers(ask.digest), speaker.preamble, sent, pace)


def _hollow(reason: Literal["stop", "content_filter"] | None, ask: Ask, speaker: Dialect, pace: Pace) -> ResponseScript:
    said = replace(answer(ask), choices=(Said(0, (), None, reason or "stop"),))
    headers = speaker.headers(ask.digest)
    if ask.body.stream:
        sent = without_choices(said, speaker) if reason is None else _events(said, ask.body, speaker)
        return stream(headers, speaker.preamble, sent, pace)
    content = speaker.completion(said) | ({"choices": []} if reason is None else {})
    return reply(200, headers, whole(content), pace.first_token_seconds)


def _overlaid(own: Simulate, wanted: Simulate) -> Simulate:
    """Return what a request asks for itself, changed by what is wanted of it."""
    unset = Simulate()
    members = {name: value for name, value in structs.asdict(wanted).items() if value != getattr(unset, name)}
    return structs.replace(own, **members)


def _answered(ask: Ask, simulate: Simulate, dialect: Dialect, pace: Pace) -> ResponseScript:
    if simulate.status is not None:
        return refuse(simulated(simulate.status), ask.digest, dialect, pace.first_token_seconds)
    said = answer(ask)
    headers = dialect.headers(ask.digest)
    if ask.body.stream:
        sent = _events(said, ask.body, dialect)
        if simulate.error_after is not None:
            sent = failing(sent, simulate.error_after, event(dialect.error_event(simulated(500))))
        return stream(headers, dialect.preamble, sent, pace)
    seconds = pace.first_token_seconds + pace.seconds(max(0, said.longest - 1))
    return reply(200, headers, whole(dialect.completion(said)), seconds)


def _events(said: SimulatedAnswer, body: AskedBody, dialect: Dialect) -> tuple[ScriptEvent, ...]:
    options = body.stream_options
    return events(said, dialect, include_usage=bool(options and options.include_usage))


def _overridden(pace: Pace, simulate: Simulate) -> Pace:
    if simulate.first_token_seconds is not None:
        pace = replace(pace, first_token_seconds=simulate.first_token_seconds)
    if simulate.tokens_per_second is not None:
        pace = replace(pace, tokens_per_second=simulate.tokens_per_second)
    return pace


def _broken(script: ResponseScript, simulate: Simulate) -> ResponseScript:
    if simulate.stall_after is not None:
        script = stall(script, simulate.stall_after, simulate.stall_seconds)
    if simulate.cut_after is not None:
        script = cut(script, simulate.cut_after)
    return script
