"""The page as an ASGI app: whoever may not come in is told so here, and the views answer the others."""

from collections.abc import Callable
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketClose

from cachemw.page.admission import SESSION_PATH, Verdict, admit_to_page
from cachemw.page.misses import misses
from cachemw.page.now import now
from cachemw.page.record import record
from cachemw.page.shell import Shell, plain, read_form
from cachemw.page.spend import spend
from cachemw.page.store import purge, store
from cachemw.page.traffic import Listeners, live, traffic
from cachemw.page.why import why

_VIEWS: tuple[tuple[str, Callable[[Shell, Request], Response]], ...] = (
    ("/", now),
    ("/traffic", traffic),
    ("/record/{key}", record),
    ("/why", why),
    ("/why/{name}", why),
    ("/misses", misses),
    ("/store", store),
    ("/spend", spend),
)


class PageApp:
    """The page of the store and the ledger in a directory: nothing of it is shown to who has not its token."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._views = Router(
            [
                Route(SESSION_PATH, partial(_trade, shell), methods=["POST"]),
                Route("/store/purge", partial(purge, shell), methods=["POST"]),
                Route("/live", partial(live, shell, Listeners())),
                *[Route(path, partial(view, shell)) for path, view in _VIEWS],
            ],
            redirect_slashes=False,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._views(scope, receive, send)
        elif scope["type"] == "websocket":
            await WebSocketClose()(scope, receive, send)
        else:
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        rules = self._shell.rules
        verdict = admit_to_page(scope["method"], scope["path"], tuple(scope["headers"]), rules)
        if not verdict.status:
            await self._views(scope, receive, send)
        else:
            await _refusal(self._shell, Request(scope), verdict)(scope, receive, send)


def _refusal(shell: Shell, request: Request, verdict: Verdict) -> Response:
    """Return what who may not come in is told; who may yet, with a token, is asked for that where people read it."""
    if verdict.status != 401:
        return plain(verdict.status, verdict.reason)
    if request.method in ("GET", "HEAD") and "text/html" in request.headers.get("accept", ""):
        is_wrong = verdict is Verdict.WRONG_TOKEN
        is_front = request.url.path == "/" and not is_wrong  # where people begin nothing has gone wrong yet
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
