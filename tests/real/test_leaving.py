"""A client that closes its socket: wherever the answer is, whatever we are mounted on, and whatever is around us."""

from itertools import product

import anyio
import pytest

from cachemw import Policy
from tests.real.grounds import AROUND, Ground
from tests.real.leaving import MID_STREAM, MOUNTS, POINTS, PROMPTLY, Held, Point, call_and_leave, calling, come_to, staged
from tests.serving import until
from tests.thorough import THOROUGH

Place = tuple[str, str, str, Point]  # server, mount, what is around it, and where the answer is


def is_tried(place: Place) -> bool:
    """Leave out of a default run what is around us, but in the middle of a stream."""
    _, mount, around, point = place
    return THOROUGH or around == "plain" or (mount, point) == ("proxy", MID_STREAM)


PLACES = [place for place in product(("uvicorn", "hypercorn"), MOUNTS, AROUND, POINTS) if is_tried(place)]

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize(("server", "mount", "around", "point"), PLACES, ids=lambda part: getattr(part, "name", part)),
]

FINISHING = {"policy": (Policy(on_abandon="finish"), "on"), "header": (Policy(on_abandon="cancel"), "on, abandon=finish")}
CANCELLING = {"policy": (Policy(on_abandon="cancel"), "on"), "header": (Policy(on_abandon="finish"), "on, abandon=cancel")}


@pytest.mark.parametrize("how", FINISHING)
async def test_what_a_client_left_is_read_to_its_end_and_is_the_next_ones_hit(
    ground: Ground, server: str, mount: str, around: str, point: Point, how: str
) -> None:
    """H3, H6: one upstream call in all."""
    held, (policy, control) = Held(point), FINISHING[how]

    async with staged(ground, server, mount, held, around=AROUND[around], policy=policy) as scene:
        await call_and_leave(scene, held, control)
        await until(lambda: scene.table.detached == 1)
        held.rest.set()
        await until(lambda: scene.records == 1)
        reply = await scene.ask(point.request())

    assert reply.headers["cache-status"].startswith("cachemw; hit")
    assert reply.content == point.body
    assert held.calls == 1
    assert [(report.abandoned, report.stored) for report in scene.reports][:1] == [("finish", True)]


@pytest.mark.parametrize("how", CANCELLING)
async def test_what_a_client_left_is_ended_within_a_second(
    ground: Ground, server: str, mount: str, around: str, point: Point, how: str
) -> None:
    """H3, H6: nothing is stored, and nobody waits for it."""
    held, (policy, control) = Held(point), CANCELLING[how]

    async with staged(ground, server, mount, held, around=AROUND[around], policy=policy) as scene:
        await call_and_leave(scene, held, control)
        with anyio.fail_after(PROMPTLY):
            await held.left.wait()
            await until(lambda: not scene.table and scene.sockets() == 0)
        assert scene.records == 0
        held.rest.set()
        reply = await scene.ask(point.request())

    assert reply.content == point.body
    assert held.calls == 2
    assert [(report.abandoned, report.stored) for report in scene.reports][:1] == [("cancel", False)]


@pytest.mark.parametrize("on_abandon", ["finish", "cancel"])
async def test_who_reads_along_is_served_whole_when_the_first_one_leaves(
    ground: Ground, server: str, mount: str, around: str, point: Point, on_abandon: str
) -> None:
    """P1, H6: and it is stored."""
    held, bodies = Held(point), list[bytes]()
    control = f"on, abandon={on_abandon}"

    async with staged(ground, server, mount, held, around=AROUND[around]) as scene, anyio.create_task_group() as tasks:

        async def follow() -> None:
            bodies.append((await scene.ask(point.request(), control)).content)

        async with calling(scene.url, point.request(), control) as leading:
            await come_to(scene, held, leading)
            tasks.start_soon(follow)
            await until(lambda: len(scene.flight().readers) == 2)
        await until(lambda: len(scene.flight().readers) == 1)
        held.rest.set()
        await until(lambda: len(bodies) == 1)
        assert scene.records == 1

    assert bodies == [point.body]
    assert held.calls == 1
