"""Tests of pipelines.transcripts.paired: which clip gets which sentence, by hand and on the real corpora."""

import dataclasses
from collections import Counter
from pathlib import Path

import pytest

from pipelines import text
from pipelines.command import InputError
from pipelines.corpora import goemotions, ravdess
from pipelines.emotions import GOEMOTIONS, RAVDESS, SEVEN
from pipelines.transcripts.paired import paired
from pipelines.utterance import Corpus, Utterance


def write_sentences(folder, **splits):
    """Writes train, dev and test of GoEmotions from rows (sentence, labels joined by commas)."""
    folder.mkdir(exist_ok=True)
    for split in ("train", "dev", "test"):
        lines = [
            f"{sentence}\t{','.join(str(GOEMOTIONS.index(label)) for label in labels.split(','))}\t{split}{number:03}\n"
            for number, (sentence, labels) in enumerate(splits.get(split, [("A train goes by.", "neutral")]))
        ]
        (folder / f"{split}.tsv").write_text("".join(lines), encoding="utf-8")
    return folder


def acted(emotions=RAVDESS, speakers=("01", "02", "03"), counts=None):
    utterances = [
        Utterance(f"{speaker}-{emotion}-{number}", speaker, emotion, Path("none.wav"), "a script")
        for speaker in speakers
        for emotion in emotions
        for number in range((counts or {}).get(emotion, 0))
    ]
    return Corpus("acted", Path("acted"), "mine", tuple(emotions), tuple(utterances))


def many(label, count, word="x"):
    return [(f"{word} {label} {number}", label) for number in range(count)]


def test_a_sentence_serves_where_all_its_labels_map_to_the_emotion(tmp_path):
    rows = [
        ("what a gift", "joy,gratitude"),
        ("oh well", "joy,sadness"),
        ("you will be fine", "caring,relief"),
        ("good for you", "approval,joy"),
        ("who, me?", "curiosity,confusion"),
    ]
    corpus = acted(speakers=("01",), counts={"happy": 2, "calm": 2, "surprised": 2, "sad": 1})
    filled, table = paired(corpus, write_sentences(tmp_path / "go", test=rows), 0)
    found = {one.transcript: one.emotion for one in filled.utterances}
    assert found == {"what a gift": "happy", "you will be fine": "calm", "who, me?": "surprised"}
    assert filled.ignored == {
        "happy without a sentence (paired)": 1,
        "calm without a sentence (paired)": 1,
        "surprised without a sentence (paired)": 1,
        "sad without a sentence (paired)": 1,
    }
    [row] = [row for row in table if row["emotion"] == "happy"]
    assert (row["comment_id"], row["split"], row["labels"]) == ("test000", "test", "gratitude|joy")
    assert row["transcript"] == "what a gift"
    assert filled.licence.startswith("mine; words of GoEmotions, Apache-2.0")


def test_seven_labels_take_the_map_to_seven(tmp_path, capsys):
    folder = write_sentences(tmp_path / "go", test=[("good for you", "approval,joy")], dev=[("boo", "fear")])
    corpus = acted(SEVEN, ("01",), {"happy": 1, "fear": 3})
    filled, _ = paired(corpus, folder, 0)
    assert [one.transcript for one in filled.utterances] == ["boo", "good for you"]
    output = capsys.readouterr()
    assert output.err == (
        "paired: label map goemotions-seven, 1 sentences from test, 1 from dev, 2 clips without one dropped\n"
    )
    assert output.out == ""


def test_the_test_split_is_used_up_before_dev_and_train_never(tmp_path):
    folder = write_sentences(
        tmp_path / "go", test=many("joy", 4, "t"), dev=many("joy", 4, "d"), train=many("joy", 9, "n")
    )
    for count, expected in ((3, {"test": 3}), (6, {"test": 4, "validation": 2}), (9, {"test": 4, "validation": 4})):
        _, table = paired(acted(speakers=("01",), counts={"happy": count}), folder, 0)
        assert Counter(row["split"] for row in table) == expected


def test_no_sentence_is_used_twice_or_stands_in_train_in_another_spelling(tmp_path):
    folder = write_sentences(
        tmp_path / "go",
        train=[("I LOVE  it", "joy"), ("meh", "neutral")],
        dev=[("Don't stop", "joy")],
        test=[("i love it", "love"), ("Don’t stop", "joy"), ("DON'T STOP", "excitement"), ("\u200b ok", "joy")],
    )
    filled, _ = paired(acted(counts={"happy": 3}), folder, 0)
    spellings = [s.decode() for s in text.normalise([one.transcript for one in filled.utterances]).numpy()]
    assert sorted(spellings) == ["don't stop", "ok"]


def test_scarce_sentences_go_to_the_speakers_in_turn(tmp_path):
    folder = write_sentences(tmp_path / "go", test=many("disgust", 7), dev=many("fear", 6))
    corpus = acted(speakers=("01", "02", "03", "04"), counts={"disgust": 3, "fearful": 3})
    first_served = set()
    for seed in range(8):
        filled, _ = paired(corpus, folder, seed)
        for emotion, total in (("disgust", 7), ("fearful", 6)):
            counts = Counter(one.speaker for one in filled.utterances if one.emotion == emotion)
            assert sum(counts.values()) == total
            assert max(counts.values()) - min(counts[speaker] for speaker in corpus.speakers) <= 1
            first_served.add((emotion, tuple(sorted(speaker for speaker in counts if counts[speaker] == 2))))
    assert len(first_served) > 4


def test_a_speaker_of_few_clips_leaves_sentences_to_the_others(tmp_path):
    folder = write_sentences(tmp_path / "go", test=many("joy", 6))
    corpus = acted(speakers=("01", "02"), counts={"happy": 5})
    few = tuple(one for one in corpus.utterances if one.speaker == "01" or one.utterance_id.endswith("0"))
    filled, _ = paired(dataclasses.replace(corpus, utterances=few), folder, 0)
    assert Counter(one.speaker for one in filled.utterances) == {"01": 5, "02": 1}


def test_another_seed_assigns_other_sentences_and_the_same_seed_the_same(tmp_path):
    folder = write_sentences(tmp_path / "go", test=many("joy", 30))
    corpus = acted(counts={"happy": 5})
    assigned = [[one.transcript for one in paired(corpus, folder, seed)[0].utterances] for seed in (0, 0, 1)]
    assert assigned[0] == assigned[1] != assigned[2]


def test_other_labels_are_refused_with_those_that_work(tmp_path):
    with pytest.raises(
        InputError, match=r"labels happy, bored of acted \(through mine\): pair words with neutral, calm"
    ):
        paired(acted(("happy", "bored"), counts={"happy": 1, "bored": 1}), tmp_path, 0, "mine")


@pytest.mark.parametrize("emotions", [("sad", "happy"), ("sad", "bored", "happy")])
def test_some_of_the_labels_of_a_map_are_enough(tmp_path, emotions):
    """Those that no clip has do not matter."""
    rows = [("what a gift", "joy,gratitude"), ("oh well", "sadness")]
    corpus = acted(emotions, speakers=("01",), counts={"happy": 1, "sad": 1})
    filled, _ = paired(corpus, write_sentences(tmp_path / "go", test=rows), 0)
    assert {one.transcript: one.emotion for one in filled.utterances} == {"what a gift": "happy", "oh well": "sad"}
    assert filled.emotions == emotions


def test_a_folder_that_is_not_goemotions_gets_a_sentence(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError):
            paired(acted(counts={"happy": 1}), folder, 0)


@pytest.mark.real_data
def test_on_the_real_corpora_no_sentence_is_used_twice_and_none_is_trained_on(real_data):
    corpus = ravdess.read(real_data / "ravdess")
    filled, _ = paired(corpus, real_data / "goemotions", 0)
    train = goemotions.read(real_data / "goemotions").utterances
    train_sentences = [one.transcript for one in train if one.published_split == "train"]
    used = text.normalise([one.transcript for one in filled.utterances]).numpy().tolist()
    assert len(set(used)) == len(used) == 1166
    assert not set(used) & set(text.normalise(train_sentences).numpy().tolist())
    assert filled.ignored == {"fearful without a sentence (paired)": 10, "disgust without a sentence (paired)": 24}
    for emotion in RAVDESS:
        counts = Counter(one.speaker for one in filled.utterances if one.emotion == emotion)
        assert len(counts) == 20
        assert max(counts.values()) - min(counts.values()) <= 1
