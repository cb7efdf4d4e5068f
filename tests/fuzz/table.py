"""Every target there is. Each is a module with a function `fuzz_one`, and has seeds in a folder of its name."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
WORDS = Path(__file__).parent / "tokens.dict"
TARGETS = ("canonicaliser", "event_stream", "record", "control", "file_form")

Target = Callable[[bytes], None]


def target(name: str) -> Target:
    """Return the function of this name. It is imported only now, so that atheris sees the import."""
    fuzz_one: Target = import_module(f"tests.fuzz.{name}").fuzz_one
    return fuzz_one


def seeds(name: str) -> list[Path]:
    """Return the files of the target's corpus."""
    return sorted(path for path in (CORPUS / name).iterdir() if path.is_file())
