"""Sketches of made-up requests: their parts are told apart by their texts, as a store's are by their codes."""

import hashlib
import random
from collections.abc import Mapping

import msgspec

from cachemw.cache.sketch import URL, Sketch, SketchPart

Members = Mapping[str, object]


def sketch(members: Members, caller: str = "me", url: str = "https://api.example/v1/chat/completions") -> Sketch:
    """Return the sketch of a request with these members; lists have a part for each element, as those of messages have."""
    circumstances = {URL: url}
    parts = [
        SketchPart(name, _code(caller, name, value))
        for name, value in (circumstances | dict(members)).items()
        if not isinstance(value, list)
    ]
    listed = [(name, value) for name, value in members.items() if isinstance(value, list)]
    parts += [
        SketchPart(f"{name}[{place}]", _code(caller, name, one)) for name, value in listed for place, one in enumerate(value)
    ]
    body = _code("", "body", members)
    return Sketch(_code("", "caller", caller), body, _code("", "whole", [url, members]), tuple(parts))


def _code(caller: str, name: str, value: object) -> bytes:
    return hashlib.blake2b(msgspec.json.encode([caller, name, value]), digest_size=8).digest()


def traffic(count: int, seed: int) -> list[dict[str, object]]:
    """Return requests as an application makes them: 4 models, 20 system prompts, conversations that share their openings."""
    chance = random.Random(seed)
    openings = [f"opening {number}" for number in range(200)]
    requests: list[dict[str, object]] = []
    for number in range(count):
        turns = [f"system {chance.randrange(20)}", chance.choice(openings)]
        turns += [f"turn {number} {place}" for place in range(chance.choice((0, 0, 2, 4, 8, 16)))]
        requests.append(
            {
                "model": f"model-{chance.randrange(4)}",
                "temperature": chance.choice((0, 0.2, 0.7, 1)),
                "max_tokens": chance.choice((256, 1024, 4096)),
                "seed": chance.randrange(50),
                "messages": turns,
                **({"tools": [f"tool {place}" for place in range(chance.randrange(1, 8))]} if number % 3 else {}),
            }
        )
    return requests


def changed(members: Members, chance: random.Random) -> tuple[dict[str, object], str]:
    """Return a request that differs in one part, and the name of that."""
    requests = dict(members)
    name = chance.choice(sorted(members))
    value = members[name]
    if not isinstance(value, list):
        return requests | {name: f"another {chance.random()}"}, name
    place = chance.randrange(len(value))
    return requests | {name: [*value[:place], f"another {chance.random()}", *value[place + 1 :]]}, f"{name}[{place}]"
