import os
import subprocess
import sys
from pathlib import Path

import pytest

from search import job_package
from search.code_identity import PACKAGES
from search.job import exit_code_of
from search.job_package import INPUTS, JobOrder, folder_hash, pack
from search.submitted import arguments_of, kept_inputs
from spvit.errors import ConfigError, ExitCode, StorageError, UsageError

TEXT = """
[study]
name = "x"
[model]
name = "vit_tiny_patch16_224"
[data]
path = "images"
"""


@pytest.fixture
def experiment(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "train.npz").write_bytes(b"pixels")
    path = tmp_path / "x.toml"
    path.write_text(TEXT)
    return path


@pytest.fixture
def into(tmp_path):
    folder = tmp_path / "package"
    folder.mkdir()
    return folder


def test_a_package_holds_code_experiment_and_what_it_names(experiment, into):
    order = pack(experiment, ["search.num_trials=3"], Path("/shared/runs"), into=into)
    assert {path.name for path in into.iterdir()} == {*PACKAGES, INPUTS, job_package.ORDER}
    assert (into / INPUTS / "x.toml").read_text() == TEXT
    assert (into / INPUTS / "images" / "train.npz").read_bytes() == b"pixels"
    assert not list(into.rglob("__pycache__"))
    assert JobOrder.read(into) == order
    assert order.inputs_hash == folder_hash(into / INPUTS)


def test_the_packed_code_runs(experiment, into):
    pack(experiment, [], Path("/shared/runs"), into=into)
    environment = {**os.environ, "PYTHONPATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", "import search.cli; print(search.cli.__file__)"],
        cwd=into,
        check=True,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == str(into / "search" / "cli.py")


def test_what_is_named_absolutely_stays_where_it_is(experiment, into):
    pack(experiment, ["data.path=/datasets/images"], Path("/shared/runs"), into=into)
    assert [path.name for path in (into / INPUTS).iterdir()] == ["x.toml"]


def test_files_of_the_users_own_come_along(experiment, into, tmp_path):
    own = tmp_path / "mine.py"
    own.write_text("x = 1")
    pack(experiment, [], Path("/shared/runs"), includes=[own, tmp_path / "images"], into=into)
    assert (into / "mine.py").read_text() == "x = 1"
    assert (into / "images" / "train.npz").exists()


@pytest.mark.parametrize("name", [*PACKAGES, INPUTS, job_package.ORDER])
def test_nothing_takes_the_place_of_ours(experiment, into, tmp_path, name):
    own = tmp_path / "own" / name
    own.mkdir(parents=True)
    with pytest.raises(UsageError, match="the job's folder already has"):
        pack(experiment, [], Path("/shared/runs"), includes=[own], into=into)


@pytest.mark.parametrize("path", ["../images", "images/../../x", "link"])
def test_nothing_outside_the_experiments_folder_comes_along(experiment, into, tmp_path, path):
    (tmp_path / "link").symlink_to("/etc")
    with pytest.raises(UsageError, match=r"data.path = .* lies outside the experiment's folder"):
        pack(experiment, [f"data.path={path}"], Path("/shared/runs"), into=into)


def test_what_is_missing_is_named(experiment, into, tmp_path):
    with pytest.raises(UsageError, match=r"data.path = 'nowhere' was required, but .*nowhere does not exist"):
        pack(experiment, ["data.path=nowhere"], Path("/shared/runs"), into=into)
    with pytest.raises(UsageError, match="no such file or folder"):
        pack(experiment, [], Path("/shared/runs"), includes=[tmp_path / "no"], into=_fresh(into))
    with pytest.raises(ConfigError, match="no such experiment file"):
        pack(tmp_path / "no.toml", [], Path("/shared/runs"), into=_fresh(into))


def _fresh(into):
    folder = into.with_name(f"{into.name}-2")
    folder.mkdir(exist_ok=True)
    return folder if not list(folder.iterdir()) else _fresh(folder)


def test_a_relative_folder_of_studies_is_refused(experiment, into):
    with pytest.raises(UsageError, match=r"an absolute --runs-dir .* was required, but got 'runs'"):
        pack(experiment, [], Path("runs"), into=into)


def test_too_large_a_package_names_its_largest_file(experiment, into, monkeypatch):
    monkeypatch.setattr(job_package, "MAX_BYTES", 1000)
    with pytest.raises(UsageError, match="put large data where every machine has it"):
        pack(experiment, [], Path("/shared/runs"), into=into)


def test_equal_inputs_have_one_place_that_stays(experiment, into, tmp_path):
    order = pack(experiment, [], tmp_path / "runs", into=into)
    first = kept_inputs(into, order)
    again = kept_inputs(into, order)
    assert first == again
    assert first.read_text() == TEXT
    assert (first.parent / "images" / "train.npz").exists()
    (experiment.parent / "images" / "train.npz").write_bytes(b"others")
    assert kept_inputs(_fresh(into), pack(experiment, [], tmp_path / "runs", into=_fresh(into))) != first


def test_a_folder_that_cannot_be_written_is_told(experiment, into, tmp_path):
    (tmp_path / "runs").write_text("a file")
    order = pack(experiment, [], tmp_path / "runs", into=into)
    with pytest.raises(StorageError, match="Every machine of the cluster must be able to write --runs-dir"):
        kept_inputs(into, order)


def test_settings_are_arguments_and_never_a_shells_words(experiment, into):
    nasty = 'study.name=x"; rm -rf $HOME; echo "'
    order = JobOrder(experiment="x.toml", overrides=(nasty,), runs_dir="/r", inputs_hash="0" * 64)
    order.write(into)
    assert arguments_of(JobOrder.read(into), Path("/r/x.toml")) == [
        "launch", "/r/x.toml", "--set", nasty, "--runs-dir", "/r", "--address", "auto"
    ]  # fmt: skip


def test_a_job_may_go_on_with_a_changed_study_and_shut_another_driver_out(experiment, into):
    order = pack(experiment, [], Path("/shared/runs"), into=into, accept_change=True, takeover=True)
    assert JobOrder.read(into) == order
    assert arguments_of(order, Path("/r/x.toml"))[-2:] == ["--accept-change", "--takeover"]


@pytest.mark.parametrize(
    ("status", "driver", "code"),
    [
        ("SUCCEEDED", 0, ExitCode.OK),
        ("FAILED", 3, ExitCode.CONFIG),
        ("FAILED", 75, ExitCode.STOPPED),
        ("FAILED", -9, ExitCode.CLUSTER),
        ("FAILED", 137, ExitCode.CLUSTER),
        ("FAILED", None, ExitCode.CLUSTER),
        ("STOPPED", None, ExitCode.STOPPED),
        ("STOPPED", -15, ExitCode.STOPPED),
    ],
)
def test_a_job_ends_as_its_driver_did(status, driver, code):
    assert exit_code_of(status, driver) == code
