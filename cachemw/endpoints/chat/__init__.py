"""Chat completions: `POST …/chat/completions`."""

from cachemw.endpoints.base import Endpoint
from cachemw.endpoints.chat.judge import ChatJudge, beginning_of
from cachemw.endpoints.chat.request import FIELDS, read_chat, sent_chat
from cachemw.endpoints.chat.transcode import derive
from cachemw.endpoints.errors import OPENAI
from cachemw.endpoints.usage import read_usage
from cachemw.wire.sse import DONE_LINE

CHAT = Endpoint(
    name="chat",
    paths=("/chat/completions",),
    fields=FIELDS,
    read=read_chat,
    sent=sent_chat,
    judge=ChatJudge,
    begins=beginning_of,
    ends=DONE_LINE,
    derive=derive,
    usage=read_usage,
    errors=OPENAI,
)
