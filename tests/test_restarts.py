"""Tests of emotion_tf.training.restarts: a worker starts again as long as epochs are finished between."""

import os
import sys

import pytest

from emotion_tf.runs.folder import Run
from emotion_tf.training import restarts
from emotion_tf.training.restarts import MOST_IN_VAIN, start_again
from pipelines.command import InputError


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.delenv(restarts._VARIABLE, raising=False)
    yield Run(tmp_path / "run")
    os.environ.pop(restarts._VARIABLE, None)


@pytest.fixture
def started(monkeypatch):
    """What was started in place of this process."""
    found = []
    monkeypatch.setattr(os, "execv", lambda *command: found.append(command))
    return found


def finish(run, epoch):
    run.checkpoints.mkdir(parents=True, exist_ok=True)
    (run.checkpoints / f"last-{epoch:04d}.weights.h5").touch()


def test_the_same_command_is_started(run, started, capsys):
    start_again(run)
    assert started == [(sys.executable, sys.orig_argv)]
    assert "another worker is gone; starts again and waits for it" in capsys.readouterr().out


def test_a_worker_that_is_lost_in_each_epoch_is_waited_for_each_time(run, started):
    for epoch in range(3 * MOST_IN_VAIN):
        finish(run, epoch)
        start_again(run)
    assert len(started) == 3 * MOST_IN_VAIN


@pytest.mark.parametrize("epoch", [None, 3])
def test_starts_without_an_epoch_between_come_to_an_end(run, started, epoch):
    for _ in range(2):
        if epoch is not None:
            finish(run, epoch)
        for _ in range(MOST_IN_VAIN):
            start_again(run)
        with pytest.raises(InputError, match=f"ended {MOST_IN_VAIN + 1} times before an epoch was finished: see what"):
            start_again(run)
        epoch = (epoch or 0) + 1
    assert len(started) == 2 * MOST_IN_VAIN
