"""A call as it is sent to one of a gateway's targets: made of parts, it is what is read of the body that is sent there."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cachemw.endpoints import CHAT
from cachemw.endpoints.base import ApiCall
from cachemw.endpoints.chat.request import BOOKKEEPING, read_chat, sent_chat
from cachemw.endpoints.sent import sent_body
from cachemw.messages import HttpRecipient, HttpTarget, RouteTarget
from cachemw.routing import Rewrite
from tests.cache.keying import RICH, asking, body_of
from tests.endpoints.test_canonical import BODIES

GATEWAY = RouteTarget(b"/v1/chat/completions", b"")
SETS = st.frozensets(st.sampled_from(sorted(BOOKKEEPING | {"seed", "model", "n"})), max_size=3)
MODELS = st.none() | st.sampled_from(["gpt-oss-120b", "", 'a"b\\c', "é", "\x00", "🦜"]) | st.text(max_size=5)


def call_to_gateway(raw: bytes) -> ApiCall | None:
    call = read_chat(CHAT, asking(raw, GATEWAY))
    return call if isinstance(call, ApiCall) else None


@given(BODIES | st.just(RICH), MODELS, SETS, SETS)
def test_a_call_made_of_parts_is_the_one_that_is_read_of_the_body_as_sent(
    body: dict[str, Any], model: str | None, counted: frozenset[str], named: frozenset[str]
) -> None:
    """E4: one canonicalisation for all targets of a route, and at each the key that it has there when it is named itself."""
    raw = json.dumps(body).encode()
    target = HttpTarget("https://api.example/v1/chat/completions", HttpRecipient(bookkeeping=counted))
    call = call_to_gateway(raw)

    slowly = read_chat(CHAT, asking(sent_body(raw, Rewrite(model=model)), target), named)

    assert (call and sent_chat(call, target, model, named)) == (slowly if isinstance(slowly, ApiCall) else None)


def test_only_a_call_to_a_gateway_has_its_members_and_their_forms() -> None:
    routed, direct = call_to_gateway(body_of()), read_chat(CHAT, asking(body_of()))

    assert isinstance(direct, ApiCall)
    assert routed is not None
    assert (direct.members, direct.forms) == (None, ())
    assert routed.members == json.loads(body_of())
    assert [name for name, _ in routed.forms] == ["messages", "model"]
