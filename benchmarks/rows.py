"""Results to rows and tables in Markdown, a function a table."""

import re
import statistics
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks import fusion
from benchmarks.result_files import read_result

Result = Mapping[str, Any]
Rows = list[dict[str, str]]

WIDTH = 80
"""Characters of a line of commands."""

HEADS = {
    "uar": "UAR",
    "interval": "95 %",
    "interval_points": "95 % of points",
    "ece": "ECE",
    "ece_uncalibrated": "ECE before calibration",
    "constant": "best constant prediction",
    "value": "test",
}
"""Key of a row that was kept -> heading; other keys are their own."""


def code(commands: Iterable[str]) -> list[str]:
    """Draws a block of commands, long ones broken before a flag."""
    return ["```sh", *(line for command in commands for line in broken(command)), "```"]


def broken(command: str) -> list[str]:
    """Breaks a command into lines of about `WIDTH` characters, before its flags where that is enough."""
    lines = [""]
    for flag in re.split(r" (?=--)", command):
        for piece in textwrap.wrap(flag, WIDTH, break_long_words=False, break_on_hyphens=False):
            if lines[-1] and len(lines[-1]) + len(piece) >= WIDTH:
                lines[-1] += " \\"
                lines.append("   ")
            lines[-1] += f" {piece}" if lines[-1] else piece
    return lines


def markdown(rows: Rows) -> str:
    """Draws a table whose columns are the keys of all rows, in the order in which they come first."""
    heads = list(dict.fromkeys(key for row in rows for key in row))
    lines = [heads, ["---"] * len(heads), *([row.get(head, "") for head in heads] for row in rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def overview() -> Rows:
    """Draws the table of README: a row a system, each at its defaults."""
    words, video = (read_result(name)["rows"] for name in ("text_corpora", "synthetic_video"))
    paired, models = read_result("fusion")["paired"], read_result("recognition")["models"]
    return [
        *(
            _scored(what, "RAVDESS", "UAR", _recognised(models[name]), models[name])
            for what, name in RECOGNITION.items()
        ),
        *(
            _scored(
                what.format(**paired["branches"]),
                "RAVDESS, paired sentences",
                "UAR",
                _paired(paired["systems"][name]),
                paired,
            )
            for what, name in PAIRED.items()
        ),
        _scored("text, GRU", "GoEmotions, 28 emotions", "macro-F1", words[0], read_result("text_corpora")),
        _scored("text, MiniLM", "GoEmotions, 28 emotions", "macro-F1", words[4], read_result("text_corpora")),
        _scored("text, MiniLM", "MELD, 7 emotions, context 2", "weighted F1", words[7], read_result("text_corpora")),
        _scored("video", "synthetic, drawn faces", "UAR", video[0], read_result("synthetic_video")),
    ]


RECOGNITION = {"audio, head on Whisper tiny.en": "tiny.en", "audio, CNN from scratch": "cnn"}
"""Row of the overview -> model of the bench of recognition."""

PAIRED = {
    "audio, {audio}": "audio",
    "text, {text}": "text",
    "late fusion, `product`": "late-product",
    "early fusion, `concat`": "early-concat",
}
"""Row of the overview -> system of the bench of fusion."""


def _recognised(model: Result) -> dict[str, Any]:
    return {"uar": model["uar"], "interval": model["uar_interval"], "chance": 1 / 8}


def _paired(system: Result) -> dict[str, Any]:
    shown = {"uar": system["test"], "interval": system["interval"], "chance": 1 / 8}
    return shown | ({"commit": system["commit"]} if "commit" in system else {})


def _scored(system: str, corpus: str, measure: str, row: Result, result: Result) -> dict[str, str]:
    """Draws a row of the overview."""
    value, chance = row.get("uar", row.get("value")), row.get("chance", row.get("constant"))
    return {
        "system": system,
        "test split of": corpus,
        "score": f"{measure} {value:.3f}",
        "95 %": _ends(row["interval"]),
        "chance": f"{chance:.3f}",
        "measured at": f"`{_commit(result, row)}`",
    }


def kept(result: Result) -> Rows:
    """Draws the rows of a result that was kept by hand: a column a key."""
    rows = result["rows"]
    differ = len({_commit(result, row) for row in rows}) > 1
    return [
        {HEADS.get(key, key): _cell(key, value) for key, value in row.items() if key != "commit"}
        | ({"measured at": f"`{_commit(result, row)}`"} if differ else {})
        for row in rows
    ]


def _commit(result: Result, row: Result | None = None) -> str:
    """Returns the commit of a row, or else of its file."""
    return (row or {}).get("commit") or result["commit"]


def commits(found: Any) -> set[str]:
    """Collects the commits that results name, at any depth."""
    if isinstance(found, Mapping):
        return commits(list(found.values())) | ({found["commit"]} if "commit" in found else set())
    return set().union(*map(commits, found)) if isinstance(found, list | tuple) else set()


def _cell(key: str, value: Any) -> str:
    if isinstance(value, str) or key == "minutes":
        return str(value)
    if key in ("points", "interval_points"):
        ends = value if isinstance(value, list) else [value]
        return " to ".join(f"{end:+.1f}" for end in ends)
    if key == "p":
        return f"{value:.2g}"
    return _ends(value) if isinstance(value, list) else f"{value:.3f}"


def listed(names: Iterable[str]) -> str:
    return " and ".join(f"`{name}`" for name in names)


def _percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f} %"


def _ends(interval: Iterable[float]) -> str:
    return " to ".join(f"{end:.3f}" for end in interval)


def timeline(result: Result) -> Rows:
    return [
        {
            "model": f"`{name}`",
            "minutes": f"{found['minutes']:g}",
            "seconds": f"{found['seconds']:.0f}",
            "times real time": f"{found['times_real_time']:.0f}",
            "memory, MiB": f"{found['peak_memory_mib']:.0f}",
            "measured at": f"`{_commit(result, model)}`",
        }
        for name, model in result["models"].items()
        for found in model["lengths"]
    ]


def label_groups(result: Result) -> Rows:
    return [
        {
            "groups": f"`{name}`",
            "rule": found["rule"],
            "macro-F1": f"{found['macro_f1']:.3f}",
            "95 %": _ends(found["macro_f1_interval"]),
            "comments": str(found["num_utterances"]),
        }
        for name, found in result.items()
        if isinstance(found, dict)
    ]


def fusion_bench(result: Result) -> str:
    return fusion.table(result["paired"])


def audio_models(result: Result) -> Rows:
    return [
        {
            "model": f"`{name}`",
            "validation UAR": f"{found['validation_unweighted_average_recall']:.3f}",
            "epochs": str(found["epochs"]),
            "seconds of training": f"{found['training_seconds']:.0f}",
            "ms a step of 32 clips": str(found["milliseconds_a_step"]),
            "ms a clip": str(found["milliseconds_a_clip"]),
            "parameters": f"{found['parameters']:,}",
            "export differs by": f"{found['export_difference']:.1g}",
            "measured at": f"`{_commit(result, found)}`",
        }
        for name, found in result["models"].items()
    ]


def acoustic(result: Result) -> str:
    differs, beyond = result["largest_difference_as_share_of_span"], result["share_of_values_beyond_a_thousandth"]
    rows = [
        {
            "columns": f"`{name}`",
            "largest difference": f"{differs[name]:.1e}",
            "values beyond a thousandth": _percent(beyond[name], 2),
        }
        for name in differs
    ]
    pitch = (
        f"Pitch on {result['voiced_frames']:,} frames that `librosa.pyin` calls voiced, against `librosa.yin`: median"
        f" error {_percent(result['pitch_error_median'], 3)}, {_percent(result['pitch_share_within_2_percent'])} of the"
        " frames within 2 %."
    )
    rounds = f"{len(result['all_ratios'])} rounds, {min(result['all_ratios'])} to {max(result['all_ratios'])}"
    speed = f"Extraction is {result['ratio']} times as fast as librosa's (median of {rounds})."
    return "\n\n".join([markdown(rows), textwrap.fill(f"{pitch} {speed}", 118)])


def coverage(result: Result) -> Rows:
    uar = "unweighted_average_recall"
    return [
        {"coverage of the 95 % interval of UAR": name}
        | {f"{number} speakers": _percent(found[key]["coverage"]) for number, found in result["speakers"].items()}
        for name, key in (("over speakers, as here", uar), ("over clips", f"{uar}_over_clips"))
    ]


def baseline(result: Result) -> Rows:
    return [
        {"system": name}
        | {
            title: f"{found[key]:.3f} [{found[f'{key}_interval'][0]:.3f}, {found[f'{key}_interval'][1]:.3f}]"
            for key, title in (("weighted_f1", "weighted F1"), ("macro_f1", "macro-F1"), ("accuracy", "accuracy"))
        }
        | {"seeds": str(found["num_seeds"])}
        for name, found in result["test"].items()
    ]


def speed(prepare: Result, dataset: Result, training: Result) -> Rows:
    shown = [
        ("prepare, with its start", f"{prepare['command_seconds_with_start']} s", prepare),
        ("prepare, without", f"{prepare['prepare_clips_per_second']:.0f} clips/s", prepare),
        ("loop of librosa", f"{prepare['librosa_loop_clips_per_second']:.0f} clips/s", prepare),
        ("batches, first epoch", f"{dataset['first_epoch_clips_per_second']:,} clips/s", dataset),
        ("batches, cached", f"{dataset['cached_clips_per_second']:,} clips/s", dataset),
        ("batches, not cached", f"{dataset['uncached_clips_per_second']:,} clips/s", dataset),
        ("augmented batches", f"{training['dataset_clips_per_second']:,} clips/s", training),
        ("a training step of the audio branch", f"{training['training_step_clips_per_second']:.0f} clips/s", training),
    ]
    return [{"what": what, "speed": speed, "measured at": f"`{_commit(result)}`"} for what, speed, result in shown]


def video(result: Result) -> Rows:
    memory = result["resident_megabytes"]
    shown = {
        f"decoding, face finding and cropping, {result['num_frames']} frames of a clip": (
            f"{result['times_real_time']} times real time"
        ),
        f"memory over {result['clips_for_memory']} clips": f"{min(memory):.0f} to {max(memory):.0f} MiB",
        "frames without a face": _percent(result["share_of_frames_without_face"], 0),
    }
    return [{"what": what, "measured": measured} for what, measured in shown.items()]


def invariance(result: Result) -> Rows:
    """Draws a row a change, three columns a run."""
    table = []
    for rows in zip(*result["runs"].values(), strict=True):
        row = {"change": rows[0]["change"], "must not change": "x" if rows[0]["is_exact"] else ""}
        for name, found in zip(result["runs"], rows, strict=True):
            row[f"{name}: other prediction"] = f"{found['changed']:.3f}"
            row[f"{name}: where clear"] = f"{found['changed_where_clear']:.3f}"
            row[f"{name}: mean change"] = f"{found['mean_change']:.4f}"
        table.append(row)
    return table


def whisper_gates(result: Result) -> str:
    """Draws a row a model and kind of sound, and a sentence a model."""
    rows, sentences = [], []
    for model, found in result["models"].items():
        chosen, reported = found["chosen_on"], found["reported_on"]
        sentences.append(
            f"`{model}`: the lowest score of speech is {chosen['speech_lowest_score']:.2f} on the speakers to choose on"
            f" and {reported['speech_lowest_score']:.2f} on those reported; the highest of what neither"
            f" no_speech_prob nor repetition gives away {_score(chosen)} and {_score(reported)}."
        )
        for kind, of_kind in found["kinds"].items():
            errors = of_kind.get("word_errors", {"none": "", "all": ""})
            rows.append(
                {"model": f"`{model}`", "sound": kind, "sounds": str(of_kind["sounds"])}
                | {f"words, {name}": str(of_kind["words"][key]) for key, name in WHISPER_GATES.items()}
                | {f"word errors, {WHISPER_GATES[key]}": str(errors[key]) for key in ("none", "all")}
                | {"CPU seconds, longest": f"{of_kind['seconds_median']:.1f}, {of_kind['seconds_longest']:.1f}"}
            )
    score = f"A score is ln(1 - no_speech_prob) + avg_logprob. Gates: {result['gates']}."
    meld = result["meld"]
    sentences.append(
        f"Of {meld['sentences']:,} utterances of MELD {meld['too_repetitive']} repeat themselves more than the gates"
        f" allow, {meld['too_repetitive_behind_repetition']} more than they allow behind repetition."
    )
    return "\n\n".join([markdown(rows), textwrap.fill(" ".join([score, *sentences]), 118, break_on_hyphens=False)])


WHISPER_GATES = {"none": "no gates", "no_speech_prob": "no_speech_prob alone", "all": "all gates"}
"""Gates in the result -> heading."""


def _score(found: Result) -> str:
    highest = found["rest_highest_score"]
    return "is none" if highest is None else f"{highest:.2f}"


def latency(result: Result) -> Rows:
    """Draws a row a checkpoint."""
    return [
        {
            "encoder": model,
            "export, p50 ms": f"{found['p50_ms']['saved_model']:.1f}",
            "export, p95 ms": f"{found['p95_ms']['saved_model']:.1f}",
            "openai-whisper's padded encoder, p50 ms": f"{found['p50_ms']['whisper']:.1f}",
            "ratio": f"{found['ratio']:.2f}",
            "measured at": f"`{found['commit']}`",
        }
        for model, found in result["models"].items()
    ]


def formats(result: Result) -> Rows:
    """Draws a row a file of each model."""
    return [
        {
            "model": model,
            "file": file,
            "load": f"{found['load_average']:.1f}",
            "p50 ms": f"{p50:.2f}",
            "p99 ms": f"{found['p99_ms'][file]:.2f}",
            "times as fast as features": f"{found['speedup'][file]:.2f}",
            "measured at": f"`{found['commit']}`",
        }
        for model, found in result["models"].items()
        for file, p50 in found["p50_ms"].items()
    ]


def server(result: Result) -> Rows:
    """Draws a row a question that was put to the server."""

    def shares(load: Result) -> str:
        return ", ".join(f"{part} {one:.1f} ms" for part, one in load["processor_ms"].items() if one)

    def held(load: Result) -> str:
        return f"{load['rate']:.0f} requests/s, p50 {load['p50_ms']:.0f} ms, p99 {load['p99_ms']:.0f} ms"

    over, streams, restart = (result[name] for name in ("overload", "streams", "restart"))
    statuses = ", ".join(f"{count:,} times {status}" for status, count in sorted(over["statuses"].items()))
    spent = [
        {"what": f"processor time of a request, {name}", "found": shares(result[key])}
        for name, key in (("plain endpoint", "plain"), ("serve", "server"))
        if "processor_ms" in result[key]
    ]
    litert = [
        {"what": f"serve with `{name}`", "found": _of_litert(held(one), one)}
        for name, one in result.get("litert", {}).items()
    ]
    return [
        {"what": "plain endpoint, highest rate that holds", "found": held(result["plain"])},
        {"what": "serve, highest rate that holds", "found": held(result["server"])},
        {"what": "serve, times the rate of the plain endpoint", "found": f"{result['times_plain']:.2f}"},
        *litert,
        *spent,
        {"what": f"twice that rate for {over['seconds']:.0f} s: statuses", "found": statuses},
        {"what": "memory meanwhile", "found": f"{over['memory_mib'][-1]:,} MiB, {over['mib_a_minute']:+.1f} a minute"},
        {
            "what": f"{streams['clients']} WebSockets at once",
            "found": f"{streams['share_in_half_a_second']:.0%} of answers within 0.5 s, p95 {streams['p95_ms']:.0f} ms",
        },
        {"what": "killed under load, from its start to ready", "found": f"{restart['seconds_to_ready']:.1f} s"},
    ]


def _of_litert(rate: str, found: Result) -> str:
    times = f"{found['times_plain']:.2f} times the plain endpoint"
    return f"{rate}; {times}; {found['memory_mib']:,} MiB, ready in {found['seconds_to_ready']:.1f} s"


def server_fuzz(result: Result) -> Rows:
    """Draws one row of what was sent and what went wrong."""
    return [
        {
            "malformed requests": f"{result['requests']:,}",
            "answered with 500, late or not at all": str(len(result["faults"])),
            "good ones between, all answered": str(result["num_good"]),
            "slowest, s": f"{result['slowest_seconds']:.1f}",
        }
    ]


def large_records(result: Result) -> Rows:
    """Draws one row of a training on records that need not fit into memory."""
    memory = result["memory_mib"]
    return [
        {
            "records, GB": f"{result['gigabytes']:.1f}",
            "utterances": f"{result['clips']:,}",
            "`--shuffle-size`": result["shuffle_size"],
            "seconds": f"{result['seconds']:,}",
            "memory, MiB, half way": f"{memory[len(memory) // 2]:,}",
            "most": f"{result['memory_mib_most']:,}",
            "slope, MiB a GB read": f"{result['slope_mib_a_gigabyte']:+.1f}",
        }
    ]


def fit_parts(result: Result) -> Rows:
    """Draws a row a part of a training, a column a precision; then its steps beside products of matrices."""
    trainings = result["trainings"]
    table = [
        {"part": part} | {f"{name}: s": f"{found['seconds'][part]:.1f}" for name, found in trainings.items()}
        for part in next(iter(trainings.values()))["seconds"]
    ]
    told = {
        "a step, median, ms": "step_ms",
        "operations of a clip, millions": "million_operations_a_clip",
        "operations a second of a step, thousand millions": "step_gflops",
        "of a product of matrices": "matrix_gflops",
        "bytes of a clip, read and written, millions": "megabytes_a_clip",
        "bytes a second of a step, thousand millions": "step_gigabytes_a_second",
        "of a sum of vectors": "vector_gigabytes_a_second",
    }
    return table + [
        {"part": what} | {f"{name}: s": f"{found[key]:,.0f}" for name, found in trainings.items()}
        for what, key in told.items()
    ]


def page(result: Result) -> Rows:
    """Draws a row a question that was put to the page."""

    def taken(name: str, what: str) -> str:
        first, *others = (one[what] for one in result[name])
        return f"first {first:.2f} s, then {_seconds(others)}"

    def grown(name: str, unit: str) -> str:
        values = live[name]
        return f"{values[1]:,g}{unit} after the first minute, {values[-1]:,g}{unit} at the end"

    live = result["live"]
    gaps = f"median {live['median_gap']:.2f} s, p99 {live['p99_gap']:.2f} s, longest {live['longest_gap']:.2f} s"
    found = {
        "load average before it began": f"{result['load_average']:.1f}",
        "from the start of the command to controls that work": _seconds(result["starts"]),
        "upload of 3 s, to bars": taken("upload", "bars"),
        "clip of the gallery, to bars": taken("gallery", "bars"),
        "upload of 3 s, to the picture of what the answer rests on": taken("upload", "picture"),
        f"live for {live['seconds'] / 60:g} minutes, {live['answers']:,} answers: how far apart": gaps,
        "JavaScript heap meanwhile": grown("heap_mib", " MiB"),
        "DOM nodes meanwhile": grown("nodes", ""),
        "memory of the tab in Chromium": grown("tab_mib", " MiB"),
        "memory of Streamlit": grown("page_mib", " MiB"),
        "memory of the server of the live tab": grown("server_mib", " MiB"),
    }
    return [{"what": what, "found": value} for what, value in found.items()]


def _seconds(values: Iterable[float]) -> str:
    times = list(values)
    return f"median {statistics.median(times):.2f} s, slowest {max(times):.2f} s of {len(times)}"


def starts(result: Result) -> Rows:
    """Draws a row a format that `predict` takes, of each model."""
    names = {"savedmodel": "SavedModel", "litert": "LiteRT"}
    return [
        {
            "model": model,
            "predict by": names[name],
            "s, median": f"{seconds['median']:.2f}",
            "s, largest": f"{seconds['largest']:.2f}",
            "measured at": f"`{found['commit']}`",
        }
        for model, found in result["models"].items()
        for name, seconds in found["start_s"].items()
    ]


def folder(result: Result) -> Rows:
    """Draws a row a way to go through the clips."""
    names = {"folder": "predict --output", "one_by_one": "the SavedModel, clip by clip", "prepare": "prepare"}
    rates, used = result["clips_per_second"], result["processor_ms_a_clip"]
    return [
        {
            "way": name,
            "clips/s": f"{rates[way]:.0f}",
            "processor ms a clip": f"{used[way]:.1f}",
            "rate of predict --output, times this": f"{rates['folder'] / rates[way]:.2f}",
        }
        for way, name in names.items()
    ]


def word_errors(result: Result) -> Rows:
    """Draws a row a group of clips, a column a model; the first group is all clips, with minutes and blank ones."""
    models = result["models"]
    table = []
    for group in next(iter(models.values()))["groups"]:
        row = {"clips": group}
        for model, found in models.items():
            row[f"{model}: word errors"] = _rate(found["groups"][group])
        table.append(row)
    told = [("clips without words", "blank"), ("processor time, minutes", "minutes")]
    return table + [
        {"clips": what} | {f"{model}: word errors": _told(found[key]) for model, found in models.items()}
        for what, key in told
    ]


def _rate(found: Result) -> str:
    ends = "" if found["interval"] is None else " [{:.2%}, {:.2%}]".format(*found["interval"])
    return f"{found['rate']:.2%}{ends}"


def _told(number: float | None) -> str:
    return "?" if number is None else str(number)


def quality(result: Result) -> Rows:
    """Draws a row a change of the recordings, a column a fault."""
    return [
        {"change": change} | {finding: f"{share:.3f}" for finding, share in shares.items()}
        for change, shares in result["shares"].items()
    ]
