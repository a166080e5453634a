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
from typing import Annotated, Any

import uvicorn
from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from pydantic import BeforeValidator, Field
from starlette.middleware.trustedhost import TrustedHostMiddleware

import emsearch
from emsearch.errors import NotFoundError
from emsearch.ledger import queries
from emsearch.ledger.listings import Wanted
from emsearch.ledger.store import Ledger
from emsearch.reports import live
from emsearch.reports.cards import CandidateCard, TrialCard, candidate_card, trial_card
from emsearch.reports.leaderboard import Entry
from emsearch.reports.pages import templates
from emsearch.reports.standings import Standing, standings
from emsearch.reports.status import Status, status

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

Number = Annotated[int, PathParameter(ge=0, le=2**53)]
Bound = Annotated[
    Annotated[int, Field(ge=0, le=2**53)] | None,
    BeforeValidator(lambda given: None if given == "" else given),  # a form's empty field
    Query(),
]
Most = Annotated[int, Query(ge=1, le=1000)]


def new_token() -> str:
    """Return a token that nobody guesses."""
    return secrets.token_urlsafe(24)


def address(port: int, token: str) -> str:
    """Return where the pages are."""
    return f"http://127.0.0.1:{port}/{token}/"


def tunnel(port: int) -> str:
    """Return the command that brings the pages of this host to a user's own."""
    return f"ssh -N -L {port}:127.0.0.1:{port} {getpass.getuser()}@{socket.gethostname()}"


def serve(ledger: Ledger, folder: Path, port: int, token: str) -> None:
    """Serve the pages on this host alone until interrupted."""
    app = make_app(ledger, folder, token)
    # An access log would hold the token.
    uvicorn.run(app, host="127.0.0.1", port=port, access_log=False, log_level="warning")


def make_app(ledger: Ledger, folder: Path, token: str) -> FastAPI:
    """Return the pages of the study in `folder`, below the token."""
    pages = FastAPI(
        title="emsearch",
        version=emsearch.__version__,
        docs_url=None,
        redoc_url=None,
        root_path_in_servers=False,
    )
    pages.include_router(_Api(ledger).router)
    pages.include_router(_Pages(ledger, folder, f"/{token}").router)
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


def _wanted(
    family: Annotated[list[str] | None, Query()] = None,
    origin: Annotated[list[str] | None, Query()] = None,
    step: Bound = None,
    least_parameters: Bound = None,
    most_parameters: Bound = None,
    *,
    failed: bool | None = None,
) -> Wanted:
    return Wanted(
        families=[one for one in family or () if one],
        origins=[one for one in origin or () if one],
        step=step,
        least_parameters=least_parameters,
        most_parameters=most_parameters,
        failed=failed,
    )


Asked = Annotated[Wanted, Depends(_wanted)]


class _Api:
    """The same facts as JSON; `openapi.json` describes them."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.router = APIRouter(prefix="/api", responses={404: {"description": "Not there"}})
        for path, function in (
            ("/status", self.status),
            ("/leaderboard", self.leaderboard),
            ("/standings", self.standings),
            ("/candidates/{number}", self.candidate),
            ("/trials/{number}", self.trial),
        ):
            self.router.add_api_route(path, function, methods=["GET"])

    def status(self) -> Status:
        """Where the study stands."""
        with self._ledger.reading() as connection:
            return status(connection, queries.study(connection).id)

    def leaderboard(
        self,
        wanted: Asked,
        most: Most = 100,
        by: str | None = None,
        sort: live.Sorting = "rank",
    ) -> list[Entry]:
        """Candidates, best first."""
        with self._ledger.reading() as connection:
            return live.sorted_entries(connection, most, wanted, by, sort)

    def standings(self) -> list[Standing]:
        """The ensemble and its rivals with their scores."""
        with self._ledger.reading() as connection:
            return standings(connection, queries.study(connection).id)

    def candidate(self, number: Number) -> CandidateCard:
        """All that is known of a candidate."""
        with self._ledger.reading() as connection:
            return candidate_card(connection, queries.study(connection).id, number)

    def trial(self, number: Number) -> TrialCard:
        """All that is known of a trial."""
        with self._ledger.reading() as connection:
            return trial_card(connection, queries.study(connection).id, number)


class _Pages:
    """The pages for people."""

    def __init__(self, ledger: Ledger, folder: Path, root: str) -> None:
        self._ledger = ledger
        self._folder = folder
        self._root = root
        self.router = APIRouter(include_in_schema=False)
        for path, function in (
            ("/", self.home),
            ("/candidates/{number}", self.candidate),
            ("/trials/{number}", self.trial),
            ("/cluster", self.cluster),
            ("/overlays/{place}", self.overlay),
            ("/static/{name}", self.static),
        ):
            self.router.add_api_route(path, function, methods=["GET"])

    def home(
        self,
        request: Request,
        wanted: Asked,
        most: Most = 50,
        by: str = "",
        sort: live.Sorting = "rank",
    ) -> Response:
        """Return the first page."""
        with self._ledger.reading() as connection:
            entries = live.sorted_entries(connection, most, wanted, by or None, sort)
            page = live.home_page(connection, self._folder, entries)
        asked = {"wanted": wanted, "most": most, "by": by, "sort": sort}
        return self._answer(request, "web_home.html.jinja", page, asked)

    def candidate(self, request: Request, number: Number) -> Response:
        """Return a candidate's page."""
        with self._ledger.reading() as connection:
            page = live.candidate_page(connection, number)
        return self._answer(request, "web_candidate.html.jinja", page, {})

    def trial(self, request: Request, number: Number) -> Response:
        """Return a trial's page."""
        with self._ledger.reading() as connection:
            page = live.trial_page(connection, self._folder, number)
        return self._answer(request, "web_trial.html.jinja", page, {})

    def cluster(self, request: Request) -> Response:
        """Return what the cluster does."""
        with self._ledger.reading() as connection:
            page = live.cluster_page(connection)
        return self._answer(request, "web_cluster.html.jinja", page, {})

    def overlay(self, place: Number) -> Response:
        """Return an overlay's picture."""
        with self._ledger.reading() as connection:
            return FileResponse(live.overlay_file(connection, self._folder, place))

    def static(self, name: str) -> Response:
        """Return a style sheet or the script."""
        if name not in _STATIC:
            raise NotFoundError(f"no file {name!r} here")
        content = files("emsearch.reports").joinpath(name).read_text(encoding="utf-8")
        return Response(content, media_type=_STATIC[name])

    def _answer(
        self, request: Request, template: str, page: Any, asked: dict[str, Any]
    ) -> Response:
        """Return a page, or 304 where the reader has it already."""
        facts = {field.name: getattr(page, field.name) for field in fields(page)}
        html = templates().get_template(template).render(facts | asked, root=self._root)
        tag = f'"{sha256(html.encode()).hexdigest()[:24]}"'
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={"ETag": tag})
        return HTMLResponse(html, headers={"ETag": tag})
