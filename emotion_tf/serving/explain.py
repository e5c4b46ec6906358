"""Why an exported model says what it says: `Explainer`, which `python -m emotion_tf.predict --explain DIR` calls.

Everything is a contribution to the log-probability of the most probable emotion, in nats.

- Time and frequency: integrated gradients (Sundararajan et al. 2017, arXiv:1703.01365) from a baseline in which each
  column of the audio features is 0, the clip's or the training split's mean, to what the model reads; words and video
  stay. They add up to the difference between both ends. For a model that reads states of an encoder, each of which is
  of the whole sound, a window of sound after the other is silenced instead (occlusion: Zeiler & Fergus 2014,
  arXiv:1311.2901).
- Words, modalities: the prediction with everything, less that without this one.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from emotion_tf.probabilities import FLOOR
from emotion_tf.serving.batches import leave_out
from emotion_tf.serving.enrolment import EnrolledRecording
from emotion_tf.serving.explanation import (
    GRADIENTS,
    OCCLUSION,
    Contribution,
    Explanation,
    Spectrogram,
    TimeContributions,
)
from emotion_tf.serving.prediction import Given
from emotion_tf.serving.predictor import Predictor
from emotion_tf.serving.sources import Source
from pipelines import audio
from pipelines.audio.front_end import Analysis, analyse
from pipelines.transcripts.transcriber import Transcriber

if TYPE_CHECKING:
    import tensorflow as tf

WINDOW_SECONDS = 0.2
"""Length of what occlusion silences: about a syllable."""

WINDOW_HOP_SECONDS = 0.1

TOLERANCE = 0.01
"""By which share of the difference integrated gradients may miss it."""

_LEAST_NATS = 0.01
"""Differences below are met to `TOLERANCE` times this."""

_AT_ONCE = 32
_MOST_STEPS = 81 * _AT_ONCE

Gradients = Callable[[Mapping[str, Any], int], tuple["tf.Tensor", dict[str, "tf.Tensor"]]]


class Explainer:
    """Explains predictions of one exported model.

    For instance:

        explainer = Explainer(Predictor("saved_models/synthetic-early"))
        explanation = explainer("clip.wav", "Kids are talking")
        print(explanation.emotion, explanation.words, explanation.modalities)

    Args:
      predictor: The model.
    """

    def __init__(self, predictor: Predictor):
        self.predictor = predictor
        self._gradients: Gradients | None = None

    def __call__(
        self,
        source: Source | None = None,
        transcript: str = "",
        *,
        sample_rate: float | None = None,
        context: Sequence[str] = (),
        transcriber: Transcriber | None = None,
        enrolled: Sequence[EnrolledRecording] = (),
    ) -> Explanation:
        """Predicts one utterance, with the arguments of `Predictor.predict`, and explains what was predicted.

        Raises:
          InputError: What `Predictor.predict` stops on, or an export that another version of this program made.
        """
        options: dict[str, Any] = {"context": context, "transcriber": transcriber, "enrolled": enrolled}
        return self.explain(self.predictor.read(source, transcript, sample_rate=sample_rate, **options))

    def explain(self, given: Given) -> Explanation:
        """Explains what is predicted of one utterance that was read, by `Predictor.read` or `Predictor.take`."""
        prediction = self.predictor.predict_given(given)
        emotion = self.predictor.emotions.index(prediction.emotion)
        analysis = self._analysis(given)
        return Explanation(
            prediction,
            prediction.emotion,
            None if analysis is None else spectrogram_of(analysis, self.predictor.front_end),
            None if analysis is None else self._over_time(given, emotion, analysis),
            self._of_words(given, emotion),
            self._of_modalities(given, emotion),
        )

    def _analysis(self, given: Given) -> Analysis | None:
        """Cuts the sound into frames; None for a model that reads none, or where the front end finds no speech."""
        if "audio" not in self.predictor.modalities or not given.clip.waveform.any():
            return None
        found = analyse(given.inputs["waveforms"], self.predictor.front_end)
        return found if int(found.num_frames[0]) else None

    def _log_probabilities(self, batches: Iterator[dict[str, np.ndarray]], emotion: int) -> np.ndarray:
        """Returns the log-probability of an emotion for each row of some batches of `Predictor.predict_batch`."""
        found = [self.predictor.predict_batch(**batch).probabilities[:, emotion] for batch in batches]
        return np.log(np.maximum(np.concatenate(found).astype(np.float64), FLOOR))

    def _of_words(self, given: Given, emotion: int) -> tuple[Contribution, ...]:
        """Leaves out one word after the other."""
        words = given.transcript.split() if "text" in self.predictor.modalities else []
        if not words:
            return ()
        without = [" ".join(words[:place] + words[place + 1 :]) for place in range(len(words))]
        batches = (
            _repeated(given.inputs, len(chosen)) | {"transcripts": np.array(chosen, object)}
            for chosen in _in_parts([given.transcript, *without])
        )
        whole, *rest = self._log_probabilities(batches, emotion)
        return tuple(Contribution(word, float(whole - one)) for word, one in zip(words, rest, strict=True))

    def _of_modalities(self, given: Given, emotion: int) -> tuple[Contribution, ...]:
        """Leaves out one modality after the other; without its only one a model gives the training prior."""
        modalities = self.predictor.modalities
        batch = _repeated(given.inputs, 1 + len(modalities))
        for row, modality in enumerate(modalities, 1):
            leave_out(batch, modality, row)
        whole, *rest = self._log_probabilities(iter([batch]), emotion)
        return tuple(Contribution(name, float(whole - one)) for name, one in zip(modalities, rest, strict=True))

    def _over_time(self, given: Given, emotion: int, analysis: Analysis) -> TimeContributions:
        if "encoder" in self.predictor.audio_features:
            return self._by_occlusion(given, emotion)
        return self._by_gradients(given, emotion, int(analysis.first[0]))

    def _by_occlusion(self, given: Given, emotion: int) -> TimeContributions:
        """Silences one window of the waveform after the other."""
        [waveform] = given.inputs["waveforms"]
        length, hop = (round(seconds * audio.SAMPLE_RATE) for seconds in (WINDOW_SECONDS, WINDOW_HOP_SECONDS))
        starts = range(0, max(1, len(waveform) - length + hop), hop)

        def batches() -> Iterator[dict[str, np.ndarray]]:
            yield given.inputs
            for chosen in _in_parts(starts):
                batch = _repeated(given.inputs, len(chosen))
                for row, start in zip(batch["waveforms"], chosen, strict=True):
                    row[start : start + length] = 0
                yield batch
            yield given.inputs | {"waveforms": np.zeros_like(given.inputs["waveforms"])}

        whole, *rest, absent = self._log_probabilities(batches(), emotion)
        seconds = (np.array(starts) + length / 2) / audio.SAMPLE_RATE
        return TimeContributions(OCCLUSION, seconds, whole - np.array(rest), None, float(whole - absent), len(starts))

    def _by_gradients(self, given: Given, emotion: int, first: int) -> TimeContributions:
        """Integrates gradients by the audio features.

        Args:
          given: The utterance.
          emotion: Its number.
          first: The frame of the recording at which the features begin.
        """
        if self._gradients is None:
            self._gradients = _gradients_of(self.predictor.signature("features"), self.predictor.audio_features)
        names, front_end = self.predictor.audio_features, self.predictor.front_end
        features = self.predictor.features_of(given.inputs)
        num_frames = int(features["num_frames"][0])
        features |= {name: features[name][:, :num_frames] for name in names}
        cells, difference, num_steps = integrate(self._gradients, features, names, emotion)
        nats = sum(values.sum(axis=1) for values in cells.values())
        seconds = (first + np.arange(num_frames)) * front_end.hop_seconds + front_end.frame_seconds / 2
        return TimeContributions(GRADIENTS, seconds, nats, cells.get("log_mel"), difference, num_steps)


def spectrogram_of(analysis: Analysis, front_end: audio.FrontEnd) -> Spectrogram:
    """Takes the spectrogram of the first clip of a batch that `analyse` cut into frames."""
    import librosa

    edges = librosa.mel_frequencies(front_end.mel_bins + 2, fmin=front_end.min_hz, fmax=front_end.max_hz)
    return Spectrogram(analysis.log_mel[0].numpy(), front_end.hop_seconds, edges[1:-1])


def integrate(
    gradients: Gradients, features: Mapping[str, Any], names: Sequence[str], emotion: int
) -> tuple[dict[str, np.ndarray], float, int]:
    """Integrates gradients along the straight line from zeros to features, by as many midpoints as it needs.

    They are three times as many each time, for those of before are then among them.

    Args:
      gradients: From a batch of features and the number of an emotion to its log-probabilities [batch], and their
        gradients by each of `names`.
      features: Inputs of the signature `features`, a batch of one.
      names: Which of them begin as zeros.
      emotion: Its number.

    Returns:
      Name -> [num_frames, columns] nats; the difference between both ends; and the number of points. Nats add up to the
      difference by `TOLERANCE`, or as near as `_MOST_STEPS` points come.
    """
    low, high = gradients(_on_the_way(features, names, np.array([0.0, 1.0])), emotion)[0].numpy().astype(np.float64)
    difference, num_steps = float(high - low), _AT_ONCE
    sums, places = dict.fromkeys(names, 0.0), np.arange(num_steps)
    while True:
        for shares in _in_parts((places + 0.5) / num_steps):
            _, found = gradients(_on_the_way(features, names, np.asarray(shares)), emotion)
            sums = {name: sums[name] + found[name].numpy().sum(axis=0, dtype=np.float64) for name in names}
        cells = {name: sums[name] / num_steps * features[name][0].numpy() for name in names}
        gap = abs(sum(values.sum() for values in cells.values()) - difference)
        if gap <= TOLERANCE * max(abs(difference), _LEAST_NATS) or num_steps >= _MOST_STEPS:
            return cells, difference, num_steps
        num_steps *= 3
        # Every third of them, from the second on, is one of those before.
        places = np.delete(np.arange(num_steps), np.s_[1::3])


def _on_the_way(features: Mapping[str, Any], names: Sequence[str], shares: np.ndarray) -> dict[str, Any]:
    """Makes a batch of features [1, ...] times shares [batch]; those that are not named repeat as they are."""
    import tensorflow as tf

    column = tf.constant(shares[:, np.newaxis, np.newaxis], tf.float32)
    return {
        name: values * column if name in names else tf.repeat(values, len(shares), axis=0)
        for name, values in features.items()
    }


def _gradients_of(signature: Any, names: Sequence[str]) -> Gradients:
    """Makes the function that `integrate` takes, compiled once for batches and lengths of any size."""
    import tensorflow as tf

    specs = signature.structured_input_signature[1]

    # Left to itself it would be traced three times: for both ends, for a batch, for another length.
    @tf.function(input_signature=[specs, tf.TensorSpec([], tf.int32)], autograph=False)
    def gradients(features: "dict[str, tf.Tensor]", emotion: "tf.Tensor") -> "tuple[tf.Tensor, dict[str, tf.Tensor]]":
        """Differentiates what the export computes."""
        watched = {name: features[name] for name in names}
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(watched)
            probabilities = signature(**features | watched)["probabilities"]
            found = tf.math.log(tf.maximum(tf.gather(probabilities, emotion, axis=1), FLOOR))
        slopes = tape.gradient(found, watched, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return found, slopes

    return lambda features, emotion: gradients(dict(features), tf.constant(emotion))


def _repeated(inputs: Mapping[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    """Makes a batch of one utterance many times."""
    return {name: np.repeat(values, count, axis=0) for name, values in inputs.items()}


def _in_parts(values: Sequence[Any] | np.ndarray) -> Iterator[Any]:
    """Cuts a sequence into batches."""
    for start in range(0, len(values), _AT_ONCE):
        yield values[start : start + _AT_ONCE]
