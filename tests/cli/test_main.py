"""The entry point: what holds for every command."""

from collections.abc import Callable

import pytest

import cachemw
from tests.cli.command import Command, Done, refusal

BLOCKED = "import sys; sys.modules[{!r}] = None; from cachemw.cli import main; main()"


def test_the_version_is_shown(here: Callable[..., Done]) -> None:
    done = here("--version")

    assert (done.returncode, done.stdout) == (0, f"cachemw {cachemw.__version__}\n")


def test_without_a_command_there_is_help_and_it_names_every_command(here: Callable[..., Done]) -> None:
    done = here()

    assert done.returncode == 2
    for name in ("serve", "check", "simulate", "demo", "stats", "ls", "show", "purge"):
        assert f"  {name} " in done.stdout + done.stderr


@pytest.mark.parametrize("package", ["typer", "rich", "uvicorn"])
def test_without_the_extra_one_line_says_what_to_install(command: Command, package: str) -> None:
    done = command.python("-c", BLOCKED.format(package))

    assert refusal(done) == "the command line needs the extra: in a checkout of cachemw, python -m pip install '.[proxy]'"


def test_a_module_that_is_missing_but_not_of_the_extra_is_not_blamed_on_it(command: Command) -> None:
    done = command.python("-c", BLOCKED.format("msgspec"))

    assert "ModuleNotFoundError" in done.stderr
    assert "the extra" not in done.stderr


def test_importing_the_package_imports_nothing_of_the_extra(command: Command) -> None:
    done = command.python("-c", "import sys, cachemw.cli; print({'typer', 'rich', 'uvicorn'} & set(sys.modules))")

    assert done.stdout == "set()\n"
