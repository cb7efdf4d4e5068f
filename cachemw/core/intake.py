"""What comes in: is it a chat request, and did its client opt in?"""

import msgspec

from cachemw.core.chat import is_chat
from cachemw.core.directives import CONTROL_HEADER, Directives, InvalidControl, read_directives
from cachemw.core.headers import without
from cachemw.core.messages import Headers
from cachemw.core.policy import Policy


class NotChat(msgspec.Struct, frozen=True):
    """Passes untouched; one that opted in all the same loses its control header, for clients put that in their defaults."""

    opted_in: bool
    headers: Headers


class NotAsked(msgspec.Struct, frozen=True):
    """A chat request whose client did not opt in."""


def take_in(method: str, path: str, headers: Headers, policy: Policy) -> NotChat | NotAsked | InvalidControl | Directives:
    """Say what a request is to us; `path` is below `root_path`."""
    asked = read_directives(headers, policy.default, policy.honour)
    if is_chat(method, path, policy):
        return NotAsked() if asked is None else asked
    if asked is None:
        return NotChat(False, headers)
    return NotChat(True, without(headers, (CONTROL_HEADER,)))
