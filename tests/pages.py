"""The pages of the documentation, and the blocks of code in them."""

import re
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"
ADDRESS = "http://127.0.0.1:8080"
"""Where the proxy listens, as the pages write it."""


def blocks(page: str, language: str) -> list[tuple[str, str]]:
    """Return the blocks in a language on a page of `docs/`, each behind the title of the section that it stands in."""
    _, *sections = re.split(r"^## ", (DOCS / page).read_text(), flags=re.MULTILINE)
    return [
        (section.splitlines()[0], block)
        for section in sections
        for block in re.findall(rf"^```{language}\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    ]
