"""Who answers under WSGI: the wrapped app, or an HTTP upstream; and the body that the server is given."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from cachemw.core.effects import Outcome
from cachemw.core.messages import Head, Headers
from cachemw.core.policy import Policy
from cachemw.core.transfer import Relay
from cachemw.errors import UpstreamError
from cachemw.sync_driver import SyncAnswer
from cachemw.upstreams.base import Source, as_upstream_error
from cachemw.upstreams.http import HttpUpstream, Outgoing
from cachemw.wsgi_wire import Environ, Incoming, StartResponse, WsgiApp, start


class FromApp:
    """Let a wrapped app answer, in the server's own thread.

    `raised` is what it raised; `is_begun`: it has sent its head itself; `handed_over` is a file that only the server can
    send at its best. What it returned is closed when the server closes what we return, as without us: by `end`.
    """

    def __init__(self, app: WsgiApp, incoming: Incoming, start_response: StartResponse) -> None:
        self.raised: Exception | None = None
        self.is_begun = False
        self.handed_over: Iterable[bytes] | None = None
        self._app, self._incoming, self._start_response = app, incoming, start_response
        self._push: Callable[[Head], Outcome]
        self._write: Callable[[bytes], object] | None = None
        self._head: Head | None = None
        self._is_final = False
        self._result: Iterable[bytes] = ()
        self._chunks: Iterator[bytes] = iter(())
        self._first: bytes | None = None
        self.target: bytes | None = None  # no upstream is asked for any

    @property
    def head(self) -> Head:
        """What the app said last, before its first byte."""
        assert self._head is not None  # noqa: S101 - it is open
        return self._head

    def open(self, recorded: bool, rewritten: Headers, push: Callable[[Head], Outcome]) -> Source:
        """Call the app, and go on until its head is final: with its first byte, as PEP 3333 has it."""
        self._push = push
        try:
            self._call(recorded)
        except Exception as exc:
            raise self._failed(exc) from exc
        self._is_final = True
        return self

    def read(self, within: float | None) -> bytes | None:
        """Return the next chunk, `None` at the end. Raises `UpstreamError` for what the app raises. It cannot be hurried."""
        first, self._first = self._first, None
        if first is not None:
            return first
        try:
            return self._next()
        except Exception as exc:
            raise self._failed(exc) from exc

    def close(self) -> None:
        """Ask for no more; it is closed later."""
        self._chunks = iter(())

    def end(self) -> None:
        """Close what the app returned, unless the server is to. Raises what that raises."""
        self._incoming.let_go()
        result, self._result, self._chunks = self._result, (), iter(())
        if self.handed_over is None and hasattr(result, "close"):
            result.close()

    def _call(self, recorded: bool) -> None:
        self._result = self._app(self._incoming.handed_on(recorded), self._started)
        if self._head is not None and _is_file(self._result, self._incoming.environ):
            self._hand_over()
        else:
            self._chunks = filter(None, iter(self._result))
            self._first = None if self.is_begun else self._next()
        if self._head is None:
            raise RuntimeError("the wrapped app never called start_response")

    def _next(self) -> bytes | None:
        chunk = next(self._chunks, None)
        if not isinstance(chunk, bytes | None):
            raise TypeError(f"the wrapped app's answer is of bytes, and not {type(chunk).__name__}")
        return chunk

    def _started(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
        if self._head is not None and exc_info is None:
            raise RuntimeError("start_response was called twice")
        if self.is_begun or self._is_final:
            raise exc_info[1].with_traceback(exc_info[2])
        fields = tuple([(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers])
        self._head = Head(int(status[:3]), fields)
        return self._written

    def _written(self, chunk: bytes) -> None:
        """Pass on what the app does not return but write."""
        if self._is_final:
            raise RuntimeError("write was called by what is being iterated")
        if self._write is None:
            self._write = self._begin() or _nowhere
        if chunk:
            self._write(chunk)

    def _hand_over(self) -> None:
        if self._begin() is not None:
            self.handed_over = self._result

    def _begin(self) -> Callable[[bytes], object] | None:
        """Send the head of an answer that nobody pulls, if it is to be sent."""
        outcome = self._push(self.head)
        if not isinstance(outcome, Relay):
            return None
        self.is_begun = True
        return start(self._start_response, outcome.head)

    def _failed(self, exc: Exception) -> UpstreamError:
        self.raised = exc
        return as_upstream_error(exc)


class FromUpstream:
    """Let an HTTP upstream answer."""

    raised: Exception | None = None
    is_begun = False
    handed_over: Iterable[bytes] | None = None

    def __init__(self, upstream: HttpUpstream, incoming: Incoming, policy: Policy) -> None:
        self._upstream, self._incoming, self._rules = upstream, incoming, policy.header_rules
        self.target: bytes | None = incoming.target

    def open(self, recorded: bool, rewritten: Headers, push: Callable[[Head], Outcome]) -> Source:
        incoming = self._incoming
        url = self._upstream.url_for(incoming.raw_path, incoming.query)
        outgoing = Outgoing(incoming.method, url, incoming.headers, incoming.content(), rewritten)
        return self._upstream.open(outgoing, self._rules, recorded)

    def end(self) -> None:
        """Hold nothing more of the request."""
        self._incoming.let_go()


class Body:
    """What the server iterates and closes. An answer that breaks off is broken off here too, by raising."""

    def __init__(self, answer: SyncAnswer, forwarding: FromApp | FromUpstream) -> None:
        self._answer, self._forwarding = answer, forwarding
        self._error: UpstreamError | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._error is None:
            try:
                return next(self._answer)
            except UpstreamError as error:
                self._error = error
                if broken := self._answer.broken(error):
                    return broken
        raise self._forwarding.raised or self._error

    def close(self) -> None:
        """End it, wherever it is."""
        try:
            self._answer.close()
        finally:
            self._forwarding.end()


def _is_file(result: Iterable[bytes], environ: Environ) -> bool:
    wrapper = environ.get("wsgi.file_wrapper")
    return isinstance(wrapper, type) and isinstance(result, wrapper)


def _nowhere(chunk: bytes) -> None:
    """Take what a stored answer is better than."""
