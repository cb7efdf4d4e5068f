"""An agent of the Anthropic SDK alone: a loop that calls tools until there is text. It prints the whole conversation.

python agent.py BASE_URL [json]   in streams; or not
"""

import sys
from typing import Any

import anthropic

from tests.peers.telling import KEY, in_words, messages

QUESTION = "What is this? [tools read_file, list_files+read_file, list_files x1]"
MODEL = "claude-opus-5"
TURNS = 4
THINKING = {"type": "enabled", "budget_tokens": 1024}
TOOLS = [
    {
        "name": name,
        "description": f"{name} of a path",
        "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
    }
    for name in ("read_file", "list_files")
]


def main() -> None:
    url, *kind = sys.argv[1:]
    client = anthropic.Anthropic(base_url=url, api_key=KEY, max_retries=0)
    said = run(client, is_streamed=not kind)
    print(in_words({"stop": said[-1]["stop"], "turns": said}))


def run(client: Any, *, is_streamed: bool) -> list[dict[str, Any]]:
    """Ask, call what is to be called, and ask again; return each answer."""
    conversation, answers = messages(QUESTION), []
    for _ in range(TURNS):
        answer = ask(client, conversation, is_streamed=is_streamed)
        answers.append({"stop": answer.stop_reason, "answer": answer})
        if answer.stop_reason != "tool_use":
            break
        conversation.append({"role": "assistant", "content": answer.content})
        conversation.append({"role": "user", "content": results_of(answer)})
    return answers


def ask(client: Any, conversation: list[Any], *, is_streamed: bool) -> Any:
    options = {"model": MODEL, "max_tokens": 4096, "tools": TOOLS, "thinking": THINKING, "system": "You are an agent."}
    if not is_streamed:
        return client.messages.create(messages=conversation, **options)
    with client.messages.stream(messages=conversation, **options) as stream:
        return stream.get_final_message()


def results_of(answer: Any) -> list[dict[str, Any]]:
    calls = [block for block in answer.content if block.type == "tool_use"]
    return [
        {"type": "tool_result", "tool_use_id": call.id, "content": f"{call.name}: {in_words(call.input)}"} for call in calls
    ]


if __name__ == "__main__":
    main()
