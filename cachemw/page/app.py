"""The page as an ASGI app: whoever may not come in is told so here, and the views answer the others."""

from collections.abc import Callable, Mapping
from functools import partial

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from cachemw.metrics.exposition import StoreFigures, exposition
from cachemw.page.admission import SESSION_PATH, Verdict, admit_to_page
from cachemw.page.misses import misses
from cachemw.page.now import now
from cachemw.page.record import record
from cachemw.page.shell import Shell, plain, read_form
from cachemw.page.spend import spend
from cachemw.page.store import purge, store
from cachemw.page.traffic import Listeners, live, traffic
from cachemw.page.why import why

PageView = Callable[[Shell, Request], Response]

_VIEWS: tuple[tuple[str, PageView], ...] = (
    ("/", now),
    ("/traffic", traffic),
    ("/record/{key}", record),
    ("/why", why),
    ("/why/{name}", why),
    ("/misses", misses),
    ("/store", store),
    ("/spend", spend),
)


NOTHING_ALLOWED = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

SEALED_HEADERS: Mapping[str, str] = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # with less than that, forms would be sent with no origin
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
"""On every answer, besides the policy of what it may load."""


class PageApp:
    """The page of the store and the ledger in a directory: nothing of it is shown to who has not its token."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._views = Router(
            [
                Route(SESSION_PATH, partial(_trade, shell), methods=["POST"]),
                Route("/store/purge", partial(purge, shell), methods=["POST"]),
                Route("/metrics", _Scraping(shell).answer),
                Route("/live", partial(live, shell, Listeners())),
                *[Route(path, partial(shell.answered, view)) for path, view in _VIEWS],
            ],
            redirect_slashes=False,
            default=_nowhere(shell),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._views(scope, receive, send)
        elif scope["type"] == "websocket":
            await WebSocketClose()(scope, receive, send)
        else:
            await self._answer(scope, receive, partial(_sealed, send))

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        rules = self._shell.rules
        verdict = admit_to_page(scope["method"], scope["path"], tuple(scope["headers"]), rules)
        if not verdict.status:
            await self._views(scope, receive, send)
        else:
            await _refusal(self._shell, Request(scope), verdict)(scope, receive, send)


async def _sealed(send: Send, message: Message) -> None:
    """Send a message; the head of an answer says what may be done with that, and that it may load nothing but what it says."""
    if message["type"] == "http.response.start":
        headers = MutableHeaders(scope=message)
        for name, value in SEALED_HEADERS.items():
            headers[name] = value
        headers.setdefault("content-security-policy", NOTHING_ALLOWED)
    await send(message)


def _refusal(shell: Shell, request: Request, verdict: Verdict) -> Response:
    """Return what who may not come in is told; who may yet, with a token, is asked for that where people read it."""
    if verdict.status != 401:
        return plain(verdict.status, verdict.reason)
    if request.method in ("GET", "HEAD") and "text/html" in request.headers.get("accept", ""):
        is_wrong = verdict is Verdict.WRONG_TOKEN
        is_front = request.scope["path"] == "/" and not is_wrong  # where people begin nothing has gone wrong yet
        return shell.render(request, "log_in.html", status=200 if is_front else 401, wrong=is_wrong)
    return plain(401, verdict.reason, www_authenticate="Bearer")


async def _trade(shell: Shell, request: Request) -> Response:
    """Give the session's cookie to who brings the token."""
    form = await read_form(request)
    if form is None or not shell.rules.is_token(form.get("token", "").strip().encode(errors="replace")):
        return shell.render(request, "log_in.html", status=401, wrong=True)
    answer = Response(status_code=303, headers={"location": "/"})
    is_secure = request.headers.get("origin", "").startswith("https://")  # what is in front of us speaks TLS
    answer.set_cookie(shell.rules.cookie, shell.rules.session, httponly=True, samesite="strict", secure=is_secure, path="/")
    return answer


class _Scraping:
    """The counters of all workers, as Prometheus reads them. What the store holds is looked up by who changes nothing there."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._figures: StoreFigures | None = None

    def answer(self, request: Request) -> Response:
        shell = self._shell
        if self._figures is None and shell.store.exists():
            self._figures = StoreFigures(shell.store.read_only())
        figures = None if self._figures is None else self._figures.at(shell.clock())
        text, media_type = exposition(shell.directory, figures)
        return Response(text, media_type=media_type)


def _nowhere(shell: Shell) -> ASGIApp:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        response = shell.render(Request(scope), "problem.html", status=404, problem="")
        await response(scope, receive, send)

    return answer
