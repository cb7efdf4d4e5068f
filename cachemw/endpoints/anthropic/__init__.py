"""Anthropic's Messages: `POST …/v1/messages`."""

import re

from cachemw.endpoints.anthropic.derive import derive_message
from cachemw.endpoints.anthropic.judge import MessageJudge, beginning_of
from cachemw.endpoints.anthropic.request import FIELDS, read_messages
from cachemw.endpoints.base import Endpoint
from cachemw.endpoints.errors import ANTHROPIC
from cachemw.endpoints.usage import read_usage

STOP_LINE = re.compile(rb'event: ?message_stop|data: ?\{ ?"type": ?"message_stop"')
"""The line of a stream at which clients hang up; some go by the event's name, some by what is in it."""

MESSAGES = Endpoint(
    name="messages",
    paths=("/v1/messages",),
    fields=FIELDS,
    read=read_messages,
    sent=None,
    judge=MessageJudge,
    begins=beginning_of,
    ends=STOP_LINE,
    derive=derive_message,
    usage=read_usage,
    errors=ANTHROPIC,
)
