"""An OpenAI-compatible upstream of our own: deterministic, offline, and able to fail on demand."""

from cachemw.simulator.app import Simulator

__all__ = ["Simulator"]
