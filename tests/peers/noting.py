"""What a server or framework hands over at the place where the middleware stands: names only, each noted once a process.

A line of the file says of what a name is a member: `scope`, `extensions` or `environ`.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Name = tuple[str, str]
"""Of what, and which."""

FILE = "names"


def noted_asgi(app: Any) -> Any:
    """Return an app that notes what its requests' scopes hold, and then is this one."""
    noted: set[Name] = set()

    async def note_and_call(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            extensions = scope.get("extensions") or {}
            _note({*(("scope", name) for name in scope), *(("extensions", name) for name in extensions)}, noted)
        await app(scope, receive, send)

    return note_and_call


def noted_wsgi(app: Any) -> Any:
    """Return an app that notes what its requests' environments hold, and then is this one.

    `wsgiref` and others put the process's own environment there too, which is no request's.
    """
    noted: set[Name] = set()

    def note_and_call(environ: Any, start_response: Any) -> Iterable[bytes]:
        _note({("environ", name) for name, value in environ.items() if os.environ.get(name) != value}, noted)
        answer: Iterable[bytes] = app(environ, start_response)
        return answer

    return note_and_call


def names_in(directory: Path) -> set[Name]:
    """Return what the processes of a server have noted."""
    lines = (directory / FILE).read_text().splitlines()
    return {(of, name) for of, _, name in (line.partition(" ") for line in lines)}


def _note(names: set[Name], noted: set[Name]) -> None:
    new = names - noted
    noted |= new
    lines = "".join(f"{of} {name}\n" for of, name in sorted(new))
    if lines:
        with (Path(os.environ["PEER_DIRECTORY"]) / FILE).open("a") as file:
            file.write(lines)  # one write: other processes note too
