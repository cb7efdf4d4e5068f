"""What holds an upstream, in whatever thread or event loop it runs."""

import threading

import anyio

PATIENCE = 30.0


class Gate(anyio.Event):
    """An event that any thread may set, and any thread or task wait for: not for ever."""

    def __new__(cls) -> "Gate":
        return object.__new__(cls)

    def __init__(self) -> None:
        self._opened = threading.Event()

    def set(self) -> None:
        self._opened.set()

    def is_set(self) -> bool:
        return self._opened.is_set()

    def wait_here(self, seconds: float = PATIENCE) -> None:
        """Wait in this thread. Raises `TimeoutError`."""
        if not self._opened.wait(seconds):
            raise TimeoutError("nobody opened the gate")

    async def wait(self) -> None:
        """Wait in this task. Raises `TimeoutError`."""
        with anyio.fail_after(PATIENCE):
            while not self.is_set():  # noqa: ASYNC110 - another thread's
                await anyio.sleep(0.002)
