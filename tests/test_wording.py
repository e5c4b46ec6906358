"""Tests of emotion_tf.reporting.wording: numbers as people write them, and what a comparison comes to."""

from test_comparison import compared_hits, random_hits

from emotion_tf.reporting.wording import format_count, format_interval, format_p, with_sentences


def sentences_of(hits, marks=()):
    return [pair["sentence"] for pair in with_sentences(compared_hits(hits, marks))["pairs"]]


def test_counts_have_their_plural():
    assert [format_count(number, "speaker") for number in (0, 1, 2)] == ["0 speakers", "1 speaker", "2 speakers"]


def test_intervals_are_points_unless_asked_otherwise():
    assert format_interval((0.6124, 0.7), "speaker") == "[61.2, 70.0]"
    assert format_interval((0.6124, 0.7), "speaker", scale=1, digits=3) == "[0.612, 0.700]"
    assert format_interval(None, "dialogue") == "[too few dialogues]"


def test_p_values_have_three_digits_and_a_lower_end():
    shown = [format_p(p_value) for p_value in (1.0, 0.0625, 0.00012345, 0.00009)]
    assert shown == ["1", "0.0625", "0.000123", "< 0.0001"]


def test_the_sentence_of_a_difference():
    hits = {"early": [[1, 1, 1, 0]] * 8, "audio": [[1, 0, 1, 0]] * 8}
    assert sentences_of(hits, ["synthetic"]) == [
        "early beats audio [synthetic] by 25.0 points UAR [25.0, 25.0], p = 0.00781, 8 speakers."
    ]


def test_the_sentence_of_no_difference():
    assert sentences_of({"early": [[1, 0]] * 4 + [[0, 1]] * 4, "audio": [[1, 0]] * 8}) == [
        "early and audio cannot be told apart: +0.0 points UAR [0.0, 0.0], p = 1, 8 speakers."
    ]


def test_several_comparisons_are_named_beside_their_correction():
    found = sentences_of({name: random_hits(8, rate=rate) for name, rate in (("c", 0.2), ("a", 0.9), ("b", 0.5))})
    assert "after Holm over 3 comparisons), 8 speakers." in found[0]


def test_few_speakers_say_which_p_values_cannot_be_reached():
    hits = {"a": [[1, 1, 1, 1]] * 5, "b": [[1, 1, 1, 0]] * 5, "c": [[1, 0, 0, 0]] * 5}
    assert compared_hits(hits)["smallest_p"] == 0.0625
    for sentence in sentences_of(hits):
        assert "cannot be told apart" in sentence
        assert sentence.endswith(
            "; with 5 speakers p cannot fall below 0.0625 (0.188 after Holm over 3):"
            " no difference can be called significant at 0.05 here."
        )
    [alone] = sentences_of({"two": [[1, 1]] * 2, "too": [[1, 0]] * 2})
    assert "UAR [too few speakers], p = 0.5, 2 speakers; with 2 speakers p cannot fall below 0.5:" in alone


def test_a_tiny_p_value_has_no_equals_sign():
    hits = {"early": [[1, 1]] * 20, "audio": [[1, 0]] * 20}
    assert sentences_of(hits) == ["early beats audio by 50.0 points UAR [50.0, 50.0], p < 0.0001, 20 speakers."]
