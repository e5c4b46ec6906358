"""Tests of pipelines.records.remote: records at a URL, in memory, and on a server that speaks S3."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest

from emotion_tf.config import Config
from emotion_tf.flags import config_of
from emotion_tf.runs.folder import Run
from pipelines import prepare
from pipelines.command import InputError
from pipelines.records import named_if_corrupt, paths_of, read_index, read_metadata, remote, serialised_records

fsspec = pytest.importorskip("fsspec")

URL = "memory://bucket/corpora/noise"
ROOT = Path(__file__).parents[1]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and a process that has read no URL yet."""
    monkeypatch.setenv(remote.FOLDER_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.delenv(remote.LIMIT_VARIABLE, raising=False)
    remote._refreshed.cache_clear()
    yield tmp_path / "cache"
    remote._refreshed.cache_clear()


@pytest.fixture
def store(cache):
    """A store in memory."""
    yield fsspec.filesystem("memory")
    fsspec.filesystem("memory").rm("/bucket", recursive=True)


@pytest.fixture
def uploaded(noise_records, store):
    """Records of noise in the store, and the folder of this machine for them, empty yet."""
    store.put(str(noise_records), "/bucket/corpora/noise", recursive=True)
    return remote.local(URL)


def shards_in(folder):
    return sorted(path.name for path in folder.glob("*.tfrecord"))


def test_records_at_a_url_are_those_of_the_folder_that_was_uploaded(uploaded, noise_records):
    assert read_metadata(uploaded) == read_metadata(noise_records)
    assert read_index(uploaded).equals(read_index(noise_records))
    assert {name: (uploaded / name).read_bytes() for name in shards_in(uploaded)} == {
        name: (noise_records / name).read_bytes() for name in shards_in(noise_records)
    }
    assert not list(uploaded.glob(".*"))


def test_batches_of_a_url_are_those_of_the_folder(uploaded, noise_records):
    from pipelines.dataset import make_dataset

    options = {"modalities": ("audio",), "training": True, "num_frames": 16, "with_metadata": True, "batch_size": 4}
    members = read_metadata(noise_records).speakers[:2]
    ours, theirs = (list(make_dataset(folder, members, **options)) for folder in (uploaded, noise_records))
    ids = [[batch[-1]["utterance_id"].numpy().tolist() for batch in batches] for batches in (ours, theirs)]
    assert ids[0] == ids[1]


def test_only_shards_that_are_read_are_fetched(uploaded):
    from pipelines.dataset import make_dataset

    metadata = read_metadata(uploaded)
    assert shards_in(uploaded) == []
    wanted = metadata.speakers[0]
    list(make_dataset(uploaded, [wanted], ("audio",)))
    assert shards_in(uploaded) == [name for name, one in metadata.shards.items() if wanted in one["speakers"]]


@pytest.mark.parametrize("begun", [lambda whole: whole[:1000], lambda whole: b"x" * 1000, lambda whole: whole + b"x"])
def test_a_download_that_broke_off_is_gone_on_with_or_begun_anew(uploaded, noise_records, begun):
    name = next(iter(read_metadata(uploaded).shards))
    whole = (noise_records / name).read_bytes()
    (uploaded / f".unfinished-{name}").write_bytes(begun(whole))
    assert remote.fetched(uploaded, name).read_bytes() == whole
    assert not (uploaded / f".unfinished-{name}").exists()


def test_what_was_fetched_before_is_not_fetched_again(uploaded, store, monkeypatch):
    read_index(uploaded)
    monkeypatch.setattr(remote, "_download", lambda *arguments: pytest.fail("fetched again"))
    read_index(uploaded)


def test_a_shard_that_was_cut_off_in_the_cache_is_fetched_again(uploaded, noise_records):
    name = next(iter(read_metadata(uploaded).shards))
    shard = remote.fetched(uploaded, name)
    shard.write_bytes(shard.read_bytes()[:-1])
    assert remote.fetched(uploaded, name).read_bytes() == (noise_records / name).read_bytes()


def test_a_shard_that_is_corrupt_in_the_cache_is_removed_and_said(uploaded, noise_records):
    name = next(iter(read_metadata(uploaded).shards))
    shard = remote.fetched(uploaded, name)
    shard.write_bytes(bytes(shard.stat().st_size))
    with pytest.raises(InputError, match=f"{name} was corrupt, and is removed: run the same command again"):
        read_index(uploaded)
    assert read_index(uploaded).equals(read_index(noise_records))


@pytest.mark.parametrize("first", ["memory://bucket//corpora/noise", "MEMORY://bucket/corpora//noise/", None])
def test_the_url_that_was_given_last_is_read(uploaded, first):
    if first:
        assert remote.local(first) == uploaded
    else:
        (uploaded / remote.ORIGIN).write_text("{")
    assert remote.local(URL) == uploaded
    assert remote.url_of(uploaded) == URL
    assert len(read_index(uploaded)) == 40


def test_weights_of_an_encoder_that_was_changed_are_fetched_again(uploaded, store, noise_records):
    metadata = json.loads((noise_records / "metadata.json").read_text())
    for weights in (b"one", b"two"):
        facts = {**metadata, "encoder": {"sha256": weights.decode()}}
        store.pipe_file("/bucket/corpora/noise/metadata.json", json.dumps(facts).encode())
        store.pipe_file("/bucket/corpora/noise/encoder/weights", weights)
        remote._refreshed.cache_clear()
        remote.refresh(uploaded)
        assert (uploaded / "encoder" / "weights").read_bytes() == weights


def test_an_export_fetches_the_weights_that_are_not_in_the_cache(uploaded, store, noise_records, monkeypatch):
    from emotion_tf.exporting import encoder

    metadata = json.loads((noise_records / "metadata.json").read_text())
    store.pipe_file(
        "/bucket/corpora/noise/metadata.json", json.dumps({**metadata, "encoder": {"sha256": "one"}}).encode()
    )
    store.pipe_file("/bucket/corpora/noise/encoder/weights", b"one")
    monkeypatch.setattr(encoder.whisper_checkpoint, "is_folder", lambda folder: (folder / "weights").exists())
    run = types.SimpleNamespace(config=lambda: Config("audio", str(uploaded)))
    assert (encoder._kept(run, {}) / "weights").read_bytes() == b"one"


def test_a_shard_that_changed_meanwhile_is_refused_in_a_sentence(uploaded, store):
    name = next(iter(read_metadata(uploaded).shards))
    changed = bytearray(store.cat_file(f"/bucket/corpora/noise/{name}"))
    changed[100] ^= 1
    store.pipe_file(f"/bucket/corpora/noise/{name}", bytes(changed))
    with pytest.raises(InputError, match=f"{name} is not the file that its metadata.json names, changed meanwhile"):
        read_index(uploaded)
    store.pipe_file(f"/bucket/corpora/noise/{name}", bytes(changed[:-1]))
    with pytest.raises(InputError, match="uploaded in part"):
        read_index(uploaded)
    assert name not in shards_in(uploaded)


def test_records_that_were_made_anew_take_the_place_of_the_old_ones(uploaded, store, noise_records, tmp_path):
    read_index(uploaded)
    first = shards_in(uploaded)[0]
    metadata = json.loads((noise_records / "metadata.json").read_text())
    metadata["shards"][first]["sha256"] = "0" * 64
    store.pipe_file("/bucket/corpora/noise/metadata.json", json.dumps(metadata).encode())
    read_metadata(uploaded)
    assert first in shards_in(uploaded), "within a process the records stay what they are"
    remote._refreshed.cache_clear()
    read_metadata(uploaded)
    assert first not in shards_in(uploaded)
    assert len(shards_in(uploaded)) == len(metadata["shards"]) - 1


@pytest.fixture
def made_anew(uploaded, store, noise_records):
    """Puts other records of the same sizes at the URL, and lets another process of this machine read them.

    Returns:
      Their metadata.json.
    """

    def make_anew(has_sha256=True):
        metadata = json.loads((noise_records / "metadata.json").read_text())
        for name, facts in metadata["shards"].items():
            changed = bytearray((noise_records / name).read_bytes())
            changed[100] ^= 1
            store.pipe_file(f"/bucket/corpora/noise/{name}", bytes(changed))
            facts["sha256"] = hashlib.sha256(changed).hexdigest()
            if not has_sha256:
                del facts["sha256"]
        metadata["fingerprint"] = "another"
        store.pipe_file("/bucket/corpora/noise/metadata.json", json.dumps(metadata).encode())
        code = "import sys, types; from pipelines.records import remote; remote._file_system = lambda url: types"
        code += (
            ".SimpleNamespace(cat_file=lambda path: sys.stdin.buffer.read()); remote.refresh(remote.local(sys.argv[1]))"
        )
        content = json.dumps(metadata).encode()
        subprocess.run([sys.executable, "-c", code, URL], cwd=ROOT, input=content, check=True)
        return metadata

    return make_anew


def test_records_that_another_process_fetches_anew_stop_this_one_in_a_sentence(uploaded, made_anew):
    epoch = serialised_records(paths_of(uploaded, read_metadata(uploaded).shards))
    assert sum(1 for _ in epoch) == 40
    made_anew()
    said = "were made anew while this command reads them, and another one has fetched the new ones"
    with pytest.raises(InputError, match=said), named_if_corrupt(uploaded):
        sum(1 for _ in epoch)
    with pytest.raises(InputError, match="run the same command again, which reads those alone"):
        read_index(uploaded)


def test_an_old_shard_that_is_still_under_way_takes_no_name_among_new_ones(uploaded, made_anew, monkeypatch):
    name = next(iter(read_metadata(uploaded).shards))
    append = remote._append

    def overtaken(*arguments):
        whole = append(*arguments)
        made_anew()
        return whole

    monkeypatch.setattr(remote, "_append", overtaken)
    with pytest.raises(InputError, match="were made anew while this command reads them"):
        remote.fetched(uploaded, name)
    assert name not in shards_in(uploaded)


def test_shards_without_a_hash_are_fetched_again_where_metadata_changed(uploaded, store, made_anew, noise_records):
    metadata = json.loads((noise_records / "metadata.json").read_text())
    for facts in metadata["shards"].values():
        del facts["sha256"]
    store.pipe_file("/bucket/corpora/noise/metadata.json", json.dumps(metadata).encode())
    read_index(uploaded)
    assert shards_in(uploaded)
    made_anew(has_sha256=False)
    assert not shards_in(uploaded)


def test_shards_used_longest_ago_go_where_the_cache_is_full(uploaded, monkeypatch):
    names = list(read_metadata(uploaded).shards)
    monkeypatch.setattr(remote, "_LEAST_SHARDS", 1)
    sizes = [remote.fetched(uploaded, name).stat().st_size for name in names[:2]]
    for age, name in enumerate(reversed(names[:2])):
        os.utime(uploaded / name, (1000 - age, 1000 - age))
    remote.fetched(uploaded, names[0])
    monkeypatch.setenv(remote.LIMIT_VARIABLE, str((sum(sizes) + 10) / 1e9))
    remote.fetched(uploaded, names[2])
    assert shards_in(uploaded) == [names[0], names[2]]
    assert len(read_index(uploaded)) == 40


def test_runs_name_the_url_and_read_the_cache(uploaded, tmp_path):
    config = Config("audio", str(uploaded))
    run = Run(tmp_path / "run")
    run.start(config)
    assert json.loads(run.config_path.read_text())["records"] == URL
    assert run.config() == config


def test_a_machine_with_a_cache_of_the_same_name_finds_the_url_again(uploaded):
    shutil.rmtree(uploaded)
    assert len(read_index(uploaded)) == 40


def test_records_of_older_versions_are_compared_by_their_size(uploaded, store, noise_records):
    metadata = json.loads((noise_records / "metadata.json").read_text())
    for facts in metadata["shards"].values():
        del facts["sha256"]
    store.pipe_file("/bucket/corpora/noise/metadata.json", json.dumps(metadata).encode())
    assert len(read_index(uploaded)) == 40


def test_names_of_shards_lead_nowhere_else(uploaded, store, noise_records):
    metadata = json.loads((noise_records / "metadata.json").read_text())
    metadata["shards"]["../../../out.tfrecord"] = metadata["shards"].popitem()[1]
    store.pipe_file("/bucket/corpora/noise/metadata.json", json.dumps(metadata).encode())
    with pytest.raises(InputError, match=r"names no shard \.\./\.\./\.\./out\.tfrecord"):
        read_index(uploaded)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("memory://nowhere/x", r"memory://nowhere/x/metadata.json is not there .*: correct the URL"),
        ("nosuch://bucket/x", "begins with nosuch://, which nothing here reads"),
        ("memory://bucket/../../x", "names no folder of records"),
        ("memory://", "holds no complete records"),
    ],
)
def test_a_url_that_holds_no_records_gets_a_sentence(cache, url, sentence):
    with pytest.raises(InputError, match=sentence):
        read_metadata(remote.local(url))


def test_stores_that_refuse_or_do_not_answer_get_a_sentence(uploaded, monkeypatch):
    class Refusing:
        def cat_file(self, path):
            raise self.error

    monkeypatch.setattr(remote, "_file_system", lambda url: Refusing())
    errors = {
        PermissionError("Access Denied"): r"may not be read \(Access Denied\): set the credentials",
        RuntimeError("Unable to locate credentials"): "set the credentials of the store",
        ConnectionError("refused"): r"cannot be read \(ConnectionError: refused\): see to the connection",
    }
    for error, sentence in errors.items():
        Refusing.error = error
        with pytest.raises(InputError, match=sentence):
            read_metadata(uploaded)


def test_a_package_that_is_not_installed_is_named(cache, monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(InputError, match=r"emotion_tf\[cloud\]"):
        read_metadata(remote.local("s3://bucket/x"))


def test_a_limit_that_is_no_number_gets_a_sentence(uploaded, monkeypatch):
    monkeypatch.setenv(remote.LIMIT_VARIABLE, "many")
    with pytest.raises(InputError, match="EMOTION_TF_RECORDS_CACHE_GB is many: give it gigabytes above 0"):
        read_index(uploaded)


def test_prepare_writes_to_no_url(noise_clips):
    with pytest.raises(InputError, match="upload that folder: aws s3 sync"):
        prepare.main(["--corpus", "ravdess", "--source", str(noise_clips), "--records", "s3://bucket/x"])


def test_flags_take_a_url(cache):
    from emotion_tf.fit import make_parser

    config = config_of(make_parser().parse_args(["--branch", "audio", "--records", URL]))
    assert config.records == str(cache / "memory" / "bucket" / "corpora" / "noise")


def test_a_label_map_is_for_the_records_at_its_url(cache, monkeypatch):
    from emotion_tf import flags
    from emotion_tf.fit import make_parser

    monkeypatch.setattr(flags, "join", lambda folders, maps: (folders, maps))
    other = "memory://bucket/other"
    words = ["--branch", "audio", "--records", URL, other, "--label-map", f"{other}=ravdess-seven"]
    folders, maps = flags._records(make_parser().parse_args(words))
    assert maps == {str(folders[1]): "ravdess-seven"}


@pytest.fixture
def s3(tmp_path):
    """Variables for a server on this machine that speaks S3."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_EC2_METADATA_DISABLED": "true"}
        keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
        home = {"HOME": str(tmp_path / "home"), remote.FOLDER_VARIABLE: str(tmp_path / "cache")}
        yield {"endpoint": endpoint | home, "keys": keys}
    finally:
        server.stop()


def command(*words, **variables):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, *map(str, words)],
        env=kept | {"PYTHONPATH": path} | variables,
        capture_output=True,
        text=True,
        check=False,
    )


UPLOAD = """
import sys, s3fs
s3 = s3fs.S3FileSystem()
s3.makedirs("bucket", exist_ok=True)
s3.put(sys.argv[1].rstrip("/") + "/", "bucket/mine/", recursive=True)
"""

FETCH = """
import hashlib
from pipelines.records import remote
folder = remote.local("s3://bucket/mine")
remote.refresh(folder)
for name in remote._shards((folder / "metadata.json").read_bytes()):
    print(name, hashlib.sha256(remote.fetched(folder, name).read_bytes()).hexdigest())
"""


@pytest.mark.slow
def test_records_on_s3_that_were_made_anew_are_fetched_anew(s3, noise_records, tmp_path):
    variables = s3["endpoint"] | s3["keys"]
    made = tmp_path / "made"
    shutil.copytree(noise_records, made)
    for _ in range(2):
        metadata = json.loads((made / "metadata.json").read_text())
        name, facts = next(iter(metadata["shards"].items()))
        changed = bytearray((made / name).read_bytes())
        changed[100] ^= 1
        (made / name).write_bytes(changed)
        facts["sha256"] = hashlib.sha256(changed).hexdigest()
        (made / "metadata.json").write_text(json.dumps(metadata))
        assert command("-c", UPLOAD, made, **variables).returncode == 0
        fetched = command("-c", FETCH, **variables)
        assert f"{name} {facts['sha256']}" in fetched.stdout, fetched.stderr


@pytest.mark.slow
def test_fit_check_and_evaluate_read_s3(s3, three_speaker_records, tmp_path):
    variables = s3["endpoint"] | s3["keys"]
    uploaded = command("-c", UPLOAD, three_speaker_records, **variables)
    assert uploaded.returncode == 0, uploaded.stderr
    flags = ("--branch", "audio", "--epochs", "1", "--num-frames", "32", "--audio-channels", "4", "4")
    scores = []
    for name, records in (("far", "s3://bucket/mine"), ("near", three_speaker_records)):
        run = tmp_path / name
        fitted = command("-m", "emotion_tf.fit", *flags, "--records", records, "--run", run, **variables)
        assert fitted.returncode == 0, fitted.stderr
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        read = command("-m", "emotion_tf.evaluate", "--run", run, **variables)
        assert read.returncode == 0, read.stderr
        scores.append(json.loads((run / "scores.json").read_text()))
    assert scores[0]["test"] == scores[1]["test"]
    assert json.loads((tmp_path / "far" / "config.json").read_text())["records"] == "s3://bucket/mine"
    refused = {
        "no such bucket": ("s3://nowhere/mine", variables, "s3://nowhere/mine/metadata.json is not there"),
        "no credentials": ("s3://bucket/mine", s3["endpoint"], "set the credentials of the store"),
        "nobody there": (
            "s3://bucket/x",
            variables | {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
            "see to the connection",
        ),
    }
    for records, given, sentence in refused.values():
        found = command("-m", "emotion_tf.check", "--records", records, **given)
        assert found.returncode == 1
        assert sentence in found.stderr
        assert len(found.stderr.strip().splitlines()) == 1
