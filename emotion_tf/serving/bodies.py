"""Bodies of requests: JSON that is read aside of the event loop, within bounds, and what a fault of it is called."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request

from emotion_tf.serving.served_model import Model
from emotion_tf.serving.service import Service
from emotion_tf.serving.tensors import MAX_VALUES
from pipelines.command import InputError

_SMALL_BYTES = 2**20
"""Objects of larger bodies are read one at a time: they take many times the memory of their text."""

_MAX_PARTS = 2**19
"""Lists, objects and members of objects, of a body."""

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
"""Half of a character, which no answer could name; json lets it pass."""


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
      HTTPException: 400, where there is no object, or it asks for what the model does not take; 413, where it holds
        more values than any model takes.
    """
    with service.model(name, version) as model:
        body = await request.body()
        try:
            if len(body) <= _SMALL_BYTES:
                return await model.queue.run(functools.partial(answer, model, await service.aside(_object, body)))
            return await model.queue.run(lambda: answer(model, _object(body)))
        except InputError as error:
            raise HTTPException(400, str(error)) from None


def _object(body: bytes) -> dict[str, Any]:
    """Reads an object of JSON.

    Raises:
      HTTPException: 400, where it is none; 413, where it would be too large: nothing else runs while it is made.
    """
    if body.count(b",") > MAX_VALUES or sum(map(body.count, (b"[", b"{", b":"))) > _MAX_PARTS:
        raise HTTPException(
            413, f"a body holds at most {MAX_VALUES} values, in at most {_MAX_PARTS} lists: send less at once."
        )
    try:
        found = json.loads(body.decode("utf-8-sig"))
        if _SURROGATE.search(body):
            json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise HTTPException(400, "the body is no JSON in UTF-8: send an object.") from None
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
