"""Bodies of requests: JSON that is read aside of the event loop, and what a fault of it is called."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request

from emotion_tf.serving.served_model import Model
from emotion_tf.serving.service import Service
from pipelines.command import InputError


async def _read_object(request: Request, service: Service) -> dict[str, Any]:
    """Reads the JSON object of a request.

    Raises:
      HTTPException: 400, where it is none.
    """
    body = await request.body()
    return await service.aside(_object, body)


async def answer_json(
    request: Request,
    service: Service,
    name: str,
    version: str | None,
    answer: Callable[[Model, dict[str, Any]], dict[str, Any]],
) -> dict[str, Any]:
    """Answers the JSON object of a request in the queue of its model.

    Args:
      request: With the body.
      service: Whose it is.
      name, version: Of the model that is asked.
      answer: From the model and the object to what is sent back.

    Raises:
      HTTPException: 400, where there is no object, or it asks for what the model does not take.
    """
    with service.model(name, version) as model:
        body = await _read_object(request, service)
        try:
            return await model.queue.run(functools.partial(answer, model, body))
        except InputError as error:
            raise HTTPException(400, str(error)) from None


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise HTTPException(400, "the body is no JSON: send an object.") from None
    if not isinstance(found, dict):
        raise HTTPException(400, "the body is no object of JSON: send one.")
    return found


def stop_without_multipart(request: Request) -> None:
    """Stops on a body of another kind.

    Raises:
      HTTPException: 415.
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise HTTPException(415, "the body is no multipart/form-data: send the recording as its field file.")


def example(value: Any) -> dict[str, Any]:
    """Describes a body of JSON to OpenAPI by an example that works."""
    content = {"application/json": {"schema": {"type": "object"}, "example": value}}
    return {"requestBody": {"required": True, "content": content}}
