"""What metadata.json of an export says of its model: front end, modalities, rule, scores, signatures."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from emotion_tf.evaluation.counts import TITLES, UAR
from emotion_tf.runs.folder import Run
from pipelines import audio

if TYPE_CHECKING:
    import keras


def export_metadata(run: Run, model: "keras.Model", variables: str = "float32") -> dict[str, Any]:
    """Collects what a user of an export must know, and what `emotion_tf.serving` reads.

    Args:
      run: A finished run.
      model: Its model.
      variables: The type that they are stored in.

    Returns:
      What metadata.json of the export holds: facts of the run and its records, and from the model `modalities`,
      `audio_features`, whether it `has_shares`, its `embedding_dim` (None of late fusion), its `late_rule` (None of
      others) and its `signatures`; the type of its `variables`; and the `scores` of the splits that were read.
    """
    from emotion_tf.models.head import embedding_of
    from emotion_tf.models.inputs import audio_features_of, modalities_of
    from emotion_tf.models.late_fusion import shares_model

    found, embedding = run.metadata(), embedding_of(model)
    names = ("corpus", "marks", "emotions", "is_multi_label", "front_end", "vocabulary_sha256", "tokenizer", "encoder")
    facts = {name: getattr(found, name) for name in (*names, "video", "bandwidth_hz", "context")}
    thresholds = run.thresholds()
    hop_seconds, normalisation = found.front_end["hop_seconds"], run.normalisation()
    mode = normalisation.mode if normalisation else "clip"
    return facts | {
        "run": run.folder.name,
        "normalise": mode,
        "normalised_by_clip": list(normalisation.by_clip) if normalisation else [],
        "thresholds": None if thresholds is None else dict(zip(found.emotions, thresholds.tolist(), strict=True)),
        "sample_rate": audio.SAMPLE_RATE,
        "max_tokens": run.config().training.max_tokens,
        "longest_seconds": round(found.longest_frames * hop_seconds, 2),
        "modalities": list(modalities_of(model)),
        "has_shares": shares_model(model) is not None,
        "embedding_dim": None if embedding is None else int(embedding.shape[-1]),
        "late_rule": _late_rule(model),
        "scores": _scores(run.scores()),
        "audio_features": list(audio_features_of(model)) or ["log_mel"],
        "signatures": _signatures(mode, found.encoder is not None),
        "variables": variables,
    }


def _late_rule(model: "keras.Model") -> dict[str, Any] | None:
    """Says by which rule a late fusion joins its runs, which modalities each of them reads, their weights, and the
    temperature of what is joined.

    A rule that has no weights weighs them equally; there are none of a stacker.
    """
    layers = {layer.name: layer for layer in model.layers}
    if (rule := layers.get("late_rule")) is None:
        return None
    equal = None if rule.rule == "stacker" else [1.0] * len(rule.modalities)
    facts = {"rule": rule.rule, "modalities": rule.modalities, "weights": rule.fitted.get("weights", equal)}
    return facts | {"temperature": float(layers["logits"].temperature)}


def _scores(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Takes from scores.json the headline and the accuracy of each split that was read, with interval and chance."""
    headline = scores.get("headline", UAR)
    return {
        split: {
            "num_utterances": scores[split]["num_utterances"],
            "unit": scores[split]["unit"],
            **{name: _score(scores[split], name) for name in (headline, "accuracy") if name in scores[split]},
        }
        for split in ("test", "validation")
        if split in scores
    }


def _score(found: Mapping[str, Any], name: str) -> dict[str, Any]:
    chance = found["chance"].get(name)
    return {"name": TITLES[name], "score": found[name], "interval": found[f"{name}_interval"], "chance": chance}


def _signatures(mode: str, has_encoder: bool) -> list[str]:
    """Names the signatures of an export: gradients by the states of an encoder would say nothing of time."""
    return [
        "serving_default",
        "features",
        *([] if has_encoder else ["to_features"]),
        *(["enrol"] if mode == "enrolled" else []),
    ]
