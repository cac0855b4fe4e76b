"""The contract of published checkpoints, on fsspec's file system and on its store in memory."""

import hashlib
import json
import logging
import uuid

import pytest
from fsspec.implementations.local import LocalFileSystem

from search import checkpoint_store
from search.checkpoint_store import CheckpointStore
from spvit.errors import ConfigError, StorageError
from trainers.checkpoint_names import NUM_KEPT, checkpoint_name, checkpoints_in
from trainers.safe_folder import MANIFEST, verify_folder, write_folder


@pytest.fixture(params=["path", "file", "memory"])
def url(request, tmp_path):
    shared = {"path": str(tmp_path / "store"), "file": f"file://{tmp_path}/store", "memory": f"memory://{uuid.uuid4()}"}
    return shared[request.param]


@pytest.fixture
def store(url, monkeypatch):
    monkeypatch.setattr(checkpoint_store, "WAITS_S", (0.0, 0.0))
    return CheckpointStore(url)


@pytest.fixture
def here(tmp_path):
    return tmp_path / "here" / "3"


@pytest.fixture
def there(tmp_path):
    return tmp_path / "there" / "3"


def _save(directory, step, text="weights"):
    directory.mkdir(parents=True, exist_ok=True)
    write_folder(directory / checkpoint_name(step), {"weights": lambda path: path.write_text(f"{text} {step}")})


def _steps(directory):
    return [step for step, _ in checkpoints_in(directory)]


def _files(store, trial="3"):
    """The published checkpoints as a file system and the paths of their folders."""
    return store._files, f"{store._root}/{trial}"


def test_what_is_published_is_fetched_elsewhere(store, here, there):
    _save(here, 1)
    store.publish("3", here)
    fetched = store.fetch("3", there)
    assert fetched == there / checkpoint_name(1)
    assert (fetched / "weights").read_text() == "weights 1"
    verify_folder(fetched)


def test_nothing_published_is_nothing_fetched(store, there):
    assert store.fetch("3", there) is None
    assert _steps(there) == []


def test_a_trial_without_a_checkpoint_publishes_nothing(store, here):
    store.publish("3", here)
    assert store.fetch("3", here) is None


def test_the_newest_ones_are_kept(store, here, there):
    for step in range(1, 6):
        _save(here, step)
        store.publish("3", here)
    files, root = _files(store)
    names = sorted(path.rpartition("/")[2] for path in files.ls(root, detail=False))
    assert names == [checkpoint_name(step) for step in (4, 5)]
    assert len(names) == NUM_KEPT
    assert store.fetch("3", there).name == checkpoint_name(5)


def test_a_late_copy_of_an_old_attempt_changes_nothing(store, here, there):
    _save(here, 2, "new")
    store.publish("3", here)
    _save(there, 2, "old")
    store.publish("3", there)
    assert (store.fetch("3", there) / "weights").read_text() == "new 2"


def test_a_newer_checkpoint_that_was_never_published_is_set_aside(store, here):
    _save(here, 1)
    store.publish("3", here)
    _save(here, 2)
    assert store.fetch("3", here) == here / checkpoint_name(1)
    assert _steps(here) == [1]
    assert (here / f"{checkpoint_name(2)}.unpublished").is_dir()


def test_what_is_here_already_is_not_copied_again(store, here):
    _save(here, 1)
    store.publish("3", here)
    files, root = _files(store)
    files.rm_file(f"{root}/{checkpoint_name(1)}/weights")
    assert store.fetch("3", here) == here / checkpoint_name(1)


@pytest.mark.parametrize("damage", ["weights missing", "weights changed", "manifest missing", "manifest cut"])
def test_a_damaged_one_is_passed_over_for_the_one_before(store, here, there, damage, caplog):
    for step in (1, 2):
        _save(here, step)
        store.publish("3", here)
    files, root = _files(store)
    name = "weights" if damage.startswith("weights") else MANIFEST
    path = f"{root}/{checkpoint_name(2)}/{name}"
    data = files.cat_file(path)
    files.rm_file(path)
    if not damage.endswith("missing"):
        files.pipe_file(path, data[:-1])
    with caplog.at_level(logging.WARNING):
        assert store.fetch("3", there).name == checkpoint_name(1)
    assert _steps(there) == [1]
    assert ("it is damaged" in caplog.text) == (damage != "manifest missing")  # unpublished is no damage


def test_a_checkpoint_is_there_when_its_manifest_is(store, here, there):
    """A crash before the manifest leaves what was published before."""
    for step in (1, 2):
        _save(here, step)
    files, root = _files(store)
    store.publish("3", here)
    files.mv(f"{root}/{checkpoint_name(2)}/{MANIFEST}", f"{root}/{checkpoint_name(2)}/other")
    assert store.fetch("3", there) is None


def test_a_manifest_from_elsewhere_writes_nothing_outside(store, here, there):
    _save(here, 1)
    store.publish("3", here)
    hashes = {"../../stolen": hashlib.sha256(b"x").hexdigest()}
    total = hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()
    files, root = _files(store)
    files.pipe_file(
        f"{root}/{checkpoint_name(1)}/{MANIFEST}", json.dumps({"files": hashes, "manifest": total}).encode()
    )
    files.pipe_file(f"{root}/stolen", b"x")
    assert store.fetch("3", there) is None
    assert [path for path in there.parents[1].rglob("stolen") if "store" not in path.parts] == []


def test_a_probe_leaves_nothing(store):
    store.check()
    assert store._files.ls(store._root, detail=False) == []


class _FlakyFiles(LocalFileSystem):
    """Fails as many requests as it is told."""

    failures = 0

    def put_file(self, *args, **kwargs):
        if _FlakyFiles.failures:
            _FlakyFiles.failures -= 1
            raise OSError("503 slow down, password=hunter2secret")
        return super().put_file(*args, **kwargs)


@pytest.fixture
def flaky(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint_store, "WAITS_S", (0.0, 0.0))
    store = CheckpointStore(str(tmp_path / "store"))
    store._files = _FlakyFiles(auto_mkdir=True, skip_instance_cache=True)
    return store


def test_a_request_that_fails_twice_is_made_a_third_time(flaky, here, there):
    _save(here, 1)
    _FlakyFiles.failures = 2
    flaky.publish("3", here)
    assert flaky.fetch("3", there) is not None


def test_a_store_that_fails_for_good_is_told_without_its_secrets(flaky, here, there):
    _save(here, 1)
    _FlakyFiles.failures = 99
    with pytest.raises(StorageError, match=r"study.checkpoints = .*store could not be written: OSError: 503") as caught:
        flaky.publish("3", here)
    _FlakyFiles.failures = 0
    assert "hunter2secret" not in str(caught.value)
    assert flaky.fetch("3", there) is None


def test_a_url_that_nothing_here_opens_is_refused():
    with pytest.raises(ConfigError, match=r"study\.checkpoints: a folder or a URL that fsspec can open was required"):
        CheckpointStore("nosuch://bucket/x")
