"""A cassette for tests: recorded answers in a directory of their own, and the clients that are answered from there."""

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from cachemw import sdk as sdks
from cachemw.cache.directives import FOREVER
from cachemw.cache.order import ALONE, Order, Others
from cachemw.cache.policy import Policy
from cachemw.errors import ConfigurationError, RecordRefused, StoreError
from cachemw.report import ExchangeReport, Hook
from cachemw.stores.file.store import FileStore

logger = logging.getLogger(__name__)

_HONOURED = frozenset({"namespace", "sample", "speed"})
"""The controls that say which answer is asked for; whether it is recorded is for the cassette to say."""


_RECORDING = frozenset({"record", "refresh"})
_OF_STORE = "store-"
"""The beginning of details of which the store itself has said more."""


def _policy(default: str) -> Policy:
    return Policy(
        default=default,
        lifetime=FOREVER,
        max_lifetime=FOREVER,
        stale_if_error=0.0,
        keep=None,
        partition="shared",
        honour=_HONOURED,
    )


POLICIES: Mapping[str, Policy] = {
    "replay": _policy("on, mode=replay"),
    "record": _policy("on"),
    "refresh": _policy("on, mode=refresh"),
    "off": _policy("off"),
}
"""What becomes of a request, by the name of the mode.

replay   what is recorded is given again, and the upstream is never asked
record   what is recorded is given again; what is not is asked, and recorded
refresh  everything is asked, and recorded in the place of what was
off      everything is asked, and nothing recorded
"""


class Cassette:
    """The answers in one directory, and clients for them. `mode` is one of `POLICIES`.

    `asked` and `recorded` take note of the records that were asked for and made, by the digits in the names of their files;
    `failed` of why some could not be made, in words. Their answers are given all the same, and it is logged.
    Records are fresh for ever, and what a request asks of a cache is not obeyed, but for what belongs to the key. Raises
    `ConfigurationError` where there is nothing to replay.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        mode: str,
        *,
        asked: set[str] | None = None,
        recorded: set[str] | None = None,
        failed: set[str] | None = None,
    ) -> None:
        if mode not in POLICIES:
            raise ConfigurationError(f"a cassette's mode is {', '.join(POLICIES)}, not {mode!r}")
        self.mode, self.policy = mode, POLICIES[mode]
        asked, recorded, self._failed = (set[str]() if one is None else one for one in (asked, recorded, failed))
        self.store: FileStore = _NotingStore(directory, asked, recorded, self._note_failure)
        self._opened: list[Any] = []
        if self.policy.replays:
            self.store = self.store.read_only()

    @property
    def directory(self) -> Path:
        """The directory that the answers are in."""
        return self.store.path

    def transport(self, sdk: Any = None, inner: Any = None, *, hooks: Iterable[Hook] = ()) -> Any:
        """Return a transport for a client of the family that an SDK speaks; see `cachemw.sdk`."""
        return self._noted(sdks.transport(sdk, inner, hooks=(*hooks, self._note_exchange), **self._ours))

    def async_transport(self, sdk: Any = None, inner: Any = None, *, hooks: Iterable[Hook] = ()) -> Any:
        """Return a transport for an awaited client."""
        return sdks.async_transport(sdk, inner, hooks=(*hooks, self._note_exchange), **self._ours)

    def http_client(self, sdk: Any = None, inner: Any = None, *, hooks: Iterable[Hook] = ()) -> Any:
        """Return a client for an SDK's `http_client=`; see `cachemw.sdk`."""
        return self._noted(sdks.http_client(sdk, inner, hooks=(*hooks, self._note_exchange), **self._ours))

    def async_http_client(self, sdk: Any = None, inner: Any = None, *, hooks: Iterable[Hook] = ()) -> Any:
        """Return a client for an SDK's awaited client, to be closed in the event loop that used it."""
        return sdks.async_http_client(sdk, inner, hooks=(*hooks, self._note_exchange), **self._ours)

    def close(self) -> None:
        """Close what was given and is not awaited. May be called twice."""
        while self._opened:
            self._opened.pop().close()

    @property
    def _ours(self) -> dict[str, Any]:
        return {"store": self.store, "policy": self.policy}

    def _noted(self, opened: Any) -> Any:
        self._opened.append(opened)
        return opened

    def _note_exchange(self, report: ExchangeReport) -> None:
        """Note an answer that was to be recorded and is not kept: the test would fail where it is replayed."""
        is_meant = self.mode in _RECORDING and report.opted_in and report.fwd is not None and not report.collapsed
        if is_meant and not report.stored and report.detail and not report.detail.startswith(_OF_STORE):
            self._note_failure(f"an answer for {report.model or 'no model'}: {report.detail}")

    def _note_failure(self, why: str) -> None:
        if why not in self._failed:
            logger.warning("not recorded: %s", why)
        self._failed.add(why)


class _NotingStore(FileStore):
    """Notes which records are asked for, which are made, and why some cannot be."""

    def __init__(
        self, path: str | os.PathLike[str], asked: set[str], recorded: set[str], failed: Callable[[str], None]
    ) -> None:
        super().__init__(path)
        self._asked, self._recorded, self._failed = asked, recorded, failed

    def get(self, index: bytes) -> bytes | None:
        self._asked.add(index.hex())
        return super().get(index)

    def put(self, index: bytes, record: bytes, keep: float | None, order: Order | None = None, others: Others = ALONE) -> None:
        try:
            super().put(index, record, keep, order, others)
        except RecordRefused:
            raise
        except StoreError as exc:
            self._failed(str(exc))
            raise
        self._recorded.add(index.hex())
