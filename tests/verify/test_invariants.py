"""Every check on facts: a sound study passes, and each way of breaking an invariant is told by its place."""

import re
from dataclasses import replace

import pytest

from search.records import EndCause, Origin, SearchEnd, TrialState
from search.verify import Expected, Invariant, Outcome
from search.verify.facts import CheckpointFact, ExportFact, Facts, RunFact, SecretFact
from search.verify.failures import badly_ended
from search.verify.verify import verify_facts

PRUNING = {"selector": "multi_head", "head_weighting": "senet", "package": "per_selector"}
ENDED = SearchEnd(cause=EndCause.TRIALS, reason="search.num_trials = 5 trials have ended")


def _trial(trial):
    stages = trial.config["pruning"]["schedule"]["stages"]
    losses = {"ratio": 1.0 + trial.number, "distillation": 0.0}
    training = {"epochs": 3, "mixup": 0.0, "cutmix": 0.0, "selector_warmup_steps": 0}
    config = {"pruning": PRUNING | {"schedule": {"stages": stages}}, "losses": losses, "training": training}
    return replace(trial, config=config)


def _run(trial):
    top1 = {epoch: (value,) for epoch, value in enumerate(trial.curve, start=1)}
    return RunFact(trial=trial.number, run_id=f"r{trial.number}", status="FINISHED", state=str(trial.state), top1=top1)


@pytest.fixture
def facts(study):
    trials = tuple(_trial(trial) for trial in study.trials)
    sound = replace(study, trials=trials, end=ENDED, num_trials=4)
    parent = RunFact(trial=None, run_id="p", status="FINISHED", state="")
    return Facts(
        study=sound,
        trial_folders=tuple(range(6)),
        checkpoints=tuple(
            CheckpointFact(trial=n, step=step, path=f"trials/{n}/checkpoint-{step:06d}")
            for n in range(4)
            for step in (2, 3)
        ),
        exports=(ExportFact(path="export/best", study="small", trial=2, top1=88.0),),
        runs=(parent, *(_run(trial) for trial in trials)),
    )


def _with_trial(facts, number, **changes):
    trials = tuple(replace(t, **changes) if t.number == number else t for t in facts.study.trials)
    return replace(facts, study=replace(facts.study, trials=trials))


def _with_run(facts, number, **changes):
    return replace(facts, runs=tuple(replace(r, **changes) if r.trial == number else r for r in facts.runs))


def test_a_sound_study_keeps_every_invariant(facts):
    report = verify_facts(facts, Expected(before=facts.study, undisturbed=facts.study))
    assert report.violations == ()
    assert {finding.outcome for finding in report.findings} == {Outcome.HOLDS}
    assert [finding.invariant for finding in report.findings] == list(Invariant)
    assert report.is_ok


BROKEN = {
    "a trial is gone": (
        Invariant.NOTHING_LOST,
        lambda f: replace(f, study=replace(f.study, trials=f.study.trials[:2] + f.study.trials[3:])),
        "trial 2: was COMPLETE and is gone",
    ),
    "a result was changed": (
        Invariant.NOTHING_LOST,
        lambda f: _with_trial(f, 1, top1=85.1, curve=(83.0, 84.0, 85.1)),
        "trial 1: was COMPLETE and was changed since",
    ),
    "MLflow knows of an end that the study lost": (
        Invariant.NOTHING_LOST,
        lambda f: _with_trial(f, 4, state=TrialState.RUNNING),
        "trial 4: MLflow has it as PRUNED, the study holds it as RUNNING",
    ),
    "a folder without a trial": (
        Invariant.NOTHING_LOST,
        lambda f: replace(f, trial_folders=(0, 9)),
        "trials/9: has a folder, but the study has no such trial",
    ),
    "a finished trial ran again": (
        Invariant.RUN_ONCE,
        lambda f: _with_trial(f, 4, retry_of=3, origin=Origin.RETRY),
        "trial 4: runs trial 3 again, which is COMPLETE",
    ),
    "a retry began anew": (
        Invariant.RUN_ONCE,
        lambda f: _with_trial(_with_trial(f, 3, state=TrialState.FAIL, top1=None, reason="lost"), 4, retry_of=3),
        "trial 4: does not go on with the epochs of trial 3",
    ),
    "complete before its last epoch": (
        Invariant.RUN_ONCE,
        lambda f: _with_trial(f, 1, curve=(83.0, 85.0)),
        "trial 1: is complete after 2 of 3 epochs",
    ),
    "complete without a number": (
        Invariant.RUN_ONCE,
        lambda f: _with_trial(f, 1, top1=float("nan")),
        "trial 1: is complete with top-1 nan",
    ),
    "failed without a reason": (
        Invariant.RUN_ONCE,
        lambda f: _with_trial(f, 5, reason=""),
        "trial 5: is FAIL without a reason",
    ),
    "one configuration twice": (
        Invariant.NO_DUPLICATES,
        lambda f: _with_trial(f, 3, config=f.study.trials[1].config, keep_counts=f.study.trials[1].keep_counts),
        "trial 3: is the same network, trained alike, as 1",
    ),
    "too few": (
        Invariant.NO_DUPLICATES,
        lambda f: replace(f, study=replace(f.study, num_trials=9)),
        "study: ended after 4 of the 9 trials asked for",
    ),
    "too many": (
        Invariant.NO_DUPLICATES,
        lambda f: replace(f, study=replace(f.study, num_trials=3)),
        "study: has 4 trials, more than the 3 asked for",
    ),
    "another front": (
        Invariant.SAME_FRONT,
        lambda f: _with_trial(f, 2, top1=87.0, curve=(85.0, 86.0, 87.0)),
        "front: lacks 1 2,39 24,5.95,88.0",
    ),
    "a run is missing": (
        Invariant.TRACKED,
        lambda f: replace(f, runs=f.runs[:-1]),
        "the run of trial 5: is in MLflow 0 times",
    ),
    "a run is there twice": (
        Invariant.TRACKED,
        lambda f: replace(f, runs=(*f.runs, f.runs[1])),
        "the run of trial 0: is in MLflow 2 times",
    ),
    "a point is missing": (
        Invariant.TRACKED,
        lambda f: _with_run(f, 1, top1={1: (83.0,), 3: (85.0,)}),
        "the run of trial 1: has no top-1 for epoch 2",
    ),
    "a point is there twice": (
        Invariant.TRACKED,
        lambda f: _with_run(f, 1, top1={1: (83.0, 83.0), 2: (84.0,), 3: (85.0,)}),
        "the run of trial 1: has 2 points of top-1 for epoch 1",
    ),
    "a point is another": (
        Invariant.TRACKED,
        lambda f: _with_run(f, 1, top1={1: (83.0,), 2: (84.0,), 3: (85.5,)}),
        "the run of trial 1: has top-1 85.5 for epoch 3, the study 85.0",
    ),
    "a state is another": (
        Invariant.TRACKED,
        lambda f: _with_run(f, 5, state="PRUNED"),
        "the run of trial 5: says PRUNED, the study FAIL",
    ),
    "an event waits": (Invariant.TRACKED, lambda f: replace(f, num_unsent=3), "3 events are not in MLflow yet"),
    "an export of no trial": (
        Invariant.TRACKED,
        lambda f: replace(f, exports=(replace(f.exports[0], trial=4),)),
        "export/best: is of trial 4, but the study holds it as PRUNED",
    ),
    "a trial runs": (
        Invariant.NOTHING_LEFT,
        lambda f: _with_trial(f, 5, state=TrialState.RUNNING),
        "trial 5: is RUNNING after the search's end",
    ),
    "a run runs": (
        Invariant.NOTHING_LEFT,
        lambda f: _with_run(f, None, status="RUNNING"),
        "the search's run: is RUNNING in MLflow",
    ),
    "half a file": (
        Invariant.NOTHING_LEFT,
        lambda f: replace(f, leftovers=("study.json.tmp",)),
        "study.json.tmp: is temporary and was left behind",
    ),
    "a process": (
        Invariant.NOTHING_LEFT,
        lambda f: replace(f, orphans=("process 7 (raylet)",)),
        "process 7 .raylet.: belongs to this study",
    ),
    "a torn checkpoint": (
        Invariant.FILES_WHOLE,
        lambda f: replace(f, checkpoints=(replace(f.checkpoints[0], damage="weights differ"), *f.checkpoints[1:])),
        "trials/0/checkpoint-000002: weights differ",
    ),
    "a front that cannot be exported": (
        Invariant.FILES_WHOLE,
        lambda f: replace(f, checkpoints=tuple(c for c in f.checkpoints if (c.trial, c.step) != (2, 3))),
        "trial 2: is on the front, but has no checkpoint of epoch 3",
    ),
    "a traceback for a reason": (
        Invariant.FAILURES_TOLD,
        lambda f: _with_trial(f, 5, reason="Traceback (most recent call last):\n..."),
        "trial 5: is told by a traceback",
    ),
    "a secret": (
        Invariant.FAILURES_TOLD,
        lambda f: replace(f, secrets=(SecretFact(where="report/summary.md", name="TOKEN"),)),
        "report/summary.md: holds a secret .TOKEN.",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_way_of_breaking_an_invariant_is_told_by_its_place(facts, name):
    invariant, broken, text = BROKEN[name]
    report = verify_facts(broken(facts), Expected(before=facts.study, undisturbed=facts.study))
    assert not report.is_ok
    assert report[invariant].outcome is Outcome.VIOLATED
    told = [str(violation) for violation in report[invariant].violations]
    assert any(re.search(text, line) for line in told), told


def test_a_retry_goes_on_in_the_run_and_the_folder_of_its_first_attempt(facts):
    first = replace(facts.study.trials[5], state=TrialState.FAIL, curve=(70.0,), reason="interrupted")
    again = replace(
        facts.study.trials[4],
        number=6,
        state=TrialState.COMPLETE,
        curve=(70.0, 80.0, 84.5),
        top1=84.5,
        reason="",
        retry_of=5,
        origin=Origin.RETRY,
    )
    study = replace(facts.study, trials=(*facts.study.trials[:5], first, again), num_trials=5)
    run = replace(_run(again), top1={2: (80.0,), 3: (84.5,)})
    with_retry = replace(facts, study=study, runs=(*facts.runs[:-1], _run(first), run))
    checkpoint = CheckpointFact(trial=5, step=3, path="trials/5/checkpoint-000003")
    with_retry = replace(with_retry, checkpoints=(*with_retry.checkpoints, checkpoint))
    assert verify_facts(with_retry, Expected()).violations == ()


def test_a_trial_that_prolongs_another_is_no_second_one_and_tells_its_own_epochs(facts):
    before = facts.study.trials[2]
    training = {**before.config["training"], "epochs": 4, "continues_epochs": 3}
    longer = replace(
        before,
        number=6,
        origin=Origin.CONTINUED,
        continues=2,
        config={**before.config, "training": training},
        curve=(*before.curve, 89.0),
        top1=89.0,
    )
    study = replace(facts.study, trials=(*facts.study.trials, longer))
    checkpoint = CheckpointFact(trial=6, step=4, path="trials/6/checkpoint-000004")
    told = replace(_run(longer), top1={4: (89.0,)})
    prolonged = replace(facts, study=study, checkpoints=(*facts.checkpoints, checkpoint), runs=(*facts.runs, told))
    assert verify_facts(prolonged, Expected()).violations == ()


@pytest.mark.parametrize(
    ("executed", "num_faults", "is_ok"), [(3, 0, True), (4, 1, True), (4, 0, False), (6, 2, False)]
)
def test_a_fault_may_cost_an_epoch_and_nothing_else_may(facts, executed, num_faults, is_ok):
    report = verify_facts(facts, Expected(executed_epochs={1: executed}, num_faults=num_faults))
    assert report.is_ok is is_ok


def test_a_study_that_runs_or_was_killed_is_not_held_to_its_end(facts):
    running = _with_trial(replace(facts, runs=None), 5, state=TrialState.RUNNING, finished_at=None, reason="")
    for changed, why in (
        (replace(running, is_running=True), "a driver is running"),
        (replace(running, study=replace(running.study, end=None)), "spvit-search resume small"),
    ):
        finding = verify_facts(changed, Expected())[Invariant.NOTHING_LEFT]
        assert finding.outcome is Outcome.NOT_CHECKED
        assert why in finding.note


@pytest.mark.parametrize(
    ("code", "stderr", "where"),
    [
        (134, "", "exit code: 134 is none of"),
        (1, "error: unexpected KeyError", "exit code: 1 is a defect"),
        (8, "Traceback (most recent call last):\n  File", "stderr: is told by a traceback"),
        (8, "error: no\n" + "line\n" * 10, "stderr: takes 11 lines, more than 10"),
    ],
)
def test_a_badly_told_failure_of_a_command_is_told(code, stderr, where):
    assert any(str(violation).startswith(where) for violation in badly_ended(code, stderr))


def test_a_documented_failure_in_a_few_lines_is_told_well():
    assert list(badly_ended(75, "trial 1: 80 %\n" * 50 + "error: the search was stopped\nresume")) == []
