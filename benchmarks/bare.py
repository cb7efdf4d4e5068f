"""`python -m benchmarks.bare FILE`: the least an ASGI app can do for the same answer, on the same server."""

import json
import sys
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from cachemw.cli.listening import listen, url_of
from cachemw.cli.serve import configured, run


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to give again: its head's fields, and its body in the pieces it came in."""

    headers: list[tuple[str, str]]
    pieces: list[str]

    def save(self, path: Path) -> None:
        """Write it where `read` finds it."""
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> "Answer":
        """Read what `save` wrote."""
        return cls(**json.loads(path.read_text()))


def app(answer: Answer) -> ASGIApp:
    """Return the app."""
    start = {
        "type": "http.response.start",
        "status": 200,
        "headers": [(name.encode(), value.encode()) for name, value in answer.headers],
    }
    pieces = [piece.encode() for piece in answer.pieces]
    bodies = [
        {"type": "http.response.body", "body": piece, "more_body": place < len(pieces)}
        for place, piece in enumerate(pieces, start=1)
    ]

    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError  # which is how an app says that it has no lifespan
        while (await receive()).get("more_body", False):
            pass
        await send(start)
        for body in bodies:
            await send(body)

    return respond


def main() -> None:
    with listen("127.0.0.1", 0) as listener:
        said = f"the bare app listens on {url_of(listener)}"
        run(configured(app(Answer.read(Path(sys.argv[1]))), "warning"), listener, partial(print, said, flush=True))


if __name__ == "__main__":
    main()
