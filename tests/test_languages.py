"""Tests of pipelines.transcripts.languages: who is warned of what."""

import pytest

from pipelines.transcripts.languages import SURE, Hearing, describe_languages, remark_on

GERMAN_AS_ENGLISH = Hearing("de", 0.9, "en", has_words=True)
ENGLISH = Hearing("en", 0.9, "en", has_words=True)


@pytest.mark.parametrize(
    "hearing",
    [
        Hearing(),
        ENGLISH,
        GERMAN_AS_ENGLISH._replace(has_words=False),
        GERMAN_AS_ENGLISH._replace(probability=SURE - 0.01),
        GERMAN_AS_ENGLISH._replace(probability=None),
    ],
)
def test_nobody_is_warned_of_the_language_told_nor_of_guesses(hearing):
    assert not hearing.is_other
    assert remark_on(hearing, is_auto=False) == []
    assert describe_languages([hearing], is_auto=False) == []


def test_another_language_is_counted_among_clips_with_words():
    [sentence] = describe_languages([ENGLISH, GERMAN_AS_ENGLISH, Hearing(), GERMAN_AS_ENGLISH], is_auto=False)
    assert sentence.startswith("warning: 2 of 3 clips with words sound like another language than en (de 2): ")
    assert "give --language auto" in sentence


def test_detected_languages_are_counted_the_most_frequent_first():
    german = Hearing("de", 0.3, "de", has_words=True)
    hearings = [ENGLISH, german, german, german._replace(has_words=False)]
    assert describe_languages(hearings, is_auto=True) == ["languages detected in clips with words: de 2, en 1"]
    assert describe_languages([Hearing()], is_auto=True) == []
    assert remark_on(german, is_auto=True) == ["the language was detected as de (probability 0.30)"]
