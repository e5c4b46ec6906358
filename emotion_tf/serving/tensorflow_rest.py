"""TensorFlow Serving's REST API: models, metadata and :predict, with its shapes of answers and errors.

Source: https://www.tensorflow.org/tfx/serving/api_rest
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request

from emotion_tf.serving import tensors
from emotion_tf.serving.bodies import answer_json, example
from emotion_tf.serving.served_model import Model
from emotion_tf.serving.service import Service
from emotion_tf.serving.tensors import DEFAULT_SIGNATURE
from pipelines.command import InputError


def make_router(service: Service, row: Mapping[str, Any]) -> APIRouter:
    """Makes the routes; the name of a model or its version come from the path, and are looked up, never opened.

    Args:
      service: The models.
      row: An example, of `tensors.example_row`.
    """
    router = APIRouter(prefix="/v1/models", tags=["TensorFlow Serving"])

    async def status(name: str, version: str | None = None) -> dict[str, Any]:
        model = service.model(name, version)
        state = {"state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        return {"model_version_status": [{"version": str(model.version), **state}]}

    async def metadata(name: str, version: str | None = None) -> dict[str, Any]:
        return _metadata(service.model(name, version))

    async def predict(request: Request, name: str, version: str | None = None) -> dict[str, Any]:
        return await answer_json(request, service, name, version, _predict)

    for prefix in ("/{name}", "/{name}/versions/{version}"):
        extra = example({"instances": [row]})
        router.add_api_route(f"{prefix}:predict", predict, methods=["POST"], openapi_extra=extra, summary="Predict")
        router.add_api_route(f"{prefix}/metadata", metadata, methods=["GET"], summary="Signatures")
        router.add_api_route(prefix, status, methods=["GET"], summary="State")
    return router


def _predict(model: Model, body: Mapping[str, Any]) -> dict[str, Any]:
    """Answers a body with `instances` (rows) or `inputs` (columns)."""
    if len({"instances", "inputs"} & set(body)) != 1:
        raise InputError("give either instances (a list of rows) or inputs (an object of columns).")
    signature = body.get("signature_name", DEFAULT_SIGNATURE) or DEFAULT_SIGNATURE
    if not isinstance(signature, str):
        raise InputError("signature_name is no string.")
    names = list(tensors.inputs_of(model.predictor, signature))
    is_rows = "instances" in body
    given = _columns(body["instances"], names) if is_rows else _named(body["inputs"], names)
    found = tensors.call(model.predictor, signature, given)
    outputs = {name: tensors.to_json(values, is_binary=name.endswith("_bytes")) for name, values in found.items()}
    return {"predictions": _rows(outputs)} if is_rows else {"outputs": _single(outputs)}


def _columns(instances: Any, names: list[str]) -> dict[str, Any]:
    """Makes columns of rows."""
    if not isinstance(instances, list) or not instances:
        raise InputError("instances is no list of rows.")
    rows = [_named(row, names) for row in instances]
    if any(set(row) != set(rows[0]) for row in rows):
        raise InputError("the rows of instances do not have the same inputs.")
    return {name: [row[name] for row in rows] for name in rows[0]}


def _named(values: Any, names: list[str]) -> dict[str, Any]:
    """Takes an object of inputs, or the value of the only input."""
    is_bytes = isinstance(values, dict) and set(values) == {"b64"}
    if isinstance(values, dict) and not is_bytes:
        return values
    if len(names) != 1:
        raise InputError(f"name the inputs of each row: {', '.join(names)}.")
    return {names[0]: values}


def _rows(outputs: Mapping[str, Any]) -> list[Any]:
    """Makes rows of columns; of a single output its values."""
    if len(outputs) == 1:
        [values] = outputs.values()
        return list(values)
    return [dict(zip(outputs, row, strict=True)) for row in zip(*outputs.values(), strict=True)]


def _single(outputs: Mapping[str, Any]) -> Any:
    return next(iter(outputs.values())) if len(outputs) == 1 else dict(outputs)


def _metadata(model: Model) -> dict[str, Any]:
    """Describes the signatures as TensorFlow Serving does."""
    signatures = {}
    for name in model.predictor.metadata["signatures"]:
        found = (tensors.inputs_of(model.predictor, name), tensors.outputs_of(model.predictor, name))
        inputs, outputs = ({key: _tensor_info(key, spec) for key, spec in specs.items()} for specs in found)
        method = {"method_name": "tensorflow/serving/predict", "defaults": {}}
        signatures[name] = {"inputs": inputs, "outputs": outputs, **method}
    spec = {"name": model.name, "signature_name": "", "version": str(model.version)}
    return {"model_spec": spec, "metadata": {"signature_def": {"signature_def": signatures}}}


def _tensor_info(name: str, spec: Any) -> dict[str, Any]:
    sizes = [{"size": str(-1 if size is None else size), "name": ""} for size in spec.shape]
    return {
        "dtype": _DT.get(spec.dtype.name, "DT_INVALID"),
        "tensor_shape": {"dim": sizes, "unknown_rank": False},
        "name": name,
    }


_DT = {
    "float32": "DT_FLOAT",
    "string": "DT_STRING",
    "int32": "DT_INT32",
    "int64": "DT_INT64",
    "bool": "DT_BOOL",
    "float64": "DT_DOUBLE",
}
