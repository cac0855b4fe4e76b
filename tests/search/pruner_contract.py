"""What every pruner of an experiment must do, whatever its rule: one inherited case per rule."""

import pickle
import random
from dataclasses import replace
from typing import ClassVar

import pytest
import tabulated

from search.pruner import PeerPruner
from search.records import Latency, Origin, TrialRecord, TrialState
from search.search_config import PrunerName

EPOCHS, GRACE = 10, 2


def make_trial(number, latency_ms, curve, state=TrialState.RUNNING, **changes):
    record = TrialRecord(
        number=number,
        state=state,
        params={},
        config={},
        latency=Latency(mean_ms=latency_ms, low_ms=latency_ms, high_ms=latency_ms),
        keep_counts=(),
        blocks=(),
        curve=tuple(curve),
        top1=curve[-1] if state is TrialState.COMPLETE else None,
    )
    return replace(record, **changes)


def random_curves(count, seed=0):
    """Latencies, and curves that bend towards ends which rise with latency and differ by 10 points."""
    order = random.Random(seed)
    for _ in range(count):
        latency_ms = order.uniform(5.0, 10.0)
        end, start, speed = 60 + 2 * latency_ms + order.uniform(0, 10), order.uniform(5, 20), order.uniform(0.5, 0.9)
        yield (
            latency_ms,
            tuple(end - start * speed**epoch + order.gauss(0, 0.6) for epoch in range(1, EPOCHS + 1)),
        )


class PrunerContract:
    """Inherit and name the rule."""

    rule: ClassVar[PrunerName]
    stops: ClassVar[bool] = True

    @pytest.fixture
    def make(self, tmp_path):
        values = tabulated.experiment(tmp_path, pruner=self.rule, grace_epochs=GRACE)
        training = values.training.model_copy(update={"epochs": EPOCHS})
        return lambda: PeerPruner(values.search, training, "contract")

    def play(self, pruner, curves, *, num_workers=3, seed=0, begin=0):
        """Plays a driver with several workers: returns the records as they ended, and every verdict."""
        order, waiting, running, ended, verdicts = random.Random(seed), list(enumerate(curves, begin)), {}, [], []
        while waiting or running:
            while waiting and len(running) < num_workers:
                number, (latency_ms, curve) = waiting.pop(0)
                running[number] = (latency_ms, curve, 0)
                pruner.update(make_trial(number, latency_ms, ()))
            number = order.choice(sorted(running))
            latency_ms, curve, epoch = running.pop(number)
            record = make_trial(number, latency_ms, curve[: epoch + 1])
            pruner.update(record)
            verdict = pruner.judge(record)
            verdicts.append((number, epoch + 1, verdict))
            if verdict.goes_on and epoch + 1 < EPOCHS:
                running[number] = (latency_ms, curve, epoch + 1)
                continue
            state = TrialState.COMPLETE if verdict.goes_on else TrialState.PRUNED
            ended.append(make_trial(number, latency_ms, record.curve, state, reason=verdict.reason))
            pruner.update(ended[-1])
        return sorted(ended, key=lambda trial: trial.number), verdicts

    def crowd(self, pruner, *, latency_ms=6.0, count=12):
        """Finished trials that are all fast and good, so that whatever is behind them has no chance."""
        for number in range(count):
            curve = tuple(80.0 + number / 10 + epoch / 5 for epoch in range(EPOCHS))
            pruner.update(make_trial(number, latency_ms + number / 100, curve, TrialState.COMPLETE))

    def test_a_hopeless_trial_is_stopped_with_a_sentence_and_others_go_on(self, make):
        ended, _ = self.play(make(), random_curves(40))
        stopped = [trial for trial in ended if trial.state is TrialState.PRUNED]
        assert bool(stopped) is self.stops
        assert all(trial.reason and "\n" not in trial.reason for trial in stopped)
        assert any(trial.state is TrialState.COMPLETE for trial in ended)

    def test_nothing_is_stopped_within_the_grace_after_the_last_epoch_or_as_the_baseline(self, make):
        pruner = make()
        self.crowd(pruner)
        for number, length, changes in ((50, GRACE, {}), (51, EPOCHS, {}), (52, 6, {"origin": Origin.BASELINE})):
            for epoch in range(1, length + 1):
                trial = make_trial(number, 9.0, [1.0 - at / 100 for at in range(epoch)], **changes)
                pruner.update(trial)
                if epoch <= GRACE or epoch == EPOCHS or changes:
                    assert pruner.judge(trial).goes_on

    def test_the_best_so_far_is_never_stopped(self, make):
        for seed in range(5):
            pruner = make()
            self.play(pruner, random_curves(25, seed), seed=seed)
            leader = tuple(90.0 + epoch / 10 for epoch in range(EPOCHS))
            _, verdicts = self.play(pruner, [(5.0 + seed, leader)], begin=25)
            assert all(verdict.goes_on for _, _, verdict in verdicts)

    def test_a_slower_more_accurate_trial_never_stops_a_faster_one(self, make):
        pruner = make()
        self.crowd(pruner, latency_ms=6.0)
        _, verdicts = self.play(pruner, [(5.5, [50.0 + epoch for epoch in range(EPOCHS)])], begin=40)
        assert all(verdict.goes_on for _, _, verdict in verdicts)

    def test_a_lonely_trial_has_nothing_to_be_measured_by(self, make):
        _, verdicts = self.play(make(), [(7.0, [70.0 - epoch for epoch in range(EPOCHS)])])
        assert all(verdict.goes_on for _, _, verdict in verdicts)

    def test_the_same_trials_give_the_same_decisions(self, make):
        assert self.play(make(), random_curves(30)) == self.play(make(), random_curves(30))

    def test_a_pruner_made_anew_from_the_study_decides_as_the_one_that_was_there(self, make):
        live = make()
        ended, _ = self.play(live, random_curves(20))
        running = make_trial(20, 7.0, (60.0, 63.0, 64.0))
        live.update(running)
        live.judge(running)
        rebuilt = make()
        rebuilt.restore([*ended, running])
        more = list(random_curves(10, seed=1))
        assert self.play(live, more, begin=21) == self.play(rebuilt, more, begin=21)

    def test_a_pickled_copy_decides_as_the_original(self, make):
        live = make()
        self.play(live, random_curves(20))
        copy = pickle.loads(pickle.dumps(live))  # noqa: S301 - our own bytes
        more = list(random_curves(10, seed=1))
        assert self.play(live, more, begin=20) == self.play(copy, more, begin=20)

    def test_a_trial_never_heard_of_is_judged_as_one_that_was(self, make):
        told, untold = make(), make()
        for pruner in (told, untold):
            self.crowd(pruner)
        trial = make_trial(99, 9.0, (60.0, 61.0, 61.5, 61.6, 61.7))
        told.update(trial)
        assert told.judge(trial) == untold.judge(trial)

    def test_what_comes_after_the_end_changes_nothing(self, make):
        pruner, twin = make(), make()
        for each in (pruner, twin):
            self.crowd(each)
        for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL):
            late = make_trial(60, 9.0, (1.0, 1.0, 1.0, 1.0), state)
            twin.update(late)
            pruner.update(late)
            assert pruner.judge(late).goes_on
        trial = make_trial(61, 9.0, (60.0, 61.0, 61.5, 61.6))
        assert pruner.judge(trial) == twin.judge(trial)

    def test_a_failed_trial_is_nobodys_peer(self, make):
        pruner = make()
        for number in range(12):
            curve = (95.0,) * EPOCHS
            pruner.update(make_trial(number, 6.0, curve))
            pruner.update(make_trial(number, 6.0, curve, TrialState.FAIL))
        _, verdicts = self.play(pruner, [(7.0, [50.0] * EPOCHS)], begin=20)
        assert all(verdict.goes_on for _, _, verdict in verdicts)
