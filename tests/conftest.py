"""What several test modules share: real recordings, and small records, runs and exports made once for all workers."""

import concurrent.futures
import contextlib
import dataclasses
import itertools
import json
import os
import shutil
import threading
from pathlib import Path

import pytest
from filelock import FileLock

from pipelines import audio, prepare
from pipelines.audio.speech_encoder import EncoderSettings
from pipelines.corpora import goemotions, synthetic
from pipelines.dialogues import with_context
from pipelines.emotions import GOEMOTIONS
from pipelines.records import decode_workers, writer
from pipelines.utterance import Corpus, Utterance
from pipelines.video import VideoSettings

LONGEST = ("test_crossval.py", "test_export.py", "test_train.py")


def pytest_collection_modifyitems(items):
    """Puts the longest files first, or one of two processes would end alone with them."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONGEST)))


@pytest.fixture(scope="session")
def real_data():
    """The folder of real recordings."""
    if "EMOTION_TF_REAL_DATA" not in os.environ:
        pytest.skip("EMOTION_TF_REAL_DATA is not set")
    return Path(os.environ["EMOTION_TF_REAL_DATA"])


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """From a name and what fills a folder to this folder. One worker fills it, the others wait; none may change it."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent

    def make(name, fill):
        path = folder / "shared" / name
        done = path.with_name(path.name + ".done")
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(path.name + ".lock")):
            if not done.exists():
                fill(path)
                done.touch()
        return path

    return make


@pytest.fixture(scope="session")
def noise_clips(made_once):
    """A folder in the layout of RAVDESS: noise of five actors, eight clips each."""
    return made_once("corpora/noise", _write_noise_clips)


def _write_noise_clips(source):
    import numpy as np
    import soundfile

    for actor, emotion in itertools.product(range(1, 6), range(1, 9)):
        path = source / f"Actor_{actor:02}" / f"03-01-{emotion:02}-01-01-01-{actor:02}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(8 * actor + emotion)
        soundfile.write(path, 0.1 * rng.standard_normal(round((0.3 + 0.02 * emotion) * 16000)), 16000)


@pytest.fixture(scope="session")
def noise_records(noise_clips, made_once):
    """Records of them, as the command makes them."""
    flags = ("--corpus", "ravdess", "--source", str(noise_clips), "--workers", "1", "--records")
    return made_once("records/noise", lambda folder: prepare.main([*flags, str(folder)]))


@pytest.fixture
def in_process(monkeypatch):
    """Decodes in this process: a worker costs a second, and few tests are about them."""

    class Executor(concurrent.futures.Executor):
        def __init__(self, *arguments):
            pass

        def submit(self, function, *arguments):
            future = concurrent.futures.Future()
            future.set_result(function(*arguments))
            return future

    monkeypatch.setattr(decode_workers.concurrent.futures, "ProcessPoolExecutor", Executor)


@pytest.fixture(scope="session")
def three_speakers(made_once):
    """A synthetic corpus of three speakers, 30 clips each."""
    return synthetic.read(made_once("corpora/synthetic", lambda folder: synthetic._make(folder, 0, 3)))


@pytest.fixture(scope="session")
def seen_speakers(made_once):
    """The same corpus with videos of drawn faces."""
    pytest.importorskip("cv2")
    return synthetic.read(made_once("corpora/seen", lambda folder: synthetic._make(folder, 0, 3, True)))


@pytest.fixture(scope="session")
def prepared(made_once):
    """From utterances and how to prepare them to complete records. Nobody may change them."""

    def prepare_once(name, utterances, **options):
        def fill(folder):
            writer.prepare(writer.Preparation(utterances, folder, audio.FrontEnd(), **options), 1)

        return made_once(f"records/{name}", fill)

    return prepare_once


@pytest.fixture(scope="session")
def three_speaker_records(three_speakers, prepared):
    """Records of three synthetic speakers, waveforms among them."""
    return prepared("synthetic", three_speakers, store_waveform=True)


@pytest.fixture(scope="session")
def acoustic_records(three_speakers, prepared):
    """The same records, acoustic features among them."""
    return prepared("acoustic", three_speakers, store_waveform=True, has_acoustic=True)


@pytest.fixture(scope="session")
def encoder_records(three_speakers, encoder_checkpoint, prepared):
    """The same records with states of an encoder among them, and no waveforms."""
    return prepared("encoder", three_speakers, encoder=EncoderSettings(str(encoder_checkpoint), device="cpu"))


@pytest.fixture(scope="session")
def states_and_waveforms(three_speakers, encoder_checkpoint, prepared):
    """Records that hold both states of an encoder and the waveforms that they are of."""
    settings = EncoderSettings(str(encoder_checkpoint), device="cpu")
    return prepared("states-and-waveforms", three_speakers, encoder=settings, store_waveform=True)


@pytest.fixture(scope="session")
def video_records(seen_speakers, prepared):
    """The same records with four frames of each video among them."""
    return prepared("video", seen_speakers, store_waveform=True, video=VideoSettings(4, 32))


@pytest.fixture(scope="session")
def goemotions_like(made_once):
    """A folder in the layout of GoEmotions: 240 sentences that name their labels, 44 of them two. No one repeats."""
    return made_once("corpora/goemotions", _write_goemotions)


def _write_goemotions(source):
    templates = {
        "train.tsv": ("so much {}", "I feel {}", "this is {} to me", "they show {} again", "what {} it was"),
        "dev.tsv": ("there is {} in it",),
        "test.tsv": ("you hear {} in there",),
    }
    source.mkdir()
    for number, (name, phrases) in enumerate(templates.items(), 1):
        chosen = [(phrase, (label,)) for phrase in phrases for label in range(28)]
        chosen += [(phrases[0], (label, (label + number) % 28)) for label in range(28 if number == 1 else 8)]
        rows = [
            f"{phrase.format(' and '.join(GOEMOTIONS[label] for label in labels))}"
            f"\t{','.join(map(str, sorted(labels)))}\tc{number}{row:03}\n"
            for row, (phrase, labels) in enumerate(chosen)
        ]
        (source / name).write_text("".join(rows), encoding="utf-8")


@pytest.fixture(scope="session")
def goemotions_records(goemotions_like, prepared):
    """Multi-label records of those sentences."""
    return prepared("goemotions", goemotions.read(goemotions_like))


@pytest.fixture(scope="session")
def dialogues():
    """A corpus of two dialogues of eleven lines in each published split; no two lines are the same."""
    utterances = [
        Utterance(
            utterance_id=f"{split}-{number}-{line:02}",
            speaker="",
            emotion=("joy", "anger")[line % 2],
            transcript=f"{split} {number} line {line}",
            published_split=split,
            attributes={"dialogue": f"{split}-{number}"},
            line=line,
        )
        for split in ("test", "train", "validation")
        for number in range(2)
        for line in range(11)
    ]
    return Corpus("dialogues", Path("dialogues"), "none", ("joy", "anger"), tuple(utterances))


@pytest.fixture(scope="session")
def context_records(dialogues, prepared):
    """Records of those dialogues, two lines of context before each utterance."""
    return prepared("context", with_context(dialogues, 2), context=2)


@pytest.fixture(scope="session")
def context_run(make_config, context_records, fitted):
    """A finished run of the text branch that reads lines of context."""
    return fitted("context", make_config("text", records=str(context_records), folds="published", max_tokens=16))


@pytest.fixture(scope="session")
def make_config(three_speaker_records):
    """From a branch and further fields to the config of a training of seconds."""
    from emotion_tf.config import AudioConfig, Config, TextConfig, TrainingConfig, VideoConfig

    def make(branch, *, epochs=2, batch_size=16, num_frames=32, **values):
        names = {field.name for field in dataclasses.fields(TrainingConfig)}
        training = {name: values.pop(name) for name in names & set(values)}
        return Config(
            branch,
            values.pop("records", str(three_speaker_records)),
            audio=AudioConfig((4,), 4, 4),
            text=TextConfig(4, (4,), 4, 4),
            video=VideoConfig((4, 4), 4, 4),
            training=TrainingConfig(epochs=epochs, batch_size=batch_size, num_frames=num_frames, **training),
            **values,
        )

    return make


@pytest.fixture(scope="session")
def make_run_metadata():
    """From some facts to the metadata of a run, as if it had been trained."""
    from emotion_tf.runs.metadata import RunMetadata
    from pipelines.folds import Fold

    def make(**values):
        facts = {"corpus": "mine", "marks": [], "emotions": ["calm", "sad"], "is_multi_label": False}
        facts |= {"has_audio": True, "headline": "unweighted_average_recall", "modalities": ("audio",)}
        facts |= {"audio_features": ("log_mel",), "front_end": {"mel_bins": 64}, "acoustic": [], "encoder": None}
        facts |= {"video": None, "vocabulary_sha256": "v", "tokenizer": {"preset": "", "sha256": "v"}}
        facts |= {"transcript_source": "script", "longest_frames": 9, "has_waveform": False, "bandwidth_hz": 7750.0}
        facts |= {"fold": Fold(("01",), ("02",), ("03",)), "training_counts": [1, 3], "num_training": 4}
        return RunMetadata(**facts | {"prior": [0.25, 0.75]} | values)

    return make


@pytest.fixture(scope="session")
def fitted(made_once):
    """From a name and a config to a finished run. Nobody may change it."""
    from emotion_tf.fit import fit
    from emotion_tf.runs.folder import Run

    return lambda name, config: Run(made_once(f"runs/{name}", lambda folder: fit(config, Run(folder))))


@pytest.fixture(scope="session")
def audio_run(make_config, fitted):
    """A finished run of the audio branch, two epochs long."""
    return fitted("audio", make_config("audio", confusion_every=2))


@pytest.fixture(scope="session")
def text_run(make_config, fitted):
    """A finished run of the text branch."""
    return fitted("text", make_config("text"))


@pytest.fixture(scope="session")
def early_run(make_config, audio_run, text_run, fitted):
    """A finished run of early fusion that started from both branches."""
    inits = {"init_audio": str(audio_run.folder), "init_text": str(text_run.folder)}
    return fitted("early", make_config("fusion", fusion="early", epochs=1, **inits))


@pytest.fixture(scope="session")
def late_run(make_config, audio_run, text_run, fitted):
    """A finished run of late fusion of both branches."""
    runs = (str(audio_run.folder), str(text_run.folder))
    return fitted("late", make_config("fusion", fusion="late", runs=runs))


@pytest.fixture(scope="session")
def encoder_run(make_config, encoder_records, fitted):
    """A finished run of the audio branch on states of an encoder alone."""
    config = make_config("audio", epochs=1, records=str(encoder_records))
    audio = dataclasses.replace(config.audio, features=("encoder",))
    return fitted("encoder", dataclasses.replace(config, audio=audio))


@pytest.fixture(scope="session")
def released_config(make_config, states_and_waveforms):
    """Of an audio branch that trains the last block of the encoder on changed waveforms."""
    changes = {"speed": 0.1, "noise_snr_db": 20.0, "gain_db": 3.0, "time_shift": 5}
    config = make_config("audio", records=str(states_and_waveforms), **changes)
    audio = dataclasses.replace(config.audio, features=("encoder",), encoder_release=1)
    return dataclasses.replace(config, audio=audio)


@pytest.fixture(scope="session")
def released_run(released_config, fitted):
    """A finished run of that config."""
    return fitted("released", released_config)


@pytest.fixture(scope="session")
def enrolled_run(make_config, fitted):
    """A finished run of the audio branch that normalises sound by the speaker's other clips, one epoch long."""
    return fitted("enrolled", make_config("audio", normalise="enrolled", epochs=1))


@pytest.fixture(scope="session")
def video_run(make_config, video_records, fitted):
    """A finished run of the video branch, one epoch long."""
    return fitted("video", make_config("video", epochs=1, records=str(video_records)))


@pytest.fixture(scope="session")
def seen_run(make_config, video_records, video_run, fitted):
    """A finished run of early fusion of sound, words and video, whose video branch went on."""
    config = {"records": str(video_records), "modalities": ("audio", "text", "video"), "join": "gated", "epochs": 1}
    return fitted("seen", make_config("fusion", fusion="early", init_video=str(video_run.folder), **config))


@pytest.fixture(scope="session")
def goemotions_run(make_config, goemotions_records, fitted):
    """A finished run of the text branch on several emotions an utterance."""
    config = make_config("text", records=str(goemotions_records), folds="published", batch_size=24, learning_rate=0.02)
    return fitted("goemotions", config)


@pytest.fixture(scope="session")
def exported(made_once):
    """From a run to its export. Nobody may change it."""
    from emotion_tf.export import export

    def fill(run, folder):
        with pytest.MonkeyPatch.context() as monkeypatch:
            _compare_here(monkeypatch)
            export(run, folder)

    return lambda run: made_once(f"exports/{run.folder.name}", lambda folder: fill(run, folder))


@pytest.fixture
def compared_here(monkeypatch):
    """Compares exports with their runs in this process: a new one costs seconds, and tests/test_export.py starts it."""
    _compare_here(monkeypatch)


def _compare_here(monkeypatch):
    from emotion_tf.exporting import verify

    def compare(export, examples):
        return verify.compare(str(export), *map(str, examples))

    monkeypatch.setattr(verify, "_compared_elsewhere", compare)


@pytest.fixture(scope="session")
def early_export(early_run, exported):
    """The export of early fusion."""
    return exported(early_run)


@pytest.fixture(scope="session")
def late_export(late_run, exported):
    """The export of late fusion."""
    return exported(late_run)


@pytest.fixture(scope="session")
def seen_export(seen_run, exported):
    """The export of early fusion of sound, words and video."""
    return exported(seen_run)


@pytest.fixture(scope="session")
def enrolled_export(enrolled_run, exported):
    """The export of a run that normalises by the speaker's other clips."""
    return exported(enrolled_run)


@pytest.fixture(scope="session")
def make_whisper(tmp_path_factory):
    """From a sentence to a whisper checkpoint, in whisper's own format, that transcribes any sound to this sentence."""
    whisper = pytest.importorskip("whisper")
    import torch
    from whisper.tokenizer import get_tokenizer

    def make(sentence, *, is_speech=True, is_multilingual=True, width=24, certainty=10.0, detects=""):
        # One unit a position, and no other weight: position p tells the p-th token, whatever the sound is.
        dims = whisper.ModelDimensions(
            80, 1500, width, 1, 1, 51864 + is_multilingual, n_text_ctx=width, n_text_state=width, n_text_head=1,
            n_text_layer=1,
        )  # fmt: skip
        weights = {name: torch.zeros_like(one) for name, one in whisper.model.Whisper(dims).state_dict().items()}
        weights["decoder.positional_embedding"] = 100 * torch.eye(width)
        weights["decoder.ln.weight"] = torch.full((width,), certainty)
        tokenizer = get_tokenizer(is_multilingual)
        tokens = [tokenizer.timestamp_begin, *tokenizer.encode(f" {sentence}", allowed_special="all"), tokenizer.eot]
        for position, token in enumerate(tokens, len(tokenizer.sot_sequence) - 1):
            weights["decoder.token_embedding.weight"][token, position] += 1
        weights["decoder.token_embedding.weight"][tokenizer.no_speech, 0] = not is_speech
        if detects:
            weights["decoder.token_embedding.weight"][tokenizer.to_language_token(detects), 0] = 1
        path = tmp_path_factory.mktemp("whisper") / "tiny.pt"
        torch.save({"dims": vars(dims), "model_state_dict": weights}, path)
        return path

    return make


@pytest.fixture(scope="session")
def whisper_checkpoint(make_whisper):
    """A checkpoint that transcribes any sound to the first of RAVDESS's statements."""
    return make_whisper("Kids are talking by the door.")


@pytest.fixture(scope="session")
def encoder_checkpoint(made_once):
    """A whisper checkpoint of random weights, four encoder blocks of width 8 each."""
    pytest.importorskip("whisper")
    return made_once("whisper/random.pt", _write_encoder)


def _write_encoder(path):
    import torch
    import whisper

    torch.manual_seed(1)
    dims = whisper.ModelDimensions(80, 1500, 8, 2, 4, 16, 4, 8, 2, 1)
    weights = whisper.model.Whisper(dims).state_dict()
    # Layer norms that do nothing would hide where they are applied.
    for name in weights:
        if name.startswith("encoder.") and "_ln." in name:
            weights[name] = weights[name] + torch.rand(8) - 0.5
    weights["decoder.positional_embedding"] = torch.zeros(4, 8)  # Which whisper leaves as memory happens to be.
    torch.save({"dims": vars(dims), "model_state_dict": weights}, path)


DISTIL_BERT_PIECES = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *("i", "kids", "are", "talking", "by", "the", "door", "what", "a", "happy", "sad", "day", "un", "##happi", "##ly"),
    *("!", ",", ".", "?", "'", "cafe", *"bcdefghjklmnopqrstuvwxyz"),
]


@pytest.fixture(scope="session")
def tiny_preset(made_once):
    """A DistilBERT of one layer with random weights, backbone and tokenizer, as keras-nlp writes it."""
    return str(made_once("presets/keras", lambda folder: _write_preset(str(folder))))


def _write_preset(folder):
    import keras
    import keras_nlp

    keras.utils.set_random_seed(1)
    backbone = keras_nlp.models.DistilBertBackbone(len(DISTIL_BERT_PIECES), 1, 2, 8, 16, max_sequence_length=64)
    backbone.save_to_preset(folder)
    keras_nlp.models.DistilBertTokenizer(DISTIL_BERT_PIECES, lowercase=True, strip_accents=True).save_to_preset(folder)


@pytest.fixture(scope="session")
def tiny_xlm_roberta(made_once):
    """An XLM-RoBERTa of two layers with random weights and a SentencePiece model, as keras-nlp writes it."""
    return str(made_once("presets/xlm_roberta", lambda folder: _write_xlm_roberta(str(folder))))


def _write_xlm_roberta(folder):
    import io

    import keras
    import keras_nlp
    import sentencepiece

    written, sentences = io.BytesIO(), ["Kids are talking by the door!", "Dogs are sitting by the door.", "I am happy"]
    options = {"vocab_size": 40, "hard_vocab_limit": False, "unk_id": 0, "bos_id": 1, "eos_id": 2, "minloglevel": 2}
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(sentences * 9), model_writer=written, **options)
    tokenizer = keras_nlp.models.XLMRobertaTokenizer(written.getvalue())
    keras.utils.set_random_seed(1)
    backbone = keras_nlp.models.XLMRobertaBackbone(tokenizer.vocabulary_size(), 2, 2, 8, 16, max_sequence_length=64)
    backbone.save_to_preset(folder)
    tokenizer.save_to_preset(folder)


@pytest.fixture(scope="session")
def hugging_face_folder(tiny_preset, made_once):
    """The same DistilBERT as Hugging Face stores it: config.json, model.safetensors, vocab.txt."""
    return str(made_once("presets/hugging_face", lambda folder: _write_hugging_face(tiny_preset, folder)))


def _write_hugging_face(tiny_preset, folder):
    import keras_nlp
    from safetensors.numpy import save_file

    folder.mkdir()
    backbone = keras_nlp.models.DistilBertBackbone.from_preset(tiny_preset)
    save_file(_hugging_face_weights(backbone), folder / "model.safetensors")
    sizes = {"vocab_size": len(DISTIL_BERT_PIECES), "n_layers": 1, "n_heads": 2, "dim": 8, "hidden_dim": 16}
    config = {"model_type": "distilbert", "dropout": 0.1, "max_position_embeddings": 64, **sizes}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in DISTIL_BERT_PIECES))


def _hugging_face_weights(backbone):
    """Names and shapes of one layer as PyTorch has them: a dense kernel is [outputs, inputs]."""
    import numpy as np

    layer = backbone.transformer_layers[0]
    attention, inner, outer = layer._self_attention_layer, "transformer.layer.0.", "embeddings."
    dense = {
        inner + "attention.q_lin": attention.query_dense,
        inner + "attention.k_lin": attention.key_dense,
        inner + "attention.v_lin": attention.value_dense,
        inner + "attention.out_lin": attention.output_dense,
        inner + "ffn.lin1": layer._feedforward_intermediate_dense,
        inner + "ffn.lin2": layer._feedforward_output_dense,
    }
    norms = {
        inner + "sa_layer_norm": layer._self_attention_layer_norm,
        inner + "output_layer_norm": layer._feedforward_layer_norm,
        outer + "LayerNorm": backbone.embeddings_layer_norm,
    }
    found = {
        outer + "word_embeddings.weight": backbone.embeddings.token_embedding.embeddings,
        outer + "position_embeddings.weight": backbone.embeddings.position_embedding.position_embeddings,
    }
    for name, norm in norms.items():
        found |= {name + ".weight": norm.gamma, name + ".bias": norm.beta}
    for name, one in dense.items():
        kernel, bias = one.kernel.numpy(), one.bias.numpy().reshape(-1)
        inputs = 8 if "lin2" not in name else 16
        found |= {name + ".weight": kernel.reshape(inputs, -1).T, name + ".bias": bias}
    return {"distilbert." + name: np.ascontiguousarray(np.asarray(value)) for name, value in found.items()}


@pytest.fixture(scope="session")
def loud_export(made_once):
    """An export whose model is one line: the more energy a sound has, the angrier it is; words make it calm."""
    return made_once("exports/loud", _write_loud)


def _write_loud(folder):
    import tensorflow as tf

    specs = [tf.TensorSpec([None, None], tf.float32, "waveform"), tf.TensorSpec([None], tf.string, "transcript")]

    @tf.function(input_signature=specs)
    def answer(waveform, transcript):
        check = tf.debugging.assert_all_finite(waveform, "NaN or infinite")
        with tf.control_dependencies([check]):
            energy = tf.reduce_sum(tf.square(waveform), axis=1)
        logits = tf.stack([energy, tf.cast(tf.strings.length(transcript), tf.float32)], axis=1) / 1000
        emotions = tf.tile(tf.constant([["angry", "calm"]]), [tf.shape(waveform)[0], 1])
        predicted = tf.one_hot(tf.argmax(logits, axis=1), 2, True, False, dtype=tf.bool)
        probabilities = tf.nn.softmax(logits)
        return {"probabilities": probabilities, "emotions": emotions, "predicted": predicted, "embedding": logits}

    module = tf.Module()
    module.answer = answer
    tf.saved_model.save(module, str(folder / "7"), signatures={"serving_default": answer})
    facts = {
        "emotions": ["angry", "calm"], "modalities": ["audio", "text"], "video": None, "front_end": {},
        "audio_features": ["log_mel"], "normalise": "training", "is_multi_label": False, "embedding_dim": 2,
        "signatures": ["serving_default"], "longest_seconds": 5.0, "bandwidth_hz": None, "max_tokens": 64,
        "tokenizer": {"preset": "", "sha256": ""}, "marks": [],
    }  # fmt: skip
    (folder / "7" / "metadata.json").write_text(json.dumps(facts))


@pytest.fixture(scope="session")
def loud_predictor(loud_export):
    """That export, loaded."""
    from emotion_tf.serving import Predictor

    return Predictor(loud_export)


CHROMIUM_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@pytest.fixture(scope="module")
def chromium():
    """From further flags to Debian's Chromium: playwright brings none, and its own shell has no microphone."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not (path := shutil.which("chromium")):
        pytest.skip("there is no chromium")
    with api.sync_playwright() as playwright:
        yield lambda *flags: playwright.chromium.launch(executable_path=path, args=[*CHROMIUM_FLAGS, *flags])


@pytest.fixture
def answering():
    """From an HTTP server that is bound to the same server, which answers until the test ends."""
    with contextlib.ExitStack() as stack:

        def answer(server):
            thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
            thread.start()
            for end in (thread.join, server.server_close, server.shutdown):  # The last one is called first.
                stack.callback(end)
            return server

        yield answer
