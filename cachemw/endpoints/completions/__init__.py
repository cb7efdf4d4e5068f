"""Legacy completions: `POST …/completions`, text for a prompt."""

from cachemw.endpoints.base import Endpoint
from cachemw.endpoints.completions.derive import derive_completion
from cachemw.endpoints.completions.judge import CompletionJudge, completion_beginning
from cachemw.endpoints.completions.request import FIELDS, read_completion
from cachemw.endpoints.errors import OPENAI
from cachemw.endpoints.usage import read_usage
from cachemw.wire.sse import DONE_LINE

COMPLETIONS = Endpoint(
    name="completions",
    paths=("/completions",),
    fields=FIELDS,
    read=read_completion,
    sent=None,
    judge=CompletionJudge,
    begins=completion_beginning,
    ends=DONE_LINE,
    derive=derive_completion,
    usage=read_usage,
    errors=OPENAI,
)
