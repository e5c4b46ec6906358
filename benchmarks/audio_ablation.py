"""Changes one setting of the audio branch at a time: `python -m benchmarks.audio_ablation --source data/ravdess`.

Each setting differs from the default of `prepare` and `fit` in one thing, and is trained like it: 7 epochs on crops of
1.3 seconds, on the training speakers of lj5 folds 1 and 2 (counted from 0), with 2 seeds. Scores are those of the
validation speakers; no test split is read. So short a training favours what learns fast over what regularises, and the
kept epoch is the best on the very speakers that are scored, of every setting alike.
Settings in frames or bands follow where these change: crops and masks keep their seconds and their share of the bands.
A hop of 40 ms comes with a window of 40 ms, for a hop cannot be longer than the window.
Records and runs go to --work (default: data/ablation). A stopped command goes on where it was when it is given again; a
finished fit is never trained again. Prints a table, writes results/audio_ablation.json beside this file.
"""

import argparse
import dataclasses
import functools
import statistics
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.stats

from benchmarks.result_files import write_result
from emotion_tf import crossval, flags
from emotion_tf.config import Config
from emotion_tf.evaluation import comparison
from emotion_tf.evaluation.counts import UAR
from emotion_tf.evaluation.uncertainty import holm
from emotion_tf.runs.folder import Run
from pipelines import prepare
from pipelines.command import InputError, import_tensorflow, make_folder, run_command

if TYPE_CHECKING:
    import pandas as pd

EPOCHS = 7
BUDGET = ("--num-frames", "128", "--warm-up-epochs", "1")
"""Of all settings: the default trains for less than a minute on a quiet machine, 2.6 times its work for about two."""

LEVEL = 0.05


@dataclasses.dataclass(frozen=True)
class Setting:
    """One change from the default.

    Attributes:
      name: Of its runs and, where it prepares, of its records.
      change: What the table says.
      prepare: Flags of pipelines.prepare; none: the records of the default.
      fit: Flags of emotion_tf.fit.
    """

    name: str
    change: str
    prepare: tuple[str, ...] = ()
    fit: tuple[str, ...] = ()

    @property
    def records(self) -> str:
        """Names its records; those of the default hold all that settings without own ones read."""
        return self.name if self.prepare else "default"

    @property
    def prepare_flags(self) -> tuple[str, ...]:
        """All flags that make its records."""
        return self.prepare or ("--acoustic", "--store-waveform")


def _setting(name: str, change: str, fit: str = "", prepare: str = "") -> Setting:
    return Setting(name, change, tuple(prepare.split()), tuple(fit.split()))


SETTINGS = {
    setting.name: setting
    for setting in (
        _setting("default", "default"),
        _setting("mfcc", "MFCC and deltas instead of log-mel", "--audio-features mfcc"),
        _setting("log-mel-acoustic", "acoustic features beside log-mel", "--audio-features log_mel acoustic"),
        _setting("hop-20", "hop 20 ms", "--num-frames 64 --frame-mask 12", "--hop-seconds 0.02"),
        _setting(
            "hop-40",
            "hop and window 40 ms",
            "--num-frames 32 --frame-mask 6",
            "--hop-seconds 0.04 --frame-seconds 0.04",
        ),
        _setting("mels-128", "128 mel bands", "--mel-mask 20 --mel-shift 6", "--mel-bins 128"),
        _setting("no-trimming", "ends not trimmed", prepare="--trim-db off"),
        _setting("no-masks", "no masks", "--num-mel-masks 0 --num-frame-masks 0"),
        _setting("no-mel-shift", "no shift of bands", "--mel-shift 0"),
        _setting("no-mixup", "no mixup", "--mixup 0"),
        _setting("time-shift", "shift in time up to 0.2 s", "--time-shift 20"),
        _setting("noise", "noise (SNR 15 to 35 dB) and gain (6 dB)", "--noise-snr-db 15 --gain-db 6"),
        _setting("speed", "speed up to 10 %", "--speed 0.1"),
        _setting("training-scale", "statistics of the training split", "--normalise training"),
        _setting("cnn", "model cnn", "--audio-model cnn"),
        _setting("crnn", "model crnn", "--audio-model crnn"),
        _setting("gru", "model gru", "--audio-model gru"),
        _setting("resnet", "model resnet", "--audio-model resnet"),
        _setting("transformer", "model transformer", "--audio-model transformer"),
        _setting("half-width", "half the channels", "--audio-channels 16 32 64 80"),
    )
}
"""Twenty. Left out: efficientnet and double the channels, which two minutes are too short for; acoustic features
without log-mel; 40 bands."""


@dataclasses.dataclass(frozen=True)
class Bench:
    """What is the same for all settings.

    Attributes:
      source: The corpus.
      work: Where records and runs go.
      folds: Of lj5, counted from 0.
      num_seeds: Fits of each fold.
      epochs: Of each fit.
    """

    source: Path
    work: Path
    folds: tuple[int, ...]
    num_seeds: int
    epochs: int = EPOCHS

    def records(self, setting: Setting) -> Path:
        """Names the records of a setting."""
        return self.work / "records" / setting.records

    def runs(self, name: str) -> Path:
        """Names the folder of a setting's runs."""
        return self.work / "runs" / name

    def fits(self, setting: Setting) -> list[crossval.Fit]:
        """Names the fits of a setting.

        Raises:
          InputError: A finished one that was trained otherwise.
        """
        base = config_of(setting, self.records(setting), self.epochs)
        fits = []
        for fold in self.folds:
            for seed in range(self.num_seeds):
                run = Run(self.runs(setting.name) / f"fold-{fold}-seed-{seed}")
                config = dataclasses.replace(base, fold=fold, seed=seed)
                if run.is_finished and run.config() != config:
                    raise InputError(f"{run.folder} was trained with other settings: give another --work.")
                fits.append(crossval.Fit(fold, seed, config, run))
        return fits


def main(argv: list[str] | None = None) -> None:
    """Trains what is missing, prints the table and writes the result.

    Raises:
      InputError: Whatever the user can mend; settings that failed, after all others are done.
    """
    arguments = _parser().parse_args(argv)
    bench = Bench(arguments.source, arguments.work, tuple(arguments.folds), arguments.seeds, arguments.epochs or EPOCHS)
    fits = {name: bench.fits(SETTINGS[name]) for name in dict.fromkeys(["default", *arguments.settings])}
    result: dict[str, Any] = {}
    failures: list[str] = []
    for done in _train(bench, fits, arguments.processes, failures):
        result = results(bench, {name: fits[name] for name in done}, arguments.minutes)
        write_result("audio_ablation", result)
    print(table(result))
    if failures:
        raise InputError(" ".join(failures))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--source", type=Path, default=Path("data/ravdess"))
    parser.add_argument("--work", type=Path, default=Path("data/ablation"), help="of records and runs (%(default)s)")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS), metavar="NAME",
                        help=f"beside the default, of {', '.join(SETTINGS)} (default: all)")  # fmt: skip
    parser.add_argument("--seeds", type=int, default=2, help="fits of each fold (%(default)s)")
    parser.add_argument("--folds", type=int, nargs="+", choices=range(5), default=[1, 2], help="of lj5 (1 2)")
    parser.add_argument("--minutes", type=float, default=2.0, help="a fit beyond is named (%(default)s)")
    parser.add_argument("--epochs", type=int, help=f"of each fit ({EPOCHS}), to try the script with fewer")
    parser.add_argument("--processes", type=int, help="fits side by side (default: 2; 1 with a GPU)")
    return parser


def config_of(setting: Setting, records: Path, epochs: int) -> Config:
    """Makes the config of a setting's fits from flags, as the command line of fit does."""
    parser = argparse.ArgumentParser()
    flags.add_arguments(parser)
    given = ["--branch", "audio", "--records", str(records), "--folds", "lj5", "--epochs", str(epochs)]
    return flags.config_of(parser.parse_args([*given, *BUDGET, *setting.fit]))


def _train(
    bench: Bench, fits: Mapping[str, Sequence[crossval.Fit]], num_processes: int | None, failures: list[str]
) -> Iterator[list[str]]:
    """Prepares, and trains setting by setting; yields the names of those that are done so far.

    Raises:
      InputError: The default failed; what others say goes to `failures`.
    """
    for setting in {SETTINGS[name].records: SETTINGS[name] for name in fits}.values():
        where = ["--source", str(bench.source), "--records", str(bench.records(setting))]
        prepare.main(["--corpus", "ravdess", *where, *setting.prepare_flags])
    import_tensorflow()
    done: list[str] = []
    start, to_train, left = time.monotonic(), _num_missing(fits.values()), dict(fits)
    for name, of_setting in fits.items():
        _say(name, _num_missing(left.values()), to_train, time.monotonic() - start)
        del left[name]
        make_folder(bench.runs(name), "--work")
        try:
            crossval.run_all(of_setting, "validation", num_processes or crossval.side_by_side())
        except InputError as error:
            if name == "default":
                raise
            failures.append(str(error))
            print(error, flush=True)
            continue
        done.append(name)
        yield done


def _num_missing(fits: Iterable[Sequence[crossval.Fit]]) -> int:
    return sum(not one.run.is_finished for of_setting in fits for one in of_setting)


def _say(name: str, to_go: int, to_train: int, seconds: float) -> None:
    """Prints a line of progress; what failed counts as done, for it took its time."""
    hours = f", about {seconds / (to_train - to_go) * to_go / 3600:.1f} hours" if to_train > to_go else ""
    print(f"{name}: {to_go} fits to go from here{hours}", flush=True)


def results(bench: Bench, fits: Mapping[str, Sequence[crossval.Fit]], minutes: float) -> dict[str, Any]:
    """Scores settings whose fits are finished, the default among them, and compares each with the default.

    Returns:
      What audio_ablation.json holds. Scores and differences are shares in [-1, 1].
    """
    predictions = {name: _validation_rows(of_setting) for name, of_setting in fits.items()}
    found = {name: _about(SETTINGS[name], of_setting) for name, of_setting in fits.items()}
    others = {name: difference(predictions["default"], rows) for name, rows in predictions.items() if name != "default"}
    for name, judged in judge(others).items():
        found[name] |= judged
    return {
        "split": "validation",
        "folds": [f"lj5 {fold}" for fold in bench.folds],
        "speakers": sorted(predictions["default"]["speaker"].unique()),
        "num_seeds": bench.num_seeds,
        "epochs": bench.epochs,
        "flags": list(BUDGET),
        "minutes_allowed": minutes,
        "seed_deviation": seed_deviation([setting["uar_by_fit"] for setting in found.values()]),
        "settings": found,
    }


def _validation_rows(fits: Sequence[crossval.Fit]) -> "pd.DataFrame":
    import pandas as pd

    rows = pd.concat([one.run.predictions().assign(fold=one.fold, seed=one.seed) for one in fits], ignore_index=True)
    return rows[rows["split"] == "validation"]


def _about(setting: Setting, fits: Sequence[crossval.Fit]) -> dict[str, Any]:
    """Describes a setting by itself; `minutes` is of the median fit, TensorFlow's start aside."""
    scores = {one.run.folder.name: one.run.scores()["validation"][UAR] for one in fits}
    # config.json is the first file of a run, scores.json the last.
    seconds = [one.run.scores_path.stat().st_mtime - one.run.config_path.stat().st_mtime for one in fits]
    return {
        "change": setting.change,
        "prepare": " ".join(setting.prepare_flags),
        "fit": " ".join(setting.fit),
        "parameters": _num_parameters(fits[0].run),
        "minutes": round(statistics.median(seconds) / 60, 2),
        "uar": statistics.mean(scores.values()),
        "uar_by_fit": scores,
    }


@functools.cache
def _num_parameters(run: Run) -> int:
    import keras

    count = run.model().count_params()
    keras.backend.clear_session()
    return count


def difference(default: "pd.DataFrame", other: "pd.DataFrame") -> dict[str, Any]:
    """Compares UAR over the same speakers and seeds.

    Args:
      default, other: Rows of predictions.csv of the validation split, with a column seed.

    Returns:
      The difference, the share of each speaker in it (averaged over seeds), and its 95 % interval and p-value by
      Student's t over speakers; the interval is None for a single one.
    """
    entries = [comparison.Entry(name, Path(), rows) for name, rows in (("default", default), ("other", other))]
    pairing = comparison.pair_up(entries, "validation")
    shares = comparison.speaker_differences(pairing.hits[1], pairing.hits[0], pairing.totals)
    by_speaker = shares * len(shares)
    return {
        "difference": float(by_speaker.mean()),
        "by_speaker": dict(zip(sorted(default["speaker"].unique()), by_speaker.tolist(), strict=True)),
        **t_test(by_speaker),
    }


def t_test(values: np.ndarray) -> dict[str, Any]:
    """Takes the 95 % interval of a mean over speakers, and the p-value of a mean of 0.

    A bootstrap over four speakers shows no more than the least and the greatest of them; t assumes instead that their
    differences are normal.
    """
    if len(values) < 2:
        return {"interval": None, "p": 1.0}
    mean, error, freedom = float(values.mean()), float(values.std(ddof=1)) / len(values) ** 0.5, len(values) - 1
    reach = float(scipy.stats.t.ppf(1 - LEVEL / 2, freedom)) * error
    p_value = 2 * float(scipy.stats.t.sf(abs(mean) / error, freedom)) if error else float(mean == 0)
    return {"interval": [mean - reach, mean + reach], "p": p_value}


def judge(differences: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Adds to each difference its p-value after Holm's correction over all of them, and a verdict."""
    adjusted = holm([found["p"] for found in differences.values()])
    return {
        name: {**found, "p_holm": p_holm, "verdict": verdict(found["interval"], p_holm)}
        for (name, found), p_holm in zip(differences.items(), adjusted, strict=True)
    }


def verdict(interval: Sequence[float] | None, p_holm: float) -> str:
    """Says what may be believed: of twenty intervals one leaves 0 out by chance, hence "perhaps"."""
    if interval is None or interval[0] <= 0 <= interval[1]:
        return "not distinguishable"
    word = "better" if interval[0] > 0 else "worse"
    return word if p_holm <= LEVEL else f"perhaps {word}"


def seed_deviation(scores: Sequence[Mapping[str, float]]) -> float | None:
    """Pools the standard deviation of UAR over seeds of one setting and fold; None where each has one seed.

    Args:
      scores: Of each setting, name of a run (fold-F-seed-S) -> UAR.
    """
    groups: dict[tuple[int, str], list[float]] = {}
    for number, of_setting in enumerate(scores):
        for name, score in of_setting.items():
            groups.setdefault((number, name.partition("-seed-")[0]), []).append(score)
    variances = [statistics.variance(group) for group in groups.values() if len(group) > 1]
    return statistics.mean(variances) ** 0.5 if variances else None


def table(result: Mapping[str, Any]) -> str:
    """Draws the Markdown table, and says what it rests on."""
    speakers, settings = result["speakers"], result["settings"]
    head = ("change", "UAR", "difference in points", f"95 % over {len(speakers)} speakers", "p (Holm)", "verdict")
    rows = [(*head, "parameters", "minutes"), ("---",) * (len(head) + 2)]
    rows += [_row(setting) for setting in settings.values()]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    basis = f"Validation speakers {', '.join(speakers)} of {', '.join(result['folds'])}, {result['num_seeds']} seeds"
    lines += ["", f"{basis}, {result['epochs']} epochs of every setting; chance 0.125."]
    if result["seed_deviation"] is not None:
        points = f"{100 * result['seed_deviation']:.1f}"
        lines.append(f"Another seed alone changes the UAR of a fold by a standard deviation of {points} points.")
    if longer := [name for name, found in settings.items() if found["minutes"] > result["minutes_allowed"]]:
        lines.append(f"Longer than {result['minutes_allowed']:g} minutes a fit as run here: {', '.join(longer)}.")
    return "\n".join(lines)


def _row(setting: Mapping[str, Any]) -> tuple[str, ...]:
    compared = ("",) * 4
    if "verdict" in setting:
        interval = setting["interval"]
        ends = "too few" if interval is None else " to ".join(f"{100 * end:+.1f}" for end in interval)
        compared = (f"{100 * setting['difference']:+.1f}", ends, f"{setting['p_holm']:.2g}", setting["verdict"])
    return (
        setting["change"],
        f"{setting['uar']:.3f}",
        *compared,
        f"{setting['parameters']:,}",
        f"{setting['minutes']:.1f}",
    )


if __name__ == "__main__":
    sys.exit(run_command(main))
