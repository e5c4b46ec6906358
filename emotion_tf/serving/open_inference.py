"""The Open Inference Protocol, version 2, over REST: health, metadata and infer.

Source: https://github.com/kserve/open-inference-protocol
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException

from emotion_tf.serving import tensors
from emotion_tf.serving.bodies import answer_json, example
from emotion_tf.serving.served_model import Model
from emotion_tf.serving.service import Service
from emotion_tf.serving.tensors import DEFAULT_SIGNATURE
from pipelines.command import InputError

_DATATYPES = {
    "float32": "FP32",
    "float64": "FP64",
    "int32": "INT32",
    "int64": "INT64",
    "bool": "BOOL",
    "string": "BYTES",
    "object": "BYTES",
}


def make_router(service: Service, row: Mapping[str, Any]) -> APIRouter:
    """Makes the routes.

    Args:
      service: The models.
      row: An example, of `tensors.example_row`.
    """
    router = APIRouter(prefix="/v2", tags=["Open Inference"])

    async def live() -> dict[str, bool]:
        return {"live": True}

    async def ready() -> dict[str, bool]:
        if not service.is_ready:
            raise HTTPException(503, "the models are not loaded yet.")
        return {"ready": True}

    async def server() -> dict[str, Any]:
        return {"name": "emotion_tf", "version": "2", "extensions": []}

    async def model_ready(name: str, version: str | None = None) -> dict[str, Any]:
        return {"name": service.model(name, version).name, "ready": service.is_ready}

    async def metadata(name: str, version: str | None = None) -> dict[str, Any]:
        return _metadata(service.model(name, version))

    async def infer(request: Request, name: str, version: str | None = None) -> dict[str, Any]:
        if "inference-header-content-length" in request.headers:
            raise HTTPException(400, "binary data is an extension that this server lacks: send data as JSON.")
        return await answer_json(request, service, name, version, _infer)

    router.add_api_route("/health/live", live, methods=["GET"], summary="Live")
    router.add_api_route("/health/ready", ready, methods=["GET"], summary="Ready")
    router.add_api_route("", server, methods=["GET"], summary="Server")
    for prefix in ("/models/{name}", "/models/{name}/versions/{version}"):
        extra = example({"inputs": [_input(name, value) for name, value in row.items()]})
        router.add_api_route(f"{prefix}/infer", infer, methods=["POST"], openapi_extra=extra, summary="Infer")
        router.add_api_route(f"{prefix}/ready", model_ready, methods=["GET"], summary="Model ready")
        router.add_api_route(prefix, metadata, methods=["GET"], summary="Inputs and outputs")
    return router


def _input(name: str, value: Any) -> dict[str, Any]:
    """Makes the example of an input of the value of a row."""
    kind = "BYTES" if isinstance(value, str) else "FP32"
    return {"name": name, "shape": [1, *np.shape(value)], "datatype": kind, "data": tensors.flat(value)}


def _infer(model: Model, body: Mapping[str, Any]) -> dict[str, Any]:
    inputs, wanted = body.get("inputs"), body.get("outputs") or []
    if not isinstance(inputs, list) or not all(_is_named(one) for one in inputs):
        raise InputError("inputs is no list of objects with name, shape, datatype and data.")
    if not isinstance(wanted, list) or not all(_is_named(one) for one in wanted):
        raise InputError("outputs is no list of objects with name.")
    for ones in (inputs, wanted):
        if len({one["name"] for one in ones}) < len(ones):
            raise InputError("a name stands twice in inputs or in outputs: give each once.")
    specs = tensors.inputs_of(model.predictor, DEFAULT_SIGNATURE)
    found = tensors.call(model.predictor, DEFAULT_SIGNATURE, {one["name"]: _array(one, specs) for one in inputs})
    names = [one["name"] for one in wanted] or list(found)
    if unknown := sorted(set(names) - set(found)):
        raise InputError(f"the model gives {', '.join(found)}, and no {unknown[0][:100]!r}.")
    answer = {"model_name": model.name, "model_version": str(model.version)}
    answer |= {"id": body["id"]} if isinstance(body.get("id"), str) else {}
    return answer | {"outputs": [_output(name, found[name]) for name in names]}


def _is_named(one: Any) -> bool:
    return isinstance(one, dict) and isinstance(one.get("name"), str)


def _array(one: Mapping[str, Any], specs: Mapping[str, Any]) -> Any:
    """Makes the array of an input; one that the model does not know is named later."""
    name = one["name"]
    if name not in specs:
        return None
    expected = _DATATYPES[specs[name].dtype.name]
    if one.get("datatype") != expected:
        raise InputError(f"{name} has another datatype than {expected}, which the model takes.")
    return tensors.shaped(name, tensors.flat(one.get("data")), one.get("shape"), expected == "BYTES")


def _output(name: str, values: np.ndarray) -> dict[str, Any]:
    data = tensors.to_json(values.reshape(-1))
    return {"name": name, "shape": list(values.shape), "datatype": _DATATYPES[values.dtype.name], "data": data}


def _metadata(model: Model) -> dict[str, Any]:
    found = (f(model.predictor, DEFAULT_SIGNATURE) for f in (tensors.inputs_of, tensors.outputs_of))
    inputs, outputs = ([_tensor(name, spec) for name, spec in specs.items()] for specs in found)
    about = {"name": model.name, "versions": [str(model.version)], "platform": "tensorflow_savedmodel"}
    return about | {"inputs": inputs, "outputs": outputs}


def _tensor(name: str, spec: Any) -> dict[str, Any]:
    shape = [-1 if size is None else size for size in spec.shape]
    return {"name": name, "datatype": _DATATYPES[spec.dtype.name], "shape": shape}
