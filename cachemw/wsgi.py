"""The WSGI mount: `app.wsgi_app = CacheMiddleware(app.wsgi_app, name="support-bot")`, or with `upstream=cerebras()`.

PEP 3333, and no thread of ours: the wrapped app runs in the server's own, as it would without us. Mount it inside of what
authenticates callers: who is refused there learns nothing of what is stored.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from types import MappingProxyType
from typing import Any

from cachemw._wsgi_environ import Environ, StartResponse, WsgiApp, WsgiRequest, start, without_control
from cachemw.budget import Budget
from cachemw.cache.classify import (
    Classified,
    NotOptedIn,
    OptedIn,
    OtherRequest,
    body_limit,
    classify,
    exchange_for,
    is_read_through,
    unfinished,
)
from cachemw.cache.context import attested_in_environ
from cachemw.cache.effects import Exchange, Failed, Outcome, Serve
from cachemw.cache.key import caller_of
from cachemw.cache.live_response import Relay
from cachemw.cache.policy import Policy
from cachemw.cache.recall import Moment, Recalled
from cachemw.drivers.pull_sync import SyncAnswer, SyncPullDriver
from cachemw.drivers.recalling import Door
from cachemw.drivers.tally import Tally
from cachemw.errors import ClientLeftError, UpstreamError
from cachemw.ledger.ledger import ledger_beside
from cachemw.limits import Limits
from cachemw.messages import URL_RECIPIENT, AppTarget, Head, Inside, Request, Target, Unread
from cachemw.report import Hook
from cachemw.stores import DiskStore, Store
from cachemw.upstreams.base import SyncGateway, SyncUpstream, UpstreamRequest, answerer, as_upstream_error


class WsgiAppUpstream:
    """A wrapped app, and its answer to one request, in the server's own thread. What it writes itself goes by `push`.

    `raised` is what it raised; `is_begun`: it has sent its head itself; `handed_over` is a file that only the server can
    send at its best. What it returned is closed when the server closes what we return, as without us: by `end`.
    """

    def __init__(self, app: WsgiApp, incoming: WsgiRequest, start_response: StartResponse) -> None:
        self.raised: Exception | None = None
        self.is_begun = False
        self.handed_over: Iterable[bytes] | None = None
        self.push: Callable[[Head], Outcome]
        self._app, self._incoming, self._start_response = app, incoming, start_response
        self._write: Callable[[bytes], object] | None = None
        self._head: Head | None = None
        self._is_final = False
        self._result: Iterable[bytes] = ()
        self._chunks: Iterator[bytes] = iter(())
        self._first: bytes | None = None

    @property
    def head(self) -> Head:
        """Return what the app said last, before its first byte."""
        assert self._head is not None  # noqa: S101 - it is open
        return self._head

    def open(self, request: UpstreamRequest) -> "WsgiAppUpstream":
        """Call the app, and go on until its head is final: with its first byte, as PEP 3333 has it."""
        try:
            self._call(request.recorded)
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
        outcome = self.push(self.head)
        if not isinstance(outcome, Relay):
            return None
        self.is_begun = True
        return start(self._start_response, outcome.head)

    def _failed(self, exc: Exception) -> UpstreamError:
        self.raised = exc
        return as_upstream_error(exc)


class WsgiBody:
    """The body that the server iterates and closes. An answer that breaks off is broken off here too, by raising."""

    def __init__(self, answer: SyncAnswer, end: Callable[[], None]) -> None:
        self._answer, self._end = answer, end
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
        raise self._original(self._error)

    def close(self) -> None:
        """End it, wherever it is."""
        try:
            self._answer.close()
        finally:
            self._end()

    def _original(self, error: UpstreamError) -> Exception:
        return error


class WsgiAppBody(WsgiBody):
    """The body of a wrapped app's answer: its exceptions are seen as without us."""

    def __init__(self, answer: SyncAnswer, app: WsgiAppUpstream) -> None:
        super().__init__(answer, app.end)
        self._app = app

    def _original(self, error: UpstreamError) -> Exception:
        return self._app.raised or error


class RecalledBody:
    """The body of a hit that is given again, which is counted when the server has it."""

    def __init__(self, recalled: Recalled, moment: Moment, tally: Tally) -> None:
        self._recalled, self._moment, self._tally = recalled, moment, tally
        self._is_over = False

    def __iter__(self) -> Iterator[bytes]:
        yield from self._recalled.pieces
        self.close()

    def close(self) -> None:
        """Count it. May be called twice."""
        if not self._is_over:
            self._is_over = True
            self._tally.add(self._moment, self._recalled.body_size)


def _begun(body: WsgiBody | RecalledBody, head: Head, start_response: StartResponse) -> Iterable[bytes]:
    """Send the head, and return the body."""
    try:
        start(start_response, head)
    except BaseException:
        body.close()
        raise
    return body


def _begun_by(app: WsgiAppUpstream, answer: SyncAnswer, start_response: StartResponse) -> Iterable[bytes]:
    """Send the head, unless the app has, and return the body."""
    body = WsgiAppBody(answer, app)
    if isinstance(answer.outcome, Serve) and app.raised is not None:
        logger.warning("the wrapped app raised %s: a stored response answers", type(app.raised).__name__)
    if app.handed_over is not None:
        list(answer)
        app.end()
        return app.handed_over
    if isinstance(answer.outcome, Failed) and app.raised is not None:
        body.close()
        raise app.raised
    return body if app.is_begun else _begun(body, answer.head, start_response)


def _is_file(result: Iterable[bytes], environ: Environ) -> bool:
    wrapper = environ.get("wsgi.file_wrapper")
    return isinstance(wrapper, type) and isinstance(result, wrapper)


def _nowhere(chunk: bytes) -> None:
    """Take what a stored answer is better than."""


logger = logging.getLogger(__name__)


class CacheMiddleware:
    """Caches what a WSGI app answers to API calls, or an HTTP upstream beside it.

    With `upstream` every API call goes there and everything else to `app`, with `gateway` to one of several, in turn; with
    `name` the app answers misses, and the name is in the key: change it when the app's prompts change. The default store is
    `DiskStore()`, the default policy off unless asked. Raises `ConfigurationError` without any of these.

    What an app sends by `write()`, or hands over as the server's `wsgi.file_wrapper`, passes and is not kept.
    """

    def __init__(
        self,
        app: WsgiApp,
        *,
        upstream: SyncUpstream | None = None,
        gateway: SyncGateway | None = None,
        name: str | None = None,
        store: Store | None = None,
        policy: Policy | None = None,
        limits: Limits = Limits(),
        hooks: Iterable[Hook] = (),
        ledger: bool = True,
    ) -> None:
        self.app, self._name = app, name or ""
        self._upstream, self._planner = answerer(upstream, gateway, name), gateway
        self._owns_store = store is None
        self._store = DiskStore() if store is None else store
        recipient, policy = Inside.APP if self._upstream is None else URL_RECIPIENT, policy or Policy()
        self._ledger = ledger_beside(self._store, policy) if ledger else None
        hooks = (*hooks, self._ledger) if self._ledger else hooks
        self.driver = SyncPullDriver(self._store, policy, limits, hooks, recipient, gateway)
        self.bodies = Budget(limits.requests_bytes)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        incoming = WsgiRequest(environ, self.bodies)
        match classify(incoming.method, incoming.path, incoming.headers, self.driver.policy):
            case OtherRequest(asked):
                return self.app(environ if asked is None else without_control(environ), start_response)
            case NotOptedIn() if self._upstream is None:
                return self.app(environ, start_response)
            case classified:
                return self._answer(unfinished(classified), incoming, start_response)

    def close(self) -> None:
        """Close the upstream's connections, and the store if it is our own. May be called twice."""
        self.driver.recaller.tally.tell()
        if self._upstream is not None:
            self._upstream.close()
        if self._ledger is not None:
            self._ledger.close()
        if self._owns_store:
            self._store.close()

    def _answer(self, classified: Classified, incoming: WsgiRequest, start_response: StartResponse) -> Iterable[bytes]:
        door = incoming.door(self.driver.recaller) if isinstance(classified, OptedIn) else None
        try:
            body = incoming.read(
                body_limit(
                    classified,
                    self.driver.policy,
                    is_read=not isinstance(classified, OptedIn) and self._reads(classified, incoming),
                )
            )
            found = None if door is None else door.find(body)
            if found is not None:
                return self._again(*found, incoming, start_response)
            exchange = self._exchange(classified, door, incoming, body)
        except ClientLeftError:
            return self._left(incoming, start_response)
        except BaseException:
            incoming.let_go()
            raise
        if self._upstream is None:
            return self._around(exchange, door, incoming, start_response)
        return self._beside(self._upstream, exchange, door, incoming, start_response)

    def _reads(self, classified: Classified, incoming: WsgiRequest) -> bool:
        """Say whether a request's body has to be read though it is not cached."""
        if self._upstream is None:
            return False
        target = self._upstream.target(incoming.raw_path, incoming.query)
        return is_read_through(classified, incoming.method, incoming.headers, target)

    def _again(
        self, recalled: Recalled, moment: Moment, incoming: WsgiRequest, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Give a request again what the like of it was given."""
        incoming.let_go()
        return _begun(RecalledBody(recalled, moment, self.driver.recaller.tally), moment.head, start_response)

    def _exchange(self, classified: Classified, door: Door | None, incoming: WsgiRequest, body: bytes | Unread) -> Exchange:
        driver, policy = self.driver, self.driver.policy
        if door is not None:
            door.begin(body)
        request = self._request(incoming, body)
        target = None if self._upstream is None else incoming.target
        return exchange_for(classified, request, policy, driver.limits, driver.verified, target)

    def _beside(
        self,
        upstream: SyncUpstream,
        exchange: Exchange,
        door: Door | None,
        incoming: WsgiRequest,
        start_response: StartResponse,
    ) -> Iterable[bytes]:
        """Answer with the upstream behind us."""
        outgoing = incoming.outgoing(self.driver.policy.header_rules, self.driver.limits.timeouts)
        try:
            answer = self.driver.run(exchange, upstream.open, outgoing, door=door)
        except BaseException:
            incoming.let_go()
            raise
        return _begun(WsgiBody(answer, incoming.let_go), answer.head, start_response)

    def _around(
        self, exchange: Exchange, door: Door | None, incoming: WsgiRequest, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Answer with the wrapped app behind us. What it raises and nothing stored stands for is raised, as without us."""
        app = WsgiAppUpstream(self.app, incoming, start_response)
        outgoing = incoming.outgoing(self.driver.policy.header_rules, self.driver.limits.timeouts)
        answer = SyncAnswer(self.driver, exchange, app.open, outgoing, door=door)
        app.push = answer.push
        try:
            answer.begin()
        except UpstreamError as error:
            raised = app.raised or error
        except BaseException:
            app.end()
            raise
        else:
            return _begun_by(app, answer, start_response)
        app.end()
        raise raised

    def _left(self, incoming: WsgiRequest, start_response: StartResponse) -> Iterable[bytes]:
        """Let the app have what came of a request that is not whole, as without us. An upstream gets nothing of it."""
        incoming.let_go()
        if self._upstream is None:
            return self.app(incoming.handed_on(recorded=False), start_response)
        start_response("400 Bad Request", [("Content-Length", "0")])
        return []

    def _request(self, incoming: WsgiRequest, body: bytes | Unread) -> Request:
        environ, raw_path = incoming.environ, incoming.raw_path
        target: Target
        if self._upstream is None:
            target = AppTarget(self._name, incoming.root, incoming.path_bytes, raw_path, incoming.query)
        else:
            target = self._upstream.target(raw_path, incoming.query)
        attested, headers = attested_in_environ(environ), incoming.headers
        caller = caller_of(headers, target.recipient, attested)
        return Request(incoming.method, incoming.path, headers, body, target, attested, caller, MappingProxyType(environ))
