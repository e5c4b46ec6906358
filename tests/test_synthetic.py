"""Tests of the synthetic corpus: the same bytes again, and some of the label in each modality."""

import csv
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pipelines.command import InputError
from pipelines.corpora import synthetic
from pipelines.corpora.synthetic import acting, drawing, faces, speech
from pipelines.emotions import RAVDESS


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    source = tmp_path_factory.mktemp("corpora") / "synthetic"
    synthetic.make(source)
    return synthetic.read(source)


@pytest.fixture(scope="module")
def features(corpus):
    return np.stack([_features(utterance.audio) for utterance in corpus.utterances])


def _features(path):
    """Statistics of a log-mel that lost the mean of each band and the scale of the clip, and its modulations."""
    waveform, sample_rate = soundfile.read(path, dtype="float32")
    mel = librosa.feature.melspectrogram(y=waveform, sr=sample_rate, n_fft=512, hop_length=160, n_mels=32)
    log_mel = np.log(mel.T + 1e-6)
    log_mel -= log_mel.mean(axis=0)
    log_mel /= log_mel.std()
    bands = log_mel.reshape(len(log_mel), 16, 2).mean(axis=2)
    envelopes = bands.reshape(len(bands), 4, 4).mean(axis=2) * np.hanning(len(bands))[:, None]
    modulations = np.log(np.abs(np.fft.rfft(envelopes, 512, axis=0))[2:82].reshape(20, 4, 4).mean(axis=1) + 1e-3)
    quantiles = np.quantile(bands, (0.1, 0.25, 0.5, 0.75, 0.9), axis=0)
    return np.concatenate([bands.std(axis=0), *quantiles, np.abs(np.diff(bands, axis=0)).mean(axis=0), *modulations])


def _predicted(classifier, inputs, labels, speakers):
    """Predicts every label by a classifier that was trained on other speakers."""
    return cross_val_predict(classifier, inputs, labels, groups=speakers, cv=GroupKFold(5))


def _audio_classifier():
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.05, class_weight="balanced", max_iter=2000))


def _text_classifier():
    return make_pipeline(CountVectorizer(), LogisticRegression(class_weight="balanced", max_iter=2000))


def _above_chance(classifier, inputs, cells, emotions, speakers):
    """Averages over the cells how far above chance the UAR of the emotions within a cell is."""
    excess = []
    for cell in set(cells):
        here = cells == cell
        predicted = _predicted(classifier, inputs[here], emotions[here], speakers[here])
        chance = 1.0 / len(set(emotions[here]))
        excess.append(balanced_accuracy_score(emotions[here], predicted) - chance)
    return np.mean(excess)


def _column(corpus, name):
    return np.array([getattr(utterance, name) for utterance in corpus.utterances])


def _cells(corpus, axis):
    return np.array([synthetic._GROUPS_AND_THEMES[utterance.emotion][axis] for utterance in corpus.utterances])


def _tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_names_and_counts_are_those_of_ravdess_speech_with_one_repetition(corpus):
    assert len(corpus.utterances) == 600
    assert corpus.emotions == RAVDESS
    assert corpus.speakers == tuple(f"{speaker:02}" for speaker in range(1, 21))
    counts = Counter(utterance.emotion for utterance in corpus.utterances)
    assert counts == {emotion: 40 if emotion == "neutral" else 80 for emotion in RAVDESS}
    for utterance in corpus.utterances:
        code = f"{RAVDESS.index(utterance.emotion) + 1:02}"
        pattern = rf"03-01-{code}-0[12]-0[12]-01-{utterance.speaker}"
        assert re.fullmatch(pattern, utterance.utterance_id)
        assert utterance.audio == corpus.source / f"Actor_{utterance.speaker}" / f"{utterance.utterance_id}.wav"
        assert utterance.trial == utterance.utterance_id[3:]


def test_attributes_repeat_the_fields_of_the_name(corpus):
    by_id = {utterance.utterance_id: utterance.attributes for utterance in corpus.utterances}
    assert by_id["03-01-05-02-01-01-12"] == {
        "intensity": "strong",
        "statement": "01",
        "repetition": "01",
        "sex": "female",
        "synthetic": "true",
    }
    assert by_id["03-01-01-01-02-01-07"]["intensity"] == "normal"
    assert by_id["03-01-01-01-02-01-07"]["sex"] == "male"


def test_neutral_is_never_strong(corpus):
    neutral = [utterance for utterance in corpus.utterances if utterance.emotion == "neutral"]
    assert {utterance.attributes["intensity"] for utterance in neutral} == {"normal"}


def test_every_clip_has_a_sentence_and_few_share_one(corpus):
    with (corpus.source / "sentences.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["utterance_id"] for row in rows} == {path.stem for path in corpus.source.rglob("*.wav")}
    assert len(rows) == 600
    assert len({row["transcript"] for row in rows}) > 500
    assert all(re.fullmatch(r"[A-Z][a-zA-Z ]+\.", row["transcript"]) for row in rows)


def test_clips_are_short_unclipped_and_begin_and_end_in_low_noise(corpus):
    for utterance in corpus.utterances[::7]:
        waveform, sample_rate = soundfile.read(utterance.audio, dtype="float32")
        assert soundfile.info(utterance.audio).subtype == "PCM_16"
        assert (waveform.ndim, sample_rate) == (1, 16000)
        # 1 to 1.75 s of speech between ends of 0.1 to 0.2 s, rounded to hops of the synthesis.
        seconds, hop = len(waveform) / sample_rate, speech._HOP / sample_rate
        assert 0.1 + 1.0 + 0.1 - hop <= seconds <= 0.2 + 1.75 + 0.2 + hop
        assert 0.02 < np.abs(waveform).max() < 0.99
        for end in (waveform[:1000], waveform[-1000:]):
            assert 0.0 < np.sqrt(np.mean(np.square(end))) < 0.001


def test_the_same_seed_gives_the_same_bytes_in_another_process_and_with_fewer_speakers(corpus, tmp_path):
    code = (
        "import pathlib, sys; from pipelines.corpora import synthetic; synthetic._make(pathlib.Path(sys.argv[1]), 0, 2)"
    )
    environment = os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": str(Path(synthetic.__file__).parents[3])}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, env=environment)
    for actor in ("Actor_01", "Actor_02"):
        assert _tree(tmp_path / actor) == _tree(corpus.source / actor)
    sentences = (tmp_path / "sentences.csv").read_bytes()
    assert (corpus.source / "sentences.csv").read_bytes().startswith(sentences)


def test_another_seed_gives_other_clips_and_sentences(corpus, tmp_path):
    synthetic._make(tmp_path, 1, 1)
    other = {utterance.utterance_id: utterance for utterance in synthetic.read(tmp_path).utterances}
    first = [utterance for utterance in corpus.utterances if utterance.speaker == "01"]
    assert len(first) == len(other) == 30
    assert all(one.audio.read_bytes() != other[one.utterance_id].audio.read_bytes() for one in first)
    assert sum(one.transcript != other[one.utterance_id].transcript for one in first) > 25


def test_a_killed_making_continues_where_it_stopped(tmp_path, monkeypatch):
    synthetic._make(tmp_path / "whole", 0, 1)
    killed, speak, spoken = tmp_path / "killed", speech.speak, []

    def speak_until_killed(*arguments):
        spoken.append(arguments)
        if len(spoken) > 10:
            raise KeyboardInterrupt
        return speak(*arguments)

    monkeypatch.setattr(speech, "speak", speak_until_killed)
    with pytest.raises(KeyboardInterrupt):
        synthetic._make(killed, 0, 1)
    monkeypatch.undo()
    assert not (killed / "sentences.csv").exists()
    with pytest.raises(InputError, match="lacks 30 of 30 clips or their sentences"):
        synthetic.read(killed)
    kept = {path: path.stat().st_mtime_ns for path in killed.rglob("*.wav")}
    assert len(kept) == 10

    synthetic._make(killed, 0, 1)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert _tree(killed) == _tree(tmp_path / "whole")


def test_a_lost_clip_is_noticed_and_made_again(tmp_path):
    synthetic._make(tmp_path, 0, 1)
    whole = _tree(tmp_path)
    lost = tmp_path / "Actor_01" / "03-01-04-01-02-01-01.wav"
    lost.unlink()
    with pytest.raises(InputError, match=f"lacks 1 of 30 .*{lost.stem}"):
        synthetic.read(tmp_path)
    synthetic._make(tmp_path, 0, 1)
    assert _tree(tmp_path) == whole


def test_a_foreign_folder_is_refused_and_left_untouched(tmp_path):
    (tmp_path / "Actor_01").mkdir()
    (tmp_path / "Actor_01" / "03-01-01-01-01-01-01.wav").write_bytes(b"a real recording")
    before = _tree(tmp_path)
    with pytest.raises(InputError, match="something other than a synthetic corpus"):
        synthetic.make(tmp_path)
    assert _tree(tmp_path) == before


@pytest.mark.parametrize("marker", [b"", b"[]", b'{"made_by": "another"}'])
def test_a_folder_with_a_foreign_marker_is_refused(tmp_path, marker):
    (tmp_path / "synthetic.json").write_bytes(marker)
    with pytest.raises(InputError, match="something other than a synthetic corpus"):
        synthetic.make(tmp_path)
    with pytest.raises(InputError, match="is not a synthetic corpus"):
        synthetic.read(tmp_path)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("words")
    with pytest.raises(InputError, match="something other than a synthetic corpus"):
        synthetic.make(tmp_path / "file")


def test_another_seed_in_the_same_folder_is_refused(corpus):
    with pytest.raises(InputError, match=r"seed 0, .*seed 1, .*choose another folder"):
        synthetic.make(corpus.source, seed=1)


def test_a_folder_with_hidden_files_only_counts_as_empty(tmp_path):
    (tmp_path / ".gitkeep").touch()
    synthetic._make(tmp_path, 0, 1)
    assert len(synthetic.read(tmp_path).utterances) == 30


def test_an_absent_folder_is_no_corpus(tmp_path):
    with pytest.raises(InputError, match="is not a synthetic corpus"):
        synthetic.read(tmp_path / "absent")


def test_group_and_theme_together_decide_between_all_eight_emotions():
    assert set(synthetic._GROUPS_AND_THEMES) == set(RAVDESS)
    assert len(set(synthetic._GROUPS_AND_THEMES.values())) == 8


def test_audio_shows_the_group_of_unknown_speakers(corpus, features):
    groups = _cells(corpus, 0)
    predicted = _predicted(_audio_classifier(), features, groups, _column(corpus, "speaker"))
    assert np.mean(predicted == groups) > 0.85


def test_audio_shows_no_emotion_within_a_group(corpus, features):
    emotions, speakers = _column(corpus, "emotion"), _column(corpus, "speaker")
    assert _above_chance(_audio_classifier(), features, _cells(corpus, 0), emotions, speakers) < 0.07


def test_words_show_the_theme_of_unknown_speakers(corpus):
    themes = _cells(corpus, 1)
    predicted = _predicted(_text_classifier(), _column(corpus, "transcript"), themes, _column(corpus, "speaker"))
    assert np.mean(predicted == themes) > 0.95


def test_words_show_no_emotion_within_a_theme(corpus):
    emotions, speakers = _column(corpus, "emotion"), _column(corpus, "speaker")
    transcripts = _column(corpus, "transcript")
    assert _above_chance(_text_classifier(), transcripts, _cells(corpus, 1), emotions, speakers) < 0.07


def test_without_opencv_nothing_is_made(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(InputError, match=r"needs OpenCV.*pip install -c requirements.txt -e '.\[video\]'"):
        synthetic.make(tmp_path / "corpus", with_video=True)
    assert list(tmp_path.iterdir()) == []


def test_two_pairs_share_an_expression_and_their_groups_differ():
    assert set(synthetic._EXPRESSIONS) == set(RAVDESS)
    assert set(synthetic._EXPRESSIONS.values()) == set(faces.EXPRESSIONS)
    assert sorted(Counter(synthetic._EXPRESSIONS.values()).values()) == [1, 1, 1, 1, 2, 2]
    cells = {(synthetic._GROUPS_AND_THEMES[emotion][0], synthetic._EXPRESSIONS[emotion]) for emotion in RAVDESS}
    assert len(cells) == len(RAVDESS)


def test_a_video_is_made_of_the_expression_and_not_of_the_emotion(tmp_path, monkeypatch):
    pytest.importorskip("cv2")
    given = []

    def act_nothing(expression, face, num_frames, rng):
        given.append(expression)
        return np.zeros((1, drawing.HEIGHT, drawing.WIDTH, 3), np.uint8)

    monkeypatch.setattr(acting, "act", act_nothing)
    synthetic._make(tmp_path, 0, 1, True)
    expected = [faces.EXPRESSIONS[clip.expression] for clip in synthetic._clips(1)]
    assert given == expected
    assert Counter(expected)[faces.EXPRESSIONS["smile"]] == 8


def test_videos_are_added_later_and_after_an_interruption_with_the_same_bytes(seen_speakers, tmp_path, monkeypatch):
    synthetic._make(tmp_path, 0, 1)
    silent, drawn, act_whole = _tree(tmp_path), [], acting.act
    assert all(utterance.video is None for utterance in synthetic.read(tmp_path).utterances)

    def act_until_interrupted(*arguments):
        drawn.append(arguments)
        if len(drawn) > 3:
            raise KeyboardInterrupt
        return act_whole(*arguments)

    monkeypatch.setattr(acting, "act", act_until_interrupted)
    with pytest.raises(KeyboardInterrupt):
        synthetic._make(tmp_path, 0, 1, True)
    monkeypatch.undo()
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.mp4")}
    assert len(kept) == sum(utterance.video is not None for utterance in synthetic.read(tmp_path).utterances) == 3

    synthetic._make(tmp_path, 0, 1, True)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert silent.items() <= _tree(tmp_path).items()
    assert _tree(tmp_path / "Actor_01") == _tree(seen_speakers.source / "Actor_01")


def test_examples_are_clips_of_the_corpus_with_their_sentences(three_speakers):
    found = synthetic.examples(2)
    assert [one.emotion for one in found] == list(RAVDESS)
    for one in found:
        clip = next(u for u in three_speakers.utterances if u.speaker == "02" and u.emotion == one.emotion)
        assert (one.wav, one.transcript) == (clip.audio.read_bytes(), clip.transcript)
