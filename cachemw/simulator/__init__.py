"""An upstream of our own, of OpenAI's forms and Anthropic's: deterministic, offline, and able to fail on demand."""

from cachemw.simulator.app import Simulator
from cachemw.simulator.dialects import DIALECTS

__all__ = ["DIALECTS", "Simulator"]
