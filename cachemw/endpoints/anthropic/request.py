"""Read a request for a message: its canonical form, and what makes its answer one that cannot be repeated."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from cachemw.endpoints.base import PLAIN, ApiCall, Bypass, Endpoint, Place
from cachemw.endpoints.bodies import AMBIGUOUS_STREAM, model_in, read_object
from cachemw.endpoints.canonical import Shape, canonical, each, left_out, number, ordered, turns, with_ordered
from cachemw.limits import Work
from cachemw.messages import Kind, Request, RouteTarget

CACHE_CONTROL = "cache_control"
"""What says how long the provider keeps a prompt: the name of a member, and of what stands as one in other places."""

CCH = "cch"
"""The name of the digest in the first text for the system, which a coding agent makes of every body."""

# Every documented member. One that is not here is in the key, for it may change the answer.
FIELDS: Mapping[str, Place] = {
    **dict.fromkeys(
        "model messages max_tokens system stop_sequences thinking tools tool_choice output_config temperature top_p top_k"
        " inference_geo speed user_profile_id workspace_id context_management fallbacks container mcp_servers".split(),
        Place.KEY,
    ),
    "stream": Place.TRANSPORT,
    **dict.fromkeys(("metadata", "service_tier", "diagnostics", CACHE_CONTROL), Place.BOOKKEEPING),
}

_CLIENT_RUN = ("bash_", "text_editor_", "computer_", "memory_")
"""How the types of those tools begin that the client runs, and the provider only describes."""

_BILLING = re.compile(
    r"(x-anthropic-billing-header:(?: (?!cch=)[a-z_]+=[^;\s]*;)*) cch=[0-9a-f]+;((?: (?!cch=)[a-z_]+=[^;\s]*;)*\s*)"
)


def read_messages(
    endpoint: Endpoint,
    request: Request,
    bookkeeping: frozenset[str] = frozenset(),
    work: Work = Work(),
    cache_stored: bool = False,
) -> ApiCall | Bypass:
    """Parse and canonicalise the request's body; `Bypass` where its answer cannot be cached.

    The arguments are those of `Endpoint.read`; a message is never stored upstream.
    """
    body = read_object(request, work, "no-messages")
    if isinstance(body, Bypass):
        return body
    if detail := _is_no_call(body) or _cannot_be_repeated(body):
        return Bypass(detail)
    return ApiCall(
        endpoint=endpoint,
        canonical=canonical(MESSAGES_SHAPE, body, left_out(MESSAGES_SHAPE, request.target, bookkeeping)),
        model=model_in(body),
        kind=Kind(stream=True) if body.get("stream") else PLAIN,
        bounded=True,  # by `max_tokens`, which has to be there
        members=body if isinstance(request.target, RouteTarget) else None,
    )


def _is_no_call(body: Mapping[str, Any]) -> str | None:
    """Name what a call has and this has not."""
    if not isinstance(body.get("messages"), list):
        return "no-messages"
    if body.get("max_tokens") is None:
        return "no-max-tokens"
    return None if isinstance(body.get("stream", False), bool) else AMBIGUOUS_STREAM


def _cannot_be_repeated(body: Mapping[str, Any]) -> str | None:
    """Name what makes an answer one that a stored response cannot stand in for: it depends on a state, or changes one."""
    if body.get("mcp_servers"):
        return "mcp-servers"
    tools, added = body.get("tools"), map(_added_tool, _objects_shown(body["messages"]))
    if not all(map(_is_run_by_client, [*(tools if isinstance(tools, list) else ()), *filter(None, added)])):
        return "server-tool"
    return account_state(body)


def account_state(body: Mapping[str, Any]) -> str | None:
    """Name what a request builds on that its account keeps; `None`: nothing."""
    kept = next((name for name in ("container", "thread") if body.get(name) is not None), None)
    return kept or ("file" if any(map(_names_file, _objects_shown(body.get("messages")))) else None)


def _added_tool(shown: Mapping[str, Any]) -> Any:
    """Return the tool that a block adds in the middle of a conversation; `None` where it adds none."""
    tool = shown.get("tool")
    return tool.get("definition", tool) if isinstance(tool, dict) else None


def _is_run_by_client(tool: Any) -> bool:
    of_type = tool.get("type") if isinstance(tool, dict) else ""
    return of_type is None or isinstance(of_type, str) and (of_type == "custom" or of_type.startswith(_CLIENT_RUN))


def _names_file(shown: Mapping[str, Any]) -> bool:
    """Say whether it is a file of the provider's, which can be deleted: a source, or what goes into a container."""
    return shown.get("type") in ("file", "container_upload")


def _objects_shown(messages: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the messages, the blocks in them, what is in those, and their sources; not the inputs of tools."""
    left: list[Any] = [messages]
    while left:
        value = left.pop()
        if isinstance(value, list):
            left += value
        elif isinstance(value, dict):
            yield value
            left += (value.get("content"), value.get("source"))


def _bare(body: Mapping[str, Any], parts: frozenset[str]) -> Mapping[str, Any]:
    """Return a body without these parts, each at its own places: elsewhere a name may be anybody's."""
    bare = dict(body)
    if CCH in parts and "system" in bare:
        bare["system"] = _without_digest(bare["system"])
    if CACHE_CONTROL in parts:
        bare |= {name: _each_without_control(bare[name]) for name in ("system", "tools") if name in bare}
        bare["messages"] = [_message_without_control(message) for message in bare["messages"]]
    return bare


def _without_digest(system: Any) -> Any:
    """Return what is said to the system without the digest in its first text, if that text is of its form as a whole."""
    if not isinstance(system, list) or not system or not isinstance(first := system[0], dict):
        return system
    text = first.get("text")
    found = _BILLING.fullmatch(text) if isinstance(text, str) else None
    return system if found is None else [first | {"text": found[1] + found[2]}, *system[1:]]


def _message_without_control(message: Any) -> Any:
    if not isinstance(message, dict) or not isinstance(message.get("content"), list):
        return message
    return {**message, "content": [_block_without_control(block) for block in message["content"]]}


def _block_without_control(block: Any) -> Any:
    block = _without_control(block)
    if isinstance(block, dict) and "content" in block:
        block["content"] = _each_without_control(block["content"])
    return block


def _each_without_control(value: Any) -> Any:
    return [_without_control(one) for one in value] if isinstance(value, list) else value


def _without_control(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: member for name, member in value.items() if name != CACHE_CONTROL}


MESSAGES_SHAPE = Shape(
    FIELDS,
    {
        **dict.fromkeys(("temperature", "top_p"), number),
        **dict.fromkeys(("tool_choice", "thinking", "output_config"), ordered),
        "messages": turns(with_ordered("source")),
        "system": each(ordered),
    },
    parts=frozenset({CACHE_CONTROL, CCH}),
    bare=_bare,
)
