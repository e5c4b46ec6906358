"""Training and inference in PyTorch as its users write them, with the recipe of `fit`."""

import contextlib
import dataclasses
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from emotion_tf.config import TrainingConfig


class Learner:
    """A network with its optimizer and the moving average of its weights.

    Args:
      network: Of `benchmarks.torch_networks`.
      precision: "float32", or "bfloat16" by autocast.
      training: Rates, decay, smoothing.
      total: Steps of the whole training.
    """

    def __init__(self, network: nn.Module, precision: str, training: TrainingConfig, total: int):
        self.network = network.to(memory_format=torch.channels_last)
        self.precision, self.training = precision, training
        self.optimizer = torch.optim.AdamW(
            network.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay, fused=True
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, training.learning_rate, total)
        average = torch.optim.swa_utils.get_ema_multi_avg_fn(1 - 1 / max(2.0, training.ema_share * total))
        self.averaged = torch.optim.swa_utils.AveragedModel(network, multi_avg_fn=average, use_buffers=False)

    def step(self, inputs: tuple[torch.Tensor, ...], labels: torch.Tensor) -> float:
        """Takes a step on a batch, labels [batch] int64 or [batch, num_emotions] shares; returns the loss."""
        self.network.train()
        self.optimizer.zero_grad(set_to_none=True)
        with computing_in(self.precision):
            logits = self.network(*inputs)
        loss = functional.cross_entropy(logits.float(), labels, label_smoothing=self.training.label_smoothing)
        loss.backward()
        self.optimizer.step()
        self.averaged.update_parameters(self.network)
        return loss.item()


@contextlib.contextmanager
def computing_in(precision: str) -> Iterator[None]:
    """Lets operations inside compute in bfloat16 where PyTorch does that on its own, or in float32."""
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        yield


def predict(network: nn.Module, inputs: tuple[torch.Tensor, ...], precision: str) -> np.ndarray:
    """Computes logits [batch, num_emotions] in eager mode."""
    network.eval()
    with torch.inference_mode(), computing_in(precision):
        return network(*inputs).float().numpy()


@dataclasses.dataclass(frozen=True)
class Clips:
    """Clips in memory.

    Attributes:
      log_mel: [num_clips, num_frames, bands] float32, normalised, zeros behind each clip.
      num_frames: [num_clips] int32.
      label: [num_clips] int64.
    """

    log_mel: torch.Tensor
    num_frames: torch.Tensor
    label: torch.Tensor


def train(learner: Learner, training: Clips, validation: Clips, length: int, batch_size: int, epochs: int) -> float:
    """Trains: random crops, masks, mixup, and after every epoch the validation clips by the averaged weights.

    No pictures, no checkpoints, nothing for TensorBoard.

    Returns:
      Accuracy on the validation clips, of the last epoch.
    """
    accuracy, num_emotions = 0.0, int(training.label.max()) + 1
    for _ in range(epochs):
        for chosen in torch.randperm(len(training.label)).split(batch_size):
            log_mel, num_frames = _cropped(training.log_mel[chosen], training.num_frames[chosen], length)
            _mask_some(log_mel, learner.training)
            labels = functional.one_hot(training.label[chosen], num_emotions).float()
            log_mel, num_frames, labels = _mixed(log_mel, num_frames, labels, learner.training.mixup)
            learner.step((log_mel, num_frames), labels)
            learner.schedule.step()
        found = [
            predict(learner.averaged.module, (validation.log_mel[part], validation.num_frames[part]), learner.precision)
            for part in torch.arange(len(validation.label)).split(batch_size)
        ]
        accuracy = float((np.concatenate(found).argmax(axis=1) == validation.label.numpy()).mean())
    return accuracy


def _cropped(log_mel: torch.Tensor, num_frames: torch.Tensor, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cuts each clip at a random place to at most `length` frames."""
    spare = (num_frames - length).clamp(min=0)
    starts = (torch.rand(len(spare)) * (spare + 1)).long()
    places = (starts[:, None] + torch.arange(length)).clamp(max=log_mel.shape[1] - 1)
    cut = torch.gather(log_mel, 1, places[:, :, None].expand(-1, -1, log_mel.shape[2]))
    return cut, num_frames.clamp(max=length)


def _mask_some(log_mel: torch.Tensor, training: TrainingConfig) -> None:
    """Puts zeros into stretches of bands and of frames, in place."""
    masks = ((2, training.num_mel_masks, training.mel_mask), (1, training.num_frame_masks, training.frame_mask))
    for axis, count, most in masks:
        size = log_mel.shape[axis]
        for _ in range(count):
            widths = torch.randint(0, max(most, 1), (len(log_mel), 1))
            starts = (torch.rand(len(log_mel), 1) * (size - widths).clamp(min=1)).long()
            places = torch.arange(size)[None, :]
            is_masked = (places >= starts) & (places < starts + widths)
            log_mel.masked_fill_(is_masked.unsqueeze(1 if axis == 2 else 2), 0.0)


def _mixed(
    log_mel: torch.Tensor, num_frames: torch.Tensor, labels: torch.Tensor, most: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mixes half of the clips with their neighbours."""
    share = torch.rand(len(labels), 1) * most * (torch.rand(len(labels), 1) < 0.5)
    longer = torch.where(share[:, 0] > 0, torch.maximum(num_frames, num_frames.roll(1, 0)), num_frames)
    mixed = torch.lerp(log_mel, log_mel.roll(1, 0), share[:, :, None])
    return mixed, longer, torch.lerp(labels, labels.roll(1, 0), share)
