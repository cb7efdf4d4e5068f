"""Whatever is sent to an endpoint, it is answered or refused; nothing that comes is a fault of the simulator."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachemw.simulator.asking import SimulatedRefusal, read
from cachemw.simulator.dialects import DIALECTS
from cachemw.simulator.endpoints import SIMULATED_ENDPOINTS
from cachemw.simulator.endpoints.base import SimulatedEndpoint
from cachemw.simulator.failing import NamedFailure, failure_named
from cachemw.simulator.responding import script_for
from cachemw.simulator.script import Begin, Finish, Pace
from tests.simulator.endpoint_requests import BODIES, NEWS_TOOL, USER, WEATHER_TOOL
from tests.simulator.requests import WEATHER

WORDS = ("type", "role", "content", "text", "name", "input", "output", "tools", "function", "user", "tool_result", "parameters")
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=3),
    max_leaves=6,
)
LIKELY = st.sampled_from(
    [
        *([USER], [WEATHER], [WEATHER_TOOL, NEWS_TOOL], "text", ["a", "b"], [1, 2], [[1], [2]], 1, 7, True, "none"),
        *({"type": "enabled"}, {"type": "tool", "name": "get_news"}, {"effort": "low", "summary": "auto"}, "base64"),
        *([{"type": "function", **WEATHER["function"]}], [{"role": "user", "content": [{"type": "tool_result"}]}]),
    ]
)
MEMBERS = (
    *("messages", "prompt", "input", "query", "documents", "tools", "tool_choice", "max_tokens", "max_output_tokens", "n"),
    *("stop", "stop_sequences", "system", "thinking", "reasoning", "instructions", "include", "encoding_format", "logprobs"),
    *("echo", "top_n", "stream", "stream_options", "metadata", "text", "dimensions", "model", "parallel_tool_calls"),
)
FAILURES = ("ok", "no-choices", "no-content", "foreign", "error:3", "end:2", "in-200:500", "anthropic:mid-stream")


def path_of(endpoint: SimulatedEndpoint[Any]) -> str:
    return endpoint.name


@pytest.mark.parametrize("endpoint", SIMULATED_ENDPOINTS, ids=path_of)
@given(
    members=st.dictionaries(st.sampled_from(MEMBERS), LIKELY | ODD, max_size=5),
    failure=st.sampled_from(FAILURES).map(failure_named),
    dialect=st.sampled_from(list(DIALECTS.values())),
)
def test_every_request_is_answered_or_refused(
    endpoint: SimulatedEndpoint[Any], members: dict[str, Any], failure: NamedFailure, dialect: Any
) -> None:
    ask = read(json.dumps(BODIES[f"/v1{endpoint.path}"] | members).encode(), endpoint.asked)

    if isinstance(ask, SimulatedRefusal):
        assert ask.status == 400
    else:
        script = script_for(ask, endpoint, dialect, Pace(), failure)
        assert isinstance(script[0], Begin)
        assert isinstance(script[-1], Finish)
