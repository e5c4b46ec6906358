"""An exported model in use: recordings, transcripts and videos in, typed predictions out."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from emotion_tf.probabilities import FLOOR
from emotion_tf.serving.batches import holds, in_batches, together, without
from emotion_tf.serving.enrolment import EnrolledRecording, speaker_inputs
from emotion_tf.serving.litert import LiteRT
from emotion_tf.serving.loading import LITERT, SAVED_MODEL, find_model, read_metadata
from emotion_tf.serving.prediction import BatchPrediction, Given, Prediction, stop_on_lines, warnings_of
from emotion_tf.serving.saved_model import SavedModel
from emotion_tf.serving.sources import MAX_SECONDS, Source, read_source
from emotion_tf.serving.stream import WINDOW_SECONDS, Stream
from pipelines import audio
from pipelines.audio.quality import MIN_SECONDS
from pipelines.clips import Clip
from pipelines.command import InputError
from pipelines.normalisation import least_std
from pipelines.transcripts.transcriber import Transcriber
from pipelines.video import VideoSettings, to_array

MAX_WORDS = 1000
"""A longer transcript is not one utterance either."""

MAX_CHARACTERS = 10_000
"""Nor is one of more, whatever its words: cutting them up takes time by their length."""


class Predictor:
    """An exported model, loaded. Threads may share one.

    For instance, after `make fit`:

        from emotion_tf.serving import Predictor

        predictor = Predictor("saved_models/synthetic-early")
        prediction = predictor.predict("clip.wav", transcript="They met a crowd with the teacher today.")
        print(prediction.emotion, prediction.probabilities[prediction.emotion])

    Args:
      path: A run, an export folder, or a version folder in one; or its folder litert/, or a .tflite file in that.
      model_format: "savedmodel", or "litert", which needs no TensorFlow; None: what `path` names, else the SavedModel.

    Attributes:
      path: As it was given: newer versions may come there.
      folder: The version folder.
      metadata: What metadata.json of the export holds.
      model_format: What answers.

    Raises:
      InputError: None of these, or an export that does not load, or that needs more than waveforms and transcripts.
    """

    def __init__(self, path: Path | str, model_format: str | None = None):
        self.path = Path(path)
        self.folder, file = find_model(self.path, model_format)
        self.metadata = read_metadata(self.folder)
        self.model_format = LITERT if file else SAVED_MODEL
        self._model = LiteRT(file, self.metadata) if file else SavedModel(self.folder, self.metadata)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that answers depend on, beside metadata.json."""
        return self._model.files

    @property
    def emotions(self) -> tuple[str, ...]:
        """The names of the emotions, in the order of the probabilities."""
        return tuple(self.metadata["emotions"])

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities that the model reads, of "audio", "text" and "video", in that order."""
        return tuple(self.metadata["modalities"])

    @property
    def video(self) -> VideoSettings | None:
        """Number, size and colour of the frames that the model reads; None where it reads no video."""
        settings = self.metadata["video"]
        return VideoSettings(**settings) if settings else None

    @property
    def num_context_lines(self) -> int:
        """How many lines of a dialogue the model reads before an utterance at most; 0: none."""
        return self.metadata.get("context", 0)

    @property
    def front_end(self) -> audio.FrontEnd:
        """The settings of the front end inside the export."""
        return audio.FrontEnd(**self.metadata["front_end"])

    @property
    def audio_features(self) -> tuple[str, ...]:
        """What the model reads of the audio: `pipelines.audio.FRAME_FEATURES`, "encoder", "waveform"."""
        return tuple(self.metadata["audio_features"])

    @property
    def least_std(self) -> np.ndarray:
        """What features of enrolled speakers are divided by at least: [num_columns]."""
        return least_std(self.audio_features, self.front_end, self.metadata.get("encoder"))

    def predict_batch(
        self,
        waveforms: np.ndarray,
        transcripts: Sequence[str] | np.ndarray,
        *,
        contexts: Sequence[str] | np.ndarray | None = None,
        video_frames: np.ndarray | None = None,
        speaker_mean: np.ndarray | None = None,
        speaker_std: np.ndarray | None = None,
    ) -> BatchPrediction:
        """Predicts a batch of utterances from arrays. What the model does not read is ignored.

        Args:
          waveforms: [batch, num_samples] float32 in [-1, 1) at 16 kHz, zeros behind the shorter ones; all zeros where
            audio is absent.
          transcripts: [batch]; empty where text is absent.
          contexts: [batch], the lines before each in its dialogue, the oldest first, one a line; None: there are none.
          video_frames: [batch, num_video_frames, height, width, channels] float32 in [0, 1], as `video` describes them;
            zeros where video is absent; None: everywhere.
          speaker_mean, speaker_std: [batch, num_columns] over other recordings of each speaker, for a run of
            --normalise enrolled, the num_blocks * width columns of states of an encoder behind those of frames;
            deviations of zero, or None: the statistics of training stand in.

        Raises:
          InputError: No utterance, NaN or infinite values, or a waveform or frames with a peak above 2, which nothing
            divided.
        """
        if not len(waveforms):
            raise InputError("a batch of no utterances has no answer: give it one at least.")
        given = {"waveforms": waveforms, "transcripts": transcripts, "contexts": contexts, "video_frames": video_frames}
        return self._model.predict(given | {"speaker_mean": speaker_mean, "speaker_std": speaker_std})

    def features_of(self, inputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Computes what the model itself reads: the inputs of the signature `features`, as tensors.

        Args:
          inputs: Arguments of `predict_batch`.

        Raises:
          InputError: An export without the signature `to_features`, or what `predict_batch` refuses.
        """
        return self._model.features_of(inputs)

    def signature(self, name: str) -> Any:
        """Finds a signature of the export.

        Raises:
          InputError: It has none of that name.
        """
        return self._model.signature(name)

    def predict(
        self,
        source: Source | None = None,
        transcript: str = "",
        *,
        sample_rate: float | None = None,
        context: Sequence[str] = (),
        transcriber: Transcriber | None = None,
        enrolled: Sequence[EnrolledRecording] = (),
        with_embedding: bool = False,
        with_changes: bool = True,
    ) -> Prediction:
        """Predicts one utterance: what `read` makes of it goes to `predict_given`.

        Args:
          source: The path of a recording of any rate and channel count, or of a video; the content of one as bytes;
            or samples, [num_samples] or [num_samples, num_channels], floating-point ones from -1 to 1 or integers that
            span their type; None: the transcript alone.
          transcript: What is said; empty: text is absent.
          sample_rate: Hz, of samples alone.
          context: The lines before it in its dialogue, the oldest first, for a run on records of prepare --context.
          transcriber: Transcribes the recording, in place of the transcript.
          enrolled: Other recordings of the speaker, from `enrol`; the recording itself is left out of them.
          with_embedding: Whether the prediction has its `embedding`.
          with_changes: Whether a prediction of several modalities has `changes_without`.

        Raises:
          InputError: A recording that cannot be read, a recording or transcript longer than an utterance, or an
            embedding of a model that has none.
        """
        options: dict[str, Any] = {"context": context, "transcriber": transcriber, "enrolled": enrolled}
        given = self.read(source, transcript, sample_rate=sample_rate, **options)
        return self.predict_given(given, with_embedding=with_embedding, with_changes=with_changes)

    def predict_many(
        self,
        sources: Sequence[Source | None],
        transcripts: Sequence[str] | None = None,
        *,
        sample_rate: float | None = None,
        with_embedding: bool = False,
        with_changes: bool = False,
    ) -> list[Prediction]:
        """Predicts many utterances in few calls of the model; each gets the answer that it gets alone.

        Args:
          sources: As `predict` takes them.
          transcripts: One each; None: text is absent.
          sample_rate: Hz, of samples, all of one rate.
          with_embedding, with_changes: As in `predict`.

        Returns:
          Their predictions, in their order.

        Raises:
          InputError: What `predict` stops on in any of them, or another number of transcripts.
        """
        words = [""] * len(sources) if transcripts is None else list(transcripts)
        if len(words) != len(sources):
            raise InputError(f"{len(words)} transcripts for {len(sources)} recordings: give one for each.")
        rates = [sample_rate if isinstance(source, np.ndarray) else None for source in sources]
        given = [
            self.read(source, transcript, sample_rate=rate)
            for source, transcript, rate in zip(sources, words, rates, strict=True)
        ]
        return self.predict_all_given(given, with_embedding=with_embedding, with_changes=with_changes)

    def stream(self, sample_rate: float, window_seconds: float = WINDOW_SECONDS) -> Stream:
        """Begins a stream of chunks, to be predicted over its last seconds.

        Args:
          sample_rate: Hz, of the chunks.
          window_seconds: How much of it a prediction is about.
        """
        return Stream(self, sample_rate, window_seconds)

    def read(
        self,
        source: Source | None = None,
        transcript: str = "",
        *,
        sample_rate: float | None = None,
        context: Sequence[str] = (),
        transcriber: Transcriber | None = None,
        enrolled: Sequence[EnrolledRecording] = (),
    ) -> Given:
        """Reads one utterance as `predict` does, with the same arguments, and predicts nothing yet."""
        path = Path(source) if isinstance(source, (str, Path)) else None
        clip = read_source(source, sample_rate, self.video, self.front_end.silence_db)
        options: dict[str, Any] = {"context": context, "transcriber": transcriber, "enrolled": enrolled}
        return self.take(clip, transcript, file=path, **options)

    def take(
        self,
        clip: Clip,
        transcript: str = "",
        *,
        file: Path | None = None,
        context: Sequence[str] = (),
        transcriber: Transcriber | None = None,
        enrolled: Sequence[EnrolledRecording] = (),
    ) -> Given:
        """Takes one utterance that is decoded already, for instance from records, with the arguments of `predict`.

        Args:
          clip: What `pipelines.clips.read_clip` returns.
          transcript: What is said; empty: text is absent.
          file: What the prediction names.
          context, transcriber, enrolled: As in `predict`.
        """
        stop_on_lines(context, self.num_context_lines)
        remarks: list[str] = []
        if transcriber is not None:
            found = transcriber(clip.waveform, clip.peak)
            transcript, remarks = found.transcript, transcriber.remarks(found)
        for unit, count, most in (
            ("words", len(transcript.split()), MAX_WORDS),
            ("characters", len(transcript), MAX_CHARACTERS),
        ):
            if count > most:
                raise InputError(f"the transcript of {count} {unit} is no utterance (at most {most}): cut it up.")
        speaker, warnings = self._speaker(file, clip.waveform, enrolled)
        inputs = self._arrays(clip, transcript, context) | speaker
        return Given(file, clip, transcript, inputs, (*remarks, *warnings), tuple(context))

    def predict_given(self, given: Given, *, with_embedding: bool = False, with_changes: bool = True) -> Prediction:
        """Predicts one utterance that was read."""
        [prediction] = self.predict_all_given([given], with_embedding=with_embedding, with_changes=with_changes)
        return prediction

    def predict_all_given(
        self, given: Sequence[Given], *, with_embedding: bool = False, with_changes: bool = False
    ) -> list[Prediction]:
        """Predicts utterances that were read, in batches of like length, and returns them in their order.

        Raises:
          InputError: An embedding is asked of a model that has none.
        """
        if with_embedding:
            self.stop_without_embedding()
        absent = self.modalities if with_changes and len(self.modalities) > 1 else ()
        found: dict[int, Prediction] = {}
        for places in in_batches([len(one.clip.waveform) for one in given], 1 + len(absent)):
            chosen = [given[place] for place in places]
            found |= zip(places, self._predictions(chosen, absent, with_embedding), strict=True)
        return [found[place] for place in range(len(given))]

    def stop_without_embedding(self) -> None:
        """Stops on a model that has no embedding.

        Raises:
          InputError: It joins probabilities, or an older version of this program exported it.
        """
        if "embedding_dim" not in self.metadata:
            raise InputError(f"{self.folder} gives no embeddings: export the run again.")
        if self.metadata["embedding_dim"] is None:
            raise InputError(f"{self.folder} has no embedding: late fusion joins probabilities; take one of its runs.")

    def _predictions(self, given: Sequence[Given], absent: Sequence[str], with_embedding: bool) -> Iterator[Prediction]:
        """Predicts utterances with everything and, where they hold it, without each modality of `absent`."""
        rows = [
            (place, modality)
            for place, one in enumerate(given)
            for modality in (None, *absent)
            if modality is None or holds(one.inputs, modality)
        ]
        found: dict[tuple[int, str | None], BatchPrediction] = {}
        # Rows of zeros as long as the sounds would cost as much as these.
        silent = [row for row in rows if row[1] == "audio"]
        for chosen in filter(None, ([row for row in rows if row[1] != "audio"], silent)):
            inputs = together([without(given[place].inputs, modality) for place, modality in chosen])
            batch = self.predict_batch(**inputs)
            found |= {row: batch.rows(slice(number, number + 1)) for number, row in enumerate(chosen)}
        for place, one in enumerate(given):
            whole = found[place, None]
            others = [found.get((place, modality), whole) for modality in absent]
            yield self._prediction(one, whole, others, with_embedding)

    def _prediction(
        self, given: Given, whole: BatchPrediction, others: Sequence[BatchPrediction], with_embedding: bool
    ) -> Prediction:
        """Makes the prediction of an utterance of its row with everything, and those without each modality."""
        probabilities, predicted = whole.probabilities[0], whole.predicted[0]
        ranked = [self.emotions[index] for index in (-probabilities).argsort(kind="stable") if predicted[index]]
        chosen = int(probabilities.argmax())
        chances = np.array([row.probabilities[0, chosen] for row in (whole, *others)], np.float64)
        logs = np.log(np.maximum(chances, FLOOR))
        return Prediction(
            given.file,
            given.transcript,
            emotion=self.emotions[chosen],
            emotions=tuple(ranked) if self.metadata["is_multi_label"] else None,
            probabilities=_named(self.emotions, probabilities),
            shares=None if whole.shares is None else _named(self.modalities, whole.shares[0]),
            changes_without=_named(self.modalities, logs[1:] - logs[0]) if others else None,
            seconds=len(given.clip.waveform) / audio.SAMPLE_RATE,
            warnings=(*given.warnings, *warnings_of(self.metadata, given.clip, given.transcript)),
            embedding=whole.embedding[0] if with_embedding and whole.embedding is not None else None,
            context=given.context or None,
        )

    def enrol(self, files: Sequence[Path | str]) -> list[EnrolledRecording]:
        """Reads other recordings of the speaker, for a run of --normalise enrolled.

        Raises:
          InputError: A model that does not ask for them, or a recording that cannot be read or is no utterance.
        """
        if not files:
            return []
        if (mode := self.metadata["normalise"]) != "enrolled":
            raise InputError(f"--enrol is for runs of --normalise enrolled, and this one is of {mode}: leave it out.")
        if "enrol" not in self.metadata["signatures"]:
            raise InputError(f"{self.folder} enrols no speakers: export the run again.")
        enrolled = []
        for file in map(Path, files):
            waveform = audio.read_recording(file, longest_seconds=MAX_SECONDS).waveform
            seconds = len(waveform) / audio.SAMPLE_RATE
            if seconds < MIN_SECONDS:
                raise InputError(f"{file}: {seconds:.2f} s are too short to enrol a speaker: leave it out of --enrol.")
            enrolled.append(EnrolledRecording(file, audio.sha256(waveform), self._model.sums_of(waveform)))
        return enrolled

    def _speaker(
        self, file: Path | None, waveform: np.ndarray, enrolled: Sequence[EnrolledRecording]
    ) -> tuple[dict[str, np.ndarray], list[str]]:
        """Makes the statistics of the speaker, [1, num_columns] each, where the model takes them; and warnings."""
        if self.metadata["normalise"] != "enrolled" or not waveform.any():
            return {}, []
        return speaker_inputs(file, waveform, enrolled, self.least_std)

    def _arrays(self, clip: Clip, transcript: str, context: Sequence[str]) -> dict[str, np.ndarray]:
        """Makes a batch of one for `predict_batch`."""
        arrays = {"waveforms": audio.pad_together([clip.waveform]), "transcripts": np.array([transcript], object)}
        if self.num_context_lines:
            arrays["contexts"] = np.array(["\n".join(context)], object)
        if (settings := self.video) and clip.frames:
            arrays["video_frames"] = to_array(clip.frames.images, settings)[np.newaxis]
        return arrays


def _named(names: Sequence[str], numbers: np.ndarray) -> dict[str, float]:
    return {name: float(number) for name, number in zip(names, numbers, strict=True)}
