"""An OpenAI-compatible upstream of our own: deterministic, offline, and able to fail on demand."""

from cachemw.simulator.app import Simulator
from cachemw.simulator.dialects import DIALECTS

__all__ = ["DIALECTS", "Simulator"]
