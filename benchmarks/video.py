"""Measures how fast videos become frames of faces: `python -m benchmarks.video --source data/ravdess_video`.

Decodes, searches and crops every video below --source, each --repetitions times, in as many processes as there are
cores, as `python -m pipelines.prepare --video-frames` does, and divides the seconds of video by the seconds that it
took. Then one process reads --clips clips, one after the other, and its memory is measured after each tenth of them.
Prints a table, and writes results/video.json beside this file.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.result_files import write_result
from pipelines.audio import VIDEO_SUFFIXES
from pipelines.clips import read_clip
from pipelines.command import InputError, run_command
from pipelines.processes import num_cores
from pipelines.records.decode_workers import decoding
from pipelines.utterance import Utterance
from pipelines.video import VideoSettings, length_of

_BATCH = 4


def main(argv: list[str] | None = None) -> None:
    """Measures speed and memory, prints and writes both."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--source", type=Path, default=Path("data/ravdess_video"))
    parser.add_argument("--repetitions", type=int, default=40, help="of each video (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="of which the median counts (%(default)s)")
    parser.add_argument("--clips", type=int, default=200, help="read in one process for its memory (%(default)s)")
    parser.add_argument("--video-frames", type=int, default=16, help="of each clip (%(default)s)")
    arguments = parser.parse_args(argv)
    paths = sorted(path for path in arguments.source.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES)
    if not paths:
        raise InputError(f"{arguments.source} holds no video: name a folder of some with --source.")
    settings = VideoSettings(arguments.video_frames)
    result = {
        "source": arguments.source.name,
        "videos": len(paths),
        "num_frames": settings.num_frames,
        **speed(paths * arguments.repetitions, settings, arguments.rounds),
        **memory((paths * arguments.clips)[: arguments.clips], settings),
    }
    write_result("video", result)
    print(json.dumps(result, indent=1))


def speed(paths: Sequence[Path], settings: VideoSettings, rounds: int) -> dict[str, Any]:
    """Times the reading of all clips by processes that have started, in the median of some rounds."""
    seconds = sum(length_of(path)[1] for path in paths)
    clips = [Utterance(str(number), "", "", path, video=path) for number, path in enumerate(paths)]
    batches = [clips[start : start + _BATCH] for start in range(0, len(clips), _BATCH)]
    num_workers, first, taken = num_cores(), [[clip] for clip in clips[: num_cores()]], []
    for _ in range(rounds):
        with decoding([*first, *batches], num_workers, settings) as decoded:
            for _ in first:
                next(decoded)
            start = time.perf_counter()
            found = [clip for batch in decoded for _, clip in batch]
            taken.append(time.perf_counter() - start)
        if bad := [clip for clip in found if isinstance(clip, str)]:
            raise InputError(bad[0])
    without = sum(clip.frames.num_without_face for clip in found if not isinstance(clip, str) and clip.frames)
    median = statistics.median(taken)
    return {
        "processes": num_workers,
        "clips": len(paths),
        "seconds_of_video": round(seconds, 1),
        "seconds": round(median, 2),
        "times_real_time": round(seconds / median, 1),
        "times_real_time_by_round": [round(seconds / one, 1) for one in taken],
        "share_of_frames_without_face": round(without / (len(paths) * settings.num_frames), 4),
    }


def memory(paths: Sequence[Path], settings: VideoSettings) -> dict[str, Any]:
    """Reads clips one after the other in this process and measures its resident memory, in MiB, ten times."""
    every, megabytes = max(1, len(paths) // 10), []
    for number, path in enumerate(paths, 1):
        read_clip(path, path, settings)
        if number % every == 0:
            megabytes.append(round(_resident_megabytes(), 1))
    return {"clips_for_memory": len(paths), "resident_megabytes": megabytes}


def _resident_megabytes() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    sys.exit(run_command(main))
