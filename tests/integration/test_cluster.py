"""Three Ray nodes on this machine: searches run there, machines and drivers die, jobs end; nothing is lost."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import pytest
from cluster_search import ENVIRONMENT_FILE
from command_line import wait_for, write_experiment
from ray_cluster import descendants, ray_cluster

from search.ray_token import write_token
from search.records import TrialState
from search.retries import root_of
from search.study import read_study
from spvit.errors import ExitCode
from trainers.checkpoint_names import NUM_KEPT, checkpoints_in

pytestmark = [pytest.mark.large, pytest.mark.integration]
SCRIPT = Path(__file__).parent / "cluster_search.py"
NUM_TRIALS, EPOCHS = 5, 4
SECRETS = {"MLFLOW_TRACKING_PASSWORD": "canary-1", "PGPASSWORD": "canary-2", "MLFLOW_TRACKING_USERNAME": "canary-3"}


@pytest.fixture(scope="module")
def cluster():
    with ray_cluster(num_workers=2, environment=SECRETS) as cluster:
        yield cluster


def _start(cluster, *command):
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        env=cluster.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _end(process, seconds=240):
    out, err = process.communicate(timeout=seconds)
    return process.returncode, out, err


def _story(folder, root):
    """Epochs that a trial trained and the homes of the machines that trained them, in order."""
    path = folder / "log" / str(root)
    lines = path.read_text().splitlines() if path.exists() else []
    return [(int(epoch), Path(home)) for epoch, home in map(str.split, lines)]


def _check_whole(study, num_trials):
    """All trials that were asked for are complete, each once, and the fixed one; others are lost attempts of them."""
    complete = [t for t in study.trials if t.state is TrialState.COMPLETE]
    assert {t.state for t in study.trials} <= {TrialState.COMPLETE, TrialState.FAIL}
    assert len({root_of(t) for t in complete}) == len(complete) == num_trials + 1


@pytest.fixture(scope="module")
def searched(cluster, tmp_path_factory):
    """A search one of whose machines is killed in the middle of a trial: its folder, the study then, trial, machine."""
    folder = tmp_path_factory.mktemp("searched")
    process = _start(cluster, SCRIPT, folder, cluster.address, NUM_TRIALS, 0.8)

    def in_the_middle(study):
        return [t for t in study.trials if t.state is TrialState.RUNNING and 2 <= t.num_epochs < EPOCHS - 1]

    before = wait_for(folder / "toy", lambda study: study.finished and in_the_middle(study), seconds=240)
    victim = in_the_middle(before)[0]
    home = _story(folder, root_of(victim))[-1][1]
    cluster.kill(cluster.homes[home])
    assert _end(process) == (0, "", "")
    cluster.add_worker()
    cluster.wait()
    return folder, before, victim, home


def test_a_search_on_a_cluster_loses_nothing_when_a_machine_dies(searched):
    folder, before, victim, _ = searched
    study = read_study(folder / "toy")
    _check_whole(study, NUM_TRIALS)
    assert study.trials[victim.number].state is TrialState.FAIL
    for trial in before.finished:
        assert study.trials[trial.number] == trial
        assert [epoch for epoch, _ in _story(folder, root_of(trial))] == list(range(1, EPOCHS + 1))


def test_a_trial_goes_on_elsewhere_from_what_it_published(searched):
    folder, _, victim, home = searched
    story = _story(folder, root_of(victim))
    moved = next(i for i, (_, where) in enumerate(story) if where != home)
    assert story[moved][0] > victim.num_epochs  # what was reported was published, and is not trained again
    assert all(where != home for _, where in story[moved:])
    steps = [epoch for epoch, _ in story]
    assert steps[-1] == EPOCHS
    assert sum(later <= earlier for earlier, later in pairwise(steps)) <= 1  # the epoch that was under way


def test_both_machines_trained(searched):
    folder = searched[0]
    assert len({home for log in (folder / "log").iterdir() for _, home in _story(folder, log.name)}) == 2


def test_few_checkpoints_of_each_trial_are_kept(searched):
    published = searched[0] / "published" / "toy" / "trials"
    assert {len(checkpoints_in(trial)) for trial in published.iterdir()} == {NUM_KEPT}


def test_a_worker_is_told_no_credentials_of_study_and_tracking(searched):
    told = json.loads((searched[0] / ENVIRONMENT_FILE).read_text())
    assert set(told) >= set(SECRETS)
    assert set(told.values()) == {""}


def test_a_trial_of_two_workers_spans_two_machines(searched, cluster, tmp_path):
    assert _end(_start(cluster, SCRIPT, tmp_path, cluster.address, 1, 0, 2)) == (0, "", "")
    _check_whole(read_study(tmp_path / "toy"), 1)
    for trial in ("0", "1"):
        first, second = _story(tmp_path, trial), _story(tmp_path, f"{trial}.1")
        assert [epoch for epoch, _ in first] == [epoch for epoch, _ in second] == list(range(1, EPOCHS + 1))
        assert {home for _, home in first} != {home for _, home in second}


def test_a_search_from_beyond_the_cluster(searched, cluster, tmp_path):
    assert _end(_start(cluster, SCRIPT, tmp_path, cluster.client, 1, 0)) == (0, "", "")
    _check_whole(read_study(tmp_path / "toy"), 1)


def test_a_plan_says_what_the_cluster_holds(searched, cluster, tmp_path):
    experiment = write_experiment(tmp_path, "planned", ("time_limit_s = 8", "time_limit_s = 1"))
    settings = ("--set", "search.num_concurrent=9", "--set", "trial.resources_per_worker.cpus=1")
    process = _start(cluster, "-m", "search.cli", "plan", experiment, "--address", cluster.address, *settings)
    code, out, err = _end(process)
    assert code == ExitCode.OK, err
    assert "at once   2 trials" in out
    assert "2 trials run at once instead of search.num_concurrent = 9: there are 2 CPUs and 0 GPUs" in out


CHECK = """
import sys
sys.path.insert(0, sys.argv[1])
from search.node_versions import check_nodes
from search.ray_session import connected
with connected(sys.argv[2]):
    check_nodes(sys.argv[2])
"""


def test_other_versions_are_refused_with_both_named(cluster, tmp_path):
    """Here, torch says that it is another one."""
    (tmp_path / "torch-9.9.9.dist-info").mkdir()
    (tmp_path / "torch-9.9.9.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 9.9.9\n")
    _, _, err = _end(_start(cluster, "-c", CHECK, tmp_path, cluster.address))
    assert err.count(f"torch {version('torch')} there, 9.9.9 here") == 3
    assert "ray" not in {line.split(": ")[1].split()[0] for line in err.splitlines() if " there, " in line}


def test_without_the_right_token_nobody_gets_in(cluster, tmp_path):
    token = tmp_path / "token"
    write_token(token)
    for headers in ({}, {"Authorization": f"Bearer {token.read_text()}"}):
        request = urllib.request.Request(f"{cluster.jobs}/api/jobs/", headers=headers)  # noqa: S310 - our own server
        with pytest.raises(urllib.error.HTTPError, match=r"40[13]"):
            urllib.request.urlopen(request)  # noqa: S310
    stranger = {**cluster.environment, "RAY_AUTH_TOKEN_PATH": str(token)}
    command = [sys.executable, str(SCRIPT), str(tmp_path), cluster.address, "1", "0"]
    done = subprocess.run(command, check=False, env=stranger, capture_output=True, text=True, timeout=240)
    assert "ClusterError" in done.stderr
    assert "cannot be reached" in done.stderr
    assert not list((tmp_path / "log").iterdir())


def _submit(cluster, experiment, *options):
    return _start(cluster, "-m", "search.cli", "submit", experiment, "--address", cluster.jobs, *options)


def test_the_log_and_the_exit_code_of_a_job_come_through(searched, cluster, tmp_path):
    experiment = write_experiment(tmp_path, "small")
    code, out, err = _end(_submit(cluster, experiment, "--set", "data.path=/nowhere"))
    assert code == ExitCode.DATA, err
    assert "error: data.path must be a folder with the splits, but /nowhere is none" in out
    assert f"exit code {int(ExitCode.DATA)}" in out
    assert "Traceback" not in out + err


def _driver_of_job(cluster):
    """The process of the job's search on the head."""
    for pid in descendants(cluster.processes[0].pid):
        try:
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"search.submitted" in arguments and b"python" in arguments[0]:
            return pid
    pytest.fail("the job has no driver")


def test_a_job_that_is_killed_leaves_a_study_that_the_same_job_goes_on_with(searched, cluster, tmp_path):
    experiment = write_experiment(
        tmp_path,
        "pair",
        ("num_trials = 8\nnum_concurrent = 2", "num_trials = 1\nnum_concurrent = 1"),
        ("time_limit_s = 8", "time_limit_s = 1"),
        ("[latency]", "[trial]\nworkers = 2\n[latency]"),
        ("choices = [5e-4, 100.0]", "choices = [5e-4, 1e-3]"),
    )
    process = _submit(cluster, experiment, "--json")
    wait_for(tmp_path / "runs" / "pair", lambda study: any(t.curve for t in study.trials), seconds=300)
    os.kill(_driver_of_job(cluster), signal.SIGKILL)
    code, out, err = _end(process)
    assert code == ExitCode.CLUSTER, err
    assert json.loads(out)["exit_code"] == ExitCode.CLUSTER
    code, out, err = _end(_submit(cluster, experiment), 300)
    assert code == ExitCode.OK, out + err
    study = read_study(tmp_path / "runs" / "pair")
    _check_whole(study, 1)
    assert "search ended after" in out
