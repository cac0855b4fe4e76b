"""Chosen trials trained on, by the driver of a search: tabulated trials, a real study."""

from dataclasses import replace

import pytest
import tabulated

from search.choosing import binomial, choose_within
from search.commands.finish import _text as report_text
from search.finishing import FinishDriver, choices_to_finish, finished_trials
from search.records import EndCause, Origin, TrialState
from search.selection import choose_trial
from search.study import read_study
from spvit.errors import NothingFeasibleError, UsageError

pytestmark = pytest.mark.usefixtures("few_candidates")

EPOCHS = 6


@pytest.fixture
def config(tmp_path):
    """Of a search that has ended, with trials of four epochs."""
    config = tabulated.experiment(tmp_path, pruner="none")
    driver = tabulated.make_driver(config)
    tabulated.run(driver)
    driver.finish()
    return config


@pytest.fixture
def study(config, tmp_path):
    return read_study(tmp_path / "toy")


def trials_to_finish(study, **options):
    """By the numbers alone, as if nobody knew of noise."""
    compare = binomial(replace(study, num_val_images=None))
    return tuple(choice.trial for choice in choices_to_finish(study, compare, epochs=EPOCHS, **options))


def finish_driver(config, chosen):
    return tabulated.make_driver(config, driver_type=FinishDriver, chosen=chosen, epochs=EPOCHS)


def finish(config, chosen, **options):
    driver = finish_driver(config, chosen)
    tabulated.run(driver, **options)
    driver.finish()
    return driver


def test_the_best_within_the_budget_are_chosen_in_their_order(study):
    chosen = trials_to_finish(study, top=3)
    within = [t for t in study.finished if t.latency.high_ms <= study.max_latency_ms]
    assert chosen[0] == choose_trial(study)
    assert len({t.number for t in chosen}) == 3
    assert all(trial in within for trial in chosen)
    assert trials_to_finish(study, top=99)[:3] == chosen


def test_equal_within_the_noise_it_is_what_pareto_takes_and_then_of_the_rest(study):
    trials = tuple(t if t.top1 is None else replace(t, top1=80 + t.latency.mean_ms / 10) for t in study.trials)
    few = replace(study, trials=trials, num_val_images=2000)  # which hide 2 points
    choices = choices_to_finish(few, binomial(few), epochs=EPOCHS, top=3)
    left = few
    for choice in choices:
        assert choice == choose_within(left, few.max_latency_ms, binomial(left))
        left = replace(left, trials=tuple(t for t in left.trials if t.number != choice.trial.number))
    assert choices[0].trial != choices[0].best
    assert "equal to it within the noise" in choices[0].reason
    (named,) = choices_to_finish(few, binomial(few), epochs=EPOCHS, numbers=(choices[0].best.number,))
    assert (named.trial, named.reason) == (choices[0].best, "")


def test_only_what_was_chosen_is_trained_and_it_goes_on_where_it_was(config, study, tmp_path):
    chosen = trials_to_finish(study, top=2)
    assert finish(config, chosen).is_finished
    after = read_study(tmp_path / "toy")
    assert after.trials[: len(study.trials)] == study.trials
    added = after.trials[len(study.trials) :]
    assert finished_trials(after, chosen, EPOCHS) == added
    for trial, before in zip(added, chosen, strict=True):
        assert (trial.origin, trial.continues, trial.state) == (Origin.FINISHED, before.number, TrialState.COMPLETE)
        assert trial.curve[: before.num_epochs] == before.curve
        assert trial.num_epochs == EPOCHS
        assert trial.top1 > before.top1
        assert trial.params == before.params
    assert choose_trial(after).number in {trial.number for trial in added}


def test_how_the_search_ended_is_kept(config, study, tmp_path):
    finish(config, trials_to_finish(study))
    assert study.end.cause is EndCause.TRIALS
    assert read_study(tmp_path / "toy").end == study.end


def test_asked_again_nothing_is_done_again(config, study, tmp_path):
    chosen = trials_to_finish(study, top=2)
    finish(config, chosen)
    once = read_study(tmp_path / "toy")
    assert trials_to_finish(once, top=2) == chosen
    assert finish_driver(config, chosen).is_finished
    assert read_study(tmp_path / "toy").trials == once.trials


@pytest.mark.parametrize("num_reports", [0, 1, 3])
def test_what_was_killed_goes_on_without_repeating_an_epoch(config, study, tmp_path, num_reports):
    chosen = trials_to_finish(study, top=2)
    tabulated.run(finish_driver(config, chosen), max_reports=num_reports)  # killed: finish() is never called
    before = read_study(tmp_path / "toy")
    assert finish(config, chosen).is_finished
    after = read_study(tmp_path / "toy")
    assert [t.continues for t in finished_trials(after, chosen, EPOCHS)] == [t.number for t in chosen]
    for trial in before.trials[len(study.trials) :]:
        if trial.state is not TrialState.COMPLETE:
            retry = next(t for t in after.trials if t.retry_of == trial.number)
            assert retry.curve[: trial.num_epochs] == trial.curve


def test_the_search_goes_on_afterwards_as_if_nothing_had_been_finished(config, study, tmp_path):
    finish(config, trials_to_finish(study, top=2))
    search = config.search.model_copy(update={"num_trials": 10})
    driver = tabulated.make_driver(config.model_copy(update={"search": search}))
    tabulated.run(driver)
    driver.finish()
    after = read_study(tmp_path / "toy")
    sampled = [t for t in after.trials if t.origin not in {Origin.BASELINE, Origin.FINISHED}]
    assert len(sampled) == 10
    proposer = tabulated.make_proposer(config)
    proposer.restore(after.trials, {})
    assert len(proposer.told) == 10


def test_what_was_trained_for_so_long_already_is_left_and_the_others_are_finished(study, caplog):
    first, *others = trials_to_finish(study, top=3)
    trials = tuple(replace(t, curve=(*t.curve, t.top1, t.top1)) if t == first else t for t in study.trials)
    mixed = replace(study, trials=trials)
    assert trials_to_finish(mixed, top=3) == tuple(others)
    told = (
        f"trial {first.number} was trained for 6 epochs already, which is not less than --epochs 6: it stays as it is"
    )
    assert caplog.messages == [told]
    with pytest.raises(UsageError, match=f"trial {first.number} was trained for 6 epochs already, and --epochs 6 asks"):
        trials_to_finish(mixed, numbers=(others[0].number, first.number))


def test_what_cannot_be_finished_is_refused(study):
    with pytest.raises(UsageError, match="was trained for 4 epochs already, and --epochs 4 asks for no more"):
        choices_to_finish(study, binomial(study), epochs=4)
    with pytest.raises(NothingFeasibleError, match=r"within 0\.01 ms"):
        trials_to_finish(study, max_latency_ms=0.01)
    with pytest.raises(UsageError, match="no trial 99"):
        trials_to_finish(study, numbers=(99,))
    pruned = replace(study.trials[1], state=TrialState.PRUNED, reason="behind")
    with pytest.raises(UsageError, match="was not trained to the end"):
        trials_to_finish(replace(study, trials=(study.trials[0], pruned)), numbers=(1,))


def test_the_report_has_each_trial_s_own_top1_before(make_trial):
    trained, priced = make_trial(7, 88.8, 5.0), make_trial(40, 86.0, 4.0, curve=(), estimated_top1=85.5)
    finished = (
        make_trial(8, 89.0, 5.0, origin=Origin.FINISHED, continues=7),
        make_trial(9, 86.5, 4.0, origin=Origin.FINISHED, label="priced by trial 0", estimated_top1=85.5),
    )
    rows = [line.split("  ") for line in report_text("toy", (trained, priced), finished).splitlines()[1:3]]
    found = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    assert found == [
        ["8", "7", "3", "88.80", "89.00", "5.000"],
        ["9", "priced by trial 0", "3", "85.50", "86.50", "4.000"],
    ]
