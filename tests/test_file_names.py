"""Tests of pipelines.corpora.file_names: CREMA-D, TESS, EMO-DB and SAVEE as their makers and others lay them out."""

from collections import Counter

import corpus_trees
import pytest
from test_file_kinds import POINTER

from pipelines.command import InputError
from pipelines.corpora import file_names

TREES = {
    "crema-d": corpus_trees.crema_d,
    "tess": corpus_trees.tess,
    "emodb": corpus_trees.emodb,
    "savee": corpus_trees.savee,
}


def read(folder, corpus):
    return file_names.read(folder, corpus, is_part=True)


@pytest.mark.parametrize("name", TREES)
def test_every_speaker_has_every_emotion_and_every_recording_is_there(tmp_path, name):
    corpus = read(TREES[name](tmp_path), name)
    counts = Counter((one.speaker, one.emotion) for one in corpus.utterances)
    assert set(counts) == {(speaker, emotion) for speaker in corpus.speakers for emotion in corpus.emotions}
    assert len(set(counts.values())) == 1
    assert corpus.ignored == {}
    assert all(one.audio.is_file() and one.trial == one.utterance_id for one in corpus.utterances)
    assert [one.utterance_id for one in corpus.utterances] == sorted(one.utterance_id for one in corpus.utterances)


def test_a_name_of_crema_d_says_actor_sentence_emotion_and_level(tmp_path):
    corpus = read(corpus_trees.crema_d(tmp_path), "crema-d")
    found = {one.utterance_id: one for one in corpus.utterances}["1002_IEO_SAD_HI"]
    assert (found.speaker, found.emotion, found.transcript) == ("1002", "sad", "It's eleven o'clock")
    assert found.attributes == {"intensity": "high", "statement": "IEO", "sex": "female", "age": "21"}


def test_crema_d_is_read_without_its_table_of_actors_in_the_folder_of_its_recordings(tmp_path):
    corpus_trees.crema_d(tmp_path)
    assert read(tmp_path / "AudioWAV", "crema-d").utterances[0].attributes["sex"] == "male"
    (tmp_path / "VideoDemographics.csv").unlink()
    assert read(tmp_path / "AudioWAV", "crema-d").utterances[0].attributes == {"intensity": "high", "statement": "IEO"}


def test_wav_is_read_before_mp3_and_videos_join_the_recording_of_their_name(tmp_path):
    corpus_trees.place(tmp_path, "AudioWAV/1040_ITH_SAD_X.wav", "AudioMP3/1040_ITH_SAD_X.mp3")
    corpus_trees.place(tmp_path, "VideoFlash/1040_ITH_SAD_X.flv", "AudioWAV/.1040_ITH_SAD_X.wav", "AudioWAV/notes.wav")
    corpus = read(tmp_path, "crema-d")
    [utterance] = corpus.utterances
    assert (utterance.audio.suffix, utterance.video.suffix) == (".wav", ".flv")
    assert utterance.attributes == {"intensity": "unspecified", "statement": "ITH"}
    assert corpus.ignored == {"a second file of the same name": 1, "files without a name of CREMA-D": 1}


def test_the_name_of_tess_that_lacks_a_letter_is_no_third_speaker(tmp_path):
    corpus = read(corpus_trees.tess(tmp_path), "tess")
    assert corpus.speakers == ("OAF", "YAF")
    found = {one.utterance_id: one for one in corpus.utterances}["OAF_bite_neutral"]
    assert (found.audio.name, found.transcript) == ("OA_bite_neutral.wav", "Say the word bite")
    assert found.attributes == {"word": "bite", "sex": "female", "age": "64"}


def test_a_name_of_emodb_says_speaker_text_emotion_and_version(tmp_path):
    found = {one.utterance_id: one for one in read(corpus_trees.emodb(tmp_path), "emodb").utterances}["03a01Fa"]
    assert (found.speaker, found.emotion) == ("03", "happiness")
    assert found.transcript == "Der Lappen liegt auf dem Eisschrank."
    assert found.attributes == {"statement": "a01", "version": "a", "sex": "male", "age": "31"}


def test_both_layouts_of_savee_give_the_same_utterances(tmp_path):
    makers = read(corpus_trees.savee(tmp_path / "makers"), "savee")
    names = [f"ALL/{one.utterance_id}.wav" for one in makers.utterances]
    flat = read(corpus_trees.place(tmp_path / "flat", *names), "savee")
    facts = [[(one.utterance_id, one.speaker, one.emotion, one.attributes) for one in each.utterances]
             for each in (makers, flat)]  # fmt: skip
    assert facts[0] == facts[1]
    assert facts[0][0] == ("DC_a01", "DC", "anger", {"sentence": "a01", "sex": "male"})


@pytest.mark.parametrize("name", TREES)
def test_half_a_corpus_is_refused_unless_it_is_meant(tmp_path, name):
    whole = file_names.CORPORA[name]
    message = rf"holds \d+ of the {whole.recordings} recordings of {whole.name}, of \d of its {whole.speakers} speakers"
    with pytest.raises(InputError, match=f"{message}: complete the download, or .* --incomplete"):
        file_names.read(TREES[name](tmp_path), name)


@pytest.mark.parametrize("name", TREES)
def test_another_corpus_is_called_by_its_name(tmp_path, name):
    other = list(TREES)[list(TREES).index(name) - 1]
    TREES[other](tmp_path)
    with pytest.raises(InputError, match=rf"holds no .*: \d+ of its \d+ .* names of {other}, so .* --corpus {other}"):
        read(tmp_path, name)


def test_ravdess_other_recordings_nothing_and_no_folder_are_refused(tmp_path):
    with pytest.raises(InputError, match="no recording at all: name the folder"):
        read(tmp_path, "tess")
    with pytest.raises(InputError, match="is not a folder: name the one that holds TESS, such as OAF_angry"):
        read(tmp_path / "absent", "tess")
    corpus_trees.place(tmp_path, "a.wav")
    with pytest.raises(InputError, match="1 recordings of other names"):
        read(tmp_path, "tess")
    corpus_trees.place(tmp_path, "03-01-01-01-01-01-01.wav")
    with pytest.raises(InputError, match="--corpus ravdess"):
        read(tmp_path, "tess")


@pytest.mark.parametrize(
    ("corpus", "name"),
    [
        ("crema-d", "1001_DFA_XYZ_XX.wav"),
        ("crema-d", "1001_ABC_ANG_XX.wav"),
        ("crema-d", "1001_DFA_ANG_ZZ.wav"),
        ("tess", "OAF_back_bored.wav"),
        ("emodb", "17a01Fa.wav"),
        ("emodb", "03c01Fa.wav"),
        ("emodb", "03a01Xa.wav"),
        ("savee", "XX_a01.wav"),
        ("savee", "DC_x01.wav"),
    ],
)
def test_codes_of_another_release_are_refused_with_the_name(tmp_path, corpus, name):
    with pytest.raises(InputError, match=f"{name} has a code that .* does not know .* another release or corpus"):
        read(corpus_trees.place(tmp_path, name), corpus)


def test_a_clone_without_git_lfs_is_refused_in_one_sentence(tmp_path):
    folder = corpus_trees.crema_d(tmp_path)
    for path in folder.glob("AudioWAV/*"):
        path.write_text(POINTER)
    with pytest.raises(InputError, match=r"1001_IEO_ANG_HI\.wav is a git-lfs pointer"):
        read(folder, "crema-d")


@pytest.mark.real_data
@pytest.mark.parametrize("name", TREES)
def test_the_real_ravdess_is_called_by_its_name(real_data, name):
    with pytest.raises(InputError, match=r"1200 of its 1200 recordings have names of ravdess, so .* --corpus ravdess"):
        read(real_data / "ravdess", name)
