"""Routes that take recordings: classify, batch, timeline."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Request, UploadFile
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from emotion_tf.serving.annotations import WRITERS, rows
from emotion_tf.serving.bodies import stop_without_multipart
from emotion_tf.serving.prediction import Prediction
from emotion_tf.serving.served_model import Model
from emotion_tf.serving.server_settings import DEFAULT_MODEL
from emotion_tf.serving.service import Service, Upload
from emotion_tf.serving.timeline import Timeline
from pipelines.command import InputError

MAX_FILES = 32
"""Of a batch."""

_JSON = "application/json"
_KINDS = {"text/vtt": ".vtt", "text/x-textgrid": ".textgrid"}
"""Of timelines, beside JSON: media type -> suffix of `annotations.WRITERS`."""

_Upload = Annotated[UploadFile | None, File(description="A recording or video of any kind.")]
_Uploads = Annotated[list[UploadFile] | None, File(description="Recordings or videos.")]
_Words = Annotated[str, Form(description="What is said.", examples=["Kids are talking by the door"])]
_Transcribe = Annotated[bool, Form(description="Whether whisper finds the words of the recording.")]
_WithEmbedding = Annotated[bool, Form(description="Whether the answer holds what the last layer reads.")]
_Name = Annotated[str, Form(description="The name of a model.")]

_CLASSIFY = "`curl -F file=@clip.wav -F 'transcript=Kids are talking' http://127.0.0.1:8501/v1/classify`"
_BATCH = "`curl -F files=@a.wav -F files=@b.mp3 http://127.0.0.1:8501/v1/batch`"
_TIMELINE = "`curl -F file=@talk.mp3 -H 'Accept: text/vtt' http://127.0.0.1:8501/v1/timeline`"


def make_router(service: Service) -> APIRouter:
    """Makes the routes."""
    router = APIRouter(prefix="/v1", tags=["Recordings"])

    @router.post("/classify", summary="Emotion of a recording", description=_CLASSIFY)
    async def classify(
        request: Request,
        file: _Upload = None,
        transcript: _Words = "",
        transcribe: _Transcribe = False,
        embedding: _WithEmbedding = False,
        model: _Name = DEFAULT_MODEL,
    ) -> JSONResponse:
        stop_without_multipart(request)
        if file is None and not transcript.strip():
            raise HTTPException(422, "there is nothing to predict: send file, transcript, or both.")
        if transcribe and (file is None or transcript.strip()):
            raise HTTPException(422, "transcribe finds the words of file: send that, and no transcript.")
        upload = Upload(await _content_of(file), transcript, transcribe, embedding)
        with service.model(model) as found:
            return JSONResponse(await _classified(service, found, upload, file))

    @router.post("/batch", summary="Emotions of many recordings", description=_BATCH)
    async def batch(
        request: Request, files: _Uploads = None, embedding: _WithEmbedding = False, model: _Name = DEFAULT_MODEL
    ) -> JSONResponse:
        stop_without_multipart(request)
        if files is None or len(files) > MAX_FILES:
            raise HTTPException(422, f"send 1 to {MAX_FILES} files, each as a field files.")
        with service.model(model) as found:
            answers = await asyncio.gather(*(_row(service, found, file, embedding) for file in files))
        return JSONResponse({"predictions": answers})

    @router.post("/timeline", summary="Which emotion appears when", description=_TIMELINE, response_class=Response)
    async def timeline(request: Request, file: _Upload = None, model: _Name = DEFAULT_MODEL) -> Response:
        stop_without_multipart(request)
        if file is None:
            raise HTTPException(422, "there is nothing to predict: send file.")
        kind = _accepted(request.headers.get("accept", "*/*"))
        with service.model(model) as asked, _named(asked):
            found = await service.timeline(asked, await file.read())
        if kind == _JSON:
            return JSONResponse(_timeline_object(found, file.filename))
        return Response(await service.aside(_written, found, _KINDS[kind]), media_type=kind)

    return router


@contextlib.contextmanager
def _named(model: Model) -> Iterator[None]:
    """Lets a refusal name the model in place of its folder, which is nothing to those who send requests."""
    try:
        yield
    except InputError as error:
        if (folder := str(model.predictor.folder)) not in str(error):
            raise
        raise InputError(str(error).replace(folder, f"the model {model.name}")) from None


async def _content_of(file: UploadFile | None) -> bytes | None:
    return None if file is None else await file.read()


async def _classified(service: Service, model: Model, upload: Upload, file: UploadFile | None) -> dict[str, Any]:
    with _named(model):
        prediction = await service.classify(model, upload)
    return as_object(prediction) | {"file": None if file is None else file.filename}


async def _row(service: Service, model: Model, file: UploadFile, with_embedding: bool) -> dict[str, Any]:
    """Answers a file of a batch; of one that cannot be used, with the reason."""
    try:
        upload = Upload(await _content_of(file), with_embedding=with_embedding)
        return await _classified(service, model, upload, file)
    except InputError as error:
        return {"file": file.filename, "error": sentence_of(error)}


def as_object(prediction: Prediction) -> dict[str, Any]:
    """Returns the object that `predict` prints, and under `embedding` what was asked for beside it."""
    found = prediction.to_json()
    return found if prediction.embedding is None else found | {"embedding": prediction.embedding.tolist()}


def sentence_of(error: InputError) -> str:
    """Words an error for somebody who sent a request."""
    from pipelines.audio import TooLongError

    if isinstance(error, TooLongError):
        return error.sentence("send it to /v1/timeline, or cut it up")
    return str(error)


def _accepted(accept: str) -> str:
    """Chooses the first kind of timeline that a client takes.

    Raises:
      HTTPException: 406, where it takes none of them.
    """
    for one in accept.split(","):
        kind = one.partition(";")[0].strip().lower()
        if kind in ("*/*", "application/*", "", _JSON):
            return _JSON
        if kind in _KINDS:
            return kind
    raise HTTPException(406, f"a timeline is {', '.join((_JSON, *_KINDS))}: accept one of them.")


def _timeline_object(timeline: Timeline, name: str | None) -> dict[str, Any]:
    return timeline.summary() | {"file": name, "segments": [row | {"file": name} for row in rows(timeline)]}


def _written(timeline: Timeline, suffix: str) -> bytes:
    with tempfile.TemporaryDirectory(prefix="emotion-tf-") as folder:
        path = Path(folder) / f"timeline{suffix}"
        WRITERS[suffix](timeline, path)
        return path.read_bytes()
