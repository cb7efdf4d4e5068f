"""The command line. It needs the extra `proxy`, and says so where that is missing."""

import sys

EXTRA = ("jinja2", "prometheus_client", "rich", "typer", "uvicorn")


def main() -> None:
    """Run `cachemw`, and exit."""
    try:
        from cachemw.cli.app import run
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] not in EXTRA:
            raise
        sys.exit("cachemw: the command line needs the extra: in a checkout of cachemw, python -m pip install '.[proxy]'")
    run()


__all__ = ["main"]
