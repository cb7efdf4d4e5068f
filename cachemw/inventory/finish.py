"""The reasons for which a stored answer ended: its finish reasons, in its own words and in those of chat completions. Pure."""

import re
from collections.abc import Iterator
from itertools import pairwise

from cachemw.endpoints import ENDPOINTS
from cachemw.endpoints.anthropic.judge import AS_CHAT_SAYS
from cachemw.endpoints.base import Endpoint
from cachemw.messages import StoredResponse
from cachemw.wire.sse import Parser

_BY_NAME = {endpoint.name: endpoint for endpoint in ENDPOINTS}
_MAY_SAY = re.compile(rb'_reason"\s*:\s*"|"response\.(?:completed|incomplete)"')
"""What stands in an event that may say why the answer ended: of a stream, nearly none do."""


def finish_reasons(stored: StoredResponse) -> tuple[str, ...]:
    """Return why each of the choices of an answer ended, once each; nothing where its endpoint has no such reasons."""
    endpoint = _BY_NAME.get(stored.endpoint)
    if endpoint is None or not endpoint.writes:
        return ()
    said = dict.fromkeys(_said(stored, endpoint))
    return tuple(dict.fromkeys(word for reason in said for word in (reason, AS_CHAT_SAYS.get(reason, reason))))


def _said(stored: StoredResponse, endpoint: Endpoint) -> Iterator[str]:
    if not stored.kind.stream:
        yield from endpoint.begins(stored.body, is_whole=True).finish_reasons
        return
    for start, end in pairwise((0, *stored.event_ends)):
        piece = stored.body[start:end]
        if _MAY_SAY.search(piece):
            for event in Parser(ends=endpoint.ends).feed(piece):
                yield from endpoint.begins(event.data, is_whole=False).finish_reasons
