"""The claims of `cachemw demo --routes`: whose answers its client got, byte for byte, and what they cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, cast

import http_sf

from cachemw.cli.demo import Point, Promise, milliseconds, told_usage
from cachemw.ledger.sums import Sums, in_all
from cachemw.money import NANO, in_dollars
from cachemw.redaction import redacted_repr

PRIMARY, SPARE, SLOW = "cerebras/gpt-oss-120b", "openrouter/openai/gpt-oss-120b", "groq/openai/gpt-oss-120b"

INPUT_PRICE, OUTPUT_PRICE = 350, 750
"""The price of a token in the demo's file, in nano-dollars: for who does not say himself what an answer cost."""

SLOW_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class ProviderAnswer:
    """An answer of a simulated provider as it went out; `is_whole`: nobody broke it off."""

    status: int
    body: bytes
    is_whole: bool
    retry_after: str = ""

    __repr__ = redacted_repr


ProviderAnswers = Mapping[str, Sequence[ProviderAnswer]]
"""All that each provider said, by its name."""


@dataclass(frozen=True, slots=True)
class RoutedReply:
    """An answer as its client saw it; `asked`: how often each provider was asked for it, where it was.

    `route` is the field `Cachemw-Route`, which came at `head_at`, in monotonic seconds.
    """

    status: int
    route: str
    is_hit: bool
    body: bytes
    seconds: float
    head_at: float
    asked: Mapping[str, int]

    __repr__ = redacted_repr

    @property
    def members(self) -> Mapping[str, Any]:
        """Return what the field says: values with their parameters, by RFC 9651."""
        try:
            return cast(Mapping[str, Any], http_sf.parse(self.route.encode(), tltype="dictionary"))
        except http_sf.StructuredFieldError:
            return {}

    @property
    def by(self) -> str | None:
        """Return who is said to have answered."""
        return cast(str | None, self._value("by"))

    @property
    def tried(self) -> Mapping[str, Mapping[str, Any]]:
        """Return what is said of those that did not answer, by their names."""
        return {name: {key: str(value) for key, value in said.items()} for name, said in self._value("tried") or ()}

    @property
    def cooling(self) -> float:
        """Return for how many seconds one of them is left alone."""
        return max((float(said.get("cooling", 0)) for said in self.tried.values()), default=0.0)

    def nano(self, member: str) -> int | None:
        """Return an amount of the field in nano-dollars."""
        dollars = self._value(member)
        return None if dollars is None else int(Decimal(dollars) * NANO)

    def _value(self, member: str) -> Any:
        return self.members.get(member, (None, {}))[0]


@dataclass(frozen=True, slots=True)
class RoutedStory:
    """The answers to what was asked in one `kind`, "JSON" or "stream", in this order."""

    kind: str
    first: RoutedReply
    again: RoutedReply
    at_the_quota: RoutedReply
    from_the_spare: RoutedReply
    left_alone: RoutedReply
    hedged: RoutedReply
    recovered: RoutedReply
    again_recovered: RoutedReply
    pinned_spare: RoutedReply

    __repr__ = redacted_repr

    @property
    def hits(self) -> Sequence[tuple[str, RoutedReply, RoutedReply]]:
        """Return what is to be a hit, and the answer that it is to be."""
        return (
            ("the first request again", self.again, self.first),
            ("the spare's answer, while the primary is left alone,", self.from_the_spare, self.at_the_quota),
            ("the primary's answer, once it recovered,", self.again_recovered, self.recovered),
            ("the spare's answer, asked for by its name,", self.pinned_spare, self.at_the_quota),
        )

    @property
    def asked(self) -> Sequence[RoutedReply]:
        """Return the answers for which somebody was to be asked."""
        return self.first, self.at_the_quota, self.left_alone, self.hedged, self.recovered


@dataclass(frozen=True, slots=True)
class Taken:
    """What answers took by what their providers say: tokens, and nano-dollars."""

    input_tokens: int = 0
    output_tokens: int = 0
    nano: int = 0

    def __add__(self, other: "Taken") -> "Taken":
        return Taken(self.input_tokens + other.input_tokens, self.output_tokens + other.output_tokens, self.nano + other.nano)


def taken_by(body: bytes) -> Taken:
    """Return what an answer took: at its provider's own word, else at the prices of the file."""
    usage = told_usage(body)
    read, written = usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
    reported = usage.get("cost")
    return Taken(read, written, read * INPUT_PRICE + written * OUTPUT_PRICE if reported is None else round(reported * NANO))


def routed_points(stories: Sequence[RoutedStory], said: ProviderAnswers, spending: Sequence[Sums]) -> list[Point]:
    """Return everything that is claimed, as it is told; `spending` is by targets, as the ledger has it."""
    total, hedged = in_all(spending), max(story.hedged.seconds for story in stories)
    cooling = max(story.at_the_quota.cooling for story in stories)
    lines = (
        "cerebras answers; asked again: the same bytes from the cache, for nothing",
        "cerebras runs into its quota (429): openrouter, its spare, answers instead",
        f"it is left alone for the {cooling:g} s that it asked for",
        "after these it answers again, and the spare's answer stays the spare's",
        f"groq is slow: openrouter, asked beside it, answers after {milliseconds(hedged)}",
        f"${in_dollars(total.spent)} spent by the ledger, as providers say; ${in_dollars(total.saved)} saved",
    )
    claims = (_of_the_first, _of_the_quota, _of_the_cooldown, _of_the_recovery, _of_the_hedge)
    points = [
        Point(line, [promise for story in stories for promise in claim(story, said)])
        for line, claim in zip(lines, claims, strict=False)
    ]
    return [*points, Point(lines[-1], [*cost_claims(stories), *ledger_claims(stories, said, spending)])]


def _of_the_first(story: RoutedStory, said: ProviderAnswers) -> list[Promise]:
    return [*_answered(story, "the first answer", story.first, PRIMARY, said), *_recalled(story, *story.hits[0])]


def _of_the_quota(story: RoutedStory, said: ProviderAnswers) -> list[Promise]:
    kind, reply = story.kind, story.at_the_quota
    told = reply.tried.get(PRIMARY, {})
    hints = [answer.retry_after for answer in said["cerebras"] if answer.status == 429 and b"quota_exceeded" in answer.body]
    return [
        Promise(f"{kind}: cerebras said 429 in its own words, and that is told", bool(hints) and told.get("status") == "429"),
        Promise(f"{kind}: it is left alone for as long as it said, and no longer", told.get("cooling") in hints),
        *_answered(story, "the answer at the quota", reply, SPARE, said, besides=PRIMARY),
        *_recalled(story, *story.hits[1]),
    ]


def _of_the_cooldown(story: RoutedStory, said: ProviderAnswers) -> list[Promise]:
    kind, reply = story.kind, story.left_alone
    cooling = reply.tried.get(PRIMARY, {}).get("cooling", "0")
    return [
        Promise(f"{kind}: the answer says that cerebras is left alone, and for how long", int(cooling) > 0),
        *_answered(story, "the next answer", reply, SPARE, said),
    ]


def _of_the_recovery(story: RoutedStory, said: ProviderAnswers) -> list[Promise]:
    different = story.recovered.body != story.at_the_quota.body
    return [
        *_answered(story, "the answer after the cooldown", story.recovered, PRIMARY, said),
        Promise(f"{story.kind}: it is another answer than the spare's to the same request", different),
        *_recalled(story, *story.hits[2]),
        *_recalled(story, *story.hits[3]),
    ]


def _of_the_hedge(story: RoutedStory, said: ProviderAnswers) -> list[Promise]:
    kind, reply = story.kind, story.hedged
    broken_off = [answer for answer in said["groq"] if not answer.is_whole and not answer.body]
    return [
        *_answered(story, "the hedged answer", reply, SPARE, said, besides=SLOW),
        Promise(f"{kind}: it says that groq lost", reply.tried.get(SLOW, {}).get("why") == "lost"),
        Promise(f"{kind}: groq was broken off, and said nothing", len(broken_off) == len(said["groq"]) > 0),
        Promise(
            f"{kind}: it came after {milliseconds(reply.seconds)}, not {milliseconds(SLOW_SECONDS)}",
            reply.seconds < SLOW_SECONDS,
        ),
    ]


def _answered(
    story: RoutedStory, what: str, reply: RoutedReply, target: str, said: ProviderAnswers, *, besides: str | None = None
) -> list[Promise]:
    """Return what is claimed of an answer that somebody was asked for; `besides`: who was asked in vain."""
    names = [_provider(name) for name in (besides, target) if name]
    authors = [name for name, answers in said.items() for answer in answers if answer.is_whole and answer.body == reply.body]
    return [
        Promise(f"{story.kind}: {what} took one call of {' and one of '.join(names)}", reply.asked == dict.fromkeys(names, 1)),
        Promise(f"{story.kind}: {what} is a whole one", reply.status == 200 and not reply.is_hit and reply.body != b""),
        Promise(f"{story.kind}: {what} is {names[-1]}'s alone, byte for byte", authors == names[-1:]),
        Promise(f"{story.kind}: {what} says so", reply.by == target),
    ]


def _recalled(story: RoutedStory, what: str, reply: RoutedReply, original: RoutedReply) -> list[Promise]:
    """Return what is claimed of a hit."""
    took = taken_by(original.body).nano
    return [
        Promise(f"{story.kind}: {what} was a hit, and nobody was asked", reply.is_hit and not reply.asked),
        Promise(f"{story.kind}: {what} came byte for byte", reply.status == 200 and reply.body == original.body != b""),
        Promise(f"{story.kind}: {what} named its author", reply.by == original.by is not None),
        Promise(
            f"{story.kind}: {what} was free, and saved what it had cost", (reply.nano("cost"), reply.nano("saved")) == (0, took)
        ),
    ]


def cost_claims(stories: Sequence[RoutedStory]) -> list[Promise]:
    """Return what is claimed of the cost in the fields of JSON answers: a stream's leave before it is known."""
    told = [reply for story in stories if story.kind == "JSON" for reply in story.asked]
    least = [reply for reply in told if "least" in reply.members.get("cost", (None, {}))[1]]
    return [
        Promise(
            "every JSON answer says what it cost, as its provider says it",
            all(reply.nano("cost") == taken_by(reply.body).nano for reply in told),
        ),
        Promise(
            "only the hedged one may have cost more, and says so",
            least == [story.hedged for story in stories if story.kind == "JSON"],
        ),
    ]


def ledger_claims(stories: Sequence[RoutedStory], said: ProviderAnswers, spending: Sequence[Sums]) -> list[Promise]:
    """Return what is claimed of the ledger: it adds up with what the providers said."""
    total, hits = in_all(spending), [hit for story in stories for _, hit, _ in story.hits if hit.is_hit]
    asked = [reply for story in stories for reply in story.asked]
    saved = sum(taken_by(hit.body).nano for hit in hits)
    by_name = {spent.name: spent for spent in spending}
    return [
        *[_added_up(by_name.get(target), target, said) for target in (PRIMARY, SPARE)],
        Promise("the ledger has nobody else", by_name.keys() == {PRIMARY, SPARE}),
        Promise(
            f"the ledger has {total.requests} requests, {total.answered_here} of them answered from the store",
            (total.requests, total.answered_here) == (len(hits) + len(asked), len(hits)),
        ),
        Promise(f"the hits saved ${in_dollars(total.saved)}, and were worth ${in_dollars(saved)}", total.saved == saved > 0),
        Promise(
            f"of {total.least} answers the ledger says that they may have cost more: those that were hedged",
            (total.least, total.unpriced, total.estimated, total.dropped) == (len(stories), 0, 0, 0),
        ),
    ]


def _added_up(spent: Sums | None, target: str, said: ProviderAnswers) -> Promise:
    told = [answer for answer in said[_provider(target)] if answer.is_whole and answer.status == 200]
    taken = sum((taken_by(answer.body) for answer in told), Taken())
    found = Taken() if spent is None else Taken(spent.input_tokens, spent.output_tokens, spent.spent)
    words = [f"{each.input_tokens:,} and {each.output_tokens:,} tokens for ${in_dollars(each.nano)}" for each in (found, taken)]
    return Promise(f"{target} took {words[0]} by the ledger, {words[1]} by its own word", found == taken != Taken())


def _provider(target: str) -> str:
    return target.partition("/")[0]
