"""What several test modules share: real recordings, and small synthetic records made once a session."""

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
