"""Turns a corpus into records: `python -m pipelines.prepare --corpus ravdess --source data/ravdess`.

Writes TFRecord shards of whole speakers to the folder of --records (default: data/records/<corpus>) and, last,
metadata.json, which says that they are complete. A stopped run continues where it was when the same command runs again.
"""

import argparse
import collections
import contextlib
import dataclasses
import functools
import hashlib
import itertools
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from pipelines import audio, folds, records, text, transcripts
from pipelines.command import InputError, import_tensorflow, make_folder, progress_bar, run_command
from pipelines.corpora import goemotions, manifest, meld, ravdess, synthetic
from pipelines.decoding import Decoded, decoding
from pipelines.emotions import LABEL_MAPS, RAVDESS
from pipelines.encoder import KINDS, Encoder, EncoderSettings
from pipelines.utterance import Corpus, Utterance
from pipelines.video import NUM_BOX_COLUMNS, Clip, Frames, VideoSettings, import_opencv

_READERS: Mapping[str, Callable[[Path], Corpus]] = {
    "ravdess": ravdess.read,
    "goemotions": goemotions.read,
    "meld": meld.read,
}

_ROWS_OF_CLIPS = ("hours", "features", "skipped", "silent")

_BATCH = 32
_SENTENCE_BATCH = 2048
# Long recordings are transformed a few at a time: this many samples, padding included, at once (about 4 minutes).
_MAX_SAMPLES = _BATCH * 8 * audio.SAMPLE_RATE


@dataclasses.dataclass(frozen=True)
class Preparation:
    """What to prepare, how, and where to.

    Attributes:
      corpus: Its utterances, relabelled already, with their words.
      folder: Where the records go.
      front_end: The settings of log_mel.
      label_map: Name of the map that relabelled the corpus, or empty.
      store_waveform: Keeps the 16 kHz samples in the records.
      transcript_source: Name of the source of the words.
      origin: What words and choice of utterances depend on beside the corpus, as JSON holds it.
      has_acoustic: Stores the acoustic features beside the log-mel.
      encoder: Stores states of this encoder, too; None: of none.
      video: Stores frames of videos, too; None: of none.
    """

    corpus: Corpus
    folder: Path
    front_end: audio.FrontEnd
    label_map: str = ""
    store_waveform: bool = False
    transcript_source: str = "script"
    origin: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    has_acoustic: bool = False
    encoder: EncoderSettings | None = None
    video: VideoSettings | None = None

    @property
    def has_clips(self) -> bool:
        """Whether any utterance is a recording that is read, of sound or of pictures."""
        return self.corpus.has_audio or (self.video is not None and self.corpus.has_video)

    @property
    def frame_features(self) -> tuple[str, ...]:
        """The fields that are computed of each frame."""
        return ("log_mel", "acoustic") if self.has_acoustic else ("log_mel",)

    @functools.cached_property
    def shards(self) -> dict[str, list[Utterance]]:
        """Shard -> its utterances."""
        num_video_frames = self.video.num_frames if self.video else 0
        stored = (self.store_waveform, self.has_acoustic, self.encoder is not None, num_video_frames)
        return records.plan_shards(self.corpus.utterances, self.front_end, *stored)

    @functools.cached_property
    def loaded_encoder(self) -> Encoder | None:
        """The encoder, loaded at first use."""
        return Encoder(self.encoder) if self.encoder else None

    @functools.cached_property
    def fingerprints(self) -> dict[str, str]:
        """Shard -> hash of all that it depends on: settings, labels, words, size and date of the recordings."""
        settings = {
            "schema_version": records.SCHEMA_VERSION,
            "corpus": self.corpus.name,
            "emotions": self.corpus.emotions,
            "is_multi_label": self.corpus.is_multi_label,
            "label_map": self.label_map,
            "front_end": dataclasses.asdict(self.front_end),
            "store_waveform": self.store_waveform,
            "vocabulary": text.vocabulary_sha256(),
            "transcript_source": self.transcript_source,
            "origin": dict(self.origin),
            # Not where there are none, so that older records are recognised.
            **({"acoustic": audio.ACOUSTIC} if self.has_acoustic else {}),
            **({"encoder": self.encoder.identity} if self.encoder else {}),
            **({"video": dataclasses.asdict(self.video)} if self.video else {}),
        }
        base = self.corpus.source if self.corpus.source.is_dir() else self.corpus.source.parent
        return {
            name: _hash([settings, [_identity(utterance, base) for utterance in shard]])
            for name, shard in self.shards.items()
        }

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hash of the whole."""
        return _hash(self.fingerprints)


@dataclasses.dataclass
class _Summary:
    """What is known of one finished shard; kept beside it until metadata.json is written."""

    fingerprint: str
    num_utterances: int = 0
    num_multi_label: int = 0
    num_without_words: int = 0
    counts: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)
    silent: list[str] = dataclasses.field(default_factory=list)
    skipped: list[dict[str, str]] = dataclasses.field(default_factory=list)
    num_samples: int = 0
    longest_frames: int = 0
    num_with_video: int = 0
    num_without_sound: int = 0
    num_frames_without_face: int = 0
    without_face: list[str] = dataclasses.field(default_factory=list)


def main(argv: list[str] | None = None) -> None:
    """Parses the command line, prepares and prints a table.

    Raises:
      InputError: Whatever the user can mend.
    """
    arguments = _parser().parse_args(argv)
    preparation = _preparation(arguments)
    metadata = prepare(preparation, arguments.workers, skip_bad=arguments.skip_bad, overwrite=arguments.overwrite)
    print(describe(metadata, preparation.folder))


def prepare(
    preparation: Preparation, num_workers: int | None = None, *, skip_bad: bool = False, overwrite: bool = False
) -> records.Metadata:
    """Writes the records of a corpus, or finishes or recognises those that are there.

    Args:
      preparation: What, how and where to.
      num_workers: Decoding processes; None: one a core.
      skip_bad: Leaves unreadable recordings out instead of stopping.
      overwrite: Replaces other records in the folder.

    Returns:
      The metadata of complete records.

    Raises:
      InputError: No utterances, settings that leave mel bands empty or acoustic features without room, other records in
        the folder, or unreadable recordings (all of them are named).
    """
    _stop_on_nothing(preparation.corpus)
    if preparation.corpus.has_audio:
        audio.mel_matrix(preparation.front_end)
    if preparation.has_acoustic:
        audio.check_acoustic(preparation.front_end)
    finished = _finished_before(preparation, overwrite)
    if finished is not None:
        _stop_on_skipped(finished.skipped, skip_bad)
        print(f"{preparation.folder} holds these records already, complete", file=sys.stderr)
        return finished
    _ = preparation.loaded_encoder  # What is wrong with it must not cost the records that are there.
    _clear(preparation)
    summaries = _write_shards(preparation, num_workers)
    _stop_on_skipped([bad for summary in summaries.values() for bad in summary.skipped], skip_bad)
    metadata = _metadata(preparation, summaries)
    records.write_metadata(preparation.folder, metadata)
    for name in summaries:
        _summary_path(preparation.folder, name).unlink()
    return metadata


def describe(metadata: records.Metadata, folder: Path) -> str:
    """Draws the table that ends a preparation."""
    counts = zip(metadata.emotions, metadata.emotion_counts(metadata.speakers), strict=True)
    megabytes = sum(shard["num_bytes"] for shard in metadata.shards.values()) / 1e6
    speakers = [speaker for speaker in metadata.speakers if speaker]
    has_clips = metadata.has_audio or metadata.video is not None
    rows = {
        "corpus": metadata.corpus,
        "clips" if has_clips else "sentences": _count_of_utterances(metadata),
        "hours": f"{metadata.hours:.2f}",
        "speakers": f"{len(speakers)}: {', '.join(speakers)}" if speakers else "-",
        "emotions": ", ".join(f"{emotion} {count}" for emotion, count in counts),
        "features": ", ".join(
            f"{count} columns {name}" for name, count in metadata.columns.items() if name != "face_boxes"
        ),
        **({"encoder": "{kind} {model}, layer {layer}".format(**metadata.encoder)} if metadata.encoder else {}),
        **({"video": _seen(metadata)} if metadata.video else {}),
        "words": f"{metadata.transcript_source}; {metadata.num_without_words} without words",
        "skipped": f"{len(metadata.skipped)} unreadable",
        "silent": ", ".join([str(len(metadata.silent)), *metadata.silent]),
        "ignored": ", ".join(f"{count} {reason}" for reason, count in metadata.ignored.items()) or "0",
        "records": f"{folder}: {len(metadata.shards)} shards, {megabytes:.1f} MB",
    }
    width = max(60, min(120, shutil.get_terminal_size((100, 24)).columns))
    return "\n".join(
        textwrap.fill(value, width, initial_indent=f"{name:<9} ", subsequent_indent=" " * 10, max_lines=8)
        for name, value in rows.items()
        if has_clips or name not in _ROWS_OF_CLIPS
    )


def _seen(metadata: records.Metadata) -> str:
    """Says what was seen of the videos."""
    height, width, channels = VideoSettings(**(metadata.video or {})).shape
    seen, num_frames = metadata.seen, (metadata.video or {})["num_frames"]
    kind = "colour" if channels == 3 else "grey"
    lost, all_lost = seen["num_frames_without_face"], seen["without_face"]
    parts = [
        f"{num_frames} frames of {width}x{height}, {kind}, of {seen['num_clips']} clips",
        f"{seen['without_sound']} of them without sound",
        f"{lost} frames without a face",
        ", ".join([f"{len(all_lost)} clips without any", *all_lost]),
    ]
    return "; ".join(parts)


def _count_of_utterances(metadata: records.Metadata) -> str:
    several = f", {metadata.num_multi_label} with two or more labels" if metadata.is_multi_label else ""
    return f"{metadata.num_utterances}{several}"


def _parser() -> argparse.ArgumentParser:
    defaults = audio.FrontEnd()
    parser = argparse.ArgumentParser(prog="python -m pipelines.prepare", description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", required=True, choices=(*_READERS, "manifest", "synthetic"))
    parser.add_argument(
        "--source", type=Path, help="folder of the corpus (default: data/<corpus>), or the manifest's CSV"
    )
    parser.add_argument("--records", type=Path, help="folder to write (default: data/records/<corpus>)")
    parser.add_argument("--emotions", help="manifest: its labels in order, comma-separated (default: RAVDESS's eight)")
    parser.add_argument("--label-map", choices=sorted(LABEL_MAPS), help="map the corpus's labels to another set")
    parser.add_argument(
        "--exclude-sentences",
        type=Path,
        metavar="RECORDS",
        help="leave out sentences that other records test, so that a run on these may start one on those",
    )
    parser.add_argument("--workers", type=_at_least_one, help="decoding processes (default: one a core)")
    parser.add_argument("--skip-bad", action="store_true", help="leave unreadable recordings out instead of stopping")
    parser.add_argument("--store-waveform", action="store_true", help="keep the 16 kHz samples in the records")
    parser.add_argument(
        "--acoustic",
        action="store_true",
        help="store acoustic features too: cepstra, chroma, contrast, zero crossings, loudness, pitch",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace other records in the folder")
    _add_video_arguments(parser)
    transcripts.add_arguments(parser)
    _add_encoder_arguments(parser)
    front_end = parser.add_argument_group("front end")
    front_end.add_argument("--frame-seconds", type=float, default=defaults.frame_seconds, help="window (%(default)s)")
    front_end.add_argument("--hop-seconds", type=float, default=defaults.hop_seconds, help="hop (%(default)s)")
    front_end.add_argument("--fft-length", type=int, help="samples (default: power of two that holds the window)")
    front_end.add_argument("--mel-bins", type=int, default=defaults.mel_bins, help="bands (%(default)s)")
    front_end.add_argument("--min-hz", type=float, default=defaults.min_hz, help="lowest edge (%(default)s)")
    front_end.add_argument("--max-hz", type=float, default=defaults.max_hz, help="highest edge (%(default)s)")
    front_end.add_argument(
        "--trim-db", type=_decibels, default=defaults.trim_db, help="DB below the loudest frame, or off (%(default)s)"
    )
    return parser


def _add_video_arguments(parser: argparse.ArgumentParser) -> None:
    group, defaults = parser.add_argument_group("video"), VideoSettings()
    group.add_argument(
        "--video-frames",
        type=int,
        metavar="N",
        help=f"store N pictures of the face, evenly over the spoken part, of each video (for instance"
        f" {defaults.num_frames})",
    )
    group.add_argument("--video-size", type=int, metavar="N", help=f"pixels of a side of them ({defaults.size})")
    group.add_argument("--colour", action="store_true", help="three channels instead of a grey one")
    group.add_argument(
        "--with-video",
        action="store_true",
        help=f"synthetic: make videos of drawn faces, too, and store frames of them (without --video-frames:"
        f" {defaults.num_frames})",
    )


def _video(arguments: argparse.Namespace) -> VideoSettings | None:
    """Reads the flags of videos.

    Raises:
      InputError: Flags that change nothing, or OpenCV or PyAV that is not installed.
    """
    if arguments.with_video and arguments.corpus != "synthetic":
        raise InputError(f"--with-video makes videos of the synthetic corpus; {arguments.corpus} has its own or none:"
                         " leave it out.")  # fmt: skip
    defaults = VideoSettings()
    num_frames = arguments.video_frames
    if num_frames is None and arguments.with_video:
        num_frames = defaults.num_frames
    if num_frames is None:
        if arguments.video_size is not None or arguments.colour:
            raise InputError("--video-size and --colour belong to --video-frames: add that, or leave them out.")
        return None
    import_opencv()
    size = defaults.size if arguments.video_size is None else arguments.video_size
    return VideoSettings(num_frames, size, arguments.colour)


def _add_encoder_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("encoder")
    group.add_argument(
        "--encoder",
        choices=KINDS,
        help="store states of this pretrained encoder of speech too, frozen; it runs on --device",
    )
    group.add_argument(
        "--encoder-model",
        metavar="NAME|CHECKPOINT",
        help="tiny, base, small.en, ..., downloaded at first use, or a checkpoint file (default: base)",
    )
    group.add_argument(
        "--encoder-layer",
        type=int,
        metavar="N",
        help="its block, counted from 1, behind which the states are taken (default: the last, with its norm)",
    )


def _encoder(arguments: argparse.Namespace, corpus: Corpus) -> EncoderSettings | None:
    """Reads the flags of an encoder."""
    if arguments.encoder is None:
        for name in ("encoder_model", "encoder_layer"):
            if getattr(arguments, name) is not None:
                flag = name.replace("_", "-")
                raise InputError(f"--{flag} belongs to --encoder {KINDS[0]}: add that, or leave this out.")
        return None
    if not corpus.has_audio:
        raise InputError(f"{corpus.name} has no recordings for an encoder to hear: leave --encoder out.")
    defaults = EncoderSettings()
    return EncoderSettings(
        arguments.encoder_model or defaults.model, arguments.encoder_layer, arguments.device or defaults.device
    )


def _at_least_one(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number of processes: give 1 or more")
    return int(text)


def _decibels(text: str) -> float | None:
    if text == "off":
        return None
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is neither decibels nor off") from None


def _front_end(arguments: argparse.Namespace) -> audio.FrontEnd:
    names = [field.name for field in dataclasses.fields(audio.FrontEnd) if hasattr(arguments, field.name)]
    return audio.FrontEnd(**{name: getattr(arguments, name) for name in names})


def _preparation(arguments: argparse.Namespace) -> Preparation:
    shared = ("device",) if arguments.encoder else ()
    front_end, words = _front_end(arguments), transcripts.WordSource.of(arguments, shared)
    seen = _video(arguments)
    corpus, label_map = _read_corpus(arguments), arguments.label_map or ""
    if seen is None:
        corpus = corpus.sound_alone()
    else:
        _stop_without_video(corpus, arguments.corpus)
    _stop_on_nothing(corpus)
    name = corpus.source.stem if arguments.corpus == "manifest" else arguments.corpus
    encoder = _encoder(arguments, corpus)
    origin: dict[str, Any] = {"words": words.identity}
    if not corpus.has_audio:
        if arguments.store_waveform:
            raise InputError(f"{corpus.name} has no recordings, so no waveforms: leave --store-waveform out.")
        if arguments.acoustic:
            raise InputError(f"{corpus.name} has no recordings, so no acoustic features: leave --acoustic out.")
        front_end = audio.FrontEnd()  # Whatever the flags say, sentences make the same records.
    if arguments.exclude_sentences:
        corpus = _without_sentences(corpus, arguments.exclude_sentences)
        origin["excluded"] = records.read_metadata(arguments.exclude_sentences).fingerprint
    return Preparation(
        words.fill(corpus, label_map),
        arguments.records or Path("data/records") / name,
        front_end,
        label_map,
        arguments.store_waveform,
        words.name,
        origin,
        arguments.acoustic,
        encoder,
        seen,
    )


def _stop_without_video(corpus: Corpus, kind: str) -> None:
    """Refuses a corpus that has no video, or the synthetic one where their making was broken off."""
    count = sum(one.video is not None for one in corpus.utterances)
    if kind == "synthetic" and count < len(corpus.utterances):
        raise InputError(f"{corpus.source} holds {count} of {len(corpus.utterances)} videos: --with-video makes them.")
    if not count:
        raise InputError(f"{corpus.name} in {corpus.source} holds no video: leave --video-frames out, or add them.")


def _read_corpus(arguments: argparse.Namespace) -> Corpus:
    source = arguments.source or Path("data") / arguments.corpus
    if arguments.emotions and arguments.corpus != "manifest":
        raise InputError(f"--emotions declares the labels of a manifest; {arguments.corpus} has its own: leave it out.")
    if arguments.corpus == "synthetic":
        synthetic.make(source, with_video=arguments.with_video)
        corpus = synthetic.read(source)
    elif arguments.corpus == "manifest":
        corpus = manifest.read(_manifest_path(arguments), _manifest_labels(arguments))
    else:
        corpus = _READERS[arguments.corpus](source)
    return corpus.relabelled(arguments.label_map) if arguments.label_map else corpus


def _without_sentences(corpus: Corpus, folder: Path) -> Corpus:
    """Leaves out utterances whose sentence stands in the test part of other records, and counts them."""
    if corpus.has_audio:
        raise InputError(
            f"{corpus.name} has recordings, which share sentences on purpose: leave --exclude-sentences out."
        )
    import_tensorflow()
    index = records.read_index(folder)
    tested = index[index["published_split"] == "test"] if index["published_split"].any() else index
    excluded = set(folds.sentences_of(tested["transcript"].tolist())) - {""}
    said = folds.sentences_of([utterance.transcript for utterance in corpus.utterances])
    pairs = zip(corpus.utterances, said, strict=True)
    kept = tuple(utterance for utterance, sentence in pairs if sentence not in excluded)
    count = len(corpus.utterances) - len(kept)
    ignored = {**corpus.ignored, f"sentences that {folder} tests": count}
    return dataclasses.replace(corpus, utterances=kept, ignored=ignored)


def _manifest_path(arguments: argparse.Namespace) -> Path:
    if arguments.source is None:
        raise InputError("--corpus manifest needs --source FILE.csv, a CSV with the columns path,emotion,speaker.")
    return arguments.source


def _manifest_labels(arguments: argparse.Namespace) -> tuple[str, ...]:
    if arguments.emotions:
        emotions = tuple(emotion.strip() for emotion in arguments.emotions.split(","))
        if len(emotions) < 2 or len(set(emotions)) < len(emotions) or not all(emotions):
            raise InputError(f"--emotions {arguments.emotions} must name two or more different labels: A,B,...")
        if "|" in arguments.emotions:
            raise InputError(
                f"--emotions {arguments.emotions}: a label must not hold |, which joins several: rename it."
            )
        return emotions
    return tuple(LABEL_MAPS[arguments.label_map].targets) if arguments.label_map else RAVDESS


def _identity(utterance: Utterance, base: Path) -> dict[str, Any]:
    values = {**vars(utterance), "attributes": dict(utterance.attributes)}
    for field, name in (("audio", "file"), ("video", "video")):
        path = values.pop(field)
        if path is not None:
            stat = path.stat() if path.exists() else None
            values[name] = [os.path.relpath(path, base), stat and stat.st_size, stat and stat.st_mtime_ns]
    return values


def _hash(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _finished_before(preparation: Preparation, overwrite: bool) -> records.Metadata | None:
    """Returns the metadata of records that this very preparation finished before."""
    folder = preparation.folder
    if overwrite or not (folder / records.METADATA).exists():
        return None
    metadata = records.read_metadata(folder)
    if metadata.fingerprint != preparation.fingerprint:
        raise InputError(
            f"{folder} holds other records ({metadata.corpus}, {metadata.num_utterances} utterances; other settings,"
            " words or recordings): give another --records, or --overwrite to replace them."
        )
    return metadata


def _clear(preparation: Preparation) -> None:
    """Removes what the plan has no use for: old metadata first, then shards that are not this preparation's."""
    folder = preparation.folder
    make_folder(folder, "--records")
    (folder / records.METADATA).unlink(missing_ok=True)
    # Names of ours alone: the folder may hold records that another program made.
    ours = f"{'[0-9]' * 5}-of-{'[0-9]' * 5}.tfrecord"
    for ending in ("", ".tmp", ".json", ".json.tmp"):
        for path in folder.glob(ours + ending):
            name = path.name.removesuffix(".tmp").removesuffix(".json")
            if path.suffix == ".tmp" or _read_summary(preparation, name) is None:
                path.unlink()


def _summary_path(folder: Path, name: str) -> Path:
    return folder / f"{name}.json"


def _read_summary(preparation: Preparation, name: str) -> _Summary | None:
    """Returns the summary of a shard that is finished and still what the plan asks for."""
    if not (preparation.folder / name).exists():
        return None
    try:
        values = json.loads(_summary_path(preparation.folder, name).read_text(encoding="utf-8"))
        summary = _Summary(**values)
    except (OSError, ValueError, TypeError):
        return None
    return summary if summary.fingerprint == preparation.fingerprints.get(name) else None


def _write_shards(preparation: Preparation, num_workers: int | None) -> dict[str, _Summary]:
    """Writes the shards that are not there yet; returns the summaries of all."""
    folder, total = preparation.folder, len(preparation.corpus.utterances)
    found = {name: _read_summary(preparation, name) for name in preparation.shards}
    summaries = {name: summary for name, summary in found.items() if summary is not None}
    pending = {name: shard for name, shard in preparation.shards.items() if name not in summaries}
    size = _BATCH if preparation.has_clips else _SENTENCE_BATCH
    batches = [shard[start : start + size] for shard in pending.values() for start in range(0, len(shard), size)]
    unit = "clip" if preparation.has_clips else "sentence"
    with (
        progress_bar(total, f"preparing {preparation.corpus.name}", unit) as progress,
        _decoded(preparation, batches, num_workers) as decoded,
    ):
        progress.update(total - sum(map(len, batches)))
        if pending:
            import_tensorflow()  # Only now: the workers decode meanwhile.
        for name, shard in pending.items():
            summary = _Summary(preparation.fingerprints[name])
            shard_batches = itertools.islice(decoded, -(-len(shard) // size))
            records.write_shard(folder / name, _records(preparation, shard_batches, summary, progress))
            records.write_json(_summary_path(folder, name), dataclasses.asdict(summary))
            summaries[name] = summary
    return {name: summaries[name] for name in preparation.shards}


def _decoded(
    preparation: Preparation, batches: Sequence[list[Utterance]], num_workers: int | None
) -> contextlib.AbstractContextManager[Iterator[Decoded]]:
    """Decodes in other processes; sentences alone need none."""
    if preparation.has_clips:
        return decoding(batches, num_workers, preparation.video)
    nothing = Clip(np.zeros(0, np.int16))
    return contextlib.nullcontext(iter([[(utterance, nothing) for utterance in batch] for batch in batches]))


def _records(
    preparation: Preparation,
    batches: Iterable[Decoded],
    summary: _Summary,
    progress: tqdm,
) -> Iterator[dict[str, Any]]:
    """Makes the records of one shard and fills its summary."""
    for batch in batches:
        readable = [(utterance, found) for utterance, found in batch if not isinstance(found, str)]
        reasons = {utterance.utterance_id: found for utterance, found in batch if isinstance(found, str)}
        summary.skipped += [{"utterance_id": name, "reason": reason} for name, reason in reasons.items()]
        token_ids = text.token_ids([utterance.transcript for utterance, _ in readable]).to_list()
        features = _features(preparation, [clip.waveform for _, clip in readable])
        for (utterance, clip), ids, frames in zip(readable, token_ids, features, strict=True):
            record = _record(preparation, utterance, clip, np.asarray(ids), frames)
            _count(summary, utterance, clip, record)
            yield record
            progress.update()
        progress.update(len(reasons))


def _features(preparation: Preparation, waveforms: Sequence[np.ndarray]) -> Iterable[Mapping[str, np.ndarray]]:
    """Makes the features of each clip of a batch; without recordings they have no frames and cost nothing."""
    names, front_end = preparation.frame_features, preparation.front_end
    if not preparation.corpus.has_audio:
        nothing = {name: np.zeros((0, audio.num_columns(name, front_end)), np.float32) for name in names}
        return [nothing] * len(waveforms)
    made: Iterable[Mapping[str, np.ndarray]] = _transformed(waveforms, audio.compiled_features(front_end, names))
    if preparation.loaded_encoder is None:
        return made
    pairs = zip(made, preparation.loaded_encoder(waveforms), strict=True)
    return ({**features, "encoder": states} for features, states in pairs)


def _transformed(waveforms: Sequence[np.ndarray], transform: Callable[..., Any]) -> Iterator[dict[str, np.ndarray]]:
    """Transforms waveforms, as many at once as memory allows, which depends on nothing but their lengths."""
    while waveforms:
        longest = itertools.accumulate(map(len, waveforms), max)
        fitting = sum(1 for count, length in enumerate(longest, 1) if count * length <= _MAX_SAMPLES)
        head, waveforms = waveforms[: max(1, fitting)], waveforms[max(1, fitting) :]
        features, num_frames = transform(audio.pad_together(head))
        features = {name: values.numpy() for name, values in features.items()}
        for number, count in enumerate(num_frames.numpy()):
            yield {name: values[number, :count] for name, values in features.items()}


def _count(summary: _Summary, utterance: Utterance, clip: Clip, record: Mapping[str, Any]) -> None:
    counts = summary.counts.setdefault(utterance.speaker, {})
    for emotion in utterance.emotions:
        counts[emotion] = counts.get(emotion, 0) + 1
    summary.num_utterances += 1
    summary.num_multi_label += len(utterance.emotions) > 1
    summary.num_without_words += len(record["token_ids"]) == 1
    summary.num_samples += len(clip.waveform)
    summary.longest_frames = max(summary.longest_frames, len(record["log_mel"]))
    if len(clip.waveform) and np.abs(clip.waveform.astype(np.int32)).max() <= audio.SILENT_PEAK:
        summary.silent.append(utterance.utterance_id)
    if clip.frames is not None:
        summary.num_with_video += 1
        summary.num_without_sound += not len(clip.waveform)
        summary.num_frames_without_face += clip.frames.num_without_face
        if clip.frames.num_without_face == len(clip.frames.images):
            summary.without_face.append(utterance.utterance_id)


def _record(
    preparation: Preparation,
    utterance: Utterance,
    clip: Clip,
    token_ids: np.ndarray,
    frames: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    record: dict[str, Any] = {
        "utterance_id": utterance.utterance_id,
        "speaker": utterance.speaker,
        "label": [preparation.corpus.emotions.index(emotion) for emotion in utterance.emotions],
        "attributes": json.dumps(dict(utterance.attributes), ensure_ascii=False, sort_keys=True),
        "trial": utterance.trial,
        # Absent sound is no recording that could be found twice.
        "audio_sha256": audio.sha256(clip.waveform) if clip.waveform.any() else "",
        "published_split": utterance.published_split,
        "transcript": utterance.transcript,
        "token_ids": token_ids,
        **frames,
    }
    if preparation.store_waveform:
        record["waveform"] = clip.waveform
    return record | (_record_of_video(clip.frames) if preparation.video else {})


def _record_of_video(frames: Frames | None) -> dict[str, Any]:
    """Makes the fields of what was seen; without a video they hold nothing."""
    images = frames.images if frames else []
    return {
        "video_frames": images,
        "face_boxes": frames.boxes if frames else np.zeros((0, NUM_BOX_COLUMNS), np.float32),
        "video_sha256": hashlib.sha256(b"".join(images)).hexdigest() if images else "",
    }


def _stop_on_nothing(corpus: Corpus) -> None:
    if not corpus.utterances:
        reasons = ", ".join(f"{count} {reason}" for reason, count in corpus.ignored.items())
        raise InputError(f"{corpus.source}: no utterance is left to write ({reasons}): leave out less.")


def _stop_on_skipped(skipped: Sequence[Mapping[str, str]], skip_bad: bool) -> None:
    if skipped and not skip_bad:
        reasons = "\n".join(f"  {bad['reason']}" for bad in skipped)
        raise InputError(
            f"{len(skipped)} recordings cannot be read; mend or remove them, or leave them out with --skip-bad:"
            f"\n{reasons}"
        )


def _metadata(preparation: Preparation, summaries: Mapping[str, _Summary]) -> records.Metadata:
    corpus, counts = preparation.corpus, _counts(summaries.values())
    if not counts:
        raise InputError(f"{corpus.source}: not one recording could be read, so there are no records to write.")
    num_samples = sum(summary.num_samples for summary in summaries.values())
    return records.Metadata(
        schema_version=records.SCHEMA_VERSION,
        corpus=corpus.name,
        source=str(corpus.source),
        licence=corpus.licence,
        emotions=list(corpus.emotions),
        label_map=preparation.label_map,
        front_end=dataclasses.asdict(preparation.front_end),
        acoustic=list(audio.ACOUSTIC) if preparation.has_acoustic else [],
        encoder=preparation.loaded_encoder.facts if preparation.loaded_encoder else None,
        video=dataclasses.asdict(preparation.video) if preparation.video else None,
        seen=_seen_in_all(summaries.values()) if preparation.video else {},
        vocabulary_sha256=text.vocabulary_sha256(),
        transcript_source=preparation.transcript_source,
        is_multi_label=corpus.is_multi_label,
        has_audio=corpus.has_audio,
        has_waveform=preparation.store_waveform,
        shards={name: _shard(preparation.folder / name, summary) for name, summary in summaries.items()},
        num_utterances=sum(summary.num_utterances for summary in summaries.values()),
        num_multi_label=sum(summary.num_multi_label for summary in summaries.values()),
        num_without_words=sum(summary.num_without_words for summary in summaries.values()),
        hours=round(num_samples / audio.SAMPLE_RATE / 3600, 4),
        longest_frames=max(summary.longest_frames for summary in summaries.values()),
        counts=counts,
        ignored=dict(corpus.ignored),
        skipped=[bad for summary in summaries.values() for bad in summary.skipped],
        silent=[name for summary in summaries.values() for name in summary.silent],
        fingerprint=preparation.fingerprint,
    )


def _seen_in_all(summaries: Iterable[_Summary]) -> dict[str, Any]:
    """Adds up what was seen of the videos of all shards."""
    found = list(summaries)
    return {
        "num_clips": sum(summary.num_with_video for summary in found),
        "without_sound": sum(summary.num_without_sound for summary in found),
        "num_frames_without_face": sum(summary.num_frames_without_face for summary in found),
        "without_face": sorted(name for summary in found for name in summary.without_face),
    }


def _counts(summaries: Iterable[_Summary]) -> dict[str, dict[str, int]]:
    """Adds up the counts of all shards: speaker -> emotion -> number of records."""
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for summary in summaries:
        for speaker, count in summary.counts.items():
            counts[speaker].update(count)
    return {speaker: dict(count) for speaker, count in sorted(counts.items())}


def _shard(path: Path, summary: _Summary) -> dict[str, Any]:
    return {
        "speakers": sorted(summary.counts),
        "num_utterances": summary.num_utterances,
        "num_bytes": path.stat().st_size,
    }


if __name__ == "__main__":
    sys.exit(run_command(main))
