"""Steps are the experiment's training, made shorter, and aim at what the table says that prices them."""

from contextlib import nullcontext

import finished_study
import pytest

from search.latency_target import target_from
from search.progressive_outcomes import Outcome, Outcomes
from search.progressive_run import FOLDER, ProgressiveRun, shortened
from search.progressive_target import make_target
from search.study_files import OUTCOMES_FILE
from search.table_files import keep_rescaled, table_file
from trainers.config import TrainingConfig


@pytest.mark.parametrize(
    ("freeze_epochs", "epochs", "expected"), [(5, 15, (2, 1.0)), (5, 1, (0, 1 / 15)), (30, 1, (1, 1 / 15))]
)
def test_epochs_are_warmed_up_in_proportion_and_frozen_in_whole_ones(freeze_epochs, epochs, expected):
    training = TrainingConfig(epochs=30, freeze_epochs=freeze_epochs, warmup_epochs=2)
    step = shortened(training, epochs)
    assert step.epochs == epochs
    assert (step.freeze_epochs, step.warmup_epochs) == (expected[0], pytest.approx(expected[1]))


@pytest.fixture
def asked(monkeypatch):
    """The configurations that outcomes were asked for; all are known, and every step lost too much."""
    configs = []

    def get(_outcomes, config):
        configs.append(config)
        return Outcome(top1=None if config.pruning.schedule.stages else 90.0, finished_at=0.0)

    monkeypatch.setattr(Outcomes, "get", get)
    return configs


def test_on_a_drifted_device_a_latency_term_aims_at_the_rescaled_table_from_the_first_step_on(tmp_path, asked):
    given = finished_study.table()
    given.save(tmp_path / "given.json")
    experiment = finished_study.experiment(
        tmp_path,
        losses={"latency": 0.5},
        latency={"batch_size": 4, "max_latency_ms": 3.0, "table": str(tmp_path / "given.json")},
    )
    study, rescaled = tmp_path / "small", given.rescaled(0.7)
    (study / FOLDER).mkdir(parents=True)
    keep_rescaled(rescaled, study)
    _run(experiment, rescaled, study)
    first = [config.to_dict() for config in asked]
    assert first
    assert all(config.latency == target_from(experiment, rescaled) for config in asked)
    (study / FOLDER / OUTCOMES_FILE).write_text("{}")
    assert table_file(experiment.latency.table, study) != experiment.latency.table
    asked.clear()
    _run(experiment, rescaled, study)
    assert [config.to_dict() for config in asked] == first


def _run(experiment, table, study):
    target = make_target(experiment, table)
    ProgressiveRun(experiment, target, study / FOLDER, table=table, bar=lambda _title: nullcontext()).run()
