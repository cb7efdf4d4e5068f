"""Log probabilities that could be true."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from cachemw.simulator.dice import draw

RIVALS: tuple[str, ...] = (" the", " a", " and", ",", ".", " of", " to", " in", " is", " it", " that")
RIVALS += (" was", " for", " on", " with", " as", " at", " by", " from", " or")


@dataclass(frozen=True, slots=True)
class Candidate:
    token: str
    logprob: float

    __repr__ = object.__repr__  # it holds what somebody said

    def shown(self) -> dict[str, object]:
        return {"token": self.token, "logprob": self.logprob, "bytes": list(self.token.encode())}


@dataclass(frozen=True, slots=True)
class Score:
    """A token that was chosen, and the likeliest candidates for its place, itself the first."""

    chosen: Candidate
    candidates: tuple[Candidate, ...]

    __repr__ = object.__repr__  # it holds what somebody said

    def shown(self) -> dict[str, object]:
        return self.chosen.shown() | {"top_logprobs": [candidate.shown() for candidate in self.candidates]}


def score(pieces: Sequence[str], seed: bytes, top: int) -> tuple[Score, ...]:
    """Score each piece, with its `top` likeliest candidates."""
    return tuple(_score(piece, seed, f"token {position}", top) for position, piece in enumerate(pieces))


def _score(piece: str, seed: bytes, place: str, top: int) -> Score:
    chosen = Candidate(piece, -draw(seed, place, 690_000) / 1_000_000)  # more than one half: no rival is likelier
    rivals = (rival for rival in RIVALS if rival != piece)
    ranked = [chosen, *(Candidate(rival, -3.25 - 0.5 * rank) for rank, rival in enumerate(islice(rivals, top)))]
    return Score(chosen, tuple(ranked[:top]))
