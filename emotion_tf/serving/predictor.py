"""An exported model in use: recordings, transcripts and videos in, typed predictions out."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from emotion_tf.probabilities import FLOOR
from emotion_tf.serving.enrolment import EnrolledRecording, statistics_of
from emotion_tf.serving.prediction import BatchPrediction, Given, Prediction, printable, warnings_of
from pipelines import audio
from pipelines.audio.quality import MIN_SECONDS
from pipelines.clips import Clip, read_clip
from pipelines.command import InputError, import_tensorflow
from pipelines.files import read_json
from pipelines.normalisation import Sums, least_std
from pipelines.transcripts.transcriber import Transcriber
from pipelines.video import VideoSettings, to_array

MAX_SECONDS = 60.0
"""A longer recording is not one utterance: models are trained on clips of seconds."""

MAX_WORDS = 1000
"""A longer transcript is not one utterance either."""

_REFUSED = re.compile(r"assertion failed: \[(.*?)\]")
"""How TensorFlow words the checks of an export."""

_FACTS = {
    "audio_features",
    "bandwidth_hz",
    "emotions",
    "front_end",
    "is_multi_label",
    "longest_seconds",
    "marks",
    "max_tokens",
    "modalities",
    "normalise",
    "signatures",
    "tokenizer",
    "video",
}
"""What a predictor reads of metadata.json."""


class Predictor:
    """An exported model, loaded.

    For instance, after `make fit`:

        from emotion_tf.serving import Predictor

        predictor = Predictor("saved_models/synthetic-early")
        prediction = predictor.predict("clip.wav", transcript="They met a crowd with the teacher today.")
        print(prediction.emotion, prediction.probabilities[prediction.emotion])

    Args:
      path: A run, an export folder, or a version folder in one.

    Attributes:
      folder: The version folder.
      metadata: What metadata.json of the export holds.

    Raises:
      InputError: None of these, or an export that does not load, or that needs more than waveforms and transcripts.
    """

    def __init__(self, path: Path | str):
        self.folder = find_version(Path(path))
        self.metadata = _read_metadata(self.folder.parent / "metadata.json")
        # Kept whole: its functions alone would lose their variables.
        self._loaded = _load(self.folder)

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
    def front_end(self) -> audio.FrontEnd:
        """The settings of the front end inside the export."""
        return audio.FrontEnd(**self.metadata["front_end"])

    @property
    def audio_features(self) -> tuple[str, ...]:
        """What the model reads of the audio: `pipelines.audio.FRAME_FEATURES`, "encoder", "waveform"."""
        return tuple(self.metadata["audio_features"])

    @property
    def _least_std(self) -> np.ndarray:
        """What features of enrolled speakers are divided by at least: [num_columns]."""
        return least_std(self.audio_features, self.front_end, self.metadata.get("encoder"))

    def predict_batch(
        self,
        waveforms: np.ndarray,
        transcripts: Sequence[str] | np.ndarray,
        *,
        video_frames: np.ndarray | None = None,
        speaker_mean: np.ndarray | None = None,
        speaker_std: np.ndarray | None = None,
    ) -> BatchPrediction:
        """Predicts a batch of utterances from arrays. What the model does not read is ignored.

        Args:
          waveforms: [batch, num_samples] float32 in [-1, 1) at 16 kHz, zeros behind the shorter ones; all zeros where
            audio is absent.
          transcripts: [batch]; empty where text is absent.
          video_frames: [batch, num_video_frames, height, width, channels] float32 in [0, 1], as `video` describes them;
            zeros where video is absent; None: everywhere.
          speaker_mean, speaker_std: [batch, num_columns] over other recordings of each speaker, for a run of
            --normalise enrolled, the num_blocks * width columns of states of an encoder behind those of frames;
            deviations of zero, or None: the statistics of training stand in.

        Raises:
          InputError: NaN or infinite values, or a waveform or frames with a peak above 2, which nothing divided.
        """
        found = self._call(self._tensors(waveforms, transcripts, video_frames, speaker_mean, speaker_std))
        shares = found["shares"].numpy() if "shares" in found else None
        return BatchPrediction(found["probabilities"].numpy(), found["predicted"].numpy(), shares)

    def features_of(self, inputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Computes what the model itself reads: the inputs of the signature `features`, as tensors.

        Args:
          inputs: Arguments of `predict_batch`.

        Raises:
          InputError: An export without the signature `to_features`, or what `predict_batch` refuses.
        """
        defaults = dict.fromkeys(("video_frames", "speaker_mean", "speaker_std"))
        return dict(self._call(self._tensors(**defaults | dict(inputs)), "to_features"))

    def signature(self, name: str) -> Any:
        """Finds a signature of the export.

        Raises:
          InputError: It has none of that name.
        """
        if name not in self._loaded.signatures:
            raise InputError(f"{self.folder} has no signature {name}: export the run again.")
        return self._loaded.signatures[name]

    def _tensors(
        self,
        waveforms: np.ndarray,
        transcripts: Sequence[str] | np.ndarray,
        video_frames: np.ndarray | None,
        speaker_mean: np.ndarray | None,
        speaker_std: np.ndarray | None,
    ) -> dict[str, Any]:
        """Makes the inputs of `serving_default` of the arguments of `predict_batch`."""
        import tensorflow as tf

        inputs = {
            "waveform": tf.constant(waveforms, tf.float32),
            "transcript": tf.constant(list(transcripts), tf.string),
        }
        if self.metadata["normalise"] == "enrolled":
            unknown = np.zeros((len(waveforms), len(self._least_std)))
            given = {"speaker_mean": speaker_mean, "speaker_std": speaker_std}
            inputs |= {n: tf.constant(unknown if v is None else v, tf.float32) for n, v in given.items()}
        if settings := self.video:
            frames = np.zeros((len(waveforms), 1, *settings.shape)) if video_frames is None else video_frames
            inputs["video_frames"] = tf.constant(frames, tf.float32)
        return inputs

    def _call(self, inputs: Mapping[str, Any], name: str = "serving_default") -> Mapping[str, Any]:
        """Calls a signature of the export; what it refuses becomes one sentence."""
        import tensorflow as tf

        try:
            return self.signature(name)(**inputs)
        except tf.errors.InvalidArgumentError as error:
            refused = _REFUSED.search(str(error))
            if not refused:
                raise
            raise InputError(f"the model refuses its input: {refused[1]}.") from None

    def predict(
        self,
        file: Path | str | None = None,
        transcript: str = "",
        *,
        transcriber: Transcriber | None = None,
        enrolled: Sequence[EnrolledRecording] = (),
    ) -> Prediction:
        """Predicts one utterance from files: what `read` makes of them goes to `predict_given`.

        Args:
          file: A recording of any rate and channel count, or a video; None: the transcript alone.
          transcript: What is said; empty: text is absent.
          transcriber: Transcribes the recording, in place of the transcript.
          enrolled: Other recordings of the speaker, from `enrol`; the recording itself is left out of them.

        Raises:
          InputError: A recording that cannot be read, or a recording or transcript longer than an utterance.
        """
        return self.predict_given(self.read(file, transcript, transcriber=transcriber, enrolled=enrolled))

    def read(
        self,
        file: Path | str | None = None,
        transcript: str = "",
        *,
        transcriber: Transcriber | None = None,
        enrolled: Sequence[EnrolledRecording] = (),
    ) -> Given:
        """Reads one utterance as `predict` does, with the same arguments, and predicts nothing yet."""
        path = None if file is None else Path(file)
        return self.take(self._read(path), transcript, file=path, transcriber=transcriber, enrolled=enrolled)

    def take(
        self,
        clip: Clip,
        transcript: str = "",
        *,
        file: Path | None = None,
        transcriber: Transcriber | None = None,
        enrolled: Sequence[EnrolledRecording] = (),
    ) -> Given:
        """Takes one utterance that is decoded already, for instance from records, with the arguments of `predict`.

        Args:
          clip: What `pipelines.clips.read_clip` returns.
          transcript: What is said; empty: text is absent.
          file: What the prediction names.
          transcriber, enrolled: As in `predict`.
        """
        remarks: list[str] = []
        if transcriber is not None:
            found = transcriber(clip.waveform, clip.peak)
            transcript, remarks = found.transcript, transcriber.remarks(found)
        if (num_words := len(transcript.split())) > MAX_WORDS:
            raise InputError(f"the transcript of {num_words} words is no utterance (at most {MAX_WORDS}): cut it up.")
        speaker, warnings = self._speaker(file, clip.waveform, enrolled)
        inputs = self._arrays(clip, transcript) | speaker
        return Given(file, clip, transcript, inputs, (*remarks, *warnings))

    def predict_given(self, given: Given) -> Prediction:
        """Predicts one utterance that was read."""
        batch = self.predict_batch(**given.inputs)
        [probabilities], [predicted] = batch.probabilities, batch.predicted
        ranked = [self.emotions[index] for index in (-probabilities).argsort(kind="stable") if predicted[index]]
        return Prediction(
            given.file,
            given.transcript,
            emotion=self.emotions[int(probabilities.argmax())],
            emotions=tuple(ranked) if self.metadata["is_multi_label"] else None,
            probabilities=_named(self.emotions, probabilities),
            shares=None if batch.shares is None else _named(self.modalities, batch.shares[0]),
            changes_without=self._changes_without(given.inputs, probabilities),
            seconds=len(given.clip.waveform) / audio.SAMPLE_RATE,
            warnings=(*given.warnings, *warnings_of(self.metadata, given.clip, given.transcript)),
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
            enrolled.append(EnrolledRecording(file, audio.sha256(waveform), self._sums_of(waveform)))
        return enrolled

    def _sums_of(self, waveform: np.ndarray) -> Sums:
        """Sums what the model reads of a recording, [num_samples] int16."""
        import tensorflow as tf

        found = self._loaded.signatures["enrol"](waveform=tf.constant(audio.pad_together([waveform])))
        sums = {name: values[0].numpy() for name, values in found.items()}
        return Sums(int(sums["counts"].any()), **sums)

    def _read(self, file: Path | None) -> Clip:
        """Reads the audio of a recording or video and, for a model that reads video, its frames."""
        if file is None:
            return Clip(np.zeros(0, np.int16))
        return read_clip(file, file, self.video, self.front_end.silence_db, MAX_SECONDS)

    def _speaker(
        self, file: Path | None, waveform: np.ndarray, enrolled: Sequence[EnrolledRecording]
    ) -> tuple[dict[str, np.ndarray], list[str]]:
        """Makes the statistics of the speaker, [1, num_columns] each, where the model takes them; and warnings."""
        if self.metadata["normalise"] != "enrolled" or not waveform.any():
            return {}, []
        same = [printable(str(one.file)) for one in enrolled if one.is_same(file, waveform)]
        others = [one for one in enrolled if not one.is_same(file, waveform)]
        warnings = [f"{', '.join(same)}: this recording itself, so not enrolled for it"] if same else []
        statistics = statistics_of(others, self._least_std)
        if statistics is None:
            what = "no sound of the speaker beside this is enrolled" if enrolled else "no speaker is enrolled (--enrol)"
            return {}, [*warnings, f"{what}: the statistics of training stand in"]
        mean, std = statistics
        return {"speaker_mean": mean[np.newaxis], "speaker_std": std[np.newaxis]}, warnings

    def _arrays(self, clip: Clip, transcript: str) -> dict[str, np.ndarray]:
        """Makes a batch of one for `predict_batch`."""
        arrays = {"waveforms": audio.pad_together([clip.waveform]), "transcripts": np.array([transcript], object)}
        if (settings := self.video) and clip.frames:
            arrays["video_frames"] = to_array(clip.frames.images, settings)[np.newaxis]
        return arrays

    def _changes_without(self, inputs: Mapping[str, np.ndarray], whole: np.ndarray) -> dict[str, float] | None:
        """Predicts again with each modality left out, as `Prediction.changes_without` says.

        Args:
          inputs: Of `predict_batch`, a batch of one.
          whole: [num_emotions], the probabilities with everything.
        """
        if len(self.modalities) < 2:
            return None
        batch = {name: np.repeat(values, len(self.modalities), axis=0) for name, values in inputs.items()}
        for row, modality in enumerate(self.modalities):
            leave_out(batch, modality, row)
        rest = self.predict_batch(**batch).probabilities
        chosen = int(whole.argmax())
        changes = np.log(np.maximum(rest[:, chosen], FLOOR)) - np.log(max(whole[chosen], FLOOR))
        return _named(self.modalities, changes)


def leave_out(inputs: Mapping[str, np.ndarray], modality: str, rows: Any) -> None:
    """Makes a modality absent in some rows of the arguments of `Predictor.predict_batch`, in place.

    Samples and frames become zeros and transcripts empty. The graph then finds it absent in the features, as
    `emotion_tf.models.inputs.presence` defines it.
    """
    name = {"audio": "waveforms", "text": "transcripts", "video": "video_frames"}[modality]
    if name in inputs:
        inputs[name][rows] = "" if modality == "text" else 0


def _named(names: Sequence[str], numbers: np.ndarray) -> dict[str, float]:
    return {name: float(number) for name, number in zip(names, numbers, strict=True)}


def find_version(path: Path) -> Path:
    """Finds the newest version folder of a run, an export folder, or the version folder itself.

    Raises:
      InputError: A folder that is none of these, or a run without an export.
    """
    if (path / "config.json").exists():
        if not (path / "export").exists():
            raise InputError(f"{path} has no export: make it with python -m emotion_tf.export --run {path}.")
        path = path / "export"
    if (path / "saved_model.pb").exists():
        return path.resolve()
    versions = [folder for folder in path.glob("*") if folder.name.isdigit() and (folder / "saved_model.pb").exists()]
    if not versions:
        raise InputError(f"{path} holds no exported model: name a run, or a folder that emotion_tf.export wrote.")
    return max(versions, key=lambda folder: int(folder.name)).resolve()


def _read_metadata(path: Path) -> dict[str, Any]:
    """Reads the facts of an export that takes waveforms and transcripts."""
    metadata = read_json(path, "export the run again")
    if missing := _FACTS - set(metadata):
        raise InputError(f"{path} lacks {', '.join(sorted(missing))}: export the run again.")
    if "serving_default" not in metadata["signatures"]:
        raise InputError(f"{path.parent} takes no waveforms: export the run again.")
    return metadata


def _load(folder: Path) -> Any:
    """Loads a version folder."""
    import_tensorflow()
    import tensorflow as tf

    try:
        return tf.saved_model.load(str(folder))
    except (OSError, ValueError, tf.errors.OpError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{folder} does not load ({reason}): export the run again.") from None
