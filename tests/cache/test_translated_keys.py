"""Golden keys of translated requests: a record is found under the key of what its target is sent, and stays so (ruling F5)."""

import json

import pytest

from cachemw.endpoints import CHAT, MESSAGES
from cachemw.messages import HttpRecipient, HttpTarget, Request
from cachemw.translation import chat_rows, claude_rows
from cachemw.translation.chat_rows import chat_row
from cachemw.translation.claude_rows import claude_row
from cachemw.upstreams.providers import PROVIDERS
from tests.cache import golden_calls, golden_translated
from tests.cache.golden_translated import CHAT_MODELS, CLAUDES

GOLDEN = golden_translated.vectors()
TODAY = dict(golden_translated.again())


@pytest.mark.parametrize("name", TODAY)
def test_what_a_row_makes_of_a_request_is_what_it_has_always_made(name: str) -> None:
    """Ruling F5, K4: else all that is stored would be asked for again. `golden_translated` writes them."""
    assert TODAY[name] == GOLDEN[name]


def test_every_row_has_its_golden_key() -> None:
    assert GOLDEN.keys() == TODAY.keys()
    chats = {chat_row(provider or None, model) for provider, _, model in (name.partition("/") for name in CHAT_MODELS)}
    speak_chat = {name for name, row in PROVIDERS.items() if "messages" not in row.speaks}
    assert speak_chat == {name.partition("/")[0] for name in CHAT_MODELS} - {""}
    assert {chat_row(provider, None) for provider in chat_rows._ROWS if provider in speak_chat} - chats <= {
        chat_row("cerebras", None),  # whose every model has more to be said of it
    }
    claudes = {claude_row(model) for model in CLAUDES}
    assert {row for _, row in claude_rows._ROWS} | {claude_rows._NEWER, claude_rows._OTHERS} == claudes


@pytest.mark.parametrize("name", GOLDEN)
def test_it_is_the_key_of_who_sends_that_body_himself(name: str) -> None:
    """Ruling F2, F5: so one record answers both dialects."""
    provider, golden = name.partition("/")[0], GOLDEN[name]
    endpoint = MESSAGES if provider == "anthropic" else CHAT
    row = PROVIDERS.get(provider)
    recipient = HttpRecipient(provider or None, frozenset() if row is None else row.bookkeeping)
    path = "/v1/messages" if endpoint is MESSAGES else "/v1/chat/completions"
    version = ((b"anthropic-version", b"2023-06-01"),) if endpoint is MESSAGES else ()
    request = Request(
        *("POST", path, ((b"content-type", b"application/json"), *version)),
        json.dumps(golden["sent"], ensure_ascii=False).encode(),
        HttpTarget("https://api.example:443" + path, recipient),
    )

    key = golden_calls.key_of(endpoint, request)

    assert (key.index.hex(), key.proof.hex()) == (golden["index"], golden["proof"])


def test_rows_that_send_the_same_have_one_key() -> None:
    """K1: the key is of the body and the URL; neither the row nor the dialect that was asked in is in it."""
    by_sent = {json.dumps(vector["sent"], sort_keys=True): vector["proof"] for vector in GOLDEN.values()}

    assert len({vector["proof"] for vector in GOLDEN.values()}) == len(by_sent)
