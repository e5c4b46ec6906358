"""TensorFlow for exported models alone, which need no Keras: importing it takes half of the processor time.

`import tensorflow` loads Keras, and `import tensorflow_text` layers of it. Neither is of use to a SavedModel, only the
ops of both; `tf.keras` and `import keras` work afterwards as ever, and load Keras then.
"""

import contextlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any


def load_text_ops() -> None:
    """Loads the ops of tensorflow-text, without which an export does not load, and nothing of its Python."""
    import tensorflow as tf

    if "tensorflow_text" in sys.modules:
        return
    spec = importlib.util.find_spec("tensorflow_text")
    if spec is None or spec.origin is None:
        return
    for path in sorted((Path(spec.origin).parent / "python" / "ops").glob("*.so")):
        tf.load_library(str(path))


def as_written(function: Callable[..., Any]) -> Callable[..., Any]:
    """Lets TensorFlow trace a function without AutoGraph, which rewrites its source first and takes seconds.

    Args:
      function: Of tensors, without `if`, `while` or `for` of Python's over any of them, inside of it and of what it
        calls.
    """
    import tensorflow as tf

    return tf.autograph.experimental.do_not_convert(function)


def untuned(dataset: Any) -> Any:
    """Lets a `tf.data.Dataset` run on all cores from the start, without the thread that would tune on how many.

    Who drops an iterator waits for that thread to end. TensorFlow 2.21 often fails to wake it, for the wake-up comes
    before the mark that it looks for, and it sleeps for about as long as the iterator has lived, up to a minute. What
    is made of the dataset goes without it, too.
    """
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


@contextlib.contextmanager
def keras_postponed() -> Iterator[None]:
    """Lets `import tensorflow` find Keras and not load it, which it takes for a Keras that is not installed."""
    if "keras" in sys.modules:
        yield
        return
    finder = _Postponed()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Postponed(MetaPathFinder, Loader):
    """Finds Keras where it lies, for TensorFlow asks for its path, too, and refuses to run it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        found = PathFinder.find_spec(fullname, path) if fullname == "keras" else None
        return found and ModuleSpec(fullname, self, origin=found.origin, is_package=True)

    def create_module(self, spec: ModuleSpec) -> None:
        raise ImportError(f"{spec.name} is loaded later", name=spec.name)
