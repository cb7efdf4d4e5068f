"""The page about Anthropic says of each member what the code makes of it."""

import re
from collections.abc import Mapping

import pytest

from cachemw.endpoints.anthropic.request import FIELDS as MESSAGES_FIELDS
from cachemw.endpoints.base import Place
from cachemw.endpoints.chat.request import FIELDS as CHAT_FIELDS
from tests.translation.chat_member_rows import CHAT_ROWS
from tests.translation.member_rows import TOLD, MemberRow
from tests.translation.messages_member_rows import MESSAGES_ROWS

ROWS = [
    *(pytest.param(row, id=f"Messages: {row.members}") for row in MESSAGES_ROWS),
    *(pytest.param(row, id=f"Chat: {row.members}") for row in CHAT_ROWS),
]
"""Of each row the third column of the page is made of its first request: `tests/test_readme.py` compares them."""


@pytest.mark.parametrize("row", ROWS)
def test_a_member_is_exact_or_told_or_refused_as_its_row_says(row: MemberRow) -> None:
    """Translation §3.1, §3.2: and one other than its own is neither told nor named."""
    verdicts = [row.verdict_on(request) for request in (row.request, *row.also)]

    assert {verdict.partition(":")[0] for verdict in verdicts} == {row.way}
    assert all(verdict.count("=") == (row.way == TOLD) for verdict in verdicts)


@pytest.mark.parametrize(
    ("rows", "fields"),
    [pytest.param(MESSAGES_ROWS, MESSAGES_FIELDS, id="Messages"), pytest.param(CHAT_ROWS, CHAT_FIELDS, id="Chat")],
)
def test_every_member_that_is_documented_has_a_row_or_is_told_as_one_that_nobody_knows(
    rows: tuple[MemberRow, ...], fields: Mapping[str, Place]
) -> None:
    """Translation §3.1, §3.2."""
    named = {word for row in rows for word in re.findall(r"[a-z_]+", row.members)}
    plain = rows[0]

    unnamed = sorted(fields.keys() - named - {"messages"})

    assert [name for name in unnamed if plain.verdict_on({**plain.request, name: "x"}) != f"told: `{name}=dropped`"] == []
