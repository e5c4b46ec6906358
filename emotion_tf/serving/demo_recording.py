"""The tab of recordings: a clip comes in, and what a model says of it is shown, why, and when.

What takes long is kept in the session, so that a click asks nothing twice.
"""

from __future__ import annotations

import contextlib
import mimetypes
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from pathlib import PurePath
from typing import Any, TypeVar

import numpy as np
import streamlit as st

from emotion_tf.serving import demo_figures, demo_results
from emotion_tf.serving.demo_answer import LONGEST_WAIT_SECONDS, Answer, Upload, answer, best_of, wav_of
from emotion_tf.serving.demo_components import register
from emotion_tf.serving.demo_input import RECORDED_SAMPLE_RATE, Request, take_request
from emotion_tf.serving.demo_models import Export, LoadedModel
from emotion_tf.serving.explain import spectrogram_of
from emotion_tf.serving.explanation import Explanation
from emotion_tf.serving.explanation_plot import draw
from emotion_tf.serving.late_weights import weighed, weights_of
from emotion_tf.serving.sources import MAX_SECONDS, as_file, read_upload
from emotion_tf.serving.table import NOT_SURE
from emotion_tf.serving.timeline import Timeline, find_timeline
from pipelines import audio, isolation
from pipelines.audio import SAMPLE_RATE, VIDEO_SUFFIXES, TooLongError
from pipelines.audio.front_end import analyse
from pipelines.clips import Clip
from pipelines.command import InputError
from pipelines.video import VideoSettings, read_frames, spoken_span

TIMELINE_SECONDS = 5.0
"""Of clips that are longer the page shows when which emotion appears."""

_NUM_KEPT = 24
_SHOWN_FRAMES = VideoSettings(8, 128, is_colour=True)
_PLAYED_VIDEOS = (".mp4", ".m4v", ".webm", ".mov")

T = TypeVar("T")


def kept(key: Hashable, make: Callable[[], T]) -> T:
    """Returns what was made under this key before in the session, or makes it; the oldest of many go."""
    store: OrderedDict[Hashable, Any] = st.session_state.setdefault("kept", OrderedDict())
    if key not in store:
        store[key] = make()
    store.move_to_end(key)
    while len(store) > _NUM_KEPT:
        store.popitem(last=False)
    return store[key]


def warm_up(model: LoadedModel) -> None:
    """Reads and draws a clip: the first one would wait for a process that decodes and for modules that are imported."""
    noise = np.random.default_rng(0).integers(-3000, 3000, RECORDED_SAMPLE_RATE).astype(np.int16)
    upload = wav_of(noise, RECORDED_SAMPLE_RATE)
    with contextlib.suppress(InputError):  # A clip will tell.
        clip = read_upload(upload, None, audio.FrontEnd().silence_db, longest_wait=LONGEST_WAIT_SECONDS)
        _sound(clip.waveform, model.predictor.front_end)


def show_recording(models: Sequence[LoadedModel], least: float, whisper: str | None = None) -> None:
    """Takes a clip and shows all that is said of it.

    Args:
      models: One, or two to compare.
      least: Below this probability an answer is called not sure.
      whisper: The model of whisper that is offered first.
    """
    has_words = any("text" in model.export.modalities for model in models)
    request = take_request(has_words=has_words, whisper=whisper)
    upload = request.upload
    if upload is None and not request.transcript.strip():
        words = " Or write what is said." if has_words else ""
        st.info(f"Record yourself, choose a file, or take an example.{words}", icon=":material/info:")
        return
    settings = [model.predictor.video for model in models]
    try:
        clips = [_clip(upload, each) for each in settings]
    except TooLongError:
        st.info(
            f"This recording is longer than {MAX_SECONDS:g} s: no single answer is about all of it. Its timeline:",
            icon=":material/info:",
        )
        _show_long(upload, models, least)
        return
    except InputError as error:
        _complain(upload, error)
        return
    places = _show_clip(upload, clips[0], models)
    later = [
        _show_answer(place, model, clip, request, least)
        for place, model, clip in zip(places, models, clips, strict=True)
    ]
    if upload is not None and len(clips[0].waveform) > TIMELINE_SECONDS * SAMPLE_RATE:
        _show_timeline(upload, models, least)
    if upload is not None:
        _show_frames(upload, clips[0])
    # Last, for it takes longer than all above.
    for finish in later:
        finish()


def _complain(upload: Upload | None, error: InputError) -> None:
    name = "The recording" if upload is None else upload.name
    st.error(f"{name} cannot be used: {error}", icon=":material/error:")


def _clip(upload: Upload | None, settings: VideoSettings | None) -> Clip:
    if upload is None:
        return Clip(np.zeros(0, np.int16))
    trim_db = audio.FrontEnd().silence_db
    return kept(
        ("clip", upload.digest, settings),
        lambda: read_upload(upload.content, settings, trim_db, longest_wait=LONGEST_WAIT_SECONDS),
    )


def _show_clip(upload: Upload | None, clip: Clip, models: Sequence[LoadedModel]) -> list[Any]:
    """Shows the clip, and returns where the answer of each model goes."""
    if upload is None or not len(clip.waveform):
        # A picture over the whole width of a large screen would be larger than that.
        return list(st.columns(2, gap="large")[: len(models)])
    if len(models) == 1:
        left, right = st.columns(2, gap="large")
        places = [right]
    else:
        left, places = st.container(), list(st.columns(len(models), gap="large"))
    with left:
        _play(upload, clip.waveform)
        front_end = models[0].predictor.front_end
        html = kept(("sound", upload.digest, front_end), lambda: _sound(clip.waveform, front_end))
        _figure(html, "clip")
        st.caption(f"{len(clip.waveform) / SAMPLE_RATE:.2f} s. Click at the picture to play from there.")
    return places


def _play(upload: Upload, waveform: np.ndarray | None) -> None:
    """Lets the browser play what the model is given, or the file itself where it is long or a video."""
    suffix = PurePath(upload.name).suffix.lower()
    with st.container(key="clip"):
        if suffix in _PLAYED_VIDEOS:
            st.video(upload.content, alt=f"The video {upload.name}")
        elif waveform is None:
            kind = mimetypes.guess_type(upload.name)[0] or "audio/wav"
            st.audio(upload.content, kind, alt=f"The recording {upload.name}")
        else:
            st.audio(kept(("wav", upload.digest), lambda: wav_of(waveform)), alt=f"The recording {upload.name}")


def _sound(waveform: np.ndarray, front_end: audio.FrontEnd) -> str:
    analysis = analyse(audio.pad_together([waveform]), front_end) if waveform.any() else None
    has_frames = analysis is not None and int(analysis.num_all[0])
    return demo_figures.sound(waveform, spectrogram_of(analysis, front_end) if analysis and has_frames else None)


def _figure(html: str, key: str) -> None:
    figure, _ = register()
    figure(key=f"figure-{key}", data={"html": html, "player": "clip"})


# One answer.


def _show_answer(place: Any, model: LoadedModel, clip: Clip, request: Request, least: float) -> Callable[[], None]:
    """Shows what a model says of a clip, and returns what draws why."""
    export, key = model.export, ("answer", *model.key, *request.key)
    with place:
        st.markdown(f"**{export.name}**")
        try:
            with st.spinner("Asking the model"):
                found = kept(
                    key, lambda: answer(model.predictor, clip, request.transcript, request.name, request.transcriber)
                )
        except InputError as error:
            _complain(request.upload, error)
            return lambda: None
        if request.transcriber is not None:
            st.caption(f"Transcribed: “{found.given.transcript or 'no words'}”")
        probabilities = _weighed(export, found)
        _say(found, probabilities, clip, least)
        most = "" if found.is_empty else best_of(probabilities)[0]
        st.html(demo_figures.bars(probabilities, most, least, f"What {export.name} says"))
        # Of what is empty they say once more what stands above the bars.
        for warning in () if found.is_empty else found.prediction.warnings:
            st.caption(f":material/warning: {warning}")
        _show_modalities(found)
        picture = st.container()
        demo_results.offer_answer(found, probabilities, export, least)
    return lambda: _show_why(picture, model, found, key)


def _say(found: Answer, probabilities: dict[str, float], clip: Clip, least: float) -> None:
    """Names the emotion, or says why none is named."""
    emotion, most = best_of(probabilities)
    if found.is_empty:
        st.warning(
            "There is nothing here that this model reads, such as a voice: the bars are what it expects of any clip.",
            icon=":material/warning:",
        )
    elif clip.is_silent:
        st.warning(
            "The recording is almost silent: speak louder, or look whether the right microphone is chosen.",
            icon=":material/warning:",
        )
    elif most < least:
        st.markdown(f"### {NOT_SURE}\nmost probable: {emotion}, {most:.2f}")
    else:
        more = found.prediction.emotions or ()
        others = [one for one in more if one != emotion]
        st.markdown(f"### {emotion}, {most:.2f}" + (f"\nalso: {', '.join(others)}" if others else ""))


def _weighed(export: Export, found: Answer) -> dict[str, float]:
    """Lets the user weigh the modalities of a late fusion; the fitted weights give what the export says."""
    fitted = weights_of(export.metadata)
    if fitted is None or len(found.alone) < 2:
        return found.prediction.probabilities
    late_rule = export.metadata["late_rule"]
    rule = late_rule["rule"]
    with st.expander(f"Weights of the fusion (rule {rule})", icon=":material/tune:"):
        top = 1.0 if rule == "weighted" else 2.0
        weights = {
            modality: st.slider(f"Weight of {modality}", 0.0, top, weight, 0.01, key=f"w-{export.version}-{modality}")
            for modality, weight in fitted.items()
        }
        st.caption("As fitted: " + ", ".join(f"{name} {value:.2f}" for name, value in fitted.items()) + ".")
    if weights == fitted:
        return found.prediction.probabilities
    return weighed(found.alone, weights, rule, late_rule["temperature"])


def _show_modalities(found: Answer) -> None:
    """Shows what each modality contributes and what it would say without the others."""
    prediction = found.prediction
    if len(found.alone) < 2:
        return
    rows = []
    for modality, probabilities in found.alone.items():
        emotion, most = best_of(probabilities)
        row = {"": modality, "alone it would say": f"{emotion}, {most:.2f}"}
        if prediction.shares:
            row["share"] = f"{100 * prediction.shares[modality]:.0f} %"
        if prediction.changes_without:
            row[f"speaks for {prediction.emotion}"] = f"{-prediction.changes_without[modality]:+.2f} nats"
        rows.append(row)
    st.table(rows)
    with st.expander("What each alone would say", icon=":material/bar_chart:"):
        for modality, probabilities in found.alone.items():
            st.markdown(f"**{modality}**")
            title = f"What {modality} alone would say"
            st.html(demo_figures.bars(probabilities, best_of(probabilities)[0], title=title))


def _show_why(place: Any, model: LoadedModel, found: Answer, key: Hashable) -> None:
    """Draws what the answer rests on."""
    if found.is_empty:
        return
    with place:
        st.markdown("**What the answer rests on**")
        try:
            with st.spinner("Finding out what the answer rests on"):
                explanation = kept(("why", key), lambda: model.explain(found.given))
                is_dark = st.context.theme.type == "dark"
                png = kept(("png", key, is_dark), lambda: _drawn(explanation, is_dark))
        except InputError as error:
            st.caption(str(error))
            return
        st.image(png, width="stretch", alt=_in_words(explanation))
        light = kept(("png", key, False), lambda: _drawn(explanation, False))
        name = f"{demo_results.stem_of(found.prediction)}-{model.export.name}.png"
        demo_results.offer("Picture (PNG)", light, name, "image/png", f"png-{model.export.version}")


def _drawn(explanation: Explanation, is_dark: bool) -> bytes:
    return demo_figures.picture_of(lambda: draw(explanation, 5.0), is_dark=is_dark)


def _in_words(explanation: Explanation) -> str:
    """Says what the picture shows, for those who do not see it."""
    parts = [f"{one.name} {one.nats:+.2f}" for one in explanation.modalities]
    words = sorted(explanation.words, key=lambda word: -abs(word.nats))[:5]
    parts += [f"the word {one.name} {one.nats:+.2f}" for one in words]
    return f"What speaks for and against {explanation.emotion}, in nats of its log-probability: {', '.join(parts)}."


# Timeline and video.


def _show_long(upload: Upload | None, models: Sequence[LoadedModel], least: float) -> None:
    assert upload is not None
    _play(upload, None)
    _show_timeline(upload, models, least)


def _show_timeline(upload: Upload, models: Sequence[LoadedModel], least: float) -> None:
    """Shows which emotion appears when, by the first model that reads sound."""
    st.subheader("Timeline")
    model = next((model for model in models if "audio" in model.export.modalities), None)
    if model is None:
        st.caption("No chosen model reads sound: choose one that does for a timeline.")
        return
    try:
        timeline = kept(("timeline", *model.key, upload.digest, upload.name), lambda: _find_timeline(upload, model))
    except InputError as error:
        _complain(upload, error)
        return
    st.caption(f"By {model.export.name}, from sound alone. Choose a stretch to play from there.")
    _figure(demo_figures.timeline(timeline, least), "timeline")
    for warning in timeline.warnings:
        st.caption(f":material/warning: {warning}")
    demo_results.offer_timeline(timeline, model.export)


def _find_timeline(upload: Upload, model: LoadedModel) -> Timeline:
    bar = st.progress(0.0, "Reading the recording")

    def watch(seconds: float) -> None:
        # The length is not known before the end of many files.
        bar.progress(min(0.99, seconds / (seconds + 60)), f"{demo_figures.clock(seconds)} read")

    try:
        with as_file(upload.content) as path:
            found = find_timeline(model.predictor, path, watch=watch, longest_wait=LONGEST_WAIT_SECONDS)
    finally:
        bar.empty()
    return demo_results.renamed(found, upload.name)


def _show_frames(upload: Upload, clip: Clip) -> None:
    """Shows frames of a video with the boxes of faces."""
    if PurePath(upload.name).suffix.lower() not in VIDEO_SUFFIXES:
        return
    st.subheader("Frames")
    try:
        frames = kept(("frames", upload.digest), lambda: _read_frames(upload, clip))
        pictures = demo_figures.with_boxes(frames.images, frames.boxes)
    except InputError as error:
        st.caption(f"No frames are shown: {error}")
        return
    count = len(pictures) - frames.num_without_face
    sentence = f"A face was found in {count} of {len(pictures)} frames, taken evenly from where somebody speaks."
    alts = [f"Frame {number}" + (", face in a box" if box[4] else "") for number, box in enumerate(frames.boxes, 1)]
    st.image(pictures, width=128, alt=alts)
    st.caption(sentence)


def _read_frames(upload: Upload, clip: Clip) -> Any:
    span = spoken_span(clip.waveform) if len(clip.waveform) else None
    with as_file(upload.content) as path:
        return isolation.read_file(read_frames, path, _SHOWN_FRAMES, span, longest_wait=LONGEST_WAIT_SECONDS)
