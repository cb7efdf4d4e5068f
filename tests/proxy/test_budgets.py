"""The work of a hit that is recalled: how many functions of ours run. Times depend on the machine, and this does not."""

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from types import FrameType

import pytest

import cachemw
from tests.proxy.guarded import status_of
from tests.proxy.recalling import JSON, STREAM, Pair, head_of, pair

pytestmark = pytest.mark.anyio

OURS = cachemw.__path__[0]
OF_THE_STORE = f"{OURS}/stores/"


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def both(anyio_backend: str) -> AsyncIterator[Pair]:
    async with pair(known=(JSON, STREAM), hears=False) as both:
        yield both


@contextmanager
def counted() -> Iterator[list[str]]:
    """Give the functions of ours that are called meanwhile."""
    called: list[str] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(OURS):
            called.append(f"{frame.f_code.co_filename}:{frame.f_code.co_qualname}")

    sys.setprofile(note)
    try:
        yield called
    finally:
        sys.setprofile(None)


@pytest.mark.parametrize("request_", [JSON, STREAM], ids=["JSON", "a stream"])
@pytest.mark.parametrize(("is_in_two", "most"), [(False, 8), (True, 14)], ids=["in one piece", "in two"])
async def test_a_hit_of_the_listener_is_this_much_work(both: Pair, request_: bytes, is_in_two: bool, most: int) -> None:
    """V2: besides that, the store is asked whether all is as it was found."""
    size = len(head_of(request_))
    pieces = (request_[:size], request_[size:]) if is_in_two else (request_,)
    async with await both.recalling.connect() as stream:
        for _ in range(2):  # the first one ends the time for the head
            await both.recalling.send(stream, *pieces)
            assert status_of(await stream.receive()) == 200
        with counted() as called:
            await both.recalling.send(stream, *pieces)
        await stream.receive()

    of_the_store = [name for name in called if name.startswith(OF_THE_STORE) or "_is_there" in name]
    assert 0 < len(called) - len(of_the_store) <= most, called
    assert 0 < len(of_the_store) <= 9, called
