"""Starts the process of a worker again where another one is gone, for TensorFlow joins workers once in its life."""

import os
import sys
from typing import NoReturn

from emotion_tf.runs.folder import Run
from pipelines.command import InputError, stop_if_terminated

MOST_IN_VAIN = 5
"""Starts in a row without a finished epoch between them: more would hide that one of the workers cannot train."""

_VARIABLE = "EMOTION_TF_STARTED_AGAIN"


def start_again(run: Run) -> NoReturn:
    """Runs the command of this process again, which waits for the other workers then.

    Args:
      run: That of the workers. Its last epoch, and how often it was that one, is handed on by the environment.

    Raises:
      InputError: That was in vain too often.
      TerminatedError: This worker is to end, too.
    """
    from emotion_tf.training.checkpoints import last_epoch

    stop_if_terminated()
    epoch = str(last_epoch(run))
    before, _, count = os.environ.get(_VARIABLE, "").partition(" ")
    in_vain = int(count) + 1 if before == epoch else 1
    if in_vain > MOST_IN_VAIN:
        raise InputError(
            f"another worker of {run.folder} ended {in_vain} times before an epoch was finished: see what it says, mend"
            " that, and give the command again at each worker."
        )
    os.environ[_VARIABLE] = f"{epoch} {in_vain}"
    print(f"{run.folder}: another worker is gone; starts again and waits for it", flush=True)
    os.execv(sys.executable, sys.orig_argv)
