"""Writes the pages of results: `python -m benchmarks.tables`.

Makes benchmarks/README.md of results/*.json, and fills the tables of README.md and of docs/: what stands there between
`<!-- table NAME -->` and `<!-- end of table -->`. Each table comes with the commands that measured it and the commit of
the code that they ran.
"""

import argparse
import dataclasses
import re
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks import audio_ablation, bench_rows, recognition_rows, rows, whole_fits
from benchmarks.result_files import read_result
from pipelines.command import run_command

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "benchmarks" / "README.md"

INTRODUCTION = """\
# Benchmarks

`python -m benchmarks.tables` makes this page of the JSON files in `results/`, and fills the tables of README.md and of
docs/ with them. Each table names the commands that measured it and the commit of the code that they ran: a number
counts for that commit until it is measured anew. Scores of test splits unless a column says validation; UAR is the
unweighted average recall, ECE the expected calibration error. Times are of two cores without a GPU.
"""


@dataclasses.dataclass(frozen=True)
class Section:
    """A table of the page.

    Attributes:
      title: Its heading.
      draw: Results -> rows, or a table in Markdown; takes as many results as are named.
      results: Names of files in results/; the first tells the commit.
      about, commands: What the table says and what measured it; empty: the result itself holds both.
    """

    title: str
    draw: Callable[..., rows.Rows | str]
    results: tuple[str, ...]
    about: str = ""
    commands: tuple[str, ...] = ()

    def block(self) -> str:
        """Draws what the table says, its commands, the table itself and the commit."""
        found = [read_result(name) for name in self.results]
        about, commands = self.about or found[0]["about"], self.commands or found[0]["commands"]
        drawn = self.draw(*found)
        table = drawn if isinstance(drawn, str) else rows.markdown(drawn)
        mark = "" if "measured at" in table else f"Measured at {rows.listed(sorted(rows.commits(found)))}."
        note = found[0].get("note", "")
        parts = [textwrap.fill(about, 118, break_on_hyphens=False), "\n".join(rows.code(commands)), table, mark, note]
        return "\n\n".join(part for part in parts if part)


def main(argv: list[str] | None = None) -> None:
    """Writes every page anew."""
    argparse.ArgumentParser(description=str(__doc__).splitlines()[0]).parse_args(argv)
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")


def pages() -> dict[Path, str]:
    """Returns what each page that holds tables has to be."""
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    filled = {path: filled_in(path.read_text(encoding="utf-8")) for path in paths}
    return {PAGE: page()} | filled


def page() -> str:
    """Draws benchmarks/README.md."""
    sections = [f"## {section.title}\n\n{section.block()}\n" for section in SECTIONS.values()]
    return "\n".join([INTRODUCTION, *sections])


def filled_in(text: str) -> str:
    """Puts the tables of today between the markers of a page."""
    marked = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end of table -->)", re.DOTALL)
    return marked.sub(lambda found: f"{found[1]}\n{_block(found[2])}\n\n{found[3]}", text)


def _block(name: str) -> str:
    return rows.markdown(rows.overview()) if name == "overview" else SECTIONS[name].block()


SECTIONS: Mapping[str, Section] = {
    "make_fit": Section("`make fit`, on the built-in corpus", rows.kept, ("make_fit",)),
    "ravdess": Section("RAVDESS", rows.kept, ("ravdess",)),
    "ravdess_compare": Section("RAVDESS: are the runs different?", rows.kept, ("ravdess_compare",)),
    "ravdess_groups": Section("RAVDESS: actors, sexes, intensities, folds", rows.kept, ("ravdess_groups",)),
    "permuted_labels": Section("Permuted labels", rows.kept, ("permuted_labels",)),
    "recognition": Section(
        "Recognition: models side by side",
        recognition_rows.table,
        ("recognition",),
        "RAVDESS, the actors present (1200 clips of 20), folds lj5, each clip tested once; means over seeds, 95 %"
        ' intervals over actors. ECE is to be held against "if true": what the same probabilities would read by chance'
        " if they were true. Minutes are those of preparing all clips and of training one fold and seed, two side by"
        " side, with what it joins. The real-time factor is what a second of sound takes, from file to answer.",
        ("python -m benchmarks.recognition --source data/ravdess",),
    ),
    "recognition_commands": Section(
        "Recognition: the commands of each row",
        recognition_rows.commands,
        ("recognition",),
        "What the command above does, fold 0 for all where each fold has a command of its own.",
        ("python -m benchmarks.recognition --commands",),
    ),
    "fusion": Section("Fusion, on real speech with real sentences", rows.fusion_bench, ("fusion",)),
    "audio_models": Section(
        "Audio models",
        rows.audio_models,
        ("audio_models",),
        "The built-in corpus, crops of 128 frames, validation speakers; chance 0.125, a perfect reader of the audio"
        " reaches 0.375. efficientnet goes without masks and mixup.",
        ("python -m benchmarks.audio_models",),
    ),
    "audio_ablation": Section(
        "Audio: one change at a time",
        audio_ablation.table,
        ("audio_ablation",),
        "Each setting differs from the default in one thing. Short trainings on RAVDESS favour what learns fast over"
        " what regularises.",
        ("python -m benchmarks.audio_ablation --source data/ravdess",),
    ),
    "acoustic": Section(
        "Acoustic features against librosa",
        rows.acoustic,
        ("acoustic",),
        "50 clips of RAVDESS. Differences are shares of what a group of columns spans.",
        ("python -m benchmarks.acoustic --source data/ravdess",),
    ),
    "ravdess_text": Section("Text on RAVDESS, by source of its transcripts", rows.kept, ("ravdess_text",)),
    "text_corpora": Section("Text on GoEmotions and MELD", rows.kept, ("text_corpora",)),
    "timeline": Section(
        "Timelines of long recordings",
        rows.timeline,
        ("timeline",),
        "Recordings of RAVDESS, joined: half is speech. The whole command on two cores, start-up included, and the most"
        " memory that its processes hold together. `synthetic-early` is a CNN with GRUs, `whisper-base` a head on"
        " Whisper's encoder.",
        (
            "python -m benchmarks.timeline --model saved_models/synthetic-early --name synthetic-early"
            " --source data/ravdess",
            "python -m benchmarks.timeline --model saved_models/ravdess-base --name whisper-base --source data/ravdess",
        ),
    ),
    "label_groups": Section(
        "GoEmotions: groups read off the model of 28 emotions",
        rows.label_groups,
        ("label_groups",),
        "Test split, one seed of MiniLM; intervals over comments.",
        ("python -m benchmarks.label_groups --run saved_models/goemotions-minilm",),
    ),
    "text_baseline": Section(
        "MELD: against TF-IDF and logistic regression",
        rows.baseline,
        ("text_baseline-meld",),
        "Published test split, intervals over dialogues. `meld-late` is late fusion of the three seeds of"
        " `meld-transfer`.",
        (
            "python -m emotion_tf.fit --branch fusion --fusion late --records data/records/meld --folds published"
            " --runs saved_models/meld-transfer/fold-0-seed-0 saved_models/meld-transfer/fold-0-seed-1"
            " saved_models/meld-transfer/fold-0-seed-2 --run saved_models/meld-late",
            "python -m emotion_tf.evaluate --run saved_models/meld-late",
            "python -m benchmarks.text_baseline --records data/records/meld --runs saved_models/meld"
            " saved_models/meld-transfer saved_models/meld-late",
        ),
    ),
    "meld_class_weights": Section("MELD: class weights", rows.kept, ("meld_class_weights",)),
    "synthetic_video": Section("Video, on drawn faces", rows.kept, ("synthetic_video",)),
    "video_pooling": Section("Video: pooling over time", rows.kept, ("video_pooling",)),
    "video": Section(
        "Reading videos",
        rows.video,
        ("video",),
        "One real clip of 640 x 480, read again and again by two processes.",
        ("python -m benchmarks.video --source data/ravdess_video",),
    ),
    "quality": Section(
        "Faults of recordings, found and not found",
        rows.quality,
        ("quality",),
        "200 clips of RAVDESS, as they are and changed: the share in which each fault is found.",
        ("python -m benchmarks.quality --source data/ravdess",),
    ),
    "invariance": Section(
        "The same speech, changed",
        rows.invariance,
        ("invariance",),
        "48 clips of test speakers of RAVDESS (lj5, fold 0), changed and predicted anew: the share of predictions that"
        " change, among all clips and among those whose two most probable emotions are more than 0.05 apart, and the"
        " mean change of the probabilities. `ravdess-plain` is trained without band limits and noise.",
        (
            "python -m emotion_tf.fit --branch audio --records data/records/ravdess --folds lj5 --epochs 30"
            " --band-limit 0 --run saved_models/ravdess-plain",
            "python -m emotion_tf.fit --branch audio --records data/records/ravdess --folds lj5 --epochs 30"
            " --noise-snr-db 15 --run saved_models/ravdess-noise",
            "python -m emotion_tf.export --run saved_models/ravdess-plain  # and ravdess-noise",
            "python -m benchmarks.invariance --run saved_models/ravdess-plain saved_models/ravdess-noise"
            " --source data/ravdess",
        ),
    ),
    "latency": Section(
        "Latency: an encoder in the export",
        rows.latency,
        ("latency",),
        "One clip of 3 s, from waveform to answer, 50 times in turn with openai-whisper's own encoder, which pads it to"
        " 30 s; two cores. The head reads blocks 2 to 3 of tiny.en, 2 to 5 of base.",
        (
            "python -m benchmarks.latency --model saved_models/recognition/tiny.en/fold-0-seed-0 --whisper tiny.en.pt",
            "python -m benchmarks.latency --model saved_models/recognition/base/fold-0-seed-0 --whisper base.pt",
        ),
    ),
    "word_errors": Section(
        "Words by whisper on RAVDESS",
        rows.word_errors,
        ("word_errors",),
        "1200 clips of 20 actors, who speak two sentences; 95 % intervals over actors; processor time is of all cores"
        " together.",
        ("python -m benchmarks.word_errors --source data/ravdess",),
    ),
    "whisper_gates": Section(
        "The gates of whisper",
        rows.whisper_gates,
        ("whisper_gates",),
        "Words that whisper hears in speech, and in sounds in which nothing is said: without gates, with the gate on"
        " no_speech_prob alone, and with all of them. Clips of RAVDESS, what is before and behind their words, and"
        " sounds made of them; half of the speakers chose the limits, the other half is reported.",
        ("python -m benchmarks.whisper_gates --source data/ravdess --meld data/meld --models tiny.en base",),
    ),
    "formats": Section(
        "Formats of an export",
        rows.formats,
        ("formats",),
        "From the features of 3 s of sound, and ten pieces of words where it reads words, to probabilities, batch 1,"
        " 200 times each format in turn; two cores. The format features is the SavedModel without front end.",
        (
            "python -m emotion_tf.export --run RUN --format savedmodel features litert onnx openvino",
            "python -m benchmarks.formats --model RUN --name NAME",
        ),
    ),
    "starts": Section(
        "The first answer",
        rows.starts,
        ("formats",),
        "From the start of a process of predict, for one clip of a second, to its end, ten of each format in turn.",
        ("python -m benchmarks.formats --model RUN --name NAME",),
    ),
    "server": Section(
        "A server under load",
        rows.server,
        ("server",),
        "Clips of RAVDESS (FLAC) to an exported CNN over loopback, both on the same two cores. A rate holds"
        " where all are answered, 99 of 100 within 250 ms. The plain endpoint is FastAPI that decodes and calls the"
        " SavedModel clip by clip.",
        ("python -m benchmarks.server --model RUN --source data",),
    ),
    "server_fuzz": Section(
        "Malformed requests",
        rows.server_fuzz,
        ("server_fuzz",),
        "To the server of an early fusion, over loopback.",
        ("python -m benchmarks.server_fuzz --model RUN",),
    ),
    "page": Section(
        "The page to speak into",
        rows.page,
        ("page",),
        "An exported CNN on the page of `python -m emotion_tf.demo`, in headless Chromium on the same two cores. Clips"
        " of RAVDESS, cut to 3 s at 48 kHz; one of them comes out of the microphone in a loop.",
        ("python -m benchmarks.page --model RUN --source data",),
    ),
    "folder": Section(
        "A folder of recordings",
        rows.folder,
        ("folder",),
        "Clips of RAVDESS (FLAC, 48 kHz) through an exported CNN, all three ways in turn; two cores."
        " Starts of processes are subtracted.",
        ("python -m benchmarks.folder --model saved_models/synthetic-audio",),
    ),
    "fit_parts": Section(
        "Where the time of a training goes",
        rows.fit_parts,
        ("fit_parts",),
        "The CNN on RAVDESS, lj5 fold 0: 780 clips, 5 epochs; operations counted as multiplications and additions.",
        (
            "python -m benchmarks.fit_parts --records data/records/ravdess -- --folds lj5 --precision float32",
            "python -m benchmarks.fit_parts --records data/records/ravdess -- --folds lj5 --precision bfloat16",
        ),
    ),
    "whole_fits": Section(
        "Whole trainings, by precision and beside an older build",
        whole_fits.table,
        ("whole_fits",),
        "The CNN on RAVDESS, lj5 fold 0 (780 clips of 13 speakers, 2 to validate on), as many seeds as scores; a"
        " process each, with its start and all that it writes. Times as long: medians of seeds, in brackets the"
        " least and the most.",
        (
            "git worktree add ../older f2ef77b",
            "(cd ../older && python -m pipelines.prepare --corpus ravdess --source DIR --records RECORDS)",
            "python -m benchmarks.whole_fits --records data/records/ravdess --older-seeds 1 --older ../older RECORDS",
        ),
    ),
    "large_records": Section(
        "Records larger than memory",
        rows.large_records,
        ("large_records",),
        "Copies of the built-in corpus; one epoch of a small CNN, so that most of the work is reading; resident memory"
        " of `fit`, once a second.",
        ("python -m benchmarks.large_records --gigabytes 20 -- --audio-channels 4 4 --batch-size 64",),
    ),
    "coverage": Section(
        "Do 95 % intervals cover 95 %?",
        rows.coverage,
        ("interval_coverage",),
        "2,000 simulated corpora of the shape of RAVDESS.",
        ("python -m benchmarks.interval_coverage",),
    ),
    "bench": Section(
        "Side by side",
        bench_rows.table,
        ("bench",),
        "Two cores; in turn, medians of several rounds, in brackets the least and the most of a round. Networks are the"
        " defaults, with as many parameters on both sides. Costs are of 90, 600, 2400 and 9600 clips of the built-in"
        " corpus; exponents are of what they take beyond the first.",
        ("make bench",),
    ),
    "speed": Section(
        "Speed",
        rows.speed,
        ("prepare", "dataset", "training"),
        "1200 clips of RAVDESS (FLAC, 48 kHz). The loop is librosa.load(sr=16000) and melspectrogram; decoding FLAC"
        " takes a good part of the time of both.",
        (
            "python -m benchmarks.prepare --source data",
            "python -m benchmarks.dataset --records data/records/ravdess",
            "python -m benchmarks.training --records data/records/ravdess",
        ),
    ),
}
"""Name of a marker -> its table, in the order of the page."""


if __name__ == "__main__":
    sys.exit(run_command(main))
