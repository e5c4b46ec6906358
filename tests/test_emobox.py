"""Tests of pipelines.corpora.emobox: lists as EmoBox lays them out, and folds that share speakers refused by name."""

import itertools
import json

import corpus_trees
import pytest

from pipelines.command import InputError
from pipelines.corpora import emobox
from pipelines.folds import make_folds

SPEAKERS = ("03", "08", "09", "10")
CODES = {"W": "anger", "F": "happy", "N": "Neutral"}
KEYS = [f"emodb-{who}a01{code}a" for who, code in itertools.product(SPEAKERS, CODES)]


def row(key):
    wav = f"downloads/emodb/wav/{key[6:]}.wav"
    facts = {"type": "raw", "sample_rate": 16000, "num_frame": 2400.0, "task": "category", "length": 0.15}
    return {"key": key, "dataset": "emodb", "wav": wav, **facts, "emo": CODES[key[11]], "channel": 1}


def clone(folder, folds, rows=None):
    """A clone of EmoBox with one corpus; folds: number -> {"train": keys, "test": keys, perhaps "valid": keys}."""
    data = folder / "data" / "emodb"
    data.mkdir(parents=True)
    rows = [row(key) for key in KEYS] if rows is None else rows
    corpus_trees.place(folder, *(f"downloads/emodb/wav/{key[6:]}.wav" for key in KEYS))
    write(data / "emodb.jsonl", rows)
    stm = (f"{key} 1 {key[6:8]} 0 0.15 <id={key},lang=en,spk={key[6:8]},emotion=x> x\n" for key in KEYS)
    (data / "data.seg.wrd.stm").write_text("".join(stm))
    (data / "label_map.json").write_text(json.dumps({"anger": "Angry", "happy": "Happy", "Neutral": "Neutral"}))
    for number, fold in folds.items():
        (data / f"fold_{number}").mkdir()
        for word, keys in fold.items():
            write(data / f"fold_{number}" / f"emodb_{word}_fold_{number}.jsonl", [row(key) for key in keys])
    return data


def write(path, rows):
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))


def of(*speakers):
    return [key for key in KEYS if key[6:8] in speakers]


CLEAN = {
    number: {"train": of(*(one for one in SPEAKERS if one != who)), "test": of(who)}
    for number, who in enumerate(SPEAKERS, 1)
}
LEAKING = {1: {"train": KEYS[::2], "test": KEYS[1::2]}}


def test_rows_have_the_speakers_of_the_stm_and_the_names_of_the_label_map(tmp_path):
    corpus = emobox.read(clone(tmp_path, CLEAN), ())
    assert (corpus.name, corpus.emotions) == ("EmoBox emodb", ("Angry", "Happy", "Neutral"))
    found = {one.utterance_id: one for one in corpus.utterances}["emodb-08a01Fa"]
    assert (found.speaker, found.emotion, found.published_split) == ("08", "Happy", "")
    assert found.audio.is_file()


def test_folds_of_speakers_become_a_file_of_folds_that_fit_reads(tmp_path):
    import pandas as pd

    corpus = emobox.read(clone(tmp_path, CLEAN), ())
    assert corpus.folds[0] == {"train": ("09", "10"), "validation": ("08",), "test": ("03",)}
    assert corpus.folds[3] == {"train": ("08", "09"), "validation": ("03",), "test": ("10",)}
    (tmp_path / "folds.json").write_text(json.dumps(corpus.folds))
    index = pd.DataFrame({"speaker": SPEAKERS})
    assert [fold.test for fold in make_folds(str(tmp_path / "folds.json"), index)] == [(who,) for who in SPEAKERS]


def test_a_validation_list_is_kept(tmp_path):
    folds = {1: {"train": of("03", "08"), "valid": of("09"), "test": of("10")}}
    assert emobox.read(clone(tmp_path, folds), ()).folds[0]["validation"] == ("09",)


def test_folds_that_share_speakers_are_refused_by_name_or_read_marked(tmp_path):
    data = clone(tmp_path, LEAKING)
    message = r"1 of its 1 folds share speakers .*\(fold 1: 4 of 4 speakers, 03, 08, 09, 10\).*--speaker-leaking 1"
    with pytest.raises(InputError, match=message):
        emobox.read(data, ())
    corpus = emobox.read(data, (), leaking_fold=1)
    splits = [one.published_split for one in corpus.utterances]
    assert {split: splits.count(split) for split in splits} == {"train": 4, "validation": 2, "test": 6}
    assert corpus.folds == ()
    with pytest.raises(InputError, match="--speaker-leaking 3 is none of the folds 1"):
        emobox.read(data, (), leaking_fold=3)


def test_a_clean_fold_needs_no_flag(tmp_path):
    with pytest.raises(InputError, match=r"fold 2 .* shares no speaker .*: leave --speaker-leaking out"):
        emobox.read(clone(tmp_path, CLEAN), (), leaking_fold=2)


def test_what_cannot_be_used_is_refused_with_the_line(tmp_path):
    rows = [row(key) for key in KEYS]
    rows[1]["emo"] = "boredem"
    rows[2]["key"] = "emodb-99a01Na"
    with pytest.raises(InputError, match=r"2 rows of .*\n.*line 2: label_map.* 'boredem'.*\n.*line 3: .*who speaks"):
        emobox.read(clone(tmp_path / "a", CLEAN, rows), ())
    data = clone(tmp_path / "b", CLEAN)
    (tmp_path / "b" / "downloads").rename(tmp_path / "b" / "elsewhere")
    with pytest.raises(InputError, match=r"downloads/emodb/wav/03a01Wa\.wav lies neither below"):
        emobox.read(data, ())
    (data / "data.seg.wrd.stm").unlink()
    with pytest.raises(InputError, match=r"data\.seg\.wrd\.stm is not there"):
        emobox.read(data, ())
    with pytest.raises(InputError, match=r"cannot read .*: name the folder of one corpus in EmoBox"):
        emobox.read(tmp_path, ())
