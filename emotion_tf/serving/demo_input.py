"""What somebody gives to the page: a recording, a file or an example, and what is said in it."""

from __future__ import annotations

import importlib.util
from pathlib import PurePath
from typing import NamedTuple

import streamlit as st

from emotion_tf.serving.demo_answer import Upload
from pipelines.audio import AUDIO_SUFFIXES, VIDEO_SUFFIXES
from pipelines.command import InputError
from pipelines.corpora import synthetic
from pipelines.transcripts.transcriber import Transcriber, WhisperSettings
from pipelines.whisper_models import name_of

EXAMPLE_SPEAKER = 11
"""Of the gallery: a speaker of the test split of `make fit`."""

WHISPER_MODELS = ("tiny.en", "base.en", "base", "small")

RECORDED_SAMPLE_RATE = 48000
"""Of the recorder, in Hz: what most microphones have. The model's own rate is made of it here, as of every file."""

_MICROPHONE, _FILE, _EXAMPLE = "Microphone", "File", "Example"


class Request(NamedTuple):
    """What a model is asked.

    Attributes:
      upload: The clip; None: words alone.
      transcript: What is said.
      transcriber: Writes what is said, in place of the transcript.
    """

    upload: Upload | None
    transcript: str
    transcriber: Transcriber | None

    @property
    def name(self) -> str:
        """Of the file; empty where there is none."""
        return "" if self.upload is None else self.upload.name

    @property
    def key(self) -> tuple[str, ...]:
        """Tells it from others."""
        digest = "" if self.upload is None else self.upload.digest
        return digest, self.name, self.transcript, "" if self.transcriber is None else self.transcriber.name


def take_request(*, has_words: bool, whisper: str | None = None) -> Request:
    """Draws what takes a clip.

    Args:
      has_words: Whether a chosen model reads words.
      whisper: The model of whisper that is offered first.
    """
    upload = _take_upload()
    transcript, transcriber = _take_transcript(upload, whisper) if has_words else ("", None)
    return Request(upload, transcript, transcriber)


def _take_upload() -> Upload | None:
    """Lets the user give a clip; None as long as there is none."""
    options = [_MICROPHONE, _FILE, _EXAMPLE]
    source = st.segmented_control("Take the clip from", options, default=_MICROPHONE, required=True, key="source")
    if source == _MICROPHONE:
        recorded = st.audio_input("Record yourself", sample_rate=RECORDED_SAMPLE_RATE, key="recorded")
        return None if recorded is None else Upload("recording.wav", recorded.getvalue())
    if source == _FILE:
        kinds = sorted(suffix.lstrip(".") for suffix in AUDIO_SUFFIXES | VIDEO_SUFFIXES)
        given = st.file_uploader("A recording or video of any kind", kinds, key="file")
        return None if given is None else Upload(PurePath(given.name).name, given.getvalue())
    examples = {one.emotion: one for one in _examples()}
    emotion = st.pills("Generated clips of the built-in corpus, by their label", list(examples), key="example")
    if emotion is None:
        return None
    return Upload(f"{emotion}.wav", examples[emotion].wav, examples[emotion].transcript)


def _take_transcript(upload: Upload | None, whisper: str | None) -> tuple[str, Transcriber | None]:
    """Asks what is said, or who writes it."""
    key = "nothing" if upload is None else upload.digest
    transcriber = None
    if upload is not None and importlib.util.find_spec("whisper") is not None:
        transcriber = _take_transcriber(whisper)
    words = "" if upload is None else upload.transcript
    is_off = transcriber is not None
    transcript = st.text_input("What is said", words, key=f"transcript-{key}", disabled=is_off, max_chars=5000)
    return ("", transcriber) if is_off else (transcript, None)


def _take_transcriber(first: str | None) -> Transcriber | None:
    left, right = st.columns(2)
    sentence = "Its weights are downloaded the first time."
    if not left.toggle("Let whisper write what is said", key="transcribe", help=sentence):
        return None
    models = dict.fromkeys((first or WHISPER_MODELS[0], *WHISPER_MODELS))
    model = right.selectbox("Model of whisper", list(models), format_func=name_of, key="whisper")
    try:
        with st.spinner(f"Loading whisper {name_of(model)}"):
            return _transcriber(model)
    except (InputError, OSError, RuntimeError) as error:
        st.error(f"whisper {name_of(model)} cannot be used: {error}", icon=":material/error:")
        return None


@st.cache_resource(max_entries=2, show_spinner=False)
def _transcriber(model: str) -> Transcriber:
    return Transcriber(WhisperSettings(model, "en" if ".en" in name_of(model) else "auto"))


@st.cache_resource(show_spinner=False)
def _examples() -> list[synthetic.Example]:
    return synthetic.examples(EXAMPLE_SPEAKER)
