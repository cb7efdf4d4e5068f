"""What becomes of each member in the other dialect: the rows of two tables of `docs/anthropic.md`, and what the code says."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from cachemw.translation.base import Translated, Untranslatable
from cachemw.translation.chat_rows import chat_row
from cachemw.translation.chat_to_messages import chat_to_messages
from cachemw.translation.claude_rows import claude_row
from cachemw.translation.messages_to_chat import messages_to_chat

EXACT, TOLD, REFUSED = "exact", "told", "refused"

Request = Mapping[str, Any]


class MemberRow(msgspec.Struct, frozen=True):
    """A row of a table: members, what they become, in which way, and a request that has one, for a model of a provider.

    `also` are requests that have another of the members: of each the same is true.
    """

    members: str
    becomes: str
    way: str
    request: Request
    provider: str | None
    model: str
    also: tuple[Request, ...] = ()

    @property
    def verdict(self) -> str:
        """What the page says of it, as the code has it."""
        return self.verdict_on(self.request)

    def verdict_on(self, request: Request) -> str:
        """What the code makes of a request."""
        result = self._said(request)
        if isinstance(result, Untranslatable):
            return f"{REFUSED}: `{result.member}`"
        told = " ".join(f"`{member}={became}`" for member, became in result.told)
        return f"{TOLD}: {told}" if told else EXACT

    def _said(self, request: Request) -> Translated | Untranslatable:
        asked = {"model": self.model, **request}
        if self.provider == "anthropic":
            return chat_to_messages(asked, claude_row(self.model))
        return messages_to_chat(asked, chat_row(self.provider, self.model))


def member_table(title: str, rows: Sequence[MemberRow]) -> Iterator[str]:
    """The table of a direction."""
    yield f"| {title} | becomes | |"
    yield "|---|---|---|"
    for row in rows:
        yield f"| {row.members} | {row.becomes} | {row.verdict} |"
