"""How long is measured, how often, and where."""

from dataclasses import dataclass

from benchmarks.cores import Cores


@dataclass(frozen=True, slots=True)
class Plan:
    """`seconds` is a round of load; a single function gets a tenth of that. Figures are medians of `rounds`.

    `records` are in the fuller one of two stores; `with_peers`: other caches are installed and measured, too.
    `requests` are made in a scripted world.
    """

    seconds: float
    rounds: int
    cores: Cores
    records: int
    with_peers: bool
    requests: int

    @property
    def moment(self) -> float:
        """Seconds that a round of calling one function takes."""
        return self.seconds / 10
