"""The dialects that the simulator speaks, by the names of their providers."""

from cachemw.simulator.dialects.anthropic import Anthropic
from cachemw.simulator.dialects.base import Dialect
from cachemw.simulator.dialects.cerebras import Cerebras
from cachemw.simulator.dialects.deepinfra import DeepInfra
from cachemw.simulator.dialects.gemini import Gemini
from cachemw.simulator.dialects.groq import Groq
from cachemw.simulator.dialects.mistral import Mistral
from cachemw.simulator.dialects.openai import OpenAI
from cachemw.simulator.dialects.openrouter import OpenRouter
from cachemw.simulator.dialects.xai import XAI

DIALECTS: dict[str, Dialect] = {
    "cerebras": Cerebras(),
    "openai": OpenAI(),
    "groq": Groq(),
    "gemini": Gemini(),
    "deepinfra": DeepInfra(),
    "mistral": Mistral(),
    "xai": XAI(),
    "openrouter": OpenRouter(),
    "anthropic": Anthropic(),
}
