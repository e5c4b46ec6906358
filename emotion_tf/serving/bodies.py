"""Bodies of requests: JSON that is read aside of the event loop, and what a fault of it is called."""

from __future__ import annotations

import json
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request

from emotion_tf.serving.service import Service


async def read_object(request: Request, service: Service) -> dict[str, Any]:
    """Reads the JSON object of a request.

    Raises:
      HTTPException: 400, where it is none.
    """
    body = await request.body()
    return await service.aside(_object, body)


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
