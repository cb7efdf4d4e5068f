"""Instructor around the OpenAI SDK: a pydantic model out of a tool call, whole and piece by piece. It shows no headers."""

from typing import Any

import httpx2
import instructor
import openai
from pydantic import BaseModel

from tests.peers.telling import KEY, MODEL, Ask, Hits, Seen, arguments, messages, tell
from tests.peers.through import sdk_options


class City(BaseModel):
    """A city."""

    name: str
    inhabitants: int
    is_capital: bool


def about(question: str) -> dict[str, Any]:
    return {"model": MODEL, "messages": messages(question), "response_model": City, "max_retries": 0}


def streamed(cities: list[Any]) -> Seen:
    return Seen(text=City.model_validate(cities[-1].model_dump()).model_dump_json(), chunks=len(cities))


def waiting(client: Any) -> dict[str, Ask]:
    return {
        "JSON": lambda: Seen(text=client.create(**about("JSON")).model_dump_json()),
        "stream": lambda: streamed(list(client.create_partial(**about("stream")))),
    }


def awaiting(client: Any) -> dict[str, Ask]:
    async def create() -> Seen:
        return Seen(text=(await client.create(**about("async JSON"))).model_dump_json())

    async def stream() -> Seen:
        return streamed([city async for city in client.create_partial(**about("async stream"))])

    return {"async JSON": create, "async stream": stream}


def main() -> None:
    hits, (url, directory) = Hits(), arguments()
    shared = {"base_url": f"{url}/v1", "api_key": KEY, "max_retries": 0}
    sync_options, async_options = sdk_options(httpx2, shared, directory, hits)
    client = instructor.from_openai(openai.OpenAI(**sync_options), mode=instructor.Mode.TOOLS)
    async_client = instructor.from_openai(openai.AsyncOpenAI(**async_options), mode=instructor.Mode.TOOLS)
    tell(waiting(client) | awaiting(async_client), hits)


if __name__ == "__main__":
    main()
