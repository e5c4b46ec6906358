"""Samples of the validation split as a model reads them: words, spectrograms, frames of videos."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from emotion_tf.config import Config
from emotion_tf.evaluation.split import shuffled_in_scoring
from emotion_tf.reporting import plots
from emotion_tf.runs.compatibility import RunInputs
from emotion_tf.runs.folder import Run
from emotion_tf.runs.metadata import RunMetadata
from pipelines import text
from pipelines.dataset import make_dataset
from pipelines.records import named_if_corrupt

_NUM_SAMPLES = 8

_NUM_SHUFFLED = 1000
"""Utterances that they are drawn of, in shards that are drawn, too: a large split need not fit into memory."""


def samples(config: Config, metadata: RunMetadata, inputs: RunInputs) -> Iterator[tuple[str, plots.Figure | None]]:
    """Yields a few validation clips as the model reads them.

    Args:
      config: Of the run.
      metadata: Of the run.
      inputs: What the model reads.

    Yields:
      Title with label and words; the spectrogram, None where the clip has no audio or the model reads none.
    """
    pieces = (inputs.tokenizer or text.own_tokenizer()).pieces()
    dataset = make_dataset(
        Path(config.records),
        metadata.fold.validation,
        by=metadata.fold.by,
        # Samples show audio and words.
        shuffled="" if config.control == "shuffled-video" else shuffled_in_scoring(config.control),
        batch_size=1,
        training=True,
        seed=config.seed,
        tokenizer=inputs.tokenizer,
        normalisation=inputs.normalisation,
        with_metadata=True,
        cache=False,
        shuffle_size=_NUM_SHUFFLED,
    )
    with named_if_corrupt(Path(config.records)):
        for features, label, about in dataset.take(_NUM_SAMPLES):
            words = " ".join(pieces[token] for token in features["token_ids"][0].numpy()[1:]).replace(" ##", "")
            numbers = np.flatnonzero(label[0].numpy()) if metadata.is_multi_label else label.numpy()
            emotions = ", ".join(metadata.emotions[number] for number in numbers)
            title = f"{about['utterance_id'][0].numpy().decode()}: {emotions}, “{words}”"
            hop_seconds = metadata.front_end["hop_seconds"]
            has_audio = "audio" in config.modalities and int(features["num_frames"][0])
            yield title, plots.spectrogram(features["log_mel"][0].numpy(), title, hop_seconds) if has_audio else None


def draw_frames(run: Run) -> None:
    """Draws the frames that a model reads of one validation clip of each emotion, where one has a video."""
    config, metadata = run.config(), run.metadata()
    dataset = make_dataset(
        Path(config.records),
        metadata.fold.validation,
        ("video",),
        by=metadata.fold.by,
        shuffled="video" if config.control == "shuffled-video" else "",
        batch_size=1,
        seed=config.seed,
        with_metadata=True,
        cache=False,
    )
    strips = {}
    with named_if_corrupt(Path(config.records)):
        for features, label, about in dataset:
            number = int(np.argmax(label[0])) if metadata.is_multi_label else int(label[0])
            frames, emotion = features["video_frames"][0].numpy(), metadata.emotions[number]
            if emotion not in strips and frames.any():
                strips[emotion] = (frames, about["face_boxes"][0].numpy(), about["utterance_id"][0].numpy())
            if len(strips) == len(metadata.emotions):
                break
    if strips:
        named = {f"{emotion}\n{name.decode()}": (frames, boxes) for emotion, (frames, boxes, name) in strips.items()}
        title = f"{run.folder.name}: what the model reads, green where a face was found, red where the box is another's"
        plots.save(plots.frame_strips(named, title), run.plots / "frames.png")
