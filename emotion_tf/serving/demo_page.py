"""The page of `python -m emotion_tf.demo`, a script that Streamlit runs from top to bottom after every click.

It asks `Predictor` and nothing else.
"""

from __future__ import annotations

import argparse
import collections
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from emotion_tf.colours import COLOURS
from emotion_tf.serving import demo_figures
from emotion_tf.serving.demo_components import register
from emotion_tf.serving.demo_models import Export, LoadedModel, find_exports
from emotion_tf.serving.demo_recording import show_recording, warm_up
from emotion_tf.serving.demo_server import LiveServer
from pipelines.command import InputError

ROOT = Path("saved_models")

# Below this probability an answer is called not sure, until the user moves it. (Streamlit shows docstrings of
# constants of its script.)
USUAL_LEAST = 0.4

_NO_MODEL = "none"

_NOTE = """
- **A probability is not a measurement of a feeling.** It says how a clip that sounds like this would be
  labelled in the corpus that the model was trained on. It is calibrated on that corpus's validation speakers: of
  answers with 0.7 about 70 % should be right for voices like theirs. For other voices, languages, microphones and
  rooms nothing of the kind was measured.
- **Acted speech is not everyday speech.** RAVDESS and most public corpora hold actors who show an emotion on demand,
  in a few fixed sentences. How people sound who do not act was not measured.
- **A model with the mark `synthetic` knows nothing of people.** The built-in corpus is made of generated sounds,
  sentences and drawn faces; its models show that the program works. On your voice their answers mean nothing.
- Do not use it for decisions about people. In the European Union inferring emotions at work and in education is
  prohibited but for medical and safety reasons (Regulation (EU) 2024/1689, Article 5(1)(f)).
"""


def main(root: Path = ROOT, chosen: Path | None = None, whisper: str | None = None) -> None:
    """Draws the page.

    Args:
      root: Where exports are looked for.
      chosen: A run, an export folder or a version folder that comes first.
      whisper: A model of whisper, or a checkpoint file, that comes first.
    """
    _leave_own_folder()
    st.set_page_config(page_title="emotion_tf", layout="wide")
    st.html(f"<style>{demo_figures.STYLE}</style>")
    st.title("Emotion in speech")
    exports = find_exports(root, chosen)
    if not exports:
        st.error(
            f"No exported model is in {root}. Run `make demo`, which trains small ones, or `python -m emotion_tf.export"
            " --run RUN` for a run of your own; then load this page again.",
            icon=":material/error:",
        )
        return
    models, least = _choose(exports)
    recording, live, about = st.tabs(["Recording", "Live", "Models and scores"], key="tab", on_change="rerun")
    if recording.open and models:
        with recording:
            show_recording(models, least, whisper)
    if live.open and models:
        with live:
            _show_live(models[0].export, least)
    if about.open:
        with about:
            _show_models(exports)


def _leave_own_folder() -> None:
    """Takes the folder of this script, which Streamlit puts first, out of where modules are looked for."""
    own = str(Path(__file__).parent)
    sys.path[:] = [path for path in sys.path if path != own]


@st.cache_resource(max_entries=4, show_spinner=False)
def _load(export: Export) -> LoadedModel:
    """Loads a model for all sessions; the page is drawn while the rest is made ready."""
    model = LoadedModel(export)
    threading.Thread(target=warm_up, args=(model,), daemon=True).start()
    return model


@st.cache_resource(
    max_entries=2,
    show_spinner=False,
    validate=lambda server: server.is_alive,
    on_release=lambda server: server.close(),
)
def _live_server(export: Export, port: int) -> LiveServer:
    return LiveServer(export.version, port)


def _choose(exports: Sequence[Export]) -> tuple[list[LoadedModel], float]:
    """Lets the user choose one or two models, loads them, and asks what counts as sure."""
    by_version = {str(export.version): export for export in exports}
    _say_what_went(by_version)

    names = collections.Counter(export.name for export in exports)

    def title(version: str) -> str:
        if (export := by_version.get(version)) is None:
            return version
        where = f", {version}" if names[export.name] > 1 else ""
        return f"{export.name} ({', '.join(export.modalities)}){where}"

    first, second, third = st.columns(3)
    version = first.selectbox("Model", list(by_version), format_func=title, key="model")
    others = [_NO_MODEL, *(other for other in by_version if other != version)]
    other = second.selectbox("Compare with", others, format_func=title, key="other")
    sentence = "An answer whose probability is lower is called not sure."
    least = third.slider("Not sure below", 0.0, 1.0, USUAL_LEAST, 0.05, key="least", help=sentence)
    chosen = [by_version[one] for one in (version, other) if one in by_version]
    st.session_state["chosen"] = [(str(export.version), export.name) for export in chosen]
    synthetic_ones = [export.name for export in chosen if export.is_synthetic]
    if synthetic_ones:
        st.caption(
            f"{' and '.join(synthetic_ones)}: trained on the built-in corpus, which is generated. Answers about people"
            " mean nothing."
        )
    return [model for model in map(_loaded, chosen) if model is not None], least


def _say_what_went(by_version: dict[str, Export]) -> None:
    """Tells that a model which was chosen is there no more."""
    for version, name in st.session_state.get("chosen", ()):
        if version not in by_version:
            st.warning(
                f"The model {name} is no longer in {version}: it was removed while this page was open. Another one is"
                " chosen now.",
                icon=":material/warning:",
            )


def _loaded(export: Export) -> LoadedModel | None:
    try:
        with st.spinner(f"Loading {export.name}"):
            return _load(export)
    except (InputError, OSError) as error:
        st.error(f"{export.name} cannot be used: {error}", icon=":material/error:")
        return None


def _show_live(export: Export, least: float) -> None:
    """Streams the microphone to a server of this machine."""
    if "audio" not in export.modalities:
        st.info(f"{export.name} reads no sound: choose a model that does.", icon=":material/info:")
        return
    st.write(
        "The microphone is streamed to a server on this machine, and nowhere else; nothing of it is kept. Every half"
        " second the model answers about the last three seconds."
    )
    try:
        with st.spinner("Starting the server"):
            server = _live_server(export, st.get_option("server.port"))
    except (InputError, OSError) as error:
        st.error(str(error), icon=":material/error:")
        return
    _, live = register()
    live(key=f"live-{export.version}", data={"url": server.url, "colours": list(COLOURS), "least": least})
    st.button("Start the server again", key="again", help="Where the server has ended, this starts another one.")


def _show_models(exports: Sequence[Export]) -> None:
    """Shows what is known of each model."""
    st.subheader("What the scores mean")
    st.markdown(_NOTE)
    for export in exports:
        st.subheader(export.name)
        marks = f"; marks: {', '.join(export.metadata['marks'])}" if export.metadata["marks"] else ""
        corpus = export.metadata.get("corpus", "not known")
        st.write(f"Reads {', '.join(export.modalities)}; corpus: {corpus}{marks}.")
        if scores := list(export.scores()):
            st.table(scores)
        else:
            st.caption("Its metadata.json holds no scores: export the run again to have them.")
        if card := export.card():
            with st.expander(f"Model card of {export.name}", icon=":material/description:"):
                st.markdown(card)


if __name__ == "__main__":
    _parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    _parser.add_argument("--model", type=Path)
    _parser.add_argument("--whisper-model")
    _given = _parser.parse_args()
    main(chosen=_given.model, whisper=_given.whisper_model)
