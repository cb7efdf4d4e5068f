"""Choices that look random and are not: each follows from a seed and a label."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeVar

T = TypeVar("T")


def derive(seed: bytes, label: str) -> bytes:
    """Return 32 bytes that are a seed of their own."""
    return blake2b(label.encode(), key=seed, digest_size=32).digest()


def draw(seed: bytes, label: str, below: int) -> int:
    """Return a whole number from 0 up to, not including, `below`."""
    return int.from_bytes(derive(seed, label)[:8]) % below


def pick(options: Sequence[T], seed: bytes, label: str) -> T:
    return options[draw(seed, label, len(options))]


def shuffle(options: Sequence[str], seed: bytes) -> list[str]:
    return sorted(options, key=lambda option: derive(seed, option))
