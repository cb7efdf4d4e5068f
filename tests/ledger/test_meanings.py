"""The meanings of details are those that the documentation tells."""

import re

import pytest

from cachemw.ledger.meanings import MEANINGS, meaning_of
from tests.house import PACKAGE

PAGE = (PACKAGE.parent / "docs" / "cache-status.md").read_text()
TABLE = PAGE.split("| `detail` | meaning | what to do |", 1)[1].split("A stream's head leaves", 1)[0]
LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")


def documented() -> dict[str, str]:
    """Return what the table of `docs/cache-status.md` says each detail means, without its links."""
    told: dict[str, str] = {}
    for names, meaning in re.findall(r"^\| (`.*?) \| (.*?) \| .* \|$", TABLE, re.MULTILINE):
        plain = LINK.sub(r"\1", meaning.replace(": [how]", "[how]")).removesuffix("how")
        told |= {name.removesuffix("…"): plain for name in re.findall(r"`([^`]+)`", names)}
    return {name: meaning for name, meaning in told.items() if name != "was-"}


def test_every_detail_means_what_the_documentation_says() -> None:
    """E1: to change one is to change both."""
    assert {name: meaning for name, meaning in MEANINGS.items() if name != "was-"} == documented()


@pytest.mark.parametrize(
    ("detail", "beginning"),
    [
        ("not-200", "not kept: the upstream gave another status"),
        ("finish-length", "not kept: that finish reason is not in"),
        ("ignored-ttl", "this member, of `Cachemw`"),
        ("was-not-200", "the last answer to this request was not kept: the upstream gave another status"),
        ("was-finish-x", "the last answer to this request was not kept: that finish reason"),
        ("partial-17-of-64", "`partial-17-of-64`: 17 of 64 inputs"),
        ("partial-unfit", "what the provider said of some inputs did not fit"),
        ("nobody-knows", "nobody-knows"),
    ],
)
def test_the_meaning_of_a_detail(detail: str, beginning: str) -> None:
    assert meaning_of(detail).startswith(beginning)
