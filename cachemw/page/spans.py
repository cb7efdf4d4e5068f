"""Spans of time that a view can be of: the last hour, day, week or month, each in steps of its own."""

from dataclasses import dataclass
from datetime import UTC, datetime

from cachemw.page.figures import DAY, HOUR, MINUTE
from cachemw.redaction import redacted_repr


@dataclass(frozen=True, slots=True)
class PageSpan:
    """A span up to now: its `word` in the address, its `name`, its length, and the `step` of its charts in minutes."""

    word: str
    name: str
    seconds: int
    step: int
    labelled: int
    form: str

    __repr__ = redacted_repr

    def label(self, begins: int) -> str:
        """Return what stands below the step that begins at this second: nothing below most of them."""
        then = self._then(begins)
        of_day = then.hour * HOUR + then.minute * MINUTE
        if self.labelled > DAY:
            return then.strftime(self.form) if begins % self.labelled == 0 else ""
        return then.strftime(self.form) if of_day % self.labelled < self.step * MINUTE else ""

    def day(self, begins: int) -> str:
        """Return the day that begins at this second, in UTC."""
        return datetime.fromtimestamp(begins, UTC).date().isoformat()

    def title(self, begins: int) -> str:
        """Return the name of the step that begins at this second."""
        return self._then(begins).strftime("%Y-%m-%d" if self.step * MINUTE >= DAY else "%Y-%m-%d %H:%M")

    def _then(self, begins: int) -> datetime:
        """Return a moment where this machine is; of whole days, which are those of UTC, there."""
        then = datetime.fromtimestamp(begins, UTC)
        return then if self.step * MINUTE >= DAY else then.astimezone()


SPANS = (
    PageSpan("1h", "1 hour", HOUR, 1, 10 * MINUTE, "%H:%M"),
    PageSpan("24h", "24 hours", DAY, 15, 4 * HOUR, "%H:%M"),
    PageSpan("7d", "7 days", 7 * DAY, 180, DAY, "%d %b"),
    PageSpan("30d", "30 days", 30 * DAY, 1440, 5 * DAY, "%d %b"),
)


def span_of(word: str | None, default: str = "24h") -> PageSpan:
    """Return the span of this word, and another one where that is none."""
    known = {span.word: span for span in SPANS}
    return known.get(word or "", known[default])
