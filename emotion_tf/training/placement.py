"""Where a model learns: on one device, on several of this machine, or on this machine as one of several workers.

TensorFlow is asked for its devices before it looks at them, so this comes first.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pipelines.command import InputError
from pipelines.parsers import Group, add_flag
from pipelines.settings import Bounds, at_least, require

if TYPE_CHECKING:
    import tensorflow as tf

_PORTS = Bounds(1, 65535)


@dataclasses.dataclass(frozen=True)
class Placement:
    """The devices and workers of one training. They decide how fast it is, and not what becomes of it.

    Attributes:
      devices: Of this machine.
      workers: HOST:PORT of each worker, this one among them; empty: there is no other.
      index: Which of them this is; the first is the chief, and writes.

    Raises:
      InputError: What cannot work.
    """

    devices: int = 1
    workers: tuple[str, ...] = ()
    index: int = 0

    def __post_init__(self) -> None:
        require("devices", [self.devices], at_least(1))
        if len(self.workers) == 1:
            raise InputError(f"--workers {self.workers[0]} is one worker: name two or more, or leave it out.")
        for worker in self.workers:
            host, _, port = worker.rpartition(":")
            if not (host and port.isdecimal() and int(port) in _PORTS):
                raise InputError(f"--workers {worker} cannot work: give HOST:PORT of each, with commas between them.")
        if len(set(self.workers)) < len(self.workers):
            raise InputError("--workers names one of them twice: give each its own HOST:PORT.")
        if self.workers:
            require("worker_index", [self.index], Bounds(0, len(self.workers) - 1))

    @property
    def is_several(self) -> bool:
        """Whether copies of the model learn side by side."""
        return self.devices > 1 or bool(self.workers)

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the run."""
        return self.index == 0

    def require_training(self, *, is_late: bool, batch_size: int) -> None:
        """Makes sure that there is something to share out.

        Raises:
          InputError: No training, or batches with fewer utterances than devices.
        """
        if self.is_several and is_late:
            raise InputError("--devices and --workers are of a training, and late fusion has none: leave them out.")
        if self.devices * max(1, len(self.workers)) > batch_size:
            raise InputError(
                f"--batch-size {batch_size} is less than an utterance a device: give more, or fewer devices."
            )

    def start(self) -> tf.distribute.Strategy | None:
        """Makes TensorFlow use the devices, and waits for the other workers; to be called before anything else of it.

        Returns:
          What shares out the work; None: there is one device.

        Raises:
          InputError: Fewer devices than asked for, or a port of this worker that is taken.
        """
        import tensorflow as tf

        if not self.is_several:
            return None
        gpus = tf.config.list_physical_devices("GPU")
        if gpus and self.devices > len(gpus):
            raise InputError(
                f"--devices {self.devices} are more than the {len(gpus)} GPUs of this machine: give fewer."
            )
        if self.workers:
            return self._join(gpus)
        if gpus:
            return tf.distribute.MirroredStrategy([f"GPU:{number}" for number in range(self.devices)])
        # Without a GPU: the processor as several devices, which share its cores.
        processor = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * self.devices)
        return tf.distribute.MirroredStrategy([f"CPU:{number}" for number in range(self.devices)])

    def _join(self, gpus: list[tf.config.PhysicalDevice]) -> tf.distribute.Strategy:
        """Becomes one of the workers, and waits for the others."""
        import tensorflow as tf

        if gpus:
            tf.config.set_visible_devices(gpus[: self.devices], "GPU")
        elif self.devices > 1:
            raise InputError("--devices with --workers are GPUs of each, and this machine has none: leave it out.")
        task = {"type": "worker", "index": self.index}
        os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": list(self.workers)}, "task": task})
        try:
            with self._ended_by_signals():
                return tf.distribute.MultiWorkerMirroredStrategy()
        except tf.errors.UnknownError as error:
            if "gRPC server" not in str(error):
                raise
            own = self.workers[self.index]
            raise InputError(
                f"--workers: this one, {own}, cannot listen at port {own.rpartition(':')[2]}, which another program has"
                " perhaps: give another port, or another --worker-index."
            ) from None

    @contextlib.contextmanager
    def _ended_by_signals(self) -> Iterator[None]:
        """Lets Ctrl-C end the process meanwhile: Python's own handler waits for TensorFlow, which waits for others.

        TensorFlow begins to catch SIGTERM, and lets it do nothing. Afterwards it interrupts the chief again, and ends
        any other worker at once: that writes nothing, and handlers of Python's would wait here, too.
        """
        on_ctrl_c, on_sigterm = signal.signal(signal.SIGINT, signal.SIG_DFL), signal.getsignal(signal.SIGTERM)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, on_ctrl_c)
            signal.signal(signal.SIGTERM, on_sigterm if self.is_chief else signal.SIG_DFL)


def add_placement_arguments(group: Group) -> None:
    """Adds the flags of a placement."""
    sentence = (
        "Train on N GPUs of this machine, each with its share of a batch; where there is none, on N parts of the"
        " processor, for trying it out."
    )
    add_flag(group, "--devices", sentence, at_least(1), type=int, metavar="N", default=Placement.devices)
    sentence = "Train with these workers, one process each, which all get the same flags but for --worker-index."
    add_flag(group, "--workers", sentence, "two or more, with commas between them", metavar="HOST:PORT,...")
    sentence = "Be this one of the workers, counted from 0; that one writes the run."
    add_flag(group, "--worker-index", sentence, type=int, metavar="I")


def placement_of(arguments: argparse.Namespace) -> Placement:
    """Makes a placement of the flags.

    Raises:
      InputError: Flags that do not go together.
    """
    if (arguments.workers is None) != (arguments.worker_index is None):
        raise InputError("--workers and --worker-index belong together: give both, or none.")
    if arguments.workers and arguments.run is None:
        raise InputError("--workers share one run: give each the same --run, a folder that all of them reach.")
    workers = tuple(arguments.workers.split(",")) if arguments.workers else ()
    return Placement(arguments.devices, workers, arguments.worker_index or 0)
