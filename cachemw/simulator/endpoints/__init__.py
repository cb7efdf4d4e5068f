"""The endpoints that the simulator has; each is a file here and a line below."""

from typing import Any

from cachemw.simulator.endpoints.base import SimulatedEndpoint
from cachemw.simulator.endpoints.chat import ChatEndpoint
from cachemw.simulator.endpoints.completions import CompletionsEndpoint
from cachemw.simulator.endpoints.count_tokens import CountTokensEndpoint
from cachemw.simulator.endpoints.embeddings import EmbeddingsEndpoint
from cachemw.simulator.endpoints.messages import MessagesEndpoint
from cachemw.simulator.endpoints.moderations import ModerationsEndpoint
from cachemw.simulator.endpoints.rerank import RerankEndpoint
from cachemw.simulator.endpoints.responses import ResponsesEndpoint

SIMULATED_ENDPOINTS: tuple[SimulatedEndpoint[Any], ...] = (
    ChatEndpoint(),
    CompletionsEndpoint(),
    MessagesEndpoint(),
    CountTokensEndpoint(),
    ResponsesEndpoint(),
    EmbeddingsEndpoint(),
    ModerationsEndpoint(),
    RerankEndpoint(),
)
