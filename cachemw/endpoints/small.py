"""The small endpoints, whose answers are counts or lists: counting tokens, moderation, reranking. One row for each."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from cachemw.endpoints.anthropic.request import MESSAGES_SHAPE
from cachemw.endpoints.base import ApiCall, Endpoint, Place, RawMembers
from cachemw.endpoints.canonical import Shape
from cachemw.endpoints.documents import (
    AnswerFault,
    DocumentCalls,
    DocumentJudge,
    Due,
    document_beginning,
    same_kind,
)
from cachemw.endpoints.errors import ANTHROPIC, OPENAI, ErrorShape
from cachemw.endpoints.judging import value_in
from cachemw.endpoints.usage import read_usage
from cachemw.limits import Work
from cachemw.redaction import redacted_repr
from cachemw.wire.strict_json import NULL

_MISSING = "missing-choice"


def _keyed(names: str) -> Shape:
    return Shape(dict.fromkeys(names.split(), Place.KEY))


def _row(
    name: str,
    path: str,
    shape: Shape,
    due: Due,
    look: AnswerFault,
    said_in: Sequence[str],
    *,
    errors: ErrorShape = OPENAI,
    is_free: bool = False,
) -> Endpoint:
    return Endpoint(
        name=name,
        paths=(path,),
        fields=shape.fields,
        read=DocumentCalls(shape, due),
        sent=None,
        judge=partial(DocumentJudge, look),
        begins=partial(document_beginning, said_in),
        ends=None,
        derive=same_kind,
        usage=read_usage,
        errors=errors,
        is_free=is_free,
    )


def _one_for_messages(body: Mapping[str, Any]) -> int | None:
    return 1 if isinstance(body.get("messages"), list) else None


def _count_fault(members: RawMembers, call: ApiCall, work: Work) -> str | None:
    count = value_in(members.get("input_tokens", NULL), work)
    return None if type(count) is int and count >= 0 else _MISSING


def _for_each_text(body: Mapping[str, Any]) -> int | None:
    """Return how many results are due: one for each text, and a single one for parts with pictures among them."""
    given = body.get("input")
    if isinstance(given, str):
        return 1
    if not isinstance(given, list) or not given:
        return None
    return len(given) if all(isinstance(one, str) for one in given) else 1


def _results_fault(members: RawMembers, call: ApiCall, work: Work) -> str | None:
    results = value_in(members.get("results", NULL), work)
    is_list = isinstance(results, list) and all(isinstance(result, dict) for result in results)
    return None if is_list and len(results) == call.choices else _MISSING


def _top_documents(body: Mapping[str, Any]) -> int | None:
    """Return how many documents are due: all, or as many as the request wants, by `top_k` at Voyage."""
    documents = body.get("documents")
    if not body.get("query") or not isinstance(documents, list) or not documents:
        return None
    wanted = body.get("top_n") if body.get("top_n") is not None else body.get("top_k")
    return min(wanted, len(documents)) if type(wanted) is int and wanted > 0 else len(documents)


class _Documents(msgspec.Struct):
    documents: list[msgspec.Raw]

    __repr__ = redacted_repr


def _ranks_fault(members: RawMembers, call: ApiCall, work: Work) -> str | None:
    """Say why these are no ranks: they are `results` (Cohere, Jina, vLLM) or `data` (Voyage), each of another document."""
    ranks = value_in(members.get("results", members.get("data", NULL)), work)
    if not isinstance(ranks, list) or not all(isinstance(rank, dict) for rank in ranks):
        return _MISSING
    count = len(msgspec.json.decode(call.canonical, type=_Documents).documents)
    indexes = [rank.get("index") for rank in ranks]
    are_documents = all(type(index) is int and 0 <= index < count for index in indexes)
    return None if are_documents and len(set(indexes)) == len(indexes) == call.choices else _MISSING


SMALL_ENDPOINTS: tuple[Endpoint, ...] = (
    _row(
        "count_tokens",
        "/v1/messages/count_tokens",
        MESSAGES_SHAPE,
        _one_for_messages,
        _count_fault,
        ("input_tokens",),
        errors=ANTHROPIC,
        is_free=True,  # https://platform.claude.com/docs/en/build-with-claude/token-counting: "free to use"
    ),
    _row("moderations", "/moderations", _keyed("model input"), _for_each_text, _results_fault, ("results",)),
    _row(
        "rerank",
        "/rerank",
        _keyed(
            "model query documents top_n top_k return_documents rank_fields max_chunks_per_doc max_tokens_per_doc truncation"
        ),
        _top_documents,
        _ranks_fault,
        ("results", "data"),
    ),
)
"""The rows. Of none is there more than one kind of answer."""
