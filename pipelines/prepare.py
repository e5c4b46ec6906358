"""Turns a corpus into records: `python -m pipelines.prepare --corpus ravdess --source data/ravdess`.

Writes TFRecord shards of whole speakers to the folder of --records (default: data/records/<corpus>) and, last,
metadata.json, which says that they are complete. A stopped run continues where it was when the same command runs again.
"""

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Any

from pipelines import audio, fold_audit, records, transcripts
from pipelines.audio.front_end import LONGEST_FFT, LONGEST_FRAME_SECONDS
from pipelines.audio.speech_encoder import KINDS, EncoderSettings
from pipelines.cluster import ADDRESS_HELP
from pipelines.command import InputError, import_tensorflow, run_command
from pipelines.corpora import readers
from pipelines.dialogues import with_context, without_lines
from pipelines.files import write_json
from pipelines.parsers import Group, add_flag, command_parser, number_or
from pipelines.records import remote
from pipelines.records.description import describe
from pipelines.records.preparation import Preparation, stop_on_nothing
from pipelines.records.writer import prepare
from pipelines.settings import Bounds, above, at_least
from pipelines.utterance import Corpus
from pipelines.video import MOST_FRAMES, SIZES, VideoSettings, import_opencv


def main(argv: list[str] | None = None) -> None:
    """Parses the command line, prepares and prints a table.

    Raises:
      InputError: Whatever the user can mend.
    """
    arguments = make_parser().parse_args(argv)
    if isinstance(arguments.records, str):
        raise InputError(
            f"--records {arguments.records}: prepare writes to a folder of this machine; give one, and then upload that"
            " folder: aws s3 sync FOLDER s3://BUCKET/FOLDER."
        )
    if arguments.ray and arguments.workers:
        raise InputError("--workers are processes of this machine, and --ray has its own: give one of both.")
    preparation = _preparation(arguments)
    options = {"skip_bad": arguments.skip_bad, "overwrite": arguments.overwrite}
    metadata = prepare(preparation, arguments.workers, **options, cluster=arguments.ray or "")
    print(describe(metadata, preparation.folder))
    if preparation.corpus.folds:
        path = preparation.folder / "folds.json"
        write_json(path, preparation.corpus.folds)
        print(f"{len(preparation.corpus.folds)} published folds of speakers: fit --folds {path}")


def make_parser() -> argparse.ArgumentParser:
    """Makes the parser of the command line."""
    usage = "--corpus NAME [--source PATH] [FLAG ...]"
    parser = command_parser("pipelines.prepare", __doc__, usage)
    _add_corpus_arguments(parser.add_argument_group("corpus"))
    _add_records_arguments(parser.add_argument_group("records"))
    transcripts.add_arguments(parser)
    _add_front_end_arguments(parser.add_argument_group("front end of audio features"))
    _add_encoder_arguments(parser.add_argument_group("encoder"))
    _add_video_arguments(parser.add_argument_group("video"))
    return parser


def _add_corpus_arguments(group: Group) -> None:
    readers.add_arguments(group)
    sentence = "Leave out sentences that these other records test, so that a run on the new ones can start one on them."
    add_flag(group, "--exclude-sentences", sentence, "corpora of text only", type=Path, metavar="RECORDS")
    sentence = "Put the N lines before it in its dialogue before each utterance, as context for models of text."
    add_flag(group, "--context", sentence, at_least(0), type=_number_of_lines, metavar="N", default=0)
    sentence = "Leave unreadable recordings out instead of stopping."
    add_flag(group, "--skip-bad", sentence, action="store_true")


def _add_records_arguments(group: Group) -> None:
    sentence = "Write the records to this folder."
    add_flag(group, "--records", sentence, type=remote.location, metavar="DIR", shown="data/records/<corpus>")
    add_flag(group, "--overwrite", "Replace other records in that folder.", action="store_true")
    sentence = "Decode with N processes."
    add_flag(group, "--workers", sentence, at_least(1), type=number_of_processes, metavar="N", shown="one a core")
    add_flag(group, "--ray", ADDRESS_HELP, metavar="local|auto|ADDRESS", shown="none: processes of this command")
    sentence = "Store the 16 kHz samples too; --speed, --noise-snr-db and --gain-db of fit need them."
    add_flag(group, "--store-waveform", sentence, action="store_true")
    sentence = "Store acoustic features too: MFCC and deltas, chroma, spectral contrast, zero crossings, RMS, pitch."
    add_flag(group, "--acoustic", sentence, action="store_true")


def _add_front_end_arguments(group: Group) -> None:
    def add(flag: str, sentence: str, bounds: Bounds | str, metavar: str, **options: Any) -> None:
        default = getattr(audio.FrontEnd, flag.removeprefix("--").replace("-", "_"))
        kind = int if isinstance(default, int) else float
        add_flag(group, flag, sentence, bounds, **{"type": kind, "metavar": metavar, "default": default, **options})

    longest = Bounds(0, LONGEST_FRAME_SECONDS, is_above=True)
    add("--frame-seconds", "Analyse windows of this length.", longest, "SECONDS")
    add("--hop-seconds", "Begin a frame every so many seconds.", "above 0 to --frame-seconds", "SECONDS")
    sentence = "Take the Fourier transform over N samples."
    bounds = f"from the window's length to {LONGEST_FFT}"
    add("--fft-length", sentence, bounds, "N", type=int, shown="the next power of two that holds the window")
    add("--mel-bins", "Take N mel bands.", "from 1 to half of --fft-length", "N")
    add("--min-hz", "Begin the lowest mel band at this frequency.", "from 0 to below --max-hz", "HZ")
    add("--max-hz", "End the highest mel band at this frequency.", f"at most {audio.SAMPLE_RATE // 2}", "HZ")
    sentence = "Cut off the ends that are softer than the loudest frame by more than this many decibels."
    add("--trim-db", sentence, above(0), "DB|off", type=number_or("off"))


def _add_encoder_arguments(group: Group) -> None:
    sentence = "Store the states of this pretrained encoder of speech too, frozen; it runs on --device."
    add_flag(group, "--encoder", sentence, choices=KINDS)
    sentence = (
        "Use this model: tiny, base, small.en, ..., downloaded at first use, a checkpoint file (.pt), or a folder of"
        " --encoder-save."
    )
    add_flag(group, "--encoder-model", sentence, metavar="NAME|FILE|FOLDER", shown=EncoderSettings.model)
    sentence = "Take the states behind these blocks of the encoder, counted from 1."
    options: dict[str, Any] = {"type": int, "nargs": "+", "metavar": "N", "shown": "all but the first and the last"}
    add_flag(group, "--encoder-blocks", sentence, "each at least 1", **options)
    sentence = "Keep the encoder's weights in this folder, too: --encoder-model reads it without torch and whisper."
    add_flag(group, "--encoder-save", sentence, type=Path, metavar="FOLDER")


def _add_video_arguments(group: Group) -> None:
    defaults = VideoSettings()
    sentence = "Store N pictures of the face of each video, evenly over the spoken part."
    shown = f"none; {defaults.num_frames} with --with-video"
    add_flag(group, "--video-frames", sentence, Bounds(1, MOST_FRAMES), type=int, metavar="N", shown=shown)
    sentence = "Make the pictures N x N pixels large."
    add_flag(group, "--video-size", sentence, Bounds(*SIZES), type=int, metavar="N", shown=str(defaults.size))
    add_flag(group, "--colour", "Store three channels instead of a grey one.", action="store_true")
    sentence = "Make videos of drawn faces, too."
    add_flag(group, "--with-video", sentence, "corpus synthetic only", action="store_true")


def _video(arguments: argparse.Namespace) -> VideoSettings | None:
    """Reads the flags of videos.

    Raises:
      InputError: Flags that change nothing, or OpenCV that is not installed.
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


def _encoder(arguments: argparse.Namespace, corpus: Corpus) -> EncoderSettings | None:
    """Reads the flags of an encoder."""
    if arguments.encoder is None:
        for name in ("encoder_model", "encoder_blocks", "encoder_save"):
            if getattr(arguments, name) is not None:
                flag = name.replace("_", "-")
                raise InputError(f"--{flag} belongs to --encoder {KINDS[0]}: add that, or leave this out.")
        return None
    if not corpus.has_audio:
        raise InputError(f"{corpus.name} has no recordings, so no states of an encoder: leave --encoder out.")
    defaults = EncoderSettings()
    return EncoderSettings(
        arguments.encoder_model or defaults.model,
        tuple(arguments.encoder_blocks or defaults.blocks),
        arguments.device or defaults.device,
        arguments.encoder_save,
    )


def number_of_processes(text: str) -> int:
    """Reads what --workers takes."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number of processes: give 1 or more")
    return int(text)


def _number_of_lines(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is no number of lines: give 0 or more")
    return int(text)


def _front_end(arguments: argparse.Namespace) -> audio.FrontEnd:
    names = [field.name for field in dataclasses.fields(audio.FrontEnd) if hasattr(arguments, field.name)]
    return audio.FrontEnd(**{name: getattr(arguments, name) for name in names})


def _preparation(arguments: argparse.Namespace) -> Preparation:
    """Reads all flags, and the corpus.

    Raises:
      InputError: Flags that do not go together or do not suit the corpus, or whatever is wrong with the corpus.
    """
    front_end, label_map = _front_end(arguments), arguments.label_map or ""
    words = transcripts.WordSource.of(arguments, shared=("device",) if arguments.encoder else ())
    video = _video(arguments)
    corpus = read_corpus(arguments, with_video=video is not None, makes=False)
    encoder = _encoder(arguments, corpus)
    if not corpus.has_audio:
        _stop_without_audio(arguments, corpus)
        front_end = audio.FrontEnd()  # Whatever the flags say, sentences make the same records.
    origin: dict[str, Any] = {"words": words.identity}
    if arguments.exclude_sentences:
        corpus = _without_sentences(corpus, arguments.exclude_sentences)
        origin["excluded"] = records.read_metadata(arguments.exclude_sentences).fingerprint
    planned = Preparation(
        corpus=corpus,
        folder=arguments.records or Path("data/records") / readers.name_of(arguments, corpus),
        front_end=front_end,
        label_map=label_map,
        store_waveform=arguments.store_waveform,
        transcript_source=words.name,
        origin=origin,
        has_acoustic=arguments.acoustic,
        encoder=encoder,
        video=video,
        context=arguments.context,
    )
    planned.check()  # What is wrong with flags must not cost the making of clips, nor their transcription.
    if arguments.corpus == "synthetic":
        corpus = read_corpus(arguments, with_video=video is not None)
    # After the words: clips without a paired sentence are left out.
    return dataclasses.replace(planned, corpus=words.fill(corpus, label_map).with_present_emotions())


def _stop_without_audio(arguments: argparse.Namespace, corpus: Corpus) -> None:
    """Refuses what a corpus without recordings cannot give."""
    if arguments.store_waveform:
        raise InputError(f"{corpus.name} has no recordings, so no waveforms: leave --store-waveform out.")
    if arguments.acoustic:
        raise InputError(f"{corpus.name} has no recordings, so no acoustic features: leave --acoustic out.")


def _stop_without_video(corpus: Corpus, kind: str) -> None:
    """Refuses a corpus that has no video, or the synthetic one where their making was broken off."""
    files = [(one.video, one.audio) for one in corpus.utterances if one.video is not None]
    count = len(files)
    if kind == "synthetic" and count < len(corpus.utterances):
        raise InputError(f"{corpus.source} holds {count} of {len(corpus.utterances)} videos: --with-video makes them.")
    if not any(video != recording or audio.holds_pictures(video) for video, recording in files):
        raise InputError(f"{corpus.name} in {corpus.source} holds no video: leave --video-frames out, or add them.")


def read_corpus(arguments: argparse.Namespace, *, with_video: bool, makes: bool = True) -> Corpus:
    """Reads the corpus, relabelled, with those files that are to be read: audio, and video where it is asked for.

    Args:
      arguments: The flags of `pipelines.corpora.readers.add_arguments`, and `context` and `with_video`.
      with_video: Whether frames of videos are read.
      makes: As of `pipelines.corpora.readers.read`.

    Raises:
      InputError: Whatever is wrong with the flags or the corpus.
    """
    corpus = readers.read(arguments, makes=makes)
    # Before labels are mapped: lines whose emotion is dropped were spoken all the same.
    corpus = with_context(corpus, arguments.context) if arguments.context else corpus
    corpus = corpus.relabelled(arguments.label_map) if arguments.label_map else corpus
    if with_video:
        _stop_without_video(corpus, arguments.corpus)
    else:
        corpus = corpus.audio_only()
    stop_on_nothing(corpus)
    return corpus


def _without_sentences(corpus: Corpus, folder: Path) -> Corpus:
    """Leaves out utterances whose sentence stands in the test split of other records, and counts them."""
    if corpus.has_audio:
        raise InputError(
            f"{corpus.name} has recordings, which share sentences on purpose: leave --exclude-sentences out."
        )
    import_tensorflow()
    index = records.read_index(folder)
    tested = index[index["published_split"] == "test"] if index["published_split"].any() else index
    excluded = set(fold_audit.sentences_of(tested["transcript"].tolist())) - {""}
    sentences = fold_audit.sentences_of([utterance.transcript for utterance in corpus.utterances])
    pairs = zip(corpus.utterances, sentences, strict=True)
    kept = tuple(utterance for utterance, sentence in pairs if sentence not in excluded)
    count = len(corpus.utterances) - len(kept)
    ignored = {**corpus.ignored, f"sentences that {folder} tests": count}
    return without_lines(dataclasses.replace(corpus, utterances=kept, ignored=ignored), excluded)


if __name__ == "__main__":
    sys.exit(run_command(main))
