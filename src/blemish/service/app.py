"""The application: routes, pages and the guard around them, over one data folder.

It knows how the parts are put together; each part is told in its own file.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.staticfiles import StaticFiles

from blemish.errors import BlemishError, RunError
from blemish.service import answers, login
from blemish.service.events import Events
from blemish.service.guard import Guard, Rate
from blemish.service.jobs import Jobs
from blemish.service.routes import audit, datasets, detectors, exports, families, photos, runs, teaching, verdict
from blemish.service.settings import ServiceConfig
from blemish.service.shelf import Shelf
from blemish.service.state import Service
from blemish.service.store import Store, away
from blemish.service.workspace import Workspace

__all__ = ["PAGES", "create_app"]

PAGES = Path(__file__).parent / "pages"
REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"description": "It cannot be done as asked."},
    401: {"description": "The token is missing or wrong."},
    403: {"description": "The request comes from elsewhere."},
    404: {"description": "It is not there."},
    409: {"description": "Not in this state."},
    413: {"description": "Too large."},
    422: {"description": "The request is not as described."},
    429: {"description": "Too many requests."},
    503: {"description": "The database cannot be reached."},
    507: {"description": "It could not be carried out: the disk is full, or a scan's process has ended."},
}
ABOUT = (
    "Scans of photos and volumes, their results, and what people decide about them. Every changing request carries "
    "the header X-Blemish: 1; X-Blemish-Who says for the audit trail who asks. Where the service has a token, programs "
    "send it as Authorization: Bearer."
)


def create_app(config: ServiceConfig) -> FastAPI:
    """Raises ``ConfigError`` or ``OutputError`` if the database or the data folder cannot be used."""
    with ExitStack() as opened:
        workspace = Workspace(config.data)
        opened.callback(workspace.close)
        store = Store(config.database_url)
        opened.callback(store.close)
        store.belong(workspace.id)
        store.refill(workspace)
        opened.pop_all()  # they stay open until the service ends

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        events = Events()
        jobs = Jobs(config, store, workspace, events)
        app.state.loaded = detectors.Loaded()
        app.state.service = Service(config, workspace, store, events, jobs, Shelf())
        jobs.start()
        try:
            yield
        finally:
            await jobs.stop()
            store.close()
            workspace.close()

    app = FastAPI(
        title="blemish",
        version=version("blemish"),
        description=ABOUT,
        lifespan=lifespan,
        openapi_url="/api/openapi.json",
        docs_url=None,  # their pages come from a network
        redoc_url=None,
        responses={status: {"model": answers.Problem, **words} for status, words in REFUSALS.items()},
        generate_unique_id_function=_operation,
        separate_input_output_schemas=False,
    )
    app.state.wrong_logins = Rate(config.limits.logins)
    app.add_middleware(Guard, config=config)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _not_as_described)
    app.add_exception_handler(BlemishError, _cannot)
    app.add_exception_handler(SQLAlchemyError, _no_database)

    @app.get("/api/health", response_model=answers.Health, tags=["service"])
    async def health() -> Any:
        """Whether the service answers; needs no token."""
        return {"blemish": version("blemish"), "status": "ok"}

    for part in (datasets, runs, photos, families, verdict, teaching, detectors, exports, audit, login):
        app.include_router(part.router)
    if PAGES.is_dir():
        app.mount("/", StaticFiles(directory=PAGES, html=True), name="pages")
    return app


def _operation(route: APIRoute) -> str:
    """get-runs-photos, for names that generated clients can use."""
    words = [part for part in route.path_format.removeprefix("/api").split("/") if part]
    method = sorted(route.methods or {"get"})[0].lower()
    return "-".join([method, *(part.strip("{}").replace(".", "-") for part in words)])


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    words = str(error.detail)
    if error.status_code == 404 and words == "Not Found":
        words = f"There is nothing at {request.url.path[:200]!r}. The description is /api/openapi.json."
    if error.status_code == 405:
        words = f"{request.method} is not what {request.url.path[:200]!r} takes. The description is /api/openapi.json."
    return JSONResponse({"error": words}, error.status_code, error.headers)


async def _not_as_described(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part != "body") or "the body"
    words = f"{where}: {first['msg']}. The description is /api/openapi.json."
    return JSONResponse({"error": words.encode("utf-8", "replace").decode()}, 422)


async def _cannot(request: Request, error: Exception) -> JSONResponse:
    """What the package refuses, in its own sentence."""
    words = str(error).encode("utf-8", "backslashreplace").decode()
    return JSONResponse({"error": words}, 507 if isinstance(error, RunError) else 400)


async def _no_database(request: Request, error: Exception) -> JSONResponse:
    if not away(error):
        raise error
    words = "The service cannot reach its database."
    if request.method != "GET":
        words += " What you asked for may have been done all the same: look before you ask again."
    return JSONResponse({"error": f"{words} Try again in a moment."}, 503)
