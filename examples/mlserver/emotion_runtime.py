"""A runtime of MLServer that answers by the LiteRT files of an export. It imports nothing of emotion_tf.

MLServer finds it by `"implementation": "emotion_runtime.Emotion"` in model-settings.json, whose `uri` is the folder
litert/ of a version, of a model that reads sound. It takes `waveform` [1, num_samples] FP32, at 16 kHz from -1 to 1,
and, where words are read, too, `token_ids` [1, num_tokens] INT32, and gives what the model gives: `probabilities` [1,
num_emotions] and so on.
"""

import asyncio
import pathlib

from ai_edge_litert.interpreter import Interpreter
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Emotion(MLModel):
    """Front end and model, one request at a time."""

    async def load(self) -> bool:
        """Loads both files."""
        folder = pathlib.Path(self.settings.parameters.uri)
        self._front_end, self._model = (
            Interpreter(str(folder / name)).get_signature_runner() for name in ("front_end.tflite", "model.tflite")
        )
        self._lock = asyncio.Lock()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answers one clip."""
        given = {one.name: NumpyCodec.decode_input(one) for one in payload.inputs}
        async with self._lock:
            found = self._model(**self._front_end(waveform=given.pop("waveform")), **given)
        outputs = [NumpyCodec.encode_output(name, values) for name, values in found.items()]
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=outputs)
