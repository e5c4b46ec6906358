"""Tests of the house: who may import whom, and that importing a module does nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PATHS = sorted(path for package in ("pipelines", "emotion_tf") for path in (ROOT / package).rglob("*.py"))
HEAVY = {"tensorflow", "keras", "keras_nlp", "tensorflow_text", "tensorflow_io", "librosa", "sklearn", "pandas"} | {
    "audformat",
    "fsspec",
    "s3fs",
    "matplotlib",
    "openpyxl",
    "pyarrow",
    "torch",
    "whisper",
    "cv2",
    "streamlit",
    "ray",
    "fastapi",
    "prometheus_client",
    "starlette",
    "uvicorn",
    "websockets",
}


def name_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in PATHS}
ENCODER = (
    *("pipelines.audio.speech_encoder", "pipelines.audio.whisper_checkpoint", "pipelines.audio.whisper_encoder"),
    "pipelines.text_encoder",
)
"""A frozen encoder is part of the front end, and a Keras model."""

KERAS_NLP = ("pipelines.text", "pipelines.text_presets", "pipelines.text_encoder")

SCRIPT = "emotion_tf.serving.demo_page"
"""What Streamlit runs: no command of its own."""

COMMANDS = [
    name
    for name, tree in MODULES.items()
    if name != SCRIPT and any(isinstance(node, ast.If) and "__main__" in ast.unparse(node.test) for node in tree.body)
]


def is_for_types(node):
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imported(tree):
    """Yields every module that is imported anywhere in a tree, but for types alone."""
    if isinstance(tree, ast.Import):
        yield from (alias.name for alias in tree.names)
    elif isinstance(tree, ast.ImportFrom):
        yield tree.module or ""
        yield from (f"{tree.module}.{alias.name}" for alias in tree.names)
    for child in ast.iter_child_nodes(tree):
        if not is_for_types(child):
            yield from imported(child)


def packages(name):
    return {module.partition(".")[0] for module in imported(MODULES[name])}


def modules_below(*prefixes):
    return [name for name in MODULES if name.startswith(prefixes)]


def test_imports_are_absolute():
    for name, tree in MODULES.items():
        assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level], name


@pytest.mark.parametrize("name", modules_below("pipelines"))
def test_pipelines_import_no_emotion_tf_and_keras_for_the_encoder_alone(name):
    assert "emotion_tf" not in packages(name)
    assert "keras" not in packages(name) or name in ENCODER
    assert "keras_nlp" not in packages(name) or name in KERAS_NLP


@pytest.mark.parametrize("name", modules_below("emotion_tf.models"))
def test_models_know_keras_numpy_and_their_configuration_only(name):
    allowed = ("keras", "numpy", "math", "dataclasses", "functools", "typing", "collections.abc", "__future__")
    own = ("emotion_tf.config", "emotion_tf.late_rules", "emotion_tf.models", "emotion_tf.probabilities")
    for module in imported(MODULES[name]):
        is_encoder = module.startswith("pipelines.text_encoder") and name == "emotion_tf.models.branches.text"
        # One has an operation that Keras lacks, the other asks for a GPU.
        knows_tensorflow = name.endswith((".branches.batch_normalization", ".audio.recurrent"))
        is_backend = module == "tensorflow" and knows_tensorflow
        assert module == "emotion_tf" or module.startswith((*allowed, *own)) or is_encoder or is_backend, module
    assert not [node for node in ast.walk(MODULES[name]) if isinstance(node, ast.Name) and node.id == "open"]


@pytest.mark.parametrize(
    "name", modules_below("emotion_tf.serving", "emotion_tf.predict", "emotion_tf.serve", "emotion_tf.demo")
)
def test_what_serves_an_export_knows_pipelines_and_probabilities_only(name):
    own = ("emotion_tf.serving", "emotion_tf.probabilities", "emotion_tf.colours")
    assert not [
        module for module in imported(MODULES[name]) if module.startswith("emotion_tf.") and not module.startswith(own)
    ]


@pytest.mark.parametrize("name", modules_below("emotion_tf.evaluation", "emotion_tf.reporting"))
def test_scores_and_reports_know_neither_training_nor_exporting(name):
    forbidden = ("emotion_tf.training", "emotion_tf.exporting")
    assert not [module for module in imported(MODULES[name]) if module.startswith(forbidden)]


@pytest.mark.parametrize("name", modules_below("emotion_tf.evaluation"))
def test_what_scores_does_not_draw(name):
    assert not packages(name) & {"matplotlib"}
    assert not [module for module in imported(MODULES[name]) if module.startswith("emotion_tf.reporting")]


def rooms(package):
    """What lies directly in a package, and what each of it imports of the others: room -> rooms."""

    def room(name):
        return ".".join(name.split(".")[:2])

    inside = [name for name in MODULES if name.startswith(f"{package}.")]
    arrows = {room(name): set() for name in inside}
    for name in inside:
        arrows[room(name)] |= {room(module) for module in imported(MODULES[name])} & set(arrows) - {room(name)}
    return arrows


def test_the_house_has_few_floors_and_arrows():
    """A room stands one floor above the highest that it imports: 10 floors and 74 arrows are enough."""
    arrows, floors = rooms("emotion_tf"), {}
    while remaining := set(arrows) - set(floors):
        ready = {room for room in remaining if arrows[room] <= set(floors)}
        assert ready, f"a circle among {remaining}"
        floors |= {room: 1 + max((floors[other] for other in arrows[room]), default=0) for room in ready}
    assert max(floors.values()) <= 10
    assert sum(map(len, arrows.values())) <= 74


def test_no_module_imports_in_a_circle():
    arrows = {
        name: {module for module in imported(tree) if module in MODULES} - {name} for name, tree in MODULES.items()
    }
    while free := [name for name, targets in arrows.items() if not targets]:
        for name in free:
            del arrows[name]
        arrows = {name: targets - set(free) for name, targets in arrows.items()}
    assert arrows == {}


@pytest.mark.parametrize("name", MODULES)
def test_importing_a_module_runs_definitions_only(name):
    """Calls at the top of a module may make constants, but print, write and start nothing."""
    for node in MODULES[name].body:
        if isinstance(node, ast.Expr):
            assert isinstance(node.value, ast.Constant), ast.unparse(node)
        assert not isinstance(node, (ast.For, ast.While, ast.Try)), ast.unparse(node)
    called = {ast.unparse(call.func) for call in ast.walk(MODULES[name]) if isinstance(call, ast.Call)}
    assert not called & {"logging.basicConfig", "exec", "eval", "pickle.load", "pickle.loads"}


def test_importing_every_command_loads_no_heavy_package():
    """So `--help` answers in under a second. One process for all: the modules that they share are the same."""
    code = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)\nprint(*sys.modules)"
    command = [sys.executable, "-c", code, *COMMANDS]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "pipelines.prepare" in COMMANDS
    assert not {module.partition(".")[0] for module in finished.stdout.split()} & HEAVY
    assert finished.stderr == ""


@pytest.mark.parametrize("name", COMMANDS)
def test_help_names_the_command_and_touches_nothing(name, tmp_path):
    command = [
        sys.executable,
        "-c",
        f"import runpy, sys; sys.argv = ['x', '--help']; runpy.run_module('{name}', run_name='__main__')",
    ]
    finished = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    )
    assert f"python -m {name}" in finished.stdout
    assert finished.stderr == ""
    assert list(tmp_path.iterdir()) == []
