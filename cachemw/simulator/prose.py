"""Text worth caching: a paragraph of 30 to 60 words, and the word-pieces it is streamed in."""

import re
from collections.abc import Sequence

from cachemw.simulator.dice import draw, pick, shuffle

PIECE = re.compile(r"\s*(?:\w+|[^\w\s]+)|\s+$")
SALIENT = re.compile(r"[^\W_]{4,24}")
SALIENT_LIMIT = 3
SEARCHED_CHARACTERS = 4_000  # a long prompt is not read to its end to find three words in it

OPENINGS = ("You asked about", "A word on", "Let us take", "This concerns", "First of all,")
SENTENCES = (
    "The short answer depends on what you measure first.",
    "In practice, a small experiment settles most of the argument.",
    "Start with the simplest case and write down what you expect.",
    "Two effects pull in opposite directions, and the second usually wins.",
    "The numbers change from day to day, yet the shape stays the same.",
    "Most people notice the cost long before they notice the cause.",
    "A café with one table teaches the same lesson about queues.",
    "When in doubt, keep the older version until the new one is proven.",
    "It helps to name the parts before moving any of them.",
    "There is a limit, and it arrives sooner than the manual says.",
    "Nothing here is exotic: three rules cover nearly every situation.",
    "Ask again with other words and the outline will still hold.",
    "The exceptions are rare, but each deserves a line of its own.",
    "What remains is patience, which no amount of tooling replaces.",
)


def paragraph(seed: bytes, about: Sequence[str]) -> str:
    """Return a paragraph that mentions the words it is about and differs, in practice, for every seed."""
    sentences = shuffle(SENTENCES, seed)[:4]
    return " ".join((_opening(seed, about), *sentences, f"Reference {draw(seed, 'reference', 10**6):06d}."))


def salient_words(text: str) -> tuple[str, ...]:
    """Return the longest few words of a text, each once."""
    words = dict.fromkeys(SALIENT.findall(text[:SEARCHED_CHARACTERS]))
    return tuple(sorted(words, key=len, reverse=True)[:SALIENT_LIMIT])


def pieces(text: str) -> tuple[str, ...]:
    """Cut a text into its tokens, which joined give the text again."""
    return tuple(PIECE.findall(text))


def _opening(seed: bytes, about: Sequence[str]) -> str:
    if not about:
        return "That is a brief question."
    return f"{pick(OPENINGS, seed, 'opening')} {' and '.join(about)}."
