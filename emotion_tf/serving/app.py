"""The application of a server: one factory, whatever runs it."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import AsyncIterator, Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import HTMLResponse, JSONResponse, Response

from emotion_tf.serving import live, open_inference, recordings, tensorflow_rest, tensors
from emotion_tf.serving.batching import OverloadedError
from emotion_tf.serving.docs_page import Example, write_page
from emotion_tf.serving.guard import LEFT, LOG, RETRY_AFTER, Guard, refusal
from emotion_tf.serving.metrics import CONTENT_TYPE
from emotion_tf.serving.predictor import Predictor
from emotion_tf.serving.server_settings import ServerSettings
from emotion_tf.serving.service import NotServedError, NotTranscribedError, Service
from pipelines.audio import TooLongError
from pipelines.command import InputError
from pipelines.transcripts.transcriber import Transcriber


def create_app(
    predictors: Mapping[str, Predictor],
    settings: ServerSettings | None = None,
    transcriber: Transcriber | None = None,
) -> FastAPI:
    """Makes the application that answers for models.

    Args:
      predictors: Name -> model.
      settings: Limits; None: the usual ones.
      transcriber: A loaded whisper model; None: the usual one is loaded when it is first asked for.
    """
    settings = settings or ServerSettings()
    service = Service(predictors, settings, transcriber)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await service.open()
        LOG.info(json.dumps({"time": round(time.time(), 3), "event": "ready", "models": list(predictors)}))
        yield
        await service.close()

    # FastAPI's own pages load their scripts from other hosts.
    app = FastAPI(title="emotion_tf", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.service = service
    [name, predictor], *_ = predictors.items()
    row = tensors.example_row(predictor)
    for router in (
        recordings.make_router(service),
        tensorflow_rest.make_router(service, row),
        open_inference.make_router(service, row),
        live.make_router(service),
    ):
        app.include_router(router)
    _add_pages(app, service, name)
    _add_handlers(app)
    app.add_middleware(Guard, settings=settings, metrics=service.metrics)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.origins),
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type"],
            allow_private_network=True,
            expose_headers=list(RETRY_AFTER),
        )
    return app


def _add_pages(app: FastAPI, service: Service, name: str) -> None:
    """Adds what people and watching programs read.

    Args:
      app: The application.
      service: The models.
      name: Of the one that examples ask.
    """

    @app.get("/healthz", tags=["Health"], summary="Live")
    async def live() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", tags=["Health"], summary="Ready")
    async def ready() -> dict[str, str]:
        if not service.is_ready:
            raise HTTPException(503, "the models are not loaded yet.")
        return {"status": "ok"}

    @app.get("/metrics", tags=["Health"], summary="Numbers for Prometheus", response_class=Response)
    async def metrics() -> Response:
        return Response(service.metrics.page(), headers={"Content-Type": CONTENT_TYPE})

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        example = Example(str(request.base_url).rstrip("/"), name, str(service.model(name).version))
        return HTMLResponse(write_page(app.openapi(), example))


def _add_handlers(app: FastAPI) -> None:
    """Says each fault in one sentence, with its status."""

    async def on_input(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, InputError)
        return refusal(413 if isinstance(error, TooLongError) else 422, recordings.sentence_of(error))

    async def on_http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        return refusal(error.status_code, str(error.detail), error.headers)

    async def on_validation(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        if {"file", "files"} & set(first["loc"]):
            return refusal(422, "the recording is sent as text: send a file with a name (curl: -F file=@clip.wav).")
        return refusal(422, f"{' '.join(map(str, first['loc']))[:200]}: {first['msg']}.")

    async def on_overload(request: Request, error: Exception) -> JSONResponse:
        return refusal(503, f"{error}: ask again in a second.", RETRY_AFTER)

    async def on_missing(request: Request, error: Exception) -> JSONResponse:
        return refusal(404, str(error))

    async def on_unavailable(request: Request, error: Exception) -> JSONResponse:
        return refusal(501, str(error))

    async def on_leave(request: Request, error: Exception) -> Response:
        return Response(status_code=LEFT)  # Which nobody reads.

    async def on_fault(request: Request, error: Exception) -> JSONResponse:
        LOG.error("a fault of the server: %s", type(error).__name__)
        return refusal(500, "a fault of the server: its log says more.")

    for kind, handler in (
        (InputError, on_input),
        (HTTPException, on_http),
        (RequestValidationError, on_validation),
        (OverloadedError, on_overload),
        (NotServedError, on_missing),
        (NotTranscribedError, on_unavailable),
        (ClientDisconnect, on_leave),
        (Exception, on_fault),
    ):
        app.add_exception_handler(kind, handler)
