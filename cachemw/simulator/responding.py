"""The decision how a request is answered: soundly, or with the failure that is its lot."""

from dataclasses import replace
from typing import TypeVar

from msgspec import structs

from cachemw.simulator.answering import answer
from cachemw.simulator.asking import Ask, Simulate, SimulatedBody, SimulatedRefusal, simulated
from cachemw.simulator.dialects.base import Dialect
from cachemw.simulator.endpoints.base import SimulatedEndpoint, Spoken
from cachemw.simulator.endpoints.chat import ChatEndpoint, SpokenChat
from cachemw.simulator.endpoints.messages import SpokenMessage
from cachemw.simulator.events import failing
from cachemw.simulator.failing import SOUND, NamedFailure
from cachemw.simulator.failures import Disguised, ErrorAnswer, ErrorWithin, Foreign, Hollow, Unspoken
from cachemw.simulator.script import Pace, RawHeaders, ResponseScript, cut, reply, stall, stream, whole

B = TypeVar("B", bound=SimulatedBody)


def script_for(
    ask: Ask[B], endpoint: SimulatedEndpoint[B], dialect: Dialect, pace: Pace, named: NamedFailure = SOUND
) -> ResponseScript:
    """Decide how a request to an endpoint is answered by a server of this dialect; an error may be in another's."""
    speaker = named.dialect or dialect
    paced = _overridden(pace, ask.body.simulate)
    is_stream = endpoint.streams and bool(ask.body.stream)
    match named.failure:
        case Unspoken(script):
            return script
        case ErrorAnswer() as error:
            return _error(error, speaker, ask.digest)
        case ErrorWithin() as error if not is_stream:
            return _error(error.whole, speaker, ask.digest)
        case ErrorWithin() as error:
            return _error_within(error, endpoint.sound(ask, speaker), ask.digest, speaker, paced)
        case Disguised(status):
            return reply(200, speaker.headers(ask.digest), whole(speaker.error(simulated(status))))
        case Hollow(reason):
            said = endpoint.hollow(ask, speaker, reason)
            return _said(said, ask.digest, speaker, paced, is_stream=is_stream)
        case Foreign():
            said = _foreign(ask, endpoint, speaker)
            return _said(said, ask.digest, speaker, paced, is_stream=is_stream)
        case Simulate() as wanted:
            simulate = _overlaid(ask.body.simulate, wanted)
            script = _answered(ask, endpoint, dialect, _overridden(paced, simulate), simulate)
            return _broken(script, simulate)


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


def _error_within(error: ErrorWithin, said: Spoken, digest: bytes, speaker: Dialect, pace: Pace) -> ResponseScript:
    whole_stream = said.events()
    place = min(error.after, len(whole_stream) - 1)
    sent = failing(whole_stream, place, said.failure(error, place))
    return stream(speaker.headers(digest), speaker.preamble, sent, pace)


def _foreign(ask: Ask[B], endpoint: SimulatedEndpoint[B], speaker: Dialect) -> Spoken:
    said = answer(Ask(endpoint.prompt(ask.body), ask.digest))
    return SpokenMessage(said) if isinstance(endpoint, ChatEndpoint) else SpokenChat(said, speaker)


def _said(said: Spoken, digest: bytes, speaker: Dialect, pace: Pace, *, is_stream: bool) -> ResponseScript:
    headers = speaker.headers(digest)
    if is_stream:
        return stream(headers, speaker.preamble, said.events(), pace)
    seconds = pace.first_token_seconds + pace.seconds(max(0, said.tokens - 1))
    return reply(200, headers, whole(said.whole()), seconds)


def _overlaid(own: Simulate, wanted: Simulate) -> Simulate:
    """Return what a request asks for itself, changed by what is wanted of it."""
    unset = Simulate()
    members = {name: value for name, value in structs.asdict(wanted).items() if value != getattr(unset, name)}
    return structs.replace(own, **members)


def _answered(ask: Ask[B], endpoint: SimulatedEndpoint[B], dialect: Dialect, pace: Pace, simulate: Simulate) -> ResponseScript:
    if simulate.status is not None:
        return refuse(simulated(simulate.status), ask.digest, dialect, pace.first_token_seconds)
    said = endpoint.sound(ask, dialect)
    if not (endpoint.streams and ask.body.stream):
        return _said(said, ask.digest, dialect, pace, is_stream=False)
    if simulate.error_after is not None:
        refusal = simulated(500)
        answered = ErrorAnswer(refusal.status, dialect.error(refusal))
        error = ErrorWithin(answered, dialect.error_event(refusal), after=simulate.error_after)
        return _error_within(error, said, ask.digest, dialect, pace)
    sent = said.events()[: simulate.end_after]
    return stream(dialect.headers(ask.digest), dialect.preamble, sent, pace)


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
