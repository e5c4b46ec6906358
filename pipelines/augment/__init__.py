"""Training-time augmentation, inside `Dataset.map`: one example at a time, and whole batches.

All take a seed [2] and draw nothing from a generator with a state: what becomes of an example does not depend on what
came before it, so that a resumed run goes on as if it had not stopped, and many can be changed at once. The masks are
those of `tensorflow_io.audio.freq_mask` and `time_mask`, which take no seed.
"""

from pipelines.augment.draws import Augment, Draws, Tensors
from pipelines.augment.frame_augment import BandLimit, SpecAugment, StateMask, TimeShift
from pipelines.augment.image_augment import ImageAugment
from pipelines.augment.mixup import MixUp
from pipelines.augment.text_augment import TextAugment
from pipelines.augment.waveform_change import WaveformChange, WaveformShift

__all__ = [
    "Augment",
    "BandLimit",
    "Draws",
    "ImageAugment",
    "MixUp",
    "SpecAugment",
    "StateMask",
    "Tensors",
    "TextAugment",
    "TimeShift",
    "WaveformChange",
    "WaveformShift",
]
