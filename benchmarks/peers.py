"""Caches from PyPI, each in an environment of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.asking import TOKEN
from benchmarks.environments import environment, python_in
from benchmarks.servers import Server, free_port, listening

LITELLM_HIT = b"x-litellm-cache-key: "
HISHEL_HIT = b"\r\nage: "

LITELLM = ("litellm[proxy]",)
LITELLM_WITH_DISK = ("litellm[proxy]<1.109", "diskcache")  # later ones keep no cache on disk

CONFIGURATION = """
model_list:
  - model_name: llama3.1-8b
    litellm_params: {{model: openai/llama3.1-8b, api_base: "{upstream}/v1", api_key: none}}
litellm_settings:
  cache: true
  cache_params: {{type: {kind}, disk_cache_dir: "{place}/cache", ttl: 86400, max_messages: null}}
"""


@contextmanager
def litellm(kind: str, upstream: Server, place: Path, core: int | None) -> Iterator[Server]:
    """Run LiteLLM's proxy, with its cache in memory (`local`) or on `disk`. Raises `Unavailable`."""
    place.mkdir()
    file, port = place / "config.yaml", free_port()
    file.write_text(CONFIGURATION.format(upstream=upstream.url, kind=kind, place=place))
    with environment(*(LITELLM_WITH_DISK if kind == "disk" else LITELLM)) as installed:
        command = [str(installed / "bin" / "litellm"), "--config", str(file), "--host", "127.0.0.1", "--port", str(port)]
        variables = {"LITELLM_MASTER_KEY": TOKEN, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
        with listening(command, port, core, LITELLM_HIT, **variables) as server:
            yield server


@contextmanager
def hishel(upstream: Server, place: Path, core: int | None) -> Iterator[Server]:
    """Run hishel's ASGI middleware, on uvicorn as we run it. Raises `Unavailable`."""
    place.mkdir()
    port = free_port()
    with environment("hishel[httpx]", "uvicorn[standard]") as installed:
        command = [str(python_in(installed)), "-m", "benchmarks.hishel_app", upstream.url, str(port), str(place / "answers.db")]
        with listening(command, port, core, HISHEL_HIT) as server:
            yield server
