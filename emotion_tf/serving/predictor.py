"""An exported model, loaded: recordings, words and videos to typed answers."""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from emotion_tf.probabilities import FLOOR
from pipelines import audio
from pipelines.clips import Clip, read_clip
from pipelines.command import InputError, import_tensorflow
from pipelines.normalisation import Sums, least_std, pooled
from pipelines.transcripts.transcriber import Transcriber
from pipelines.video import VideoSettings, length_of, to_array

MAX_SECONDS = 60.0
"""An utterance that is longer is none: the models hear clips of seconds."""

MAX_WORDS = 1000


class Answer(NamedTuple):
    """What a model says of a batch.

    Attributes:
      probabilities: [batch, num_emotions] float32.
      named: [batch, num_emotions] bool, which emotions are named.
      shares: [batch, num_modalities] float32, how much each modality weighs, 0 for an absent one; None where the model
        weighs none.
    """

    probabilities: np.ndarray
    named: np.ndarray
    shares: np.ndarray | None


class Predictor:
    """An exported model, loaded.

    Args:
      path: A run, an export folder, or a version folder in one.

    Raises:
      InputError: None of these, or one that does not load, or that needs more than waveforms and words.
    """

    def __init__(self, path: Path):
        self.folder = find_version(path)
        self.metadata: dict[str, Any] = _read_metadata(self.folder.parent / "metadata.json")
        if encoder := self.metadata.get("encoder"):
            raise InputError(
                f"{self.folder} needs encoder states of {encoder['kind']} {encoder['model']}, layer {encoder['layer']},"
                " which predict does not compute: give them to its signature `features`, as metadata.json describes."
            )
        import_tensorflow()
        import tensorflow as tf
        import tensorflow_text  # noqa: F401  (the tokenizer's ops)

        try:
            # Kept whole: its functions alone would lose their variables.
            self._loaded = tf.saved_model.load(str(self.folder))
        except (OSError, ValueError, tf.errors.OpError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{self.folder} does not load ({reason}): export the run again.") from None
        self._serve = self._loaded.signatures["serving_default"]
        if "predicted" not in self._serve.structured_outputs:
            raise InputError(f"{self.folder} was made by an older version, without `predicted`: export the run again.")

    @property
    def seen(self) -> VideoSettings | None:
        """What it sees of videos; None: nothing."""
        settings = self.metadata.get("video")
        return VideoSettings(**settings) if settings else None

    def __call__(self, *inputs: Any, **beside: Any) -> np.ndarray:
        """Predicts; takes what `answer` takes, and returns its probabilities."""
        return self.answer(*inputs, **beside).probabilities

    def answer(
        self,
        waveform: np.ndarray,
        transcripts: Sequence[str],
        speaker_mean: np.ndarray | None = None,
        speaker_std: np.ndarray | None = None,
        video_frames: np.ndarray | None = None,
    ) -> Answer:
        """Predicts.

        Args:
          waveform: [batch, num_samples] float32 in [-1, 1) at 16 kHz; zeros where there is no sound.
          transcripts: [batch]; empty where there are no words.
          speaker_mean, speaker_std: [batch, num_columns] over other recordings of the speaker, for a model that
            normalises by them; None, or deviations of zero: the statistics of training stand in.
          video_frames: [batch, num_video_frames, height, width, channels] float32 in [0, 1], for a model that sees;
            None, or zeros: there is no video.
        """
        import tensorflow as tf

        inputs = {
            "waveform": tf.constant(waveform, tf.float32),
            "transcript": tf.constant(list(transcripts), tf.string),
        }
        if _normalise_mode(self.metadata) == "enrolled":
            front_end, names = _heard(self.metadata)
            nothing = np.zeros((len(waveform), sum(audio.num_columns(name, front_end) for name in names)))
            given = {"speaker_mean": speaker_mean, "speaker_std": speaker_std}
            inputs |= {n: tf.constant(nothing if v is None else v, tf.float32) for n, v in given.items()}
        if seen := self.seen:
            frames = np.zeros((len(waveform), 1, *seen.shape)) if video_frames is None else video_frames
            inputs["video_frames"] = tf.constant(frames, tf.float32)
        found = self._serve(**inputs)
        shares = found["shares"].numpy() if "shares" in found else None
        return Answer(found["probabilities"].numpy(), found["predicted"].numpy(), shares)


def _normalise_mode(metadata: Mapping[str, Any]) -> str:
    """Tells how sound is brought to one scale; exports from before there was a choice do it by the clip."""
    return metadata.get("normalise", "clip")


def find_version(path: Path) -> Path:
    """Finds the newest version folder of a run, an export folder, or the version folder itself."""
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


@dataclasses.dataclass(frozen=True)
class Enrolled:
    """A recording of the speaker, beside those to be predicted: its file, the hash of its samples, sums over frames."""

    file: Path
    sha256: str
    sums: Sums


def enrol(model: Predictor, files: Sequence[Path]) -> list[Enrolled]:
    """Reads recordings of the speaker whom a model is to be told about.

    Raises:
      InputError: A model that does not ask for them, or a recording that cannot be read or is no utterance.
    """
    if not files:
        return []
    mode = _normalise_mode(model.metadata)
    if mode != "enrolled":
        raise InputError(f"--enrol is for runs of --normalise enrolled, and this one is of {mode}: leave it out.")
    compute = audio.compiled_features(*_heard(model.metadata))
    enrolled = []
    for file in files:
        waveform = _decode(file)
        features, [num_frames] = compute(audio.pad_together([waveform]))
        frames = np.concatenate([values[0, : int(num_frames)] for values in features.values()], axis=1)
        enrolled.append(Enrolled(file, audio.sha256(waveform), Sums.of(frames)))
    return enrolled


def _heard(metadata: Mapping[str, Any]) -> tuple[audio.FrontEnd, tuple[str, ...]]:
    """Returns the front end of a model, and which features it hears."""
    return audio.FrontEnd(**metadata["front_end"]), tuple(metadata["audio_features"])


def _read(model: Predictor, file: Path | None) -> Clip:
    """Reads the sound of a recording or a video and, for a model that sees, the pictures of a video."""
    is_video = file is not None and file.suffix.lower() in audio.VIDEO_SUFFIXES
    if file is None or not is_video or model.seen is None:
        return Clip(_decode(file))
    _stop_on_long(file, length_of(file)[1])  # Before an hour of it is decoded.
    clip = read_clip(file, file, model.seen, audio.FrontEnd(**model.metadata["front_end"]).silence_db)
    _stop_on_long(file, len(clip.waveform) / audio.SAMPLE_RATE)
    return clip


def _decode(file: Path | None) -> np.ndarray:
    """Reads a recording, [num_samples] int16; without one there are no samples."""
    waveform = np.zeros(0, np.int16) if file is None else audio.decode(file)
    _stop_on_long(file, len(waveform) / audio.SAMPLE_RATE)
    return waveform


def _stop_on_long(file: Path | None, seconds: float) -> None:
    if seconds > MAX_SECONDS:
        raise InputError(
            f"{file} is {seconds:.0f} s long, and an utterance has at most {MAX_SECONDS:.0f} s: cut it up."
        )


def _speaker(
    model: Predictor, file: Path | None, waveform: np.ndarray, enrolled: Sequence[Enrolled]
) -> tuple[list[np.ndarray], list[str]]:
    """Pools what is known of the speaker without the clip itself.

    Returns:
      Mean and deviation, [1, num_columns] each, or nothing where nothing is known; and warnings.
    """
    if _normalise_mode(model.metadata) != "enrolled" or not waveform.any():
        return [], []
    sha256 = audio.sha256(waveform)
    others = [one for one in enrolled if one.sha256 != sha256 and not (file and one.file.resolve() == file.resolve())]
    same = [printable(str(one.file)) for one in enrolled if one not in others]
    warnings = [f"{', '.join(same)}: this recording itself, so not enrolled for it"] if same else []
    front_end, names = _heard(model.metadata)
    least = least_std(names, front_end)
    sums = pooled([one.sums for one in others], len(least))
    if not sums.num_frames:
        what = "no sound of the speaker beside this is enrolled" if enrolled else "no speaker is enrolled (--enrol)"
        return [], [*warnings, f"{what}: the statistics of training stand in"]
    return [values[np.newaxis] for values in sums.statistics(least)], warnings


def predict(
    model: Predictor,
    file: Path | None,
    transcript: str,
    transcriber: Transcriber | None = None,
    enrolled: Sequence[Enrolled] = (),
) -> dict[str, Any]:
    """Predicts one utterance; returns what one line of output holds.

    Args:
      model: Loaded.
      file: The recording, or None for words alone.
      transcript: What is said.
      transcriber: Hears what is said instead.
      enrolled: Other recordings of the speaker; the recording itself is left out of them.

    Raises:
      InputError: A recording that cannot be read or is no utterance, or a transcript that is none.
    """
    clip = _read(model, file)
    waveform = clip.waveform
    if transcriber is not None:
        transcript = transcriber(waveform).transcript
    if len(transcript.split()) > MAX_WORDS:
        raise InputError(
            f"the transcript of {len(transcript.split())} words is no utterance (at most {MAX_WORDS}): cut it up."
        )
    speaker, said = _speaker(model, file, waveform, enrolled)
    beside = dict(zip(("speaker_mean", "speaker_std"), speaker, strict=False))
    if (seen := model.seen) and clip.frames:
        beside["video_frames"] = to_array(clip.frames.images, seen)[np.newaxis]
    answer = model.answer(audio.pad_together([waveform]), [transcript], **beside)
    [probabilities], [named] = answer.probabilities, answer.named
    emotions = model.metadata["emotions"]
    ranked = [emotions[number] for number in (-probabilities).argsort(kind="stable") if named[number]]
    return {
        "file": None if file is None else printable(str(file)),
        "transcript": transcript,
        "emotion": emotions[int(probabilities.argmax())],
        **({"emotions": ranked} if model.metadata["is_multi_label"] else {}),
        "probabilities": {name: round(float(p), 6) for name, p in zip(emotions, probabilities, strict=True)},
        **_contributions(model, answer, waveform, transcript, beside),
        "seconds": round(len(waveform) / audio.SAMPLE_RATE, 3),
        "warnings": [
            *([f"transcribed by whisper {transcriber.name}"] if transcriber else []),
            *said,
            *_warnings(model.metadata, clip, transcript),
        ],
    }


def _contributions(
    model: Predictor, answer: Answer, waveform: np.ndarray, transcript: str, beside: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Tells what each modality does to the answer; nothing for a model of one.

    Returns:
      `shares`, where the model has such: modality -> weight; `changes_without`: modality -> what the logarithm of the
      probability of the most probable emotion becomes more without it, in nats.
    """
    modalities = model.metadata["modalities"]
    if len(modalities) < 2:
        return {}
    found = {}
    if answer.shares is not None:
        found["shares"] = {
            name: round(float(share), 6) for name, share in zip(modalities, answer.shares[0], strict=True)
        }
    sounds = [waveform[:0] if name == "audio" else waveform for name in modalities]
    words = ["" if name == "text" else transcript for name in modalities]
    others = {name: np.repeat(values, len(modalities), axis=0) for name, values in beside.items()}
    if "video_frames" in others:
        others["video_frames"][modalities.index("video")] = 0
    rest = model(audio.pad_together(sounds), words, **others)
    chosen = int(answer.probabilities[0].argmax())
    changes = np.log(np.maximum(rest[:, chosen], FLOOR)) - np.log(max(answer.probabilities[0, chosen], FLOOR))
    found["changes_without"] = {name: round(float(one), 6) for name, one in zip(modalities, changes, strict=True)}
    return found


def _warnings(metadata: Mapping[str, Any], clip: Clip, transcript: str) -> Iterator[str]:
    """Says in sentences what a reader of the answer should know."""
    modalities, waveform = metadata["modalities"], clip.waveform
    given = {"audio": bool(waveform.any()), "text": bool(transcript.strip()), "video": clip.frames is not None}
    heard = [modality for modality in modalities if given[modality]]
    if not heard:
        yield f"nothing that this model uses ({' and '.join(modalities)}) is there: the answer is the training prior"
    elif len(heard) < len(modalities):
        missing = [modality for modality in modalities if not given[modality]]
        verb = "is" if len(missing) == 1 else "are"
        yield f"{' and '.join(missing)} {verb} missing: the answer rests on {' and '.join(heard)} alone"
    ignored = [modality for modality in given if given[modality] and modality not in modalities]
    yield from (f"this model does not use {modality}: it was ignored" for modality in ignored)
    seconds, longest = len(waveform) / audio.SAMPLE_RATE, metadata["longest_seconds"]
    if "audio" in heard and seconds > 2 * longest:
        yield f"{seconds:.1f} s is much longer than the clips it was trained on (up to {longest:.1f} s of speech)"
    if "audio" in heard and np.abs(waveform.astype(np.int32)).max() <= audio.SILENT_PEAK:
        yield "the recording is almost silent"
    if clip.frames and (lost := clip.frames.num_without_face):
        yield f"no face was found in {lost} of the {len(clip.frames.images)} frames that were looked at"
    if clip.frames and clip.frames.num_pictures == 1 < len(clip.frames.images):
        yield "the video holds a single picture: nothing moves in it"
    if "text" in heard and len(transcript.split()) > metadata["max_tokens"] // 2:
        yield f"the transcript is long: no more than its first {metadata['max_tokens']} word pieces are read"
    yield from (f"the model carries the mark {mark!r}" for mark in metadata["marks"])


def printable(argument: str) -> str:
    return argument.encode(errors="surrogateescape").decode(errors="replace")


def _read_metadata(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is missing or corrupt ({error}): export the run again.") from None
