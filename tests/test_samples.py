"""Tests of emotion_tf.reporting.samples: what is shown of a clip is what the model reads of it."""

from emotion_tf.reporting.samples import samples
from emotion_tf.runs.compatibility import inputs_of


def samples_of(run):
    return samples(run.config(), run.metadata(), inputs_of(run))


def test_samples_have_a_spectrogram_where_the_model_reads_audio(audio_run, text_run):
    of_audio, of_text = list(samples_of(audio_run)), list(samples_of(text_run))
    assert [title for title, _ in of_audio] == [title for title, _ in of_text]
    assert all(figure is not None for _, figure in of_audio)
    assert all(figure is None for _, figure in of_text)


def test_samples_of_several_emotions_name_all_of_them(goemotions_run):
    titles = [title for title, _ in samples_of(goemotions_run)]
    assert len(titles) == 8
    for title in titles:
        emotions, words = title.split(": ", 1)[1].split(", “")
        assert all(name in words for name in emotions.split(", "))
