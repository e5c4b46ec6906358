"""Exports a finished run for serving: `python -m emotion_tf.export --run saved_models/NAME [--output DIR]`.

Writes DIR/1/saved_model.pb (default DIR: the run's export/), DIR/metadata.json, DIR/calibration.json and
DIR/MODEL_CARD.md, the layout of TensorFlow Serving; the model gives calibrated probabilities. The card says, for people
and for the Hugging Face Hub, on what it was trained, what was measured and what was not.
Front end, tokenizer and label names are inside: `serving_default` takes `waveform` [batch, num_samples] float32 at
16 kHz and `transcript` [batch] string, and returns `probabilities`, `emotions` and `predicted`; `features`
takes log_mel (or the audio features that the run reads, normalised), num_frames and token_ids instead, which
`to_features` makes of waveform and transcript. Outputs of both
are [batch, num_emotions], and but for late fusion there is `embedding` [batch, embedding_dim], what the last layer
reads; `predicted` is True of the most probable emotion or, with several an utterance, of those that
reach the thresholds in metadata.json. A run that weighs its modalities adds `shares` [batch, num_modalities], in the
order of `modalities` in metadata.json.
A run that reads video adds the input `video_frames` [batch, num_video_frames, height, width, channels] float32 in
[0, 1] to both: faces cropped as `pipelines.video.read_frames` does; zeros stand for no video.
A run of --normalise enrolled adds the inputs `speaker_mean` and `speaker_std` [batch, num_columns] float32 to
`serving_default`: of the columns of its audio features over the frames, and the steps of an encoder, of the speaker's
other recordings. Deviations of zero stand for a speaker who is not enrolled. Its signature `enrol` sums recordings:
`waveform` in, and out `counts`, `total` and `squares` of these columns.
A run that reads states of an encoder has the encoder inside, too: `serving_default` takes waveforms as ever, and
`features` takes the inputs `encoder` [batch, num_steps, num_blocks, width] and `num_steps` [batch]. Its weights are
those that the records of the run keep, or that --encoder-model names. A run of --encoder-release brings them, and its
`features` takes `waveform` [batch, num_samples] instead.
The export is loaded in a new process and compared with the run before it is put in place.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from emotion_tf.exporting import model_card
from emotion_tf.exporting.encoder import FLAG, load_encoder
from emotion_tf.exporting.saved_model import export_metadata, write_saved_model
from emotion_tf.exporting.variables import TYPES
from emotion_tf.exporting.verify import verify_export
from emotion_tf.runs.folder import Run
from emotion_tf.runs.metadata import AGAIN
from pipelines.command import InputError, import_tensorflow, run_command
from pipelines.files import read_json, write_json
from pipelines.parsers import add_flag, command_parser


def main(argv: list[str] | None = None) -> None:
    """Parses the command line and exports.

    Raises:
      InputError: A run that is not finished, a folder of something else, or an export that does not agree with its run.
    """
    arguments = make_parser().parse_args(argv)
    run = Run(arguments.run).require_finished()
    output = arguments.output or run.export
    print(export(run, output, encoder_model=arguments.encoder_model, variables=arguments.variables))


def make_parser() -> argparse.ArgumentParser:
    """Makes the parser of the command line."""
    parser = command_parser("emotion_tf.export", __doc__, "--run RUN [FLAG ...]")
    add_flag(parser, "--run", "Export this finished run.", type=Path, required=True, metavar="RUN")
    sentence = "Write the export to this folder."
    add_flag(parser, "--output", sentence, type=Path, metavar="DIR", shown="the run's export/")
    sentence = (
        "Put this encoder into the model of a run that reads states of it: a name, a checkpoint file (.pt), or a folder"
        " of prepare --encoder-save."
    )
    shown = "the one that the records keep"
    add_flag(parser, FLAG, sentence, metavar="NAME|FILE|FOLDER", shown=shown)
    sentence = "Store variables in this type; float16 halves their size, and is refused where answers change by 0.001."
    add_flag(parser, "--variables", sentence, choices=TYPES, default=TYPES[0])
    return parser


def export(run: Run, output: Path, *, encoder_model: str | None = None, variables: str = TYPES[0]) -> str:
    """Exports a run, compares the export with it in a new process, and only then puts it in place.

    Args:
      run: A finished run.
      output: The export folder; an export in it is replaced.
      encoder_model: What makes the states that the run reads; None: what its records keep.
      variables: The type that they are stored in.

    Returns:
      A sentence that says what was written and how it was checked.

    Raises:
      InputError: A folder of something else, an encoder that is missing or another one, or an export that does not
        agree with its run.
    """
    if output.exists() and not _is_replaceable(output):
        raise InputError(f"{output} holds something that is no export: give --output another folder.")
    import_tensorflow()
    model, encoder = run.model(), load_encoder(run, encoder_model)
    metadata = export_metadata(run, model, variables)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=output.parent) as temporary:
        made = Path(temporary) / "export"
        write_saved_model(model, encoder, metadata, run, made / "1")
        write_json(made / "metadata.json", metadata)
        write_json(made / "calibration.json", read_json(run.calibration_path, AGAIN))
        (made / model_card.NAME).write_text(model_card.model_card(run, metadata), encoding="utf-8")
        worst, source = verify_export(run, model, encoder, metadata, made)
        if output.exists():
            shutil.rmtree(output)
        made.rename(output)
    return (
        f"{output}: {', '.join(metadata['modalities'])} -> {', '.join(metadata['emotions'])};"
        f" agrees with the run on {source} to {worst:.1e}, loaded in a new process"
    )


def _is_replaceable(output: Path) -> bool:
    """Whether a folder is empty or holds an export and nothing else; runs and records have a metadata.json, too."""
    names = {path.name for path in output.iterdir()} if output.is_dir() else {str(output)}
    return names <= {"metadata.json", "calibration.json", model_card.NAME, "1"} and (
        not names or (output / "1" / "saved_model.pb").exists()
    )


if __name__ == "__main__":
    sys.exit(run_command(main))
