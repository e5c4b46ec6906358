"""What several test modules share: real recordings, and small synthetic records made once a session."""

import dataclasses
import os
from pathlib import Path

import pytest

from pipelines import audio, prepare
from pipelines.corpora import synthetic


@pytest.fixture(scope="session")
def real_data():
    """The folder of real recordings."""
    if "EMOTION_TF_REAL_DATA" not in os.environ:
        pytest.skip("EMOTION_TF_REAL_DATA is not set")
    return Path(os.environ["EMOTION_TF_REAL_DATA"])


@pytest.fixture(scope="session")
def three_speakers(tmp_path_factory):
    """A synthetic corpus of three speakers, 30 clips each."""
    source = tmp_path_factory.mktemp("corpora") / "synthetic"
    synthetic._make(source, 0, 3)
    return synthetic.read(source)


@pytest.fixture(scope="session")
def three_speaker_records(three_speakers, tmp_path_factory):
    """Complete records of three synthetic speakers, waveforms among them. Nobody may change them."""
    folder = tmp_path_factory.mktemp("records") / "synthetic"
    prepare.prepare(prepare.Preparation(three_speakers, folder, audio.FrontEnd(), store_waveform=True), 1)
    return folder


@pytest.fixture(scope="session")
def make_config(three_speaker_records):
    """From a branch and further fields to the config of a training of seconds."""
    from emotion_tf.config import AudioConfig, Config, TextConfig, TrainingConfig

    def make(branch, *, epochs=2, batch_size=16, num_frames=32, **values):
        names = {field.name for field in dataclasses.fields(TrainingConfig)}
        training = {name: values.pop(name) for name in names & set(values)}
        return Config(
            branch,
            values.pop("records", str(three_speaker_records)),
            audio=AudioConfig((4,), 4, 4),
            text=TextConfig(4, (4,), 4, 4),
            training=TrainingConfig(epochs=epochs, batch_size=batch_size, num_frames=num_frames, **training),
            **values,
        )

    return make


@pytest.fixture(scope="session")
def audio_run(make_config, tmp_path_factory):
    """A finished run of the audio branch, two epochs long. Nobody may change it, nor those below."""
    return _fitted(make_config("audio", confusion_every=2), tmp_path_factory.mktemp("runs") / "audio")


@pytest.fixture(scope="session")
def text_run(make_config, tmp_path_factory):
    """A finished run of the text branch."""
    return _fitted(make_config("text"), tmp_path_factory.mktemp("runs") / "text")


@pytest.fixture(scope="session")
def early_run(make_config, audio_run, text_run, tmp_path_factory):
    """A finished run of early fusion that started from both branches."""
    config = make_config(
        "fusion", fusion="early", epochs=1, init_audio=str(audio_run.folder), init_text=str(text_run.folder)
    )
    return _fitted(config, tmp_path_factory.mktemp("runs") / "early")


@pytest.fixture(scope="session")
def late_run(make_config, audio_run, text_run, tmp_path_factory):
    """A finished run of late fusion of both branches."""
    config = make_config("fusion", fusion="late", runs=(str(audio_run.folder), str(text_run.folder)))
    return _fitted(config, tmp_path_factory.mktemp("runs") / "late")


@pytest.fixture(scope="session")
def early_export(early_run, tmp_path_factory):
    """The export of early fusion."""
    from emotion_tf.export import export

    folder = tmp_path_factory.mktemp("exports") / "early"
    export(early_run, folder)
    return folder


def _fitted(config, folder):
    from emotion_tf.fit import fit
    from emotion_tf.run import Run

    fit(config, Run(folder))
    return Run(folder)
