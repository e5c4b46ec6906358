"""Exports a finished run for serving: `python -m emotion_tf.export --run saved_models/NAME [--format NAME ...]`.

Writes DIR/1/saved_model.pb (default DIR: the run's export/), the layout of TensorFlow Serving, the next time DIR/2/ and
so on, and beside it metadata.json, calibration.json and MODEL_CARD.md; the model gives calibrated probabilities. The
card says, for people and for the Hugging Face Hub, on what it was trained, what was measured and what was not.
--format adds other formats of the model alone to the same version: features/1/ (a SavedModel of TensorFlow's own ops),
litert/model.tflite and litert/model_int8.tflite, onnx/model.onnx, openvino/model.xml. metadata.json describes the
inputs and outputs of each.
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
The export, in every format, is loaded in a new process and compared with the run before it is put in place.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion_tf.exporting import model_card, ops
from emotion_tf.exporting.encoder import FLAG, load_encoder
from emotion_tf.exporting.facts import export_metadata
from emotion_tf.exporting.formats import FORMATS, SAVED_MODEL, Examples, sentence, write_format
from emotion_tf.exporting.saved_model import write_saved_model
from emotion_tf.exporting.variables import TYPES
from emotion_tf.exporting.verify import single_examples, verify_export
from emotion_tf.exporting.versions import is_replaceable, put_in_place, versions_of
from emotion_tf.runs.folder import Run
from emotion_tf.runs.metadata import AGAIN
from pipelines.command import InputError, folder_for, import_tensorflow, progress_bar, run_command
from pipelines.files import read_json, write_json
from pipelines.parsers import add_flag, command_parser

if TYPE_CHECKING:
    import keras

    from pipelines.audio.whisper_encoder import WhisperEncoder


def main(argv: list[str] | None = None) -> None:
    """Parses the command line and exports.

    Raises:
      InputError: A run that is not finished, a folder of something else, or an export that does not agree with its run.
    """
    arguments = make_parser().parse_args(argv)
    run = Run(arguments.run).require_finished()
    output = arguments.output or run.export
    if arguments.ops:
        print(ops.table(_newest(output)))
    elif arguments.formats:
        list_formats(run, arguments.encoder_model)
    else:
        flags = {name: getattr(arguments, name) for name in ("encoder_model", "variables", "overwrite")}
        print(export(run, output, formats=arguments.format, **flags))


def make_parser() -> argparse.ArgumentParser:
    """Makes the parser of the command line."""
    parser = command_parser("emotion_tf.export", __doc__, "--run RUN [FLAG ...]")
    add_flag(parser, "--run", "Export this finished run.", type=Path, required=True, metavar="RUN")
    sentence = "Write the export to this folder, under the next version number."
    add_flag(parser, "--output", sentence, type=Path, metavar="DIR", shown="the run's export/")
    sentence = "Write these formats of the model, beside the SavedModel that every export has."
    add_flag(parser, "--format", sentence, nargs="+", choices=FORMATS, default=[SAVED_MODEL], shown=SAVED_MODEL)
    sentence = "Remove older versions once the new one is in place."
    add_flag(parser, "--overwrite", sentence, action="store_true")
    sentence = (
        "Put this encoder into the model of a run that reads states of it: a name, a checkpoint file (.pt), or a folder"
        " of prepare --encoder-save."
    )
    shown = "the one that the records keep"
    add_flag(parser, FLAG, sentence, metavar="NAME|FILE|FOLDER", shown=shown)
    sentence = "Store variables in this type; float16 halves their size, and is refused where answers change by 0.001."
    add_flag(parser, "--variables", sentence, choices=TYPES, default=TYPES[0])
    sentence = "Try each format and say which this run can have, and why not the others; write nothing."
    add_flag(parser, "--formats", sentence, action="store_true")
    sentence = "List the ops that the newest export needs of what loads it, and which are TensorFlow Text's."
    add_flag(parser, "--ops", sentence, action="store_true")
    return parser


def export(
    run: Run,
    output: Path,
    *,
    formats: Sequence[str] = (SAVED_MODEL,),
    encoder_model: str | None = None,
    variables: str = TYPES[0],
    overwrite: bool = False,
) -> str:
    """Exports a run, compares the export with it in a new process, and only then puts it in place.

    Args:
      run: A finished run.
      output: The export folder; the export gets the next number in it.
      formats: Of `FORMATS`; the SavedModel is always there.
      encoder_model: What makes the states that the run reads; None: what its records keep.
      variables: The type that they are stored in.
      overwrite: Whether older versions are removed.

    Returns:
      A sentence that says what was written and how it was checked, a line more for each further format.

    Raises:
      InputError: A folder of something else, an encoder that is missing or another one, a format that the run cannot
        have, or an export that does not agree with its run.
    """
    if output.exists() and not is_replaceable(output):
        raise InputError(f"{output} holds something that is no export: give --output another folder.")
    import_tensorflow()
    model, encoder = run.model(), load_encoder(run, encoder_model)
    metadata = export_metadata(run, model, variables)
    with (
        folder_for(output.parent, "--output"),
        tempfile.TemporaryDirectory(prefix=".export-", dir=output.parent) as temporary,
    ):
        made = Path(temporary) / "export" / "1"
        metadata["interface"] = write_saved_model(model, encoder, metadata, run, made)
        write_json(made / "metadata.json", metadata)
        write_json(made / "calibration.json", read_json(run.calibration_path, AGAIN, {"temperature": (int, float)}))
        worst, source = verify_export(run, model, encoder, metadata, made.parent)
        metadata["formats"] = _add_formats(formats, run, model, encoder, metadata, made)
        write_json(made / "metadata.json", metadata)
        (made / model_card.NAME).write_text(model_card.model_card(run, metadata), encoding="utf-8")
        version = put_in_place(made, output, overwrite=overwrite)
    first = (
        f"{version}: {', '.join(metadata['modalities'])} -> {', '.join(metadata['emotions'])};"
        f" agrees with the run on {source} to {worst:.1e}, loaded in a new process"
    )
    return "\n".join([first, *(f"{name}: {sentence(found)}" for name, found in metadata["formats"].items())])


def _add_formats(
    formats: Sequence[str],
    run: Run,
    model: "keras.Model",
    encoder: "WhisperEncoder | None",
    metadata: dict[str, Any],
    version: Path,
) -> dict[str, Any]:
    """Writes the formats beside the SavedModel: name -> what metadata.json says of it."""
    wanted = [name for name in FORMATS if name in formats and name != SAVED_MODEL]
    if not wanted:
        return {}
    found = {}
    examples = Examples(version.parent / "examples.npz", *single_examples(run, model, encoder, metadata))
    with progress_bar(len(wanted), "formats", "format") as bar:
        for name in wanted:
            found[name] = write_format(name, run, model, metadata, version, examples)
            bar.update()
    return found


def list_formats(run: Run, encoder_model: str | None = None) -> None:
    """Tries each format in a temporary folder and prints a line of each: how far it agrees with the run, or why not.

    Args:
      run: A finished run.
      encoder_model: As of `export`.
    """
    import_tensorflow()
    model, encoder = run.model(), load_encoder(run, encoder_model)
    metadata = export_metadata(run, model)
    print(f"{SAVED_MODEL:10} yes: front end, tokenizer and model, part of every export", flush=True)
    with tempfile.TemporaryDirectory(prefix="formats-") as temporary:
        version = Path(temporary) / "1"
        version.mkdir()
        examples = Examples(version / "examples.npz", *single_examples(run, model, encoder, metadata))
        for name in FORMATS[1:]:
            try:
                said = f"yes: {sentence(write_format(name, run, model, metadata, version, examples))}"
            except InputError as error:
                said = f"no: {error}"
            print(f"{name:10} {said}", flush=True)


def _newest(output: Path) -> Path:
    versions = versions_of(output)
    if not versions:
        raise InputError(f"{output} holds no export whose ops could be listed: make it without --ops first.")
    return versions[-1]


if __name__ == "__main__":
    sys.exit(run_command(main))
