"""What a Chat Completions upstream takes of what Messages can say, as data: one row for each provider, and its models.

A row says what there is evidence for, and else what most take; a translation tells what a row has no place for.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from cachemw.redaction import redacted_repr


class ChatRow(msgspec.Struct, frozen=True, kw_only=True):
    """What one chat upstream takes.

    `token_limit` is the member that bounds an answer: never both of them. `asks_usage`: its streams say what they took only
    where `stream_options` ask for it. `reasoning` is the member in which an assistant's earlier reasoning goes back; without
    one it does not. `efforts` are the values of `reasoning_effort` that it knows; `budgets` say from how many tokens of
    thinking on each of them is meant, the largest first. `text_only`: content of system, tool and assistant messages is a
    string and no list of parts. `longest_name` is how many characters the name of a tool has at most. `system_anywhere`: a
    system message may stand between others. `continues`: it goes on with an assistant message that is the last. `names_stop`:
    its choices say which stop sequence was hit. `format_with_tools`: it takes a format of the answer beside tools.
    `output_limit` is how many tokens an answer of its model has at most, where that is known. `user`: it takes that member, and
    only counts by it: to others it is not sent, for an agent has another one in each run, and would never hit.
    """

    token_limit: str = "max_tokens"  # noqa: S105 (the name of a member)
    asks_usage: bool = True
    reasoning: str | None = None
    efforts: frozenset[str] = frozenset()
    budgets: tuple[tuple[int, str], ...] = ((4096, "high"), (2048, "medium"), (1024, "low"), (0, "minimal"))  # LiteLLM's
    text_only: bool = True
    images: bool = True
    documents: bool = False
    longest_name: int = 64
    system_anywhere: bool = True
    continues: bool = False
    names_stop: bool = False
    format_with_tools: bool = True
    top_k: bool = False
    parallel_tool_calls: bool = True
    user: bool = False
    output_limit: int | None = None

    __repr__ = redacted_repr


def chat_row(provider: str | None, model: str | None) -> ChatRow:
    """Return what a model takes at a provider, by the name that `cachemw.upstreams.providers` has for it, or at any URL."""
    row = _ROWS.get(provider or "", _ANY)
    if model is None:
        return row
    changes: dict[str, Any] = {}
    for pattern, members in (*_ANYWHERE, *_MODELS.get(provider or "", ())):
        if pattern.search(model):
            changes.update(members)
    return replace(row, **changes) if changes else row


_LOW_TO_HIGH = frozenset({"low", "medium", "high"})

_ANY = ChatRow()
_ROWS: Mapping[str, ChatRow] = {
    # wire.md §1: both limits at once are a 400, as is every unknown member; `reasoning` is taken in history and
    # `reasoning_content` is not; usage comes unasked (§2.2). Its SDK types system and tool content as text or parts.
    "cerebras": ChatRow(
        token_limit="max_completion_tokens",  # noqa: S106 (the name of a member)
        asks_usage=False,
        reasoning="reasoning",
        efforts=_LOW_TO_HIGH | {"none"},
        text_only=False,
        user=True,
    ),
    # Its API reference: parts of text in every message, `file` parts in a user's; which models reason is below.
    "openai": ChatRow(token_limit="max_completion_tokens", text_only=False, documents=True, user=True),  # noqa: S106
    # gateway.md §6: `reasoning_effort` is mapped, and some values are refused: these three are those that it maps.
    "gemini": ChatRow(efforts=_LOW_TO_HIGH),
    # gateway.md §6: 422 for any unknown member, formerly for `stream_options` too; usage comes unasked.
    "mistral": ChatRow(asks_usage=False),
    # gateway.md §6: usage stands in `x_groq` of the last chunk, unasked.
    "groq": ChatRow(asks_usage=False, user=True),
    # As `cachemw.upstreams.providers` has it, these only count by a `user`.
    **dict.fromkeys(("deepinfra", "xai", "openrouter"), ChatRow(user=True)),
}

_MODELS: Mapping[str, tuple[tuple[re.Pattern[str], Mapping[str, Any]], ...]] = {
    # wire.md §4: its most tokens out, the lesser where paid and free differ; §1: an image is a 422 for a text model, and
    # gpt-oss takes no format beside tools. That gpt-oss cannot but reason is its makers' word.
    "cerebras": (
        (
            re.compile(r"^gpt-oss"),
            {"efforts": _LOW_TO_HIGH, "format_with_tools": False, "output_limit": 32_768},
        ),
        (re.compile(r"^(?:zai-glm|llama-?3)"), {"images": False}),
        (re.compile(r"^zai-glm-4\.7"), {"output_limit": 40_000}),
        (re.compile(r"^qwen-3\.8-27b"), {"output_limit": 32_768}),
        (re.compile(r"^gemma-4-31b"), {"output_limit": 40_960}),
    ),
    # As the gateway's `needs` has it: these reason, and know these efforts whatever their version.
    "openai": ((re.compile(r"^(?:o[0-9]|gpt-5)(?!.*chat)"), {"efforts": _LOW_TO_HIGH}),),
}
_ANYWHERE: tuple[tuple[re.Pattern[str], Mapping[str, Any]], ...] = (
    (re.compile(r"(?i)(?:^|/)gpt-oss"), {"images": False}),
    # vllm#48874: with a system message later on, the template has the model stop calling tools
    (re.compile(r"(?i)(?:^|/)qwen"), {"system_anywhere": False}),
)
