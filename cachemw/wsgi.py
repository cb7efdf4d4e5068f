"""The WSGI mount: `app.wsgi_app = CacheMiddleware(app.wsgi_app, name="support-bot")`, or with `upstream=cerebras()`.

PEP 3333, and no thread of ours: the wrapped app runs in the server's own, as it would without us. Mount it inside of what
authenticates callers: who is refused there learns nothing of what is stored.
"""

import logging
from collections.abc import Iterable
from types import MappingProxyType

from cachemw.budget import Budget
from cachemw.core import limits
from cachemw.core.effects import Failed, Serve
from cachemw.core.intake import NotAsked, NotChat, TakenIn, body_limit, script_for, take_in, unfinished
from cachemw.core.messages import Answerer, AppAnswerer, HttpAnswerer, Request, Unread
from cachemw.core.policy import Policy
from cachemw.core.report import Hook
from cachemw.core.seen import attested_in_environ
from cachemw.errors import ConfigurationError, UpstreamError
from cachemw.stores import DiskStore, Store
from cachemw.sync_driver import SyncAnswer, SyncDriver
from cachemw.upstreams.http import HttpUpstream
from cachemw.wsgi_answering import Body, FromApp, FromUpstream
from cachemw.wsgi_wire import ClientLeftError, Environ, Incoming, StartResponse, WsgiApp, start, without_control

logger = logging.getLogger(__name__)


class CacheMiddleware:
    """Caches the chat completions of a WSGI app, or of an HTTP upstream beside it.

    With `upstream` every chat request goes there and everything else to `app`; with `name` the app answers misses, and
    the name is in the key: change it when the app's prompts change. The default store is `DiskStore()`, the default
    policy off unless asked. Raises `ConfigurationError` without `upstream` and `name`.

    What an app sends by `write()`, or hands over as the server's `wsgi.file_wrapper`, passes and is not kept.
    """

    def __init__(
        self,
        app: WsgiApp,
        *,
        upstream: HttpUpstream | None = None,
        name: str | None = None,
        store: Store | None = None,
        policy: Policy | None = None,
        hooks: Iterable[Hook] = (),
    ) -> None:
        if upstream is None and not name:
            raise ConfigurationError("CacheMiddleware needs an upstream, or a name for the app it is around")
        self.app = app
        self._upstream, self._name = upstream, name or ""
        self._owns_store = store is None
        self._store = DiskStore() if store is None else store
        self.driver = SyncDriver(self._store, policy or Policy(), hooks=hooks)
        self.bodies = Budget(limits.REQUESTS_BYTES)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        incoming = Incoming(environ, self.bodies)
        match take_in(incoming.method, incoming.path, incoming.headers, self.driver.policy):
            case NotChat(asked):
                return self.app(environ if asked is None else without_control(environ), start_response)
            case NotAsked() if self._upstream is None:
                return self.app(environ, start_response)
            case taken_in:
                return self._answer(unfinished(taken_in), incoming, start_response)

    def close(self) -> None:
        """Close the upstream's connections, and the store if it is our own. May be called twice."""
        if self._upstream is not None:
            self._upstream.close()
        if self._owns_store:
            self._store.close()

    def _answer(self, taken_in: TakenIn, incoming: Incoming, start_response: StartResponse) -> Iterable[bytes]:
        policy = self.driver.policy
        forwarding = self._forwarding(incoming, start_response)
        try:
            body = incoming.read(body_limit(taken_in, policy))
            request = self._request(incoming, body)
            script = script_for(taken_in, request, policy, self.driver.verified, forwarding.target)
            answer = self.driver.run(script, forwarding)
        except ClientLeftError:
            return self._left(incoming, start_response)
        except UpstreamError as error:
            raised = forwarding.raised or error
        except BaseException:
            forwarding.end()
            raise
        else:
            return self._begun(answer, forwarding, start_response)
        forwarding.end()
        raise raised

    def _begun(self, answer: SyncAnswer, forwarding: FromApp | FromUpstream, start_response: StartResponse) -> Iterable[bytes]:
        """Send the head, and return the body. Who cannot be answered is raised at, as by the app without us."""
        body = Body(answer, forwarding)
        if isinstance(answer.outcome, Serve) and forwarding.raised is not None:
            logger.warning("the wrapped app raised %s: a stored response answers", type(forwarding.raised).__name__)
        if forwarding.handed_over is not None:
            list(answer)
            forwarding.end()
            return forwarding.handed_over
        try:
            if isinstance(answer.outcome, Failed) and forwarding.raised is not None:
                raise forwarding.raised
            if not forwarding.is_begun:
                start(start_response, answer.head)
        except BaseException:
            body.close()
            raise
        return body

    def _left(self, incoming: Incoming, start_response: StartResponse) -> Iterable[bytes]:
        """Let the app have what came of a request that is not whole, as without us. An upstream gets nothing of it."""
        incoming.let_go()
        if self._upstream is None:
            return self.app(incoming.handed_on(recorded=False), start_response)
        start_response("400 Bad Request", [("Content-Length", "0")])
        return []

    def _forwarding(self, incoming: Incoming, start_response: StartResponse) -> FromApp | FromUpstream:
        if self._upstream is None:
            return FromApp(self.app, incoming, start_response)
        return FromUpstream(self._upstream, incoming, self.driver.policy)

    def _request(self, incoming: Incoming, body: bytes | Unread) -> Request:
        environ, raw_path = incoming.environ, incoming.raw_path
        answerer: Answerer
        if self._upstream is None:
            answerer = AppAnswerer(self._name, incoming.root, incoming.path_bytes, raw_path, incoming.query)
        else:
            answerer = HttpAnswerer(self._upstream.url_for(raw_path, incoming.query), self._upstream.target)
        attested = attested_in_environ(environ)
        return Request(incoming.method, incoming.path, incoming.headers, body, answerer, attested, MappingProxyType(environ))
