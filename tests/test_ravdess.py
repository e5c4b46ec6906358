"""Tests of pipelines.corpora.ravdess: labels from file names, in every layout in which people keep the corpus."""

from collections import Counter

import corpus_trees
import pytest

from pipelines.command import InputError
from pipelines.corpora import ravdess
from pipelines.speakers import people_of


def place(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def all_names():
    """The 1440 names of RAVDESS speech."""
    return [
        f"03-01-{emotion:02}-{intensity:02}-{statement:02}-{repetition:02}-{actor:02}.wav"
        for actor in range(1, 25)
        for emotion in range(1, 9)
        for intensity in (1, 2)
        for statement in (1, 2)
        for repetition in (1, 2)
        if (emotion, intensity) != (1, 2)
    ]


@pytest.mark.parametrize("is_flat", [True, False])
def test_the_complete_corpus_is_read_in_both_layouts(tmp_path, is_flat):
    names = all_names()
    place(tmp_path, *(name if is_flat else f"Actor_{name[18:20]}/{name}" for name in names))
    corpus = ravdess.read(tmp_path)
    assert len(corpus.utterances) == len(names) == 1440
    assert len(corpus.speakers) == 24
    counts = Counter(utterance.emotion for utterance in corpus.utterances)
    assert counts == {emotion: 96 if emotion == "neutral" else 192 for emotion in corpus.emotions}
    assert corpus.ignored == {}


def test_a_name_says_everything_about_its_clip(tmp_path):
    (utterance,) = ravdess.read(place(tmp_path, "Actor_12/03-01-06-02-01-02-12.wav")).utterances
    assert utterance.utterance_id == "03-01-06-02-01-02-12"
    assert utterance.speaker == "12"
    assert utterance.emotion == "fearful"
    assert utterance.transcript == "Kids are talking by the door"
    assert utterance.trial == "01-06-02-01-02-12" == ravdess.trial_of("01-01-06-02-01-02-12")
    assert utterance.attributes == {"intensity": "strong", "statement": "01", "repetition": "02", "sex": "female"}


def test_song_and_other_files_beside_the_speech_are_left_out_and_counted(tmp_path):
    place(
        tmp_path,
        "Actor_01/03-01-01-01-01-01-01.wav",
        "Actor_01/03-02-01-01-01-01-01.wav",
        "Actor_01/01-02-01-01-01-01-01.mp4",
        "Actor_01/01-01-01-01-01-01-01.wav",
        "Actor_01/03-01-01-01-01-01-01.mp4",
        "Actor_01/notes.wav",
        "Actor_01/.03-01-01-01-01-01-01.wav",
        "__MACOSX/._03-01-01-01-01-01-01.wav",
        "index.csv",
    )
    corpus = ravdess.read(tmp_path)
    assert [utterance.utterance_id for utterance in corpus.utterances] == ["03-01-01-01-01-01-01"]
    assert corpus.ignored == {
        "song": 2,
        "audio taken out of a video": 1,
        "video named as audio alone (03)": 1,
        "recordings without a RAVDESS name": 1,
    }


SOUND, BOTH, PICTURES = ("03-01-05-01-01-01-07.wav", "01-01-05-01-01-01-07.mp4", "02-01-05-01-01-01-07.mp4")


@pytest.mark.parametrize(
    ("files", "name", "audio", "video"),
    [
        ((SOUND,), SOUND, SOUND, None),
        ((SOUND, BOTH, PICTURES), SOUND, SOUND, PICTURES),
        ((SOUND, BOTH), SOUND, SOUND, BOTH),
        ((SOUND, PICTURES), SOUND, SOUND, PICTURES),
        ((BOTH, PICTURES), BOTH, BOTH, PICTURES),
        ((BOTH,), BOTH, BOTH, BOTH),
        ((PICTURES,), PICTURES, None, PICTURES),
    ],
)
def test_the_files_of_one_trial_are_one_utterance(tmp_path, files, name, audio, video):
    [utterance] = ravdess.read(place(tmp_path, *(f"Actor_07/{file}" for file in files))).utterances
    assert utterance.utterance_id == name[:-4]
    assert utterance.trial == "01-05-01-01-01-07"
    found = [path and path.name for path in (utterance.audio, utterance.video)]
    assert found == [audio, video]


def test_without_its_videos_a_corpus_keeps_the_sound_and_counts_what_has_none(tmp_path):
    place(tmp_path, SOUND, PICTURES, "02-01-01-01-01-01-08.mp4", "01-01-01-01-01-01-09.mp4")
    corpus = ravdess.read(tmp_path).audio_only()
    assert [one.utterance_id[:2] for one in corpus.utterances] == ["01", "03"]
    assert not corpus.has_video
    assert corpus.ignored == {"video without audio (--video-frames reads it)": 1}


def test_a_nested_second_copy_is_counted_and_not_read_twice(tmp_path):
    names = all_names()[:60]
    place(tmp_path, *(f"Actor_01/{name}" for name in names))
    place(tmp_path / "audio_speech_actors_01-24", *(f"Actor_01/{name}" for name in names))
    corpus = ravdess.read(tmp_path)
    assert len(corpus.utterances) == 60
    assert corpus.ignored == {"a second file of the same name": 60}


@pytest.mark.parametrize("suffix", [".wav", ".WAV", ".flac", ".mp3", ".ogg"])
def test_any_sound_suffix_is_read(tmp_path, suffix):
    assert len(ravdess.read(place(tmp_path, f"03-01-01-01-01-01-01{suffix}")).utterances) == 1


@pytest.mark.parametrize(
    "name",
    [
        "04-01-01-01-01-01-01.wav",
        "03-03-01-01-01-01-01.wav",
        "03-01-09-01-01-01-01.wav",
        "03-01-00-01-01-01-01.wav",
        "03-01-01-03-01-01-01.wav",
        "03-01-01-01-03-01-01.wav",
        "03-01-01-01-01-01-25.wav",
        "03-01-01-01-01-01-00.wav",
    ],
)
def test_codes_that_do_not_exist_are_refused_with_the_name(tmp_path, name):
    with pytest.raises(InputError, match=f"{name} has a code that RAVDESS does not know"):
        ravdess.read(place(tmp_path, name))


def test_a_folder_without_ravdess_speech_is_refused_with_what_it_holds(tmp_path):
    with pytest.raises(InputError, match=r"holds no RAVDESS speech .* no recording at all"):
        ravdess.read(tmp_path)
    place(tmp_path, "03-02-01-01-01-01-01.wav", "holiday.mp4", "a.wav")
    with pytest.raises(InputError, match=r"only 1 song, 2 recordings without a RAVDESS name: .*--corpus manifest"):
        ravdess.read(tmp_path)


def test_a_missing_folder_a_file_and_the_synthetic_corpus_are_refused(tmp_path, three_speakers):
    (tmp_path / "file").touch()
    for source in (tmp_path / "absent", tmp_path / "file"):
        with pytest.raises(InputError, match="is not a folder"):
            ravdess.read(source)
    with pytest.raises(InputError, match="is the synthetic corpus"):
        ravdess.read(three_speakers.source)


def test_songs_join_the_speech_under_a_name_of_their_own(tmp_path):
    corpus = ravdess.read(corpus_trees.ravdess(tmp_path), with_song=True)
    assert corpus.speakers == ("01", "01 song", "02", "02 song", "03", "03 song", "04", "04 song")
    assert corpus.only_train == {f"0{number} song": f"0{number}" for number in (1, 2, 3, 4)}
    found = {one.utterance_id: one for one in corpus.utterances}
    assert found["03-02-05-01-01-01-02"].attributes["channel"] == "song"
    assert "channel" not in found["03-01-05-01-01-01-02"].attributes
    assert corpus.ignored == {}
    speech = ravdess.read(tmp_path)
    assert (speech.speakers, speech.ignored) == (("01", "02", "03", "04"), {"song": 12})


def test_song_alone_is_a_corpus_of_the_same_actors(tmp_path):
    corpus_trees.ravdess(tmp_path)
    corpus = ravdess.read_song(tmp_path, is_part=True)
    assert (corpus.name, corpus.speakers, corpus.ignored) == ("RAVDESS song", ("01", "02", "03", "04"), {"speech": 12})
    assert people_of(corpus.name) == people_of(ravdess.read(tmp_path).name) != people_of("TESS")
    with pytest.raises(InputError, match="holds 12 of the 1012 recordings of RAVDESS song, of 4 of its 23 speakers"):
        ravdess.read_song(tmp_path)


def test_song_that_is_asked_for_and_not_there_is_refused(tmp_path):
    corpus_trees.ravdess(tmp_path, channels=("01",))
    with pytest.raises(InputError, match=r"holds no song such as .*, or leave --with-song out"):
        ravdess.read(tmp_path, with_song=True)
    with pytest.raises(InputError, match=r"holds no RAVDESS song such as Actor_01/03-02-05.*, only 12 speech"):
        ravdess.read_song(tmp_path)


@pytest.mark.real_data
def test_the_real_folder_is_read_whole(real_data):
    corpus = ravdess.read(real_data / "ravdess")
    assert len(corpus.utterances) == 1200
    assert set(Counter(utterance.speaker for utterance in corpus.utterances).values()) == {60}
