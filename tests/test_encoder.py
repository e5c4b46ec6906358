"""Tests of emotion_tf.exporting.encoder: which weights make the states of a run, and which do not."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from emotion_tf.exporting.encoder import load_encoder
from emotion_tf.runs.folder import Run
from pipelines.audio.whisper_checkpoint import find
from pipelines.command import InputError
from pipelines.files import write_json


@pytest.fixture
def moved(encoder_run, tmp_path):
    """The same run, whose records are gone."""
    run = Run(tmp_path / "moved")
    shutil.copytree(encoder_run.folder, run.folder)
    config = dataclasses.replace(encoder_run.config(), records=str(tmp_path / "gone"))
    write_json(run.config_path, json.loads(config.to_json()))
    return run


def test_the_records_of_a_run_keep_its_encoder(encoder_run, encoder_checkpoint):
    found, expected = load_encoder(encoder_run, None), find(str(encoder_checkpoint)).load().with_blocks((2, 3))
    assert found.blocks == (2, 3)
    for one, other in zip(found.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_without_its_records_a_run_needs_the_flag(moved, encoder_checkpoint):
    with pytest.raises(InputError, match=r"reads states of whisper random\.pt, and .*encoder, where its records keep"):
        load_encoder(moved, None)
    assert load_encoder(moved, str(encoder_checkpoint)).blocks == (2, 3)


def test_other_weights_are_refused(moved, whisper_checkpoint, encoder_run, tmp_path):
    other = shutil.copy(whisper_checkpoint, tmp_path / "other.pt")
    with pytest.raises(
        InputError, match=r"other\.pt holds other weights \(SHA-256 \w{12}\.\.\.\) than those that made"
    ):
        load_encoder(moved, str(other))
    kept = Path(encoder_run.config().records) / "encoder"
    facts = encoder_run.metadata().encoder | {"blocks": [2, 4]}
    moved.write_metadata(dataclasses.replace(moved.metadata(), encoder=facts))
    with pytest.raises(InputError, match=r"holds blocks 1 to 3 alone, and .* reads block 4: give --encoder-model the"):
        load_encoder(moved, str(kept))


def test_a_run_without_states_has_no_encoder(audio_run):
    assert load_encoder(audio_run, None) is None
    with pytest.raises(InputError, match="reads no states of an encoder: leave --encoder-model out"):
        load_encoder(audio_run, "tiny")


def test_the_kept_encoder_is_read_without_torch_and_whisper(encoder_run):
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from emotion_tf.exporting.encoder import load_encoder\n"
        "from emotion_tf.runs.folder import Run\n"
        "assert load_encoder(Run(Path(sys.argv[1])), None).count_params()\n"
        "assert not {'torch', 'whisper'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(encoder_run.folder)], check=True)
