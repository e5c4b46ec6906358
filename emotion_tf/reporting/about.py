"""What is said of runs in plain words: what was trained on what, what marks and controls mean, what others reached."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from emotion_tf.reporting.boxes import Box
from emotion_tf.reporting.subjects import Subject, enumerated
from emotion_tf.reporting.tables import FEW_UNITS
from emotion_tf.reporting.wording import format_count
from emotion_tf.runs.metadata import RunMetadata
from pipelines.corpora import ravdess
from pipelines.emotions import RAVDESS
from pipelines.normalisation import ENROLLED_MARK
from pipelines.utterance import SPLITS

MARKS: Mapping[str, str] = {
    "synthetic": "the corpus is made by a program: scores say that the code works, and nothing of people.",
    "speaker-leaking": "speakers stand in several splits: scores are too high, for the model knows the voices it is"
    " tested on.",
    "speakers-unknown": "nothing says who speaks: the same voices may train and be tested, and scores then are too"
    " high.",
    "text-overlap": "sentences of the test split stand in training, too: scores of text are too high.",
    "label-leaking": "sentences were written for each emotion: words tell the label, and scores of text are no"
    " measurement.",
    "paired": "each clip was given a real sentence of its emotion by another person: words and voice are independent of"
    " each other, as they are in no conversation.",
    ENROLLED_MARK: "clips are normalised by other clips of their speaker: scores are of speakers who were recorded"
    " before.",
    "source-unchecked": "a run that a score rests on is gone: what it was trained on cannot be compared with the test.",
    "few speakers": f"fewer than {FEW_UNITS} speakers, on whom a score may depend: read the interval, not the score.",
    "validation only": "no test scores: the kept epoch was chosen on the validation split, which reads too high.",
    "shuffled-transcripts": "a control: words were shuffled among utterances.",
    "shuffled-audio": "a control: recordings were shuffled among utterances.",
    "shuffled-video": "a control: videos were shuffled among utterances.",
    "permuted-labels": "a control: labels were permuted in training.",
}
"""What a score carries, the number behind it left out -> what a reader has to know of it."""

RULED_OUT: Mapping[str, str] = {
    "shuffled-transcripts": "what is left owes nothing to the words; a gain from text has to be gone here",
    "shuffled-audio": "what is left owes nothing to the voice; a gain from audio has to be gone here",
    "shuffled-video": "what is left owes nothing to the face; a gain from video has to be gone here",
    "permuted-labels": "the test split has to read chance; more would be a leak between splits",
}
"""Control -> what its score rules out."""


_NAMES = {"train": "training"}

FEATURES = {"log_mel": "log-mel spectrogram", "encoder": "states of an encoder", "acoustic": "acoustic features"}
"""What a model reads of the sound -> how a person writes it."""


class Anchor(NamedTuple):
    """A score that others published, on the speech of RAVDESS with eight emotions."""

    system: str
    score: str
    protocol: str
    source: str


ANCHORS = (
    Anchor(
        "people listening to the sound alone",
        "accuracy 0.62, about",
        "listeners without training, every clip",
        "Livingstone & Russo 2018, doi 10.1371/journal.pone.0196391",
    ),
    Anchor(
        "LSTM with residual connections and soft attention, from scratch",
        "UAR 0.623",
        "other speakers than in training, mean of 10 seeds",
        "Krasnoproshin & Vashkevich 2026, arXiv 2606.03359",
    ),
    Anchor(
        "wav2vec2 (xlsr), pretrained and fine-tuned",
        "accuracy 0.818",
        "other speakers than in training, five folds (lj5)",
        "Luna-Jiménez et al. 2022, doi 10.3390/app12010327",
    ),
    Anchor(
        "the same with the face (action units)",
        "accuracy 0.867",
        "other speakers than in training, five folds (lj5)",
        "Luna-Jiménez et al. 2022, doi 10.3390/app12010327",
    ),
)


def has_anchors(subjects: Sequence[Subject]) -> bool:
    """Whether any of them was scored on the eight emotions of RAVDESS."""
    return any(one.metadata.corpus == ravdess.NAME and set(one.emotions) == set(RAVDESS) for one in subjects)


def meaning_of(mark: str) -> str:
    """Says what a mark means; those of "text-overlap 12" are those of "text-overlap"."""
    return next((text for name, text in MARKS.items() if mark.startswith(name)), "see the evaluation protocol.")


def marks_of(subjects: Sequence[Subject], split: str) -> dict[str, str]:
    """Collects what a reader has to know before the first score: mark -> runs that carry it, and what it means."""
    carriers: dict[str, list[str]] = {}
    for one in subjects:
        few = one.scores[split]["unit"] == "speaker" and len(one.scores[split]["speakers"]) < FEW_UNITS
        for mark in [*one.marks, *["few speakers"] * few, *["validation only"] * ("test" not in one.scores)]:
            carriers.setdefault(mark, []).append(one.name)
    everyone = len(subjects)
    return {
        mark: ("" if len(names) == everyone else f"({', '.join(names)}) ") + meaning_of(mark)
        for mark, names in carriers.items()
    }


def trained_on(subject: Subject) -> str:
    """Says in a sentence what was trained on what."""
    metadata, config = subject.metadata, subject.config
    what = f"{subject.name}: {subject.kind} on the corpus {metadata.corpus}"
    if config.is_late:
        joined = f"probabilities of {enumerated(subject.asked.runs)}, joined by the rule {config.rule or 'mean'}"
        return f"{what}; {joined}."
    words = f", words from {metadata.transcript_source}" if "text" in subject.modalities else ""
    words += f" with the {metadata.context} lines before in the dialogue" if metadata.context else ""
    read_as = [FEATURES.get(name, name) for name in metadata.audio_features]
    features = f", audio read as {enumerated(read_as)}" if read_as else ""
    inits = [f"{modality} from {source}" for modality, source in subject.asked.inits.items()]
    started = f", started with {enumerated(inits)}" if inits else ""
    size = f"{metadata.num_training} training utterances" + (f" in fold {config.fold}" if subject.num_seeds else "")
    return f"{what}, {size}{features}{words}{started}; at most {format_count(config.training.epochs, 'epoch')}."


def split_by(subject: Subject) -> str:
    """Says in a sentence how utterances were split."""
    fold, config = subject.metadata.fold, subject.config
    sizes = enumerated([f"{len(getattr(fold, split))} for {_NAMES.get(split, split)}" for split in SPLITS])
    if fold.by == "published_split":
        how = "the splits that the corpus publishes"
    elif fold.by == "utterance_id":
        how = f"utterances at random ({sizes}): a speaker may stand in several splits"
    else:
        absent = f"; listed and absent: {', '.join(fold.absent)}" if fold.absent else ""
        how = f"speakers ({sizes}{absent}); none of them stands in two splits"
    if subject.num_seeds:
        scored = subject.scored_fits
        seeds = len({name.partition("-seed-")[2] for name in scored})
        done = f"{format_count(len(scored), 'fit')} of {format_count(seeds, 'seed')} a fold, pooled"
        return f"{subject.name}: folds {config.folds}, {done}; in fold {config.fold} by {how}.{_gone(subject)}"
    return f"{subject.name}: fold {config.fold} of {config.folds}, by {how}."


def _gone(subject: Subject) -> str:
    """Says which fits of a cross-validation are gone, and what is of the others alone."""
    if not (gone := subject.gone_fits):
        return ""
    named = enumerated(gone) if len(gone) <= 4 else f"{gone[0]} and {len(gone) - 1} others"
    folders = "The folders of" if len(gone) > 1 else "The folder of"
    return f" {folders} {named} cannot be read any more: scores count them, curves and minutes of training do not."


def way(metadata: RunMetadata) -> list[list[Box]]:
    """Describes the way from a file to an answer, a row for each modality."""
    front_end = metadata.front_end
    bands = f"{front_end.get('mel_bins', 0)} mel bands" if "log_mel" in metadata.audio_features else ""
    audio = [FEATURES.get(name, name) for name in metadata.audio_features if name != "log_mel"]
    steps = {
        "audio": (
            Box("recording", ["any format"]),
            Box("waveform", ["16 kHz, one channel,", "one level, ends trimmed"]),
            Box("features", [name for name in (bands, *audio) if name]),
        ),
        "text": (
            Box("transcript", [metadata.transcript_source]),
            Box("words", ["lower case"]),
            Box("token ids", ["of word pieces"]),
        ),
        "video": (
            Box("video", ["frames of a face"]),
            Box("frames", ["cropped to the face"]),
            Box("pixels", ["in [0, 1]"]),
        ),
    }
    columns = [[steps[modality][step] for modality in metadata.modalities] for step in range(3)]
    numbered = [[box._replace(feeds=(row,)) for row, box in enumerate(column)] for column in columns[:2]]
    kinds = "sigmoid, threshold of each" if metadata.is_multi_label else "softmax"
    answer = Box("answer", ["probabilities", f"of {len(metadata.emotions)} emotions"])
    return [*numbered, columns[2], [Box("model", ["logits"])], [Box("temperature", ["logits / T", kinds])], [answer]]
