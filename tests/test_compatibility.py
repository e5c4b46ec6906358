"""Tests of emotion_tf.runs.compatibility: what a model reads, and what fits what."""

import dataclasses
import shutil
from types import SimpleNamespace

import pytest

from emotion_tf.config import AudioConfig
from emotion_tf.runs import compatibility
from emotion_tf.runs.compatibility import RunInputs, inputs_of, label_targets, late_targets, misfit, resolve
from emotion_tf.runs.folder import Run
from pipelines import files
from pipelines.audio import NUM_MFCC_COLUMNS
from pipelines.command import InputError
from pipelines.emotions import EKMAN, GOEMOTIONS, RAVDESS, SEVEN
from pipelines.normalisation import Normalisation
from pipelines.records import read_metadata

FACTS = {"emotions": ["joy"], "is_multi_label": False, "front_end": {}, "vocabulary_sha256": "a", "encoder": None}
FACTS |= {"context": 0, "modalities": ("text",)}


def facts(**values):
    read = ("encoder",) if values.get("encoder") else ()
    return SimpleNamespace(**FACTS | {"video": None, "audio_features": read} | values)


def test_one_emotion_an_utterance_does_not_fit_several():
    assert misfit(facts(), facts()) == ""
    assert misfit(facts(), facts(is_multi_label=True)) == "number of emotions an utterance (one, or several)"
    assert misfit(facts(), facts(is_multi_label=True), ["vocabulary_sha256"]) == ""


def test_a_run_on_words_fits_records_of_as_many_lines_of_context_alone():
    what = "number of lines of context (prepare --context)"
    assert misfit(facts(), facts(context=2)) == misfit(facts(context=2), facts()) == what
    assert misfit(facts(context=2), facts(context=1)) == what
    assert misfit(facts(context=2), facts(context=2)) == ""
    assert misfit(facts(modalities=("audio",)), facts(context=2)) == ""


def test_records_of_any_encoder_fit_a_run_that_reads_none():
    one, states = facts(), facts(encoder={"kind": "whisper", "model": "a.pt", "blocks": [2]})
    assert misfit(one, states, ["encoder"]) == misfit(states, states, ["encoder"]) == ""
    other = facts(encoder={"kind": "whisper", "model": "a.pt", "blocks": [1]})
    assert misfit(states, one, ["encoder"]) == misfit(states, other, ["encoder"]) == "encoder"


def test_an_encoder_is_known_by_its_weights_not_by_its_name():
    states = {"kind": "whisper", "sha256": "ab", "blocks": [2]}
    run, records = facts(encoder=states | {"model": "a.pt"}), facts(encoder=states | {"model": "renamed.pt"})
    assert misfit(run, records, ["encoder"]) == ""
    other = facts(encoder=states | {"model": "a.pt", "sha256": "cd"})
    assert misfit(run, other, ["encoder"]) == "encoder"


def test_a_run_that_brings_its_encoder_reads_waveforms_of_any_records():
    states = {"kind": "whisper", "sha256": "ab", "blocks": [2], "model": "a.pt"}
    assert misfit(facts(encoder=states, audio_features=("waveform",)), facts(), ["encoder"]) == ""
    assert misfit(facts(encoder=states, audio_features=("encoder", "waveform")), facts(), ["encoder"]) == "encoder"


def test_a_config_of_its_own_branches_reads_what_it_says(make_config, acoustic_records):
    records = read_metadata(acoustic_records)
    config = make_config("fusion", fusion="early", records=str(acoustic_records))
    config = dataclasses.replace(config, audio=AudioConfig(features=("mfcc", "log_mel")))
    found = resolve(config, records)
    assert (found.modalities, found.audio_features) == (("audio", "text"), ("log_mel", "mfcc"))
    assert (found.tokenizer, found.normalisation) == (None, None)
    assert found.widths == {"log_mel": 64, "mfcc": NUM_MFCC_COLUMNS}
    words = resolve(make_config("text"), records)
    assert (words.modalities, words.audio_features, words.widths) == (("text",), (), {})


def test_a_run_reads_what_its_config_was_resolved_to(
    audio_run, text_run, early_run, late_run, encoder_run, video_run, seen_run
):
    for run in (audio_run, text_run, early_run, late_run, encoder_run, video_run, seen_run):
        assert inputs_of(run) == resolve(run.config(), run.metadata())
    assert inputs_of(encoder_run).widths == {"encoder": (2, 8)}
    assert inputs_of(seen_run).widths == {"log_mel": 64, "video_frames": (32, 32, 1)}


def late(make_config, *runs, **values):
    return make_config("fusion", fusion="late", runs=tuple(str(run.folder) for run in runs), **values)


def test_late_fusion_reads_all_that_its_runs_read(make_config, encoder_run, text_run, audio_run):
    found = resolve(late(make_config, text_run, encoder_run, audio_run), encoder_run.metadata())
    assert (found.modalities, found.audio_features) == (("audio", "text"), ("log_mel", "encoder"))
    assert found.widths == {"log_mel": 64, "encoder": (2, 8)}


def test_late_fusion_of_late_fusion_reads_all_and_needs_no_source_of_a_source(
    make_config, tmp_path, late_run, video_run
):
    config = late(make_config, late_run, video_run)
    assert resolve(config, video_run.metadata()).modalities == ("audio", "text", "video")
    copy = Run(tmp_path / "late")
    shutil.copytree(late_run.folder, copy.folder)
    gone = dataclasses.replace(copy.config(), runs=(str(tmp_path / "gone"), str(tmp_path / "gone-too")))
    copy.config_path.write_text(gone.to_json())
    assert inputs_of(copy) == inputs_of(late_run)
    assert resolve(late(make_config, copy, video_run), video_run.metadata()) == resolve(config, video_run.metadata())


def test_runs_on_several_scales_or_of_several_folds_are_not_joined(make_config, enrolled_run, audio_run, tmp_path):
    with pytest.raises(InputError, match=r"\(--normalise enrolled\), .* \(--normalise clip\) read .* several scales"):
        resolve(late(make_config, enrolled_run, audio_run), audio_run.metadata())
    other, found = Run(tmp_path / "other"), enrolled_run.normalisation()
    shutil.copytree(enrolled_run.folder, other.folder)
    changed = dataclasses.replace(found, mean={"log_mel": [1.0, *found.mean["log_mel"][1:]]})
    files.write_json(other.normalisation_path, dataclasses.asdict(changed))
    with pytest.raises(InputError, match="have statistics of different training splits: join runs of one fold"):
        resolve(late(make_config, enrolled_run, other), audio_run.metadata())


def scaled(mode, *features, by_clip=()):
    """What a run reads whose audio features are of a mode, all but some."""
    fitted = {name: [1.0] for name in {"log_mel", *features} - set(by_clip)}
    found = Normalisation(mode, fitted, fitted, by_clip=by_clip) if mode != "clip" else None
    return RunInputs(("audio",), features, None, found, {})


def test_runs_of_several_scales_join_where_no_feature_has_two_of_them():
    states, frames = scaled("training", "encoder"), scaled("clip", "log_mel")
    joined = compatibility._joined_normalisation({"a": states, "b": frames, "c": states})
    assert (joined.mode, list(joined.mean), joined.by_clip) == ("training", ["encoder"], ("log_mel",))
    again = compatibility._joined_normalisation({"late": scaled("training", "log_mel", "encoder", by_clip=("log_mel",)),
                                                 "frames": frames})  # fmt: skip
    assert again == joined
    assert compatibility._joined_normalisation({"b": frames, "c": frames}) is None
    for one, other in ((scaled("training", "log_mel"), frames), (scaled("enrolled", "encoder"), frames)):
        with pytest.raises(InputError, match=r"a \(--normalise \w+\), b \(--normalise clip\) read .* several scales"):
            compatibility._joined_normalisation({"a": one, "b": other})
    late, other = scaled("training", "log_mel", "mfcc", by_clip=("log_mel",)), scaled("training", "log_mel")
    with pytest.raises(InputError, match=r"a \(--normalise clip and training\), b \(--normalise training\) read"):
        compatibility._joined_normalisation({"a": late, "b": other})


def test_labels_lead_to_the_emotions_of_their_names_in_any_order():
    assert label_targets(["a", "b", "c"], ["c", "a", "b"], [], "x", "y") == [1, 2, 0]
    assert label_targets(list(SEVEN), list(SEVEN), ["meld-seven"], "x", "y") == list(range(7))


def test_labels_lead_by_the_map_that_fits_among_those_named():
    found = label_targets(["neutral", "calm"], list(SEVEN), ["meld-seven", "ravdess-seven"], "x", "y")
    assert found == [SEVEN.index("neutral"), None]
    merged = label_targets(["neutral", "calm"], list(SEVEN), ["ravdess-seven-merged"], "x", "y")
    assert merged == [SEVEN.index("neutral")] * 2


@pytest.mark.parametrize(
    ("label_maps", "sentence"),
    [
        ([], r"the labels of x are glee, ANG, those of y neutral, .*: name a map .* \(--label-map NAME; none leads"),
        (["tess-ravdess"], "; tess-ravdess does not know glee, ANG"),
        (["ravdess-seven"], "; ravdess-seven leads to angry, disgust"),
    ],
)
def test_labels_that_no_named_map_leads_from_get_a_sentence(label_maps, sentence):
    with pytest.raises(InputError, match=sentence):
        label_targets(["glee", "ANG"], list(RAVDESS), label_maps, "x", "y")


def test_a_label_set_that_holds_the_other_leads_by_name():
    few = ["surprised", "angry", "happy"]
    assert label_targets(few, list(RAVDESS), [], "x", "y") == [RAVDESS.index(label) for label in few]
    found = label_targets(list(RAVDESS), few, [], "x", "y")
    assert [(RAVDESS[n], few[target]) for n, target in enumerate(found) if target is not None] == [
        ("happy", "happy"),
        ("angry", "angry"),
        ("surprised", "surprised"),
    ]
    assert label_targets(["neutral", "calm", "happy"], ["happy", "neutral"], [], "x", "y") == [1, None, 0]


def test_names_do_not_serve_where_a_map_between_these_label_sets_leads_elsewhere():
    """Ekman's labels are labels of GoEmotions, whose other ones belong to them."""
    with pytest.raises(InputError, match=r"\(--label-map goemotions-ekman\)"):
        label_targets(list(GOEMOTIONS), list(EKMAN), [], "x", "y")
    found = label_targets(list(GOEMOTIONS), list(EKMAN), ["goemotions-ekman"], "x", "y")
    assert found[GOEMOTIONS.index("annoyance")] == EKMAN.index("anger")


def test_a_map_leads_to_some_of_its_emotions_in_their_order():
    some = ["surprise", "fear", "angry"]
    found = label_targets(["fearful", "neutral", "surprised"], some, ["ravdess-seven"], "x", "y")
    assert found == [1, None, 0]


def test_labels_in_another_order_are_the_same_label_set():
    assert misfit(facts(emotions=["joy", "fear"]), facts(emotions=["fear", "joy"])) == ""
    assert misfit(facts(emotions=["joy", "fear"]), facts(emotions=["joy"])) == "label set"


def test_fitting_maps_are_offered():
    with pytest.raises(InputError, match=r"\(--label-map ravdess-seven\|ravdess-seven-merged\)"):
        label_targets(["neutral", "calm"], list(SEVEN), [], "x", "y")


def test_a_run_of_the_labels_of_a_late_fusion_needs_no_targets(make_run_metadata):
    run = make_run_metadata()
    assert late_targets(run, run, [], "x") is None
    swapped = make_run_metadata(emotions=["sad", "calm"])
    assert late_targets(run, swapped, [], "x") == [1, 0]


def test_several_emotions_join_one_by_their_names_and_one_never_joins_several(make_run_metadata):
    one, several = make_run_metadata(), make_run_metadata(is_multi_label=True)
    assert late_targets(several, one, [], "x") == [0, 1]
    with pytest.raises(InputError, match="x names other emotions than these records, or one an utterance: leave it"):
        late_targets(one, several, [], "x")
    with pytest.raises(InputError, match="leave it out"):
        late_targets(make_run_metadata(emotions=list(GOEMOTIONS), is_multi_label=True), several, [], "x")
    swapped = make_run_metadata(emotions=several.emotions[::-1], is_multi_label=True)
    assert late_targets(swapped, several, [], "x") == [1, 0]
