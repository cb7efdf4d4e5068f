"""Whatever targets do, a client hears one of them, and every attempt is begun and ended once."""

from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cachemw.cache.plans import Hedge
from cachemw.errors import Cause, UpstreamTimeout
from cachemw.gateway.fallback import aopen_in_turn
from cachemw.gateway.race import aopen_hedged
from cachemw.messages import Head
from tests.gateway.bouts import (
    ERROR_EVENT,
    JSON_HEAD,
    NO_CHOICES,
    ROLE,
    STREAM_HEAD,
    Asking,
    Part,
    asking,
    body_of,
    cut,
    hear,
    hear_async,
    refusal,
    unreachable,
    whole,
)
from tests.upstream import DONE, event

NAMES = "abcd"
MODES = ("sync", "in turn asyncio", "hedged asyncio", "hedged trio")


def said(name: str) -> list[list[Part]]:
    """Return what a target of this name may do; its words are its own."""
    word = event({"content": f"I am {name}"})
    return [
        [STREAM_HEAD, ROLE, word, event({}, "stop"), DONE],
        [STREAM_HEAD, ROLE, word, cut()],
        [STREAM_HEAD, ROLE, word, ERROR_EVENT],
        [STREAM_HEAD, ROLE, cut()],
        [STREAM_HEAD, ROLE, ERROR_EVENT],
        [STREAM_HEAD, ROLE, event({}, "content_filter"), DONE],
        [STREAM_HEAD],
        whole(f"I am {name}"),
        [JSON_HEAD, NO_CHOICES],
        [JSON_HEAD, b'{"choices": [', cut()],
        refusal(429, b'{"error": {"message": "%s"}}' % name.encode()),
        refusal(500, name.encode() * 70_000),
        refusal(400, b'{"error": {"message": "%s"}}' % name.encode()),
        refusal(401),
        unreachable(),
        unreachable(Cause.CLOSED),
        [UpstreamTimeout("no head")],
    ]


@st.composite
def questions(draw: st.DrawFn) -> Asking:
    """Draw what one to four targets do, and how they are asked."""
    names = NAMES[: draw(st.integers(1, 4))]
    scripts: dict[str, Any] = {name: draw(st.sampled_from(said(name))) for name in names}
    hedge = Hedge(draw(st.sampled_from([0.0, 60.0])), draw(st.integers(1, 3)))
    plan = {"hedge": hedge, "on_refusal": draw(st.sampled_from(["stop", "next"]))}
    question = asking(is_stream=draw(st.booleans()), plan=plan, **scripts)
    question.desk.repeats = draw(st.booleans())
    question.desk.unpaid = frozenset(draw(st.sets(st.integers(1, 3), max_size=1)))
    question.desk.cooling = dict.fromkeys(names, draw(st.sampled_from([1.0, 90.0])))
    return question


@pytest.mark.parametrize("mode", MODES)
@given(question=questions())
def test_a_client_hears_one_author_and_every_attempt_ends_once(mode: str, question: Asking) -> None:
    """G1, G2, G7, G21: never the words of two."""
    heard = hear(mode, question)

    position = heard.routed.position
    script = question.upstream(NAMES[position]).scripts[0]
    expected = body_of(script)
    is_whole = heard.error is None and not heard.routed.is_exhausted  # of a failure as much is shown as was held
    assert heard.body == expected if is_whole else expected.startswith(heard.body)
    assert heard.head is None or heard.head.status == next(part.status for part in script if isinstance(part, Head))
    assert question.desk.busy == []
    assert heard.routed.attempts == len(question.desk.results)
    assert len(question.asked) - heard.routed.attempts in (0, 1)  # a connection that was opened anew
    assert len(heard.routed.tried) >= heard.routed.attempts - 1


@pytest.mark.parametrize("opener", [aopen_in_turn, aopen_hedged])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@settings(max_examples=200)  # of few moments everything is in the middle of something
@given(question=questions(), moments=st.integers(0, 40))
def test_a_client_that_leaves_at_any_moment_leaves_nothing_open(
    opener: Any, backend: str, question: Asking, moments: int
) -> None:
    """G7, G8."""
    anyio.run(_leave_after, question, opener, moments, backend=backend)

    assert question.desk.busy == []


async def _leave_after(question: Asking, opener: Any, moments: int) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hear_async, question, opener)
        for _ in range(moments):
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
