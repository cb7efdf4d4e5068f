"""Embeddings: `POST …/embeddings`, a vector for each input."""

from functools import partial

from cachemw.endpoints.base import Endpoint
from cachemw.endpoints.documents import DocumentJudge, document_beginning, same_kind
from cachemw.endpoints.embeddings.request import FIELDS, embeddings_fault, read_embeddings
from cachemw.endpoints.errors import OPENAI
from cachemw.endpoints.usage import read_usage

EMBEDDINGS = Endpoint(
    name="embeddings",
    paths=("/embeddings",),
    fields=FIELDS,
    read=read_embeddings,
    sent=None,
    judge=partial(DocumentJudge, embeddings_fault),
    begins=partial(document_beginning, ("data",)),
    ends=None,
    derive=same_kind,
    usage=read_usage,
    errors=OPENAI,
)
