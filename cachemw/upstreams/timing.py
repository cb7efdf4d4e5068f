"""How long an upstream may take."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timeouts:
    """In seconds: to connect and send the request until the first byte, between two bytes, and in all."""

    first_byte: float = 600.0
    idle: float = 120.0
    total: float = 3_600.0
    connect: float = 10.0
