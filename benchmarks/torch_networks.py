"""The audio and text branches as a user of PyTorch writes them: the same layers, shapes and parameters as ours.

Modules are called as the layers of `emotion_tf.models` are, so that weights can be carried over. Pictures are
channels last in memory; padding is masked where ours masks it.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from emotion_tf.config import AudioConfig, TextConfig

# As Keras has it.
_EPSILON = 1e-3

_STACKED = 4


class Pooling(nn.Module):
    """Pools steps by attention, and by their maximum: [batch, steps, width] -> [batch, 2 * width]."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.hidden = nn.Linear(width, hidden)
        self.score = nn.Linear(hidden, 1, bias=False)

    def forward(self, steps: torch.Tensor, is_step: torch.Tensor) -> torch.Tensor:
        """Pools the steps that are there."""
        is_step = is_step[:, :, None]
        scores = self.score(torch.tanh(self.hidden(steps))).masked_fill(~is_step, -1e9)
        mean = (steps * scores.softmax(dim=1)).sum(dim=1)
        highest = steps.masked_fill(~is_step, -1e9).amax(dim=1)
        return torch.cat([mean, highest], dim=-1)


class Head(nn.Module):
    """Pooling, dropout, the embedding and the logits."""

    def __init__(self, width: int, config: AudioConfig | TextConfig, num_emotions: int):
        super().__init__()
        self.pooling = Pooling(width, config.attention_dim)
        self.dropout = nn.Dropout(config.dropout)
        self.embedding = nn.Linear(2 * width, config.embedding_dim)
        self.emotions = nn.Linear(config.embedding_dim, num_emotions)

    def forward(self, steps: torch.Tensor, is_step: torch.Tensor) -> torch.Tensor:
        """Makes logits [batch, num_emotions] of steps."""
        pooled = self.dropout(self.pooling(steps, is_step))
        return self.emotions(functional.relu(self.embedding(pooled)))


class Residual(nn.Module):
    """Two 3x3 convolutions and a way around them."""

    def __init__(self, before: int, channels: int):
        super().__init__()
        self.around = nn.Conv2d(before, channels, 1, bias=False) if before != channels else nn.Identity()
        self.a = nn.Conv2d(before, channels, 3, padding=1, bias=False)
        self.a_norm = nn.BatchNorm2d(channels, eps=_EPSILON)
        self.b = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.b_norm = nn.BatchNorm2d(channels, eps=_EPSILON)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Reads [batch, channels, time, bands]."""
        inner = functional.relu(self.a_norm(self.a(x))) * mask
        inner = self.b_norm(self.b(inner))
        return functional.relu(inner + self.around(x)) * mask


class Cnn(nn.Module):
    """`cnn_attention`: a stem and residual stages."""

    def __init__(self, config: AudioConfig, num_emotions: int):
        super().__init__()
        first = config.channels[0]
        self.stem = nn.Conv2d(1, first, 5, stride=2, bias=False)
        self.stem_norm = nn.BatchNorm2d(first, eps=_EPSILON)
        pairs = zip((first, *config.channels), config.channels, strict=False)
        self.stages = nn.ModuleList(Residual(before, channels) for before, channels in pairs)
        self.head = Head(config.channels[-1], config, num_emotions)

    def forward(self, log_mel: torch.Tensor, num_frames: torch.Tensor) -> torch.Tensor:
        """Makes logits of log_mel [batch, num_frames, bands], whose frames are a multiple of every stride."""
        mask = _mask(num_frames, log_mel.shape[1], 1).to(log_mel.dtype)
        x = (log_mel * mask[:, :, None])[:, None]
        # What TensorFlow calls "same" pads more behind than before.
        x = functional.pad(x, (1, 2, 1, 2)).contiguous(memory_format=torch.channels_last)
        mask = _of_pictures(num_frames, log_mel.shape[1], 2, x)
        x = functional.relu(self.stem_norm(self.stem(x))) * mask
        for number, stage in enumerate(self.stages):
            if number:
                x = functional.avg_pool2d(x, 2)
                mask = _of_pictures(num_frames, log_mel.shape[1], 2 ** (number + 1), x)
            x = stage(x, mask)
        return self.head(x.mean(dim=3).transpose(1, 2), mask[:, 0, :, 0] > 0)


class Gru(nn.Module):
    """`gru`: recurrent layers over groups of frames."""

    def __init__(self, config: AudioConfig, columns: int, num_emotions: int):
        super().__init__()
        widths = (_STACKED * columns, *config.units)
        pairs = zip(widths, config.units, strict=False)
        self.layers = nn.ModuleList(nn.GRU(before, units, batch_first=True) for before, units in pairs)
        self.dropout = nn.Dropout(config.dropout / 4)
        self.head = Head(config.units[-1], config, num_emotions)

    def forward(self, log_mel: torch.Tensor, num_frames: torch.Tensor) -> torch.Tensor:
        """Makes logits of log_mel [batch, num_frames, bands]; clips end where they end, and behind them is padding."""
        batch, length, columns = log_mel.shape
        x = log_mel * _mask(num_frames, length, 1)[:, :, None]
        x = x.reshape(batch, length // _STACKED, _STACKED * columns)
        for layer in self.layers:
            x = self.dropout(layer(x)[0])
        return self.head(x, _mask(num_frames, length, _STACKED))


class TextGru(nn.Module):
    """`gru` of text: bidirectional layers on word pieces, whose embeddings pooling reads, too."""

    def __init__(self, config: TextConfig, vocabulary_size: int, num_emotions: int):
        super().__init__()
        self.words = nn.Embedding(vocabulary_size, config.word_dim)
        self.words_dropout = nn.Dropout1d(config.dropout)
        widths = (config.word_dim, *(2 * units for units in config.units))
        pairs = zip(widths, config.units, strict=False)
        self.layers = nn.ModuleList(
            nn.GRU(before, units, batch_first=True, bidirectional=True) for before, units in pairs
        )
        self.dropout = nn.Dropout(config.dropout)
        self.head = Head(config.word_dim + widths[-1], config, num_emotions)

    def forward(self, token_ids: torch.Tensor) -> torch.Tensor:
        """Makes logits of token_ids [batch, num_tokens], all of one length."""
        x = pieces = self.words_dropout(self.words(token_ids).transpose(1, 2)).transpose(1, 2)
        for layer in self.layers:
            x = self.dropout(layer(x)[0])
        return self.head(torch.cat([pieces, x], dim=-1), token_ids != 0)


def num_parameters(network: nn.Module) -> int:
    """Counts what is trained."""
    return sum(parameter.numel() for parameter in network.parameters())


def _mask(num_frames: torch.Tensor, length: int, stride: int) -> torch.Tensor:
    """Returns [batch, length / stride] bool: whether a step holds a frame of the clip."""
    steps = (num_frames + stride - 1) // stride
    return torch.arange(length // stride)[None, :] < steps[:, None]


def _of_pictures(num_frames: torch.Tensor, length: int, stride: int, like: Any) -> torch.Tensor:
    return _mask(num_frames, length, stride).to(like.dtype)[:, None, :, None]
