"""What the Anthropic SDK raises: each answer is an error, and is told by its class, status, type and message."""

from typing import Any

import anthropic

from tests.peers.telling import HEADERS, KEY, MODEL, arguments, in_words, messages

ERRORS = 3
"""How many answers are errors from their head on; then a stream breaks."""


def main() -> None:
    url, _ = arguments()
    client = anthropic.Anthropic(base_url=url, api_key=KEY, max_retries=0, default_headers=HEADERS)
    print(in_words([raised(client, f"error {number}", stream=number == ERRORS) for number in range(ERRORS + 1)]))


def raised(client: Any, question: str, **more: Any) -> list[Any]:
    try:
        list(client.messages.create(model=MODEL, max_tokens=100, messages=messages(question), **more))
    except anthropic.APIStatusError as error:
        body: Any = error.body
        return [type(error).__name__, error.status_code, body["error"]["type"], body["error"]["message"]]
    return ["nothing"]


if __name__ == "__main__":
    main()
