"""The endpoints whose answers are cached, in one registry. Each is read, judged and derived in a package of its own. Pure."""

from cachemw.endpoints.base import Endpoint
from cachemw.endpoints.chat import CHAT
from cachemw.endpoints.completions import COMPLETIONS
from cachemw.endpoints.embeddings import EMBEDDINGS
from cachemw.endpoints.small import SMALL_ENDPOINTS

ENDPOINTS: tuple[Endpoint, ...] = (CHAT, COMPLETIONS, EMBEDDINGS, *SMALL_ENDPOINTS)

__all__ = ["CHAT", "ENDPOINTS", "endpoint_of"]


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
    return next((endpoint for endpoint in ENDPOINTS[1:] if path.endswith(endpoint.paths)), None)
