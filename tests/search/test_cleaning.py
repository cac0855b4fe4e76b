"""What is removed is never what resume or export need; what a search keeps is bounded."""

import json
from dataclasses import replace

import pytest
import tabulated
import torch

from search.checkpoint_keeper import CheckpointKeeper
from search.cleaning import removals
from search.cli import run
from search.driver import Failure, ReportKey
from search.keep_rules import NUM_TO_GO_ON, checkpoints_to_keep
from search.records import Origin, TrialState
from search.retries import root_of, trials_to_retry
from search.search_config import KeepCheckpoints
from search.selection import best_trial, front_trials
from search.study import read_study
from search.study_files import trial_directory
from spvit.errors import ExitCode
from trainers.checkpoint import latest_checkpoint, save_checkpoint
from trainers.checkpoint_names import checkpoint_folders

pytestmark = pytest.mark.usefixtures("few_candidates")

DIVERGES, IS_LOST = 4, 6


def _save(directory, epoch):
    save_checkpoint(directory, epoch, weights={"w": torch.ones(1000)}, optimizer={}, meta={})


def _search(folder, *, listeners=(), **search):
    """Trials with real checkpoints: one diverges, one is lost, the pruner stops some, and the driver is killed."""
    config = tabulated.experiment(
        folder, num_trials=12, sampler="random", pruner="median", latency_tolerance=1.0, **search
    )

    def report(trial, epoch):
        if trial.number == DIVERGES:
            return {ReportKey.FAILURE: Failure.DIVERGENCE.value, ReportKey.REASON: "diverged"}
        if trial.number == IS_LOST and epoch == 2:
            return {ReportKey.FAILURE: Failure.INFRASTRUCTURE.value, ReportKey.REASON: "its worker died"}
        _save(trial_directory(folder / "toy", trial), epoch)
        return tabulated.metrics(epoch, tabulated.top1(trial, epoch))

    tabulated.run(tabulated.make_driver(config, listeners=listeners), report=report, max_reports=29)
    return read_study(folder / "toy")


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("searched")
    return _search(folder), folder / "toy"


def test_every_kind_of_end_is_among_them(searched):
    study, _ = searched
    states = {trial.state for trial in study.trials}
    assert states == {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING}
    assert study.trials[DIVERGES].failure is Failure.DIVERGENCE
    assert len(front_trials(study)) < len(study.finished)


@pytest.mark.parametrize("keep", list(KeepCheckpoints))
def test_what_is_needed_is_kept_under_every_rule(searched, keep):
    study, _ = searched
    kept = checkpoints_to_keep(study, keep)
    assert kept.keys() == {root_of(trial) for trial in study.trials}
    for trial in study.trials:
        if trial.state is TrialState.RUNNING or trial in trials_to_retry(study.trials):
            assert kept[root_of(trial)] == NUM_TO_GO_ON
        elif trial.state is TrialState.PRUNED:
            assert kept[root_of(trial)] == 0
        elif trial.origin is Origin.BASELINE or trial == best_trial(study):
            assert kept[root_of(trial)] == 1


def test_what_may_be_taken_instead_of_the_best_is_kept_under_every_rule(study):
    few = replace(study, num_val_images=300, max_latency_ms=6.1)  # 85, 84 and 88 % are then equal
    best, faster = best_trial(few).number, 1
    kept = checkpoints_to_keep(few, KeepCheckpoints.NONE)
    assert (best, {root for root, count in kept.items() if count}) == (2, {0, faster, best})
    alone = checkpoints_to_keep(replace(few, num_val_images=10_000_000), KeepCheckpoints.NONE)
    assert {root for root, count in alone.items() if count} == {0, best}


def test_stricter_rules_keep_less(searched):
    study, _ = searched
    kept = {keep: checkpoints_to_keep(study, keep) for keep in KeepCheckpoints}
    complete = {root_of(trial) for trial in study.finished}
    front = {root_of(trial) for trial in front_trials(study)}
    assert {root for root, count in kept[KeepCheckpoints.ALL].items() if count == 1} == complete
    of_front = {root for root in complete if kept[KeepCheckpoints.FRONT][root]}
    of_none = {root for root in complete if kept[KeepCheckpoints.NONE][root]}
    assert front <= of_front < complete
    assert of_none < of_front


def test_a_trial_that_was_given_up_keeps_nothing(searched):
    study, _ = searched
    lost = study.trials[IS_LOST]
    fourth = replace(study, trials=tuple(replace(lost, number=n, retry_of=n and 6) for n in range(6, 10)))
    assert checkpoints_to_keep(fourth, KeepCheckpoints.ALL) == {6: 0}
    assert checkpoints_to_keep(replace(fourth, trials=fourth.trials[:3]), KeepCheckpoints.NONE) == {6: NUM_TO_GO_ON}


def test_a_dry_run_says_what_a_run_then_removes(searched, capsys):
    study, folder = searched
    (folder / "trials" / "0" / ".writing-checkpoint-000009").mkdir()
    damaged = folder / "trials" / "0" / "checkpoint-000009.damaged"
    damaged.mkdir()
    before = sorted(folder.rglob("*"))
    arguments = ["clean", "toy", "--runs-dir", str(folder.parent), "--keep", "front", "--json"]
    assert run([*arguments, "--dry-run"]) == ExitCode.OK
    said = json.loads(capsys.readouterr().out)
    assert sorted(folder.rglob("*")) == before
    assert run(arguments) == ExitCode.OK
    done = json.loads(capsys.readouterr().out)
    assert done == said | {"is_dry_run": False}
    assert (done["num_bytes"] > 0, len(done["removed"]) > 3) == (True, True)
    assert damaged.is_dir()
    assert not list(folder.glob("trials/*/.writing-*"))
    after = read_study(folder)
    assert after == study
    for root, count in checkpoints_to_keep(after, KeepCheckpoints.FRONT).items():
        directory = folder / "trials" / str(root)
        assert len(checkpoint_folders(directory)) <= count
        if count == 1:  # the last one, whole
            assert latest_checkpoint(directory, is_owner=False).step == 4
    assert removals(after, folder, KeepCheckpoints.FRONT) == ()


def test_a_study_that_is_being_run_is_left_alone(searched, capsys):
    from search.lock import study_lock

    _, folder = searched
    with study_lock(folder):
        assert run(["clean", "toy", "--runs-dir", str(folder.parent)]) == ExitCode.STUDY_LOCKED
        assert run(["clean", "toy", "--runs-dir", str(folder.parent), "--dry-run"]) == ExitCode.OK
    assert "would free" in capsys.readouterr().out


@pytest.mark.parametrize("keep", list(KeepCheckpoints))
def test_a_search_never_keeps_more_than_its_rule(tmp_path, keep):
    study = _search(tmp_path, listeners=[CheckpointKeeper(keep)])
    for root, count in checkpoints_to_keep(study, keep).items():
        assert len(checkpoint_folders(tmp_path / "toy" / "trials" / str(root))) <= count
    for trial in study.finished:
        folders = checkpoint_folders(trial_directory(tmp_path / "toy", trial))
        assert len(folders) == checkpoints_to_keep(study, keep)[root_of(trial)]


def test_half_a_checkpoint_of_a_worker_that_died_is_gone_when_a_search_begins_or_ends(tmp_path):
    config = tabulated.experiment(tmp_path, num_trials=1)
    half = tmp_path / "toy" / "trials" / "0" / ".writing-checkpoint-000001-old"
    half.mkdir(parents=True)
    driver = tabulated.make_driver(config, listeners=[CheckpointKeeper(KeepCheckpoints.ALL)])
    assert not half.exists()
    tabulated.run(driver)
    half.mkdir()
    driver.finish()
    assert not half.exists()
