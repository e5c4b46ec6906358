"""Measures everything beside what users would take instead: `make bench`, or `python -m benchmarks.bench`.

Parts, each written to results/bench.json as it ends, so that a later call may do others:

    prepare    recordings to log-mels: prepare, a loop of librosa, a DataLoader of PyTorch
    step       training steps of the CNN and the GRUs, and the same networks in PyTorch
    inference  their logits
    training   whole trainings of a few epochs
    encoder    whisper's encoder, and openai-whisper's own
    crossval   a cross-validation, its fits one by one, and the same on Ray
    growth     what 1, 4 and 16 times as large a corpus costs, and with which exponent

What is compared is timed in turn, each library in a process of its own; a number is the median of several rounds.
Float32, and bfloat16 where the processor has it. Close everything else: threads of PyTorch wait by spinning.
"""

import argparse
import importlib.metadata
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.bench_rows import table
from benchmarks.result_files import FOLDER, commit
from pipelines.command import import_tensorflow, run_command
from pipelines.files import read_json, write_json

PARTS = ("prepare", "step", "inference", "training", "encoder", "crossval", "growth")
WORK = Path("data/bench")
OUTPUT = FOLDER / "bench.json"
_PACKAGES = ("tensorflow", "keras", "torch", "torchaudio", "librosa", "openai-whisper")


def main(argv: list[str] | None = None) -> None:
    """Measures the parts, writes each and prints the tables."""
    arguments = make_parser().parse_args(argv)
    work = arguments.work or (Path(tempfile.mkdtemp(prefix="bench-")) if arguments.quick else WORK)
    work.mkdir(parents=True, exist_ok=True)
    output = arguments.output or (work / "bench.json" if arguments.quick else OUTPUT)
    result = read_json(output) if output.exists() else {"parts": {}}
    for name in arguments.parts:
        print(f"{name} ...", file=sys.stderr, flush=True)
        start, load = time.monotonic(), os.getloadavg()[0]
        measured = measure(name, arguments, work)
        seconds = time.monotonic() - start
        about = {"seconds": round(seconds), "load_average": round(load, 1), "commit": commit(), **_about(arguments)}
        result["parts"][name] = about | {"measured": measured}
        write_json(output, result | {"commit": commit()})
        print(f"{name}: {seconds:.0f} s", file=sys.stderr, flush=True)
    print(table(result))
    print(f"\nwritten: {output}")


def make_parser() -> argparse.ArgumentParser:
    """Makes the parser of the command line."""
    description = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.bench", description=__doc__, formatter_class=description)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, metavar="PART", help="do these alone")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: what comes out means nothing")
    parser.add_argument("--repetitions", type=int, help="measured rounds (3, for short calls 7)")
    parser.add_argument("--source", type=Path, help="prepare RAVDESS in this folder, not the built-in corpus")
    parser.add_argument("--whisper", type=Path, help="a checkpoint (.pt); random weights of its size without")
    parser.add_argument("--speakers", type=int, default=20, help="voices of the smallest corpus of growth (20)")
    parser.add_argument("--work", type=Path, help=f"a folder for corpora and records ({WORK})")
    parser.add_argument("--output", type=Path, help="the JSON file (results/bench.json)")
    return parser


def measure(name: str, arguments: argparse.Namespace, work: Path) -> list[dict[str, Any]]:
    """Measures a part.

    Raises:
      InputError: PyTorch or whisper, which it needs, is not installed.
    """
    from benchmarks import bench_networks, bench_pipeline

    quick = arguments.quick
    few, many = (arguments.repetitions or (1 if quick else default) for default in (3, 7))
    sizes = bench_networks.QUICK if quick else bench_networks.Sizes()
    num_voices = 3 if quick else bench_pipeline.NUM_VOICES
    import_tensorflow()
    makers: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "prepare": lambda: bench_pipeline.preparing(work, arguments.source, num_voices, few),
        "step": lambda: bench_networks.compare("step", sizes, precisions(quick), many),
        "inference": lambda: bench_networks.compare("inference", sizes, precisions(quick), many),
        "training": lambda: bench_networks.training(
            bench_pipeline.records_of(work, num_voices), sizes, precisions(quick), few
        ),
        "encoder": lambda: bench_pipeline.encoder(work, arguments.whisper, few),
        "crossval": lambda: bench_pipeline.crossval(
            bench_pipeline.records_of(work, num_voices), sizes.epochs // 2 or 1, 3, min(few, 2)
        ),
        "growth": lambda: bench_pipeline.growth(
            work, 4 if quick else arguments.speakers, (1, 2) if quick else (1, 4, 16), few
        ),
    }
    return makers[name]()


def precisions(quick: bool) -> Sequence[str]:
    """Names the numbers to compute in: bfloat16 where the processor has it, or to see that it runs."""
    from emotion_tf.training.precision import has_bfloat16

    return ("float32", "bfloat16") if quick or has_bfloat16() else ("float32",)


def _about(arguments: argparse.Namespace) -> dict[str, Any]:
    """Says on what a part was measured."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = ""
    return {"quick": arguments.quick, "cores": len(os.sched_getaffinity(0)), "versions": versions}


if __name__ == "__main__":
    sys.exit(run_command(main))
