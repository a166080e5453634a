"""The live pages: the report's content while the study runs, for one reader on this host.

Login nodes are shared, so the address holds a random token: without it every request is answered
401. Nothing can be changed through it, and nothing is fetched from elsewhere.
"""

import getpass
import secrets
import socket
from collections.abc import Awaitable, Callable
from dataclasses import fields
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse
from starlette.middleware.trustedhost import TrustedHostMiddleware

import emsearch
from emsearch.errors import NotFoundError
from emsearch.ledger.leaders import Sorting
from emsearch.ledger.store import Ledger
from emsearch.reports import live
from emsearch.reports.api import Api, Asked, AttemptText, Most, Number, Studies
from emsearch.reports.leaderboard import leaderboard
from emsearch.reports.pages import templates

__all__ = ["address", "make_app", "new_token", "serve", "tunnel"]

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
_STATIC = {"report.css": "text/css", "web.css": "text/css", "web.js": "text/javascript"}
_HOSTS = ["127.0.0.1", "localhost"]


def new_token() -> str:
    """Return a token that nobody guesses."""
    return secrets.token_urlsafe(24)


def address(port: int, token: str) -> str:
    """Return where the pages are."""
    return f"http://127.0.0.1:{port}/{token}/"


def tunnel(port: int) -> str:
    """Return the command that brings the pages of this host to a user's own."""
    return f"ssh -N -L {port}:127.0.0.1:{port} {getpass.getuser()}@{socket.gethostname()}"


def serve(ledger: Ledger, folder: Path | None, port: int, token: str) -> None:
    """Serve the pages on this host alone until interrupted."""
    app = make_app(ledger, folder, token)
    # An access log would hold the token.
    uvicorn.run(app, host="127.0.0.1", port=port, access_log=False, log_level="warning")


def make_app(ledger: Ledger, folder: Path | None, token: str) -> FastAPI:
    """Return the pages of the ledger's studies, below the token.

    `folder` holds the ledger's study; None: each study's row says where its folder is.
    """
    pages = FastAPI(
        title="emsearch",
        version=emsearch.__version__,
        docs_url=None,
        redoc_url=None,
        root_path_in_servers=False,
    )
    studies = Studies(ledger, folder)
    pages.include_router(Api(studies).router)
    pages.include_router(_Pages(studies, f"/{token}").router)
    pages.add_exception_handler(NotFoundError, _not_found)
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.mount(f"/{token}", pages)
    app.middleware("http")(_guard(token))
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=_HOSTS)
    return app


Next = Callable[[Request], Awaitable[Response]]


def _guard(token: str) -> Callable[[Request, Next], Awaitable[Response]]:
    """Return what stands before every request: the token, reading alone, headers."""

    async def guard(request: Request, answer: Next) -> Response:
        given = request.url.path.split("/")[1]
        if not secrets.compare_digest(given.encode(), token.encode()):
            told = "the address that `emsearch web` printed holds a token; this one does not"
            response: Response = JSONResponse({"detail": told}, status_code=401)
        elif request.method not in {"GET", "HEAD"}:
            told = "these pages can only be read"
            response = JSONResponse({"detail": told}, status_code=405, headers={"Allow": "GET"})
        else:
            response = await answer(request)
        response.headers.update(_HEADERS)
        return response

    return guard


def _not_found(_request: Request, error: Exception) -> Response:
    return JSONResponse({"detail": str(error)}, status_code=404)


class _Pages:
    """The pages for people."""

    def __init__(self, studies: Studies, root: str) -> None:
        self._studies = studies
        self._root = root
        self.router = APIRouter(include_in_schema=False)
        for path, function in (
            ("/", self.first),
            ("/studies/{study}/", self.home),
            ("/studies/{study}/candidates/{number}", self.candidate),
            ("/studies/{study}/trials/{number}", self.trial),
            ("/studies/{study}/attempts/{name}", self.attempt),
            ("/studies/{study}/cluster", self.cluster),
            ("/studies/{study}/overlays/{place}", self.overlay),
            ("/static/{name}", self.static),
        ):
            self.router.add_api_route(path, function, methods=["GET"])

    def first(self, request: Request) -> Response:
        """Return the list of studies, or lead to the only one."""
        found = self._studies.all()
        if len(found) == 1:
            return RedirectResponse(f"{self._root}/studies/{found[0].number}/", status_code=303)
        page = live.StudiesPage(name="studies", studies=tuple(found))
        return self._answer(request, "web_studies.html.jinja", page, {})

    def home(
        self,
        request: Request,
        study: Number,
        wanted: Asked,
        most: Most = 50,
        by: str = "",
        sort: Sorting = Sorting.RANK,
    ) -> Response:
        """Return a study's first page."""
        with self._studies.reading(study) as (connection, folder):
            entries = leaderboard(connection, study, most, wanted, by or None, sort)
            page = live.home_page(connection, folder, entries)
        asked = {"wanted": wanted, "most": most, "by": by, "sort": sort}
        return self._answer(request, "web_home.html.jinja", page, asked, study)

    def candidate(self, request: Request, study: Number, number: Number) -> Response:
        """Return a candidate's page."""
        with self._studies.reading(study) as (connection, _):
            page = live.candidate_page(connection, number)
        return self._answer(request, "web_candidate.html.jinja", page, {}, study)

    def trial(self, request: Request, study: Number, number: Number) -> Response:
        """Return a trial's page."""
        with self._studies.reading(study) as (connection, folder):
            page = live.trial_page(connection, folder, number)
        return self._answer(request, "web_trial.html.jinja", page, {}, study)

    def attempt(self, request: Request, study: Number, name: AttemptText) -> Response:
        """Return an attempt's page, its log on it."""
        with self._studies.reading(study) as (connection, folder):
            page = live.attempt_page(connection, folder, name)
        return self._answer(request, "web_attempt.html.jinja", page, {}, study)

    def cluster(self, request: Request, study: Number) -> Response:
        """Return what the cluster does."""
        with self._studies.reading(study) as (connection, _):
            page = live.cluster_page(connection)
        return self._answer(request, "web_cluster.html.jinja", page, {}, study)

    def overlay(self, study: Number, place: Number) -> Response:
        """Return an overlay's picture."""
        with self._studies.reading(study) as (connection, folder):
            return FileResponse(live.overlay_file(connection, folder, place))

    def static(self, name: str) -> Response:
        """Return a style sheet or the script."""
        if name not in _STATIC:
            raise NotFoundError(f"no file {name!r} here")
        content = files("emsearch.reports").joinpath(name).read_text(encoding="utf-8")
        return Response(content, media_type=_STATIC[name])

    def _answer(
        self,
        request: Request,
        template: str,
        page: Any,
        asked: dict[str, Any],
        study: int | None = None,
    ) -> Response:
        """Return a page, or 304 where the reader has it already."""
        facts = {field.name: getattr(page, field.name) for field in fields(page)}
        places = {
            "top": self._root,
            "root": f"{self._root}/studies/{study}",
            "note": self._studies.note(),
        }
        html = templates().get_template(template).render(facts | asked | places)
        tag = f'"{sha256(html.encode()).hexdigest()[:24]}"'
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={"ETag": tag})
        return HTMLResponse(html, headers={"ETag": tag})
