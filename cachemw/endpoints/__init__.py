"""The endpoints whose answers are cached, in one registry. Each is read, judged and derived in a package of its own. Pure."""

from collections.abc import Mapping

from cachemw.endpoints.anthropic import MESSAGES
from cachemw.endpoints.base import Endpoint
from cachemw.endpoints.chat import CHAT
from cachemw.endpoints.completions import COMPLETIONS
from cachemw.endpoints.embeddings import EMBEDDINGS
from cachemw.endpoints.errors import OPENAI, ErrorShape
from cachemw.endpoints.responses import RESPONSES
from cachemw.endpoints.small import SMALL_ENDPOINTS

ENDPOINTS: tuple[Endpoint, ...] = (CHAT, MESSAGES, RESPONSES, COMPLETIONS, EMBEDDINGS, *SMALL_ENDPOINTS)
BY_NAME: Mapping[str, Endpoint] = {endpoint.name: endpoint for endpoint in ENDPOINTS}

__all__ = ["BY_NAME", "CHAT", "ENDPOINTS", "MESSAGES", "RESPONSES", "endpoint_of", "errors_at"]


def endpoint_of(method: str, path: str, chat_paths: tuple[str, ...]) -> Endpoint | None:
    """Return the endpoint that a request calls, if it is one of these; `path` is below `root_path`.

    The operator says how the paths of chat completions end, the endpoints of all others. What ends as theirs do by default is
    no other endpoint's: completions without a chat have the same last name.
    """
    if method != "POST":
        return None
    if path.endswith(chat_paths):
        return CHAT
    if path.endswith(CHAT.paths):
        return None
    return next((endpoint for endpoint in ENDPOINTS[1:] if _is_called(endpoint, path)), None)


def errors_at(path: str, chat_paths: tuple[str, ...]) -> ErrorShape:
    """Return the shape in which those read errors who ask for a path."""
    endpoint = endpoint_of("POST", path, chat_paths)
    return OPENAI if endpoint is None else endpoint.errors


def _is_called(endpoint: Endpoint, path: str) -> bool:
    """Say whether a path is an endpoint's; one may be asked for without the version, too, as a base URL without it does."""
    return path.endswith(endpoint.paths) or any(path == name.removeprefix("/v1") for name in endpoint.paths)
