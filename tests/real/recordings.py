"""The recordings of real upstreams: what each answered at its own endpoint, and what becomes of it where chat was asked."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2

from cachemw.endpoints import CHAT, endpoint_of
from tests.cassettes import cassette
from tests.real.cutting import cut_awkwardly, write_by_write
from tests.upstream import EVENT_STREAM, JSON, Part, Told

Body = dict[str, Any]

USAGE: Body = {"stream_options": {"include_usage": True}}
TOOL: Body = {"type": "function", "function": {"name": "nonUsefulTool", "parameters": {"type": "object"}}}
REMOVED = frozenset("connection content-encoding content-length keep-alive transfer-encoding".split())
"""Recorded response fields that said how the recorded bytes travelled."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A recorded answer. `asks`: what the request must say for it, where the request was not recorded too."""

    file: str
    asks: Mapping[str, Any] = field(default_factory=dict)
    fault: str | None = None  # why it is not stored, as our report says it

    @property
    def name(self) -> str:
        return self.file.rpartition(".")[0]

    @property
    def is_stream(self) -> bool:
        return self.file.endswith(".sse")

    def body(self) -> bytes:
        return cassette(self.file)

    def told(self) -> Told:
        """Return the answer as the upstream gives it, in awkward pieces."""
        taken = self._taken()
        headers = _headers(taken["response_headers"]) or (EVENT_STREAM if self.is_stream else JSON)
        return Told(self.pieces(self.body()), status=taken["status"], headers=headers)

    @staticmethod
    def pieces(body: bytes) -> list[Part]:
        return write_by_write(cut_awkwardly(body))

    def request(self) -> Body:
        """Return the request it answered, but for the model: that names the recording."""
        recorded = self._taken()["request"] or {"uri": ""}
        is_chat = recorded["uri"].endswith("/chat/completions")
        asked = recorded["body"] if is_chat else {"messages": [{"role": "user", "content": f"Play {self.name}"}]}
        return {**asked, **self.asks, "model": self.name, "stream": self.is_stream}

    @property
    def endpoint(self) -> str:
        """Return the name of the endpoint whose answer it is."""
        endpoint = endpoint_of("POST", self.path().partition("?")[0], CHAT.paths)
        assert endpoint is not None
        return endpoint.name

    def path(self) -> str:
        """Return where it was asked for, with the query."""
        recorded = self._taken()["request"]
        return httpx2.URL(recorded["uri"]).raw_path.decode() if recorded else UNRECORDED[self.name][0]

    def own_request(self) -> Body:
        """Return the request that it answered, as that was made; where it was not recorded, a plain one."""
        recorded = self._taken()["request"]
        if recorded:
            return dict(recorded["body"])
        return {"model": self.name, "stream": self.is_stream, **UNRECORDED[self.name][1]}

    def _taken(self) -> dict[str, Any]:
        taken: dict[str, Any] = json.loads(cassette(f"{self.name}.meta.json"))
        return taken


def _headers(recorded: Mapping[str, str | list[str]] | None) -> tuple[tuple[bytes, bytes], ...]:
    return tuple(
        (name.encode(), value.encode())
        for name, values in (recorded or {}).items()
        if name not in REMOVED
        for value in ([values] if isinstance(values, str) else values)
    )


_PLAIN: Body = {"messages": [{"role": "user", "content": "Play it again."}]}
UNRECORDED: Mapping[str, tuple[str, Body]] = {
    "azure_stream_router": ("/v1/chat/completions", {**_PLAIN, **USAGE}),
    "cerebras_glm_stream_1": ("/v1/chat/completions", {**_PLAIN, "tools": [TOOL]}),
    "cerebras_glm_tool_json1": (
        "/v1/chat/completions",
        {**_PLAIN, "tools": [TOOL], "response_format": {"type": "json_object"}},
    ),
    "openai_responses_stream_error": ("/v1/responses", {"input": "Play it again."}),
    "openai_stream_length": ("/v1/chat/completions", {**_PLAIN, "max_tokens": 1, **USAGE}),
    "openai_stream_logprobs": ("/v1/chat/completions", {**_PLAIN, "logprobs": True, **USAGE}),
    "openai_stream_refusal": ("/v1/chat/completions", {**_PLAIN, **USAGE}),
}
"""Where those were asked for whose request was not recorded, and a plain one that they answer."""

STORED = (
    Recording("cerebras_simple_llama.json"),
    Recording("cerebras_glm_reasoning_1.json"),
    Recording("cerebras_glm_reasoning_2.json"),
    Recording("cerebras_disable_reasoning.json"),
    Recording("cerebras_gptoss_harmony.json"),
    Recording("cerebras_qwen_coder_tools_1.json"),
    Recording("cerebras_glm_clear_thinking.json"),
    Recording("cerebras_glm_tool_json1.json", {"tools": [TOOL], "response_format": {"type": "json_object"}}),
    Recording("cerebras_glm_stream_1.sse", {"tools": [TOOL], **USAGE}),
    Recording("openai_stream_usage.sse"),
    Recording("openai_stream_n2.sse"),
    Recording("openai_stream_parallel_tools.sse"),
    Recording("openai_nonstream_extra_params.json"),
    Recording("openai_nonstream_tools.json"),
    Recording("openai_stream_refusal.sse", USAGE),
    Recording("openai_stream_logprobs.sse", {"logprobs": True, **USAGE}),
    Recording("openai_stream_length.sse", {"max_tokens": 1, **USAGE}),
    Recording("openrouter_stream_annotations.sse"),
    Recording("azure_stream_router.sse", USAGE),
)
NOT_STORED = (
    Recording("openai_error_404.json", fault="not-200"),
    Recording("openai_error_400_role.json", fault="not-200"),
    Recording("openai_error_401.json", fault="not-200"),
    Recording("openai_error_400_context.json", fault="not-200"),
    Recording("groq_stream_error_event.sse", fault="error-event"),  # inside of a 200
    Recording("openai_web_search_annotations.json", fault="web-search"),  # it depends on the day
    Recording("openai_responses_stream.sse", fault="incomplete"),  # another API's events: no `[DONE]`
    Recording("anthropic_stream_thinking.sse", fault="incomplete"),  # no chat completion, and no [DONE]
    Recording("anthropic_stream_tools.sse", fault="incomplete"),
    Recording("anthropic_cache_read.json", fault="missing-choice"),
    Recording("anthropic_count_tokens.json", fault="missing-choice"),
    Recording("anthropic_error_400_context.json", fault="not-200"),
    Recording("anthropic_error_401_stream.json", fault="not-200"),
    Recording("anthropic_parallel_tools.json", fault="missing-choice"),
    Recording("anthropic_stop_sequence.json", fault="missing-choice"),
    Recording("anthropic_stream_citations.sse", fault="incomplete"),
    Recording("anthropic_stream_code_execution.sse", fault="incomplete"),
    Recording("anthropic_stream_max_tokens.sse", fault="incomplete"),
    Recording("anthropic_stream_parallel_tools.sse", fault="incomplete"),
    Recording("anthropic_stream_redacted_thinking.sse", fault="incomplete"),
    Recording("cohere_rerank.json", fault="missing-choice"),
    Recording("openai_completion.json", fault="finish-length"),
    Recording("openai_completion_stream.sse", fault="finish-length"),
    Recording("openai_embeddings_base64.json", fault="missing-choice"),
    Recording("openai_embeddings_batch.json", fault="missing-choice"),
    Recording("openai_embeddings_float_dimensions.json", fault="missing-choice"),
    Recording("openai_responses.json", fault="missing-choice"),
    Recording("openai_responses_background_queued.json", fault="missing-choice"),
    Recording("openai_responses_stream_error.sse", fault="error-event"),
    Recording("openai_responses_stream_incomplete.sse", fault="incomplete"),
    Recording("openai_responses_stream_reasoning.sse", fault="incomplete"),
    Recording("openai_responses_stream_tools.sse", fault="incomplete"),
)
"""No chat completions, most of them: what another API says is not kept as one."""
OF_OTHER_ENDPOINTS = (
    *("openai_embeddings_base64", "openai_embeddings_batch", "openai_embeddings_float_dimensions"),
    *("openai_completion", "openai_completion_stream", "cohere_rerank", "anthropic_count_tokens"),
)
"""Those that are kept as what they are: the answers of embeddings, of legacy completions, and of small endpoints."""
KEPT_ELSEWHERE = frozenset(
    """
    anthropic_cache_read anthropic_count_tokens anthropic_parallel_tools anthropic_stop_sequence anthropic_stream_citations
    anthropic_stream_max_tokens anthropic_stream_parallel_tools anthropic_stream_redacted_thinking anthropic_stream_thinking
    anthropic_stream_tools cohere_rerank openai_completion openai_completion_stream openai_embeddings_base64
    openai_responses_stream
    openai_embeddings_batch openai_embeddings_float_dimensions openai_responses openai_responses_stream_incomplete
    openai_responses_stream_reasoning openai_responses_stream_tools
    """.split()
)
"""No chat completions, but at their own endpoint they are kept."""
ALL = STORED + NOT_STORED
ASKED_OTHERWISE = (
    Recording("openai_stream_length.sse", USAGE, fault="finish-length"),  # nobody bounded it
    Recording("openai_stream_n2.sse", {"n": 3}, fault="missing-choice"),
    Recording("openai_stream_usage.sse", {"n": 2}, fault="missing-choice"),
    Recording("openai_nonstream_tools.json", {"n": 2}, fault="missing-choice"),
)
"""Complete answers, but not to what these requests ask."""


def stored(name: str) -> Recording:
    """Return one of those that are stored."""
    return next(recording for recording in STORED if recording.name == name)


def name_of(recording: Recording) -> str:
    """Return what a parametrised test calls this one."""
    return recording.name
