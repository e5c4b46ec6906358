"""Draws the pictures of README and docs: `python docs/pictures.py [FOLDER]` writes docs/pictures/*.svg.

They show the workflow, and models with the settings that `python -m emotion_tf.fit` takes where none are given, on
log_mel of 64 bands, frames of 64 x 64 and the eight emotions of RAVDESS.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from emotion_tf.config import Config
from emotion_tf.models.build import build_model
from emotion_tf.models.late_fusion import late_fusion
from emotion_tf.reporting import boxes, diagram
from pipelines import audio, text
from pipelines.emotions import RAVDESS
from pipelines.video import VideoSettings

WIDTHS = {"log_mel": audio.FrontEnd().mel_bins, "video_frames": VideoSettings().shape}
PRIOR = [1 / len(RAVDESS)] * len(RAVDESS)


def pictures() -> Iterator[tuple[str, Figure]]:
    """Yields the name of each picture, and the picture."""
    configs = {branch: Config(branch, "") for branch in ("audio", "text", "video")}
    vocabulary_size = text.own_tokenizer().vocabulary_size
    models = {branch: build_model(config, WIDTHS, vocabulary_size, PRIOR) for branch, config in configs.items()}
    yield "workflow", diagram.workflow()
    for branch, model in models.items():
        yield branch, boxes.draw(diagram.single(model, configs[branch]), f"--branch {branch}")
    early = Config("fusion", "", fusion="early")
    columns = diagram.early(build_model(early, WIDTHS, vocabulary_size, PRIOR), early)
    yield "early", boxes.draw(columns, "--branch fusion --fusion early")
    runs = {f"{branch} run": models[branch] for branch in ("audio", "text")}
    named = {name.replace(" ", "_"): model for name, model in runs.items()}
    yield "late", boxes.draw(diagram.late(late_fusion(named, PRIOR), runs), "--branch fusion --fusion late")


def main(folder: Path) -> None:
    """Writes the pictures, letters as text and the same bytes each time."""
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "emotion_tf"}):
        for name, figure in pictures():
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(""))
