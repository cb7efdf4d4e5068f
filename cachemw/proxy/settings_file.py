"""The file of settings: the members of `[serve]`, and whether there are tables for a gateway."""

import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from cachemw.errors import ConfigurationError
from cachemw.formats import Format
from cachemw.gateway.config import GATEWAY_TABLES, SETTINGS_TABLE, has_gateway
from cachemw.toml import toml_name

Given = tuple[str, Callable[[Any], Any], object, str]
"""The name of a setting, how it is read, what it is given, and where."""


def from_file(path: str, forms: Mapping[str, Format[Any]]) -> Iterator[Given | ConfigurationError]:
    """Read the members of `[serve]`; the gateway reads its own tables, and says so of those that nobody reads.

    Where it has none of its own, what else there is is refused here, and named without its value.
    """
    try:
        document = _document(path)
    except ConfigurationError as exc:
        yield exc
        return
    if has_gateway(document):
        yield from of_gateway(path, has_clients=bool(document.get("clients")))
    elif unknown := [name for name in document if name != SETTINGS_TABLE]:
        shown = ", ".join(f"{name!r}{meant(name, GATEWAY_TABLES)}" for name in unknown)
        tables = ", ".join(f"[{table}]" for table in (SETTINGS_TABLE, *GATEWAY_TABLES))
        yield ConfigurationError(f"unknown in {path}: {shown}; there may be {tables}")
    section = document.get(SETTINGS_TABLE, {})
    if not isinstance(section, dict):
        yield ConfigurationError(f"{SETTINGS_TABLE} in {path} is a table, [{SETTINGS_TABLE}], not {toml_name(section)}")
        return
    if unknown := [name for name in section if name not in forms]:
        named = [(repr(name), meant(name, forms)) for name in unknown]
        there_may_be = "" if all(likely for _, likely in named) else f"; there may be {', '.join(forms)}"
        yield ConfigurationError(f"unknown in [{SETTINGS_TABLE}] of {path}: {', '.join(map(''.join, named))}{there_may_be}")
    for name, value in section.items():
        if name in forms:
            yield name, forms[name].from_toml, value, f"{name} in [{SETTINGS_TABLE}] of {path}"


def _document(path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as exc:
        raise ConfigurationError(f"cannot read {path}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise ConfigurationError(f"{path} is not UTF-8") from exc
    except (ValueError, RecursionError) as exc:  # TOML's own error, or Python's of a number with thousands of digits
        raise ConfigurationError(f"{path} is not TOML: {exc}") from exc


def of_gateway(path: str, *, has_clients: bool) -> Iterator[Given]:
    """Yield what the settings are told of a file with tables for a gateway."""
    yield "config", as_it_is, path, path
    yield "has_clients", as_it_is, has_clients, path


def as_it_is(value: Any) -> Any:
    """Read what has been read already."""
    return value


def meant(unknown: str, known: Iterable[str], prefix: str = "") -> str:
    """Return a question for the known name that was probably meant by an unknown one; nothing where there is none."""
    likely = get_close_matches(unknown, known, 1, 0.8)
    return f" (is it {prefix}{likely[0]}?)" if likely else ""
