"""TOML files: what their values are called, and on which lines their tables and members stand."""

import re
import tomllib
from collections.abc import Iterator, Mapping

TomlPath = tuple[str, ...]
"""The names that lead to a table or to a member, as `("routes", "auto", "targets")`."""

_NAMES: Mapping[type, str] = {bool: "a boolean", int: "an integer", float: "a float", list: "an array", dict: "a table"}

_PIECE = re.compile(
    "|".join(
        (
            r'"""(?:\\[\s\S]|[^\\])*?"""(?:"{0,2})',
            r"'''[\s\S]*?'''(?:'{0,2})",
            r'"(?:\\.|[^"\\\n])*"',
            r"'[^'\n]*'",
            r"#[^\n]*",
            r"[\[\]{}\n]",
            r"""[^"'#\[\]{}\n]+""",
        )
    )
)
_KEY = re.compile(r"""\s*((?:"(?:\\.|[^"\\\n])*"|'[^'\n]*'|[^="'\n])+)=""")


def toml_name(value: object) -> str:
    """Return what TOML calls a value."""
    return _NAMES.get(type(value), "a string" if isinstance(value, str) else "a date or a time")


class TomlLines:
    """The lines of a sound TOML file on which its tables and members begin."""

    def __init__(self, text: str) -> None:
        self._lines: dict[TomlPath, int] = {}
        table: TomlPath = ()
        for line, statement in _statements(text.replace("\r\n", "\n")):
            if statement.startswith("["):
                table = _names(statement.strip().strip("[]"))
                self._note(table, line)
            elif key := _KEY.match(statement):
                self._note((*table, *_names(key[1])), line)

    def _note(self, path: TomlPath, line: int) -> None:
        for length in range(1, len(path) + 1):
            self._lines.setdefault(path[:length], line)

    def of(self, path: TomlPath) -> int:
        """Return the line of what a path leads to; of the nearest that it lies in where it has none of its own."""
        return next((self._lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in self._lines), 1)


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Yield the headers and the members of a file, without comments, each with the number of its first line."""
    line, begun, parts, depth = 1, 1, list[str](), 0
    for piece in _PIECE.findall(text):
        if piece == "\n" and not depth:
            yield begun, "".join(parts).strip()
            line, begun, parts = line + 1, line + 1, []
            continue
        line += piece.count("\n")
        depth += (piece in ("[", "{")) - (piece in ("]", "}"))
        if not piece.startswith("#"):
            parts.append(piece)
    yield begun, "".join(parts).strip()


def _names(dotted: str) -> TomlPath:
    """Read a key as TOML does, whose parts may be quoted."""
    found: object = tomllib.loads(f"{dotted.strip()} = 0")
    names: list[str] = []
    while isinstance(found, dict):
        ((name, found),) = found.items()
        names.append(name)
    return tuple(names)
