"""Whether records hold the audio that a config asks for, and its encoder may be trained."""

from pathlib import Path

from emotion_tf.config import Config
from emotion_tf.runs.compatibility import RunInputs, is_same_encoder
from emotion_tf.runs.folder import Run
from pipelines import normalisation
from pipelines.audio import whisper_checkpoint
from pipelines.command import InputError
from pipelines.records import Metadata, kept_encoder


def check_audio(config: Config, records: Metadata) -> None:
    """Refuses what a training of an audio branch asks for and its features, or its records, do not allow."""
    if config.training.changes_waveforms and "encoder" in config.audio.inputs:
        raise InputError(
            "--speed, --noise-snr-db and --gain-db change waveforms, and --audio-features encoder are stored once:"
            " leave these or those out, or give --encoder-release."
        )
    if config.audio.encoder_release:
        _check_release(config, records)
    if config.training.changes_waveforms and not records.has_waveform:
        raise InputError(
            "--speed, --noise-snr-db and --gain-db change stored waveforms, and"
            f" {config.records} hold none: prepare them again with --store-waveform."
        )
    if config.normalise == "enrolled":
        normalisation.require_speakers(Path(config.records), records)


def _check_release(config: Config, records: Metadata) -> None:
    """Refuses to release blocks of an encoder that are not there, and what a model that begins with it does not do."""
    if "encoder" not in config.audio.features:
        raise InputError("--encoder-release is of a branch with --audio-features encoder: add it, or leave this out.")
    if (facts := records.encoder) is None:
        raise InputError(f"{config.records} hold no encoder features: prepare them with --encoder whisper.")
    if config.audio.encoder_release > (last := max(facts["blocks"])):
        raise InputError(
            f"--encoder-release {config.audio.encoder_release} cannot work: the last block whose states"
            f" {config.records} hold is {last}, so give a number from 1 to {last}."
        )
    if not records.has_waveform:
        raise InputError(
            f"--encoder-release trains on waveforms, and {config.records} hold none: prepare them again with"
            " --store-waveform."
        )
    folder = kept_encoder(Path(config.records))
    if not whisper_checkpoint.is_folder(folder) or whisper_checkpoint.find(str(folder)).sha256 != facts["sha256"]:
        raise InputError(
            f"--encoder-release starts from the weights of the records' encoder, and {folder} does not hold them:"
            " prepare the records again, or bring the folder back."
        )
    if config.normalise != "clip" or config.training.state_mask:
        given = "--state-mask" if config.training.state_mask else f"--normalise {config.normalise}"
        raise InputError(f"{given} changes stored states, and with --encoder-release none are read: leave one out.")
    source = Run(Path(config.init_audio)).metadata() if config.init_audio else None
    if source and not is_same_encoder(source.encoder, facts):
        raise InputError(f"{config.init_audio} has another encoder than these records: choose a run trained on them.")


def check_features(config: Config, inputs: RunInputs) -> None:
    """Refuses audio features that the records do not hold, or fewer columns than a network halves."""
    for name in inputs.audio_features:
        if name not in inputs.widths:
            flag = {"encoder": "--encoder whisper", "waveform": "--store-waveform"}.get(name, "--acoustic")
            raise InputError(f"{config.records} hold no {name} features: prepare them with {flag}.")
    columns = sum(inputs.widths[name] for name in inputs.audio_features if name not in ("encoder", "waveform"))
    if columns and not config.is_late and columns < config.audio.least_columns:
        raise InputError(
            f"--audio-model {config.audio.model} needs {config.audio.least_columns} columns or more, and"
            f" {config.records} hold {columns}: prepare them with more --mel-bins, or choose another model or fewer"
            " --audio-channels."
        )
