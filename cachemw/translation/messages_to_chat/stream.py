"""Say the chunks of a chat stream as the events of a message: its blocks stand one after another, whatever the chunks do."""

import msgspec

from cachemw.limits import Work
from cachemw.messages import Usage
from cachemw.translation.messages_to_chat.calls import ToolCall, ToolCalls
from cachemw.translation.messages_to_chat.completion import (
    BROKE_OFF,
    NAMELESS_CALL,
    ChatAnswer,
    PartialCall,
    Speech,
    read_chat_answer,
)
from cachemw.translation.messages_to_chat.ending import (
    AnswerEnd,
    MessageContext,
    call_id,
    message_head,
    usage_in,
    usage_members,
)
from cachemw.translation.signatures import Signer
from cachemw.wire.sse import Event, encode, is_done

_WORK = Work()
_CHUNK_NAMES = (b"", b"message")

_OTHER_EVENT = "the upstream's stream holds events that are no chunks of an answer"
_CALL_GOES_ON = "the upstream's answer goes on with a call that had ended"

_START_TEXT = b'{"type":"content_block_start","index":%d,"content_block":{"type":"text","text":""}}'
_START_THINKING = b'{"type":"content_block_start","index":%d,"content_block":{"type":"thinking","thinking":"","signature":""}}'
_START_CALL = b'{"type":"content_block_start","index":%d,"content_block":{"type":"tool_use","id":%b,"name":%b,"input":{}}}'
_TEXT = b'{"type":"content_block_delta","index":%d,"delta":{"type":"text_delta","text":%b}}'
_THINKING = b'{"type":"content_block_delta","index":%d,"delta":{"type":"thinking_delta","thinking":%b}}'
_SIGNATURE = b'{"type":"content_block_delta","index":%d,"delta":{"type":"signature_delta","signature":%b}}'
_ARGUMENTS = b'{"type":"content_block_delta","index":%d,"delta":{"type":"input_json_delta","partial_json":%b}}'
_STOP = b'{"type":"content_block_stop","index":%d}'

_START, _DELTA, _END = b"content_block_start", b"content_block_delta", b"content_block_stop"

_json = msgspec.json.Encoder().encode


class MessageStream:
    """Translates the chunks of one answer into the events of a message; of a stored one it is `known` what it took.

    The first call that comes while none waits is passed on as it comes; others are held until that one is over, for blocks
    of a message do not interleave.
    """

    ping = encode(b'{"type": "ping"}', b"ping")

    def __init__(self, context: MessageContext, known: Usage | None = None) -> None:
        self.fault: str | None = None
        self._context, self._known = context, known
        self._id: str | None = None
        self._is_begun = self._is_over = False
        self._index = -1  # of the last block
        self._open: Speech | ToolCall | None = None
        self._signer = Signer()
        self._calls = ToolCalls()
        self._end = AnswerEnd()
        self._took: bytes | None = None
        self.held = 0  # how much of calls waits

    def feed(self, event: Event) -> bytes:
        """Return the events that one chunk becomes; nothing from a chunk with a fault on, or behind the end."""
        if self.fault is not None or self._is_over:  # some say twice that they have ended
            return b""
        if is_done(event.data):
            return self.end()
        if event.name not in _CHUNK_NAMES:
            self.fault = BROKE_OFF if event.name == b"error" else _OTHER_EVENT
            return b""
        answer = read_chat_answer(event.data, _WORK.document)
        if isinstance(answer, str):
            self.fault = answer
            return b""
        events = self._chunk(answer)
        return b"" if self.fault is not None else events

    def end(self) -> bytes:
        """Return the events that end the message, once; nothing, and a fault, where the answer is not complete."""
        if self.fault is not None or self._is_over:
            return b""
        self._is_over = True
        events = self._close() + self._held()
        self.fault = self.fault or self._end.fault()
        if self.fault is not None:
            return b""
        usage = usage_members(usage_in(self._took) or self._known)
        delta = {"type": "message_delta", "delta": self._end.members(), "usage": usage}
        return (
            self._begin()
            + events
            + encode(_json(delta), b"message_delta")
            + encode(b'{"type":"message_stop"}', b"message_stop")
        )

    def _chunk(self, answer: ChatAnswer) -> bytes:
        self._took = answer.took() or self._took
        events: list[bytes] = []
        if answer.choices or answer.id:  # before the first there may be one that only says what a filter thinks
            events.append(self._begin(answer))
        for choice in answer.choices or ():
            self._end.take(choice.finish_reason, (choice.stop_reason, choice.matched_stop), self._context.stops)
            piece = choice.delta
            if piece is None:
                continue
            events += [self._say(speech, text) for speech, text in piece.texts()]
            events += [self._call(fragment, position) for position, fragment in enumerate(piece.tool_calls or ())]
        return b"".join(events)

    def _begin(self, answer: ChatAnswer | None = None) -> bytes:
        if self._is_begun:
            return b""
        self._is_begun = True
        model = None
        if answer is not None:
            self._id, model = answer.id, answer.model
        message = {
            **message_head(self._id, model, self._context),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage_members(self._known, is_begun=True),
        }
        return encode(_json({"type": "message_start", "message": message}), b"message_start")

    def _say(self, speech: Speech, text: str) -> bytes:
        events = b""
        if self._open is not speech:
            events = self._close() + self._held()
            template = _START_THINKING if speech is Speech.THINKING else _START_TEXT
            events += self._start(template % (self._index + 1), speech)
            self._end.has_refusal |= speech is Speech.REFUSAL
        if speech is Speech.THINKING:
            self._signer.take(text)
        template = _THINKING if speech is Speech.THINKING else _TEXT
        return events + encode(template % (self._index, _json(text)), _DELTA)

    def _call(self, fragment: PartialCall, position: int) -> bytes:
        call, is_new = self._calls.of(fragment, position)
        if is_new and call.name and not self._calls.held and not isinstance(self._open, ToolCall):
            return self._close() + self._start_call(call) + self._argue(call.arguments)
        if is_new:
            self._calls.hold(call)
            self.held += len(fragment.arguments)
            return b""
        if call is self._open:
            return self._argue(fragment.arguments)
        if call in self._calls.held:
            call.add(fragment)
            self.held += len(fragment.arguments)
        elif fragment.arguments:
            self.fault = _CALL_GOES_ON
        return b""

    def _start(self, data: bytes, what: Speech | ToolCall) -> bytes:
        self._index += 1
        self._open, self._end.is_empty = what, False
        return encode(data, _START)

    def _start_call(self, call: ToolCall) -> bytes:
        self._end.has_calls = True
        own, name = call_id(call.id, self._id, call.ordinal), self._context.named(call.name)
        return self._start(_START_CALL % (self._index + 1, _json(own), _json(name)), call)

    def _argue(self, arguments: str) -> bytes:
        return encode(_ARGUMENTS % (self._index, _json(arguments)), _DELTA) if arguments else b""

    def _held(self) -> bytes:
        """Return the calls that were held, each whole."""
        calls = self._calls.released()
        if not all(call.name for call in calls):
            self.fault = NAMELESS_CALL
        return b"".join([self._start_call(call) + self._argue(call.arguments) + self._close() for call in calls])

    def _close(self) -> bytes:
        """Return the end of the block that is open, thinking signed."""
        what, self._open = self._open, None
        if what is None:
            return b""
        stop = encode(_STOP % self._index, _END)
        if what is not Speech.THINKING:
            return stop
        signer, self._signer = self._signer, Signer()
        return encode(_SIGNATURE % (self._index, _json(signer.signature())), _DELTA) + stop
