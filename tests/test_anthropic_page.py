"""`docs/anthropic.md` says what is so: its clients are answered, and its small tables are those of the code."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import cachemw.translation
from cachemw.endpoints.errors import anthropic_type
from cachemw.gateway.config import named_by
from cachemw.gateway.files import read_gateway
from cachemw.proxy import Proxy
from cachemw.simulator import Simulator
from cachemw.stores import MemoryStore
from cachemw.upstreams import HttpUpstream, cerebras
from cachemw.upstreams.providers import PROVIDERS
from tests.pages import ADDRESS, DOCS, blocks
from tests.serving import serving_in_thread

PAGE = "anthropic.md"
TEXT = (DOCS / PAGE).read_text()
TRANSLATION = Path(cachemw.translation.__file__).parent


def made_on_the_page(title: str, address: str) -> dict[str, Any]:
    """Run the block of a section, whose proxy is at this address."""
    [code] = [code for section, code in blocks(PAGE, "python") if section == title]
    assert ADDRESS in code
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(code.replace(ADDRESS, address), PAGE, "exec"), names)
    return names


def test_an_anthropic_client_is_answered_by_cerebras_once() -> None:
    """Translation §3: the SDK reads all that the page says it asks for."""
    pytest.importorskip("anthropic")
    simulator = Simulator(dialect="cerebras")
    with (
        serving_in_thread(simulator) as url,
        serving_in_thread(Proxy(cerebras(api_key="k", base_url=url), store=MemoryStore())) as proxied,
    ):
        made = made_on_the_page("An Anthropic client, and any provider", proxied)
        with made["client"] as client:
            first, again = (client.messages.create(**made["question"]) for _ in range(2))
            counted = client.messages.count_tokens(model="gpt-oss-120b", messages=made["question"]["messages"])
            models = [model.id for model in client.models.list()]

    assert first == again
    assert (first.type, first.content[0].type, simulator.calls) == ("message", "text", 1)
    assert counted.input_tokens > 0
    assert "gpt-oss-120b" in models


def test_an_openai_client_is_answered_by_anthropic_once() -> None:
    """Translation §3, T22."""
    simulator, row = Simulator(dialect="anthropic"), PROVIDERS["anthropic"]
    with serving_in_thread(simulator) as url:
        upstream = HttpUpstream(f"{url}/v1", api_key="k", provider="anthropic", speaks=row.speaks, key_field=row.key_field)
        with serving_in_thread(Proxy(upstream, store=MemoryStore())) as proxied:
            made = made_on_the_page("An OpenAI client, and Anthropic", proxied)
            with made["client"] as client:
                first, again = (client.chat.completions.create(**made["question"]) for _ in range(2))

    assert first == again
    assert first.choices[0].message.content
    assert [call.endpoint for call in simulator.asked] == ["messages"]


def test_names_that_begin_so_go_where_the_file_says(tmp_path: Path) -> None:
    """D2: the longest that fits counts."""
    [text] = [code for _, code in blocks(PAGE, "toml")]
    path = tmp_path / "cachemw.toml"
    path.write_text(text)
    config = read_gateway(str(path), {"CEREBRAS_API_KEY": "k", "GROQ_API_KEY": "k"})

    assert named_by(config, "claude-sonnet-4-6") == "auto"
    assert named_by(config, "claude-haiku-4-5") == "groq/openai/gpt-oss-120b"
    assert named_by(config, "gpt-oss-120b") == "gpt-oss-120b"


def test_the_words_that_are_told_are_those_of_the_code() -> None:
    """Translation §3: each of them, and no other."""
    table = TEXT.split("| word | means |", 1)[1].split("\n\n", 1)[0]
    words = {word for line in table.splitlines()[2:] for word in re.findall(r"`([a-z]+)`", line.split(" | ")[0])}

    assert words == {word for path in TRANSLATION.rglob("*.py") for word in _told_in(path)} | {"estimated"}


def _told_in(path: Path) -> Iterator[str]:
    """Yield what a module notes that became of a member, where it says that by a word of its own."""
    tree = ast.parse(path.read_text())
    constants = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "tell":
            said = [*ast.walk(node.args[1])]
            yield from (one.value for one in said if isinstance(one, ast.Constant) and isinstance(one.value, str))
            yield from (constants[one.id] for one in said if isinstance(one, ast.Name) and one.id in constants)


def test_the_types_of_errors_are_those_of_the_code() -> None:
    """Translation §3.3."""
    table = TEXT.split("| status | `error.type` for Anthropic's clients |", 1)[1].split("\n\n", 1)[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    told = {
        int(status): kind
        for statuses, kinds in rows
        if statuses != "other"
        for status, kind in _together(statuses.split(", "), re.findall(r"`(\w+)`", kinds))
    }

    assert {status: anthropic_type(status) for status in told} == told
    assert {anthropic_type(status) for status in (500, 502, 599)} == {"api_error"}


def _together(statuses: list[str], kinds: list[str]) -> Iterator[tuple[str, str]]:
    return zip(statuses, kinds * len(statuses) if len(kinds) == 1 else kinds, strict=True)
