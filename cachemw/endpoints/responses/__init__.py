"""Responses: `POST …/responses`."""

from cachemw.endpoints.base import Endpoint
from cachemw.endpoints.errors import OPENAI
from cachemw.endpoints.responses.derive import derive
from cachemw.endpoints.responses.judge import LAST_EVENT, ResponseJudge, beginning_of
from cachemw.endpoints.responses.request import FIELDS, read_response_call
from cachemw.endpoints.usage import read_usage

RESPONSES = Endpoint(
    name="responses",
    paths=("/responses",),
    fields=FIELDS,
    read=read_response_call,
    sent=None,
    judge=ResponseJudge,
    begins=beginning_of,
    ends=LAST_EVENT,
    derive=derive,
    usage=read_usage,
    errors=OPENAI,
)
