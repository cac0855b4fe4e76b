import sqlite3

import pytest
import tabulated

from search.config import ExperimentConfig
from search.lock import is_locked, study_lock
from search.profiling import study_table
from search.records import Rejection
from search.study import check_exists, read_study
from spvit.errors import LatencyTableError, StorageError, StudyLockedError, StudyMismatchError, UsageError

pytestmark = pytest.mark.usefixtures("few_candidates")


def test_what_the_driver_holds_is_what_another_process_reads(tmp_path):
    config = tabulated.experiment(tmp_path)
    store = tabulated.make_store(config)
    first = store.start(tabulated.make_proposer(config).propose(0))
    store.report_epoch(0, 1, 61.5, seconds=2.5)
    store.set_rejections({Rejection.TOO_SLOW: 3})
    store.set_mlflow_run(None, "parent")
    store.complete(0, 61.5)
    store.set_mlflow_run(0, "child")  # also after the trial ended: MLflow may lag behind
    study = read_study(tmp_path / "toy")
    assert study == store.record()
    assert study.trials[0].params == first.params
    assert study.trials[0].epoch_s == (2.5,)
    assert (study.trials[0].top1, study.trials[0].mlflow_run_id, study.mlflow_run_id) == (61.5, "child", "parent")
    assert study.rejections == {Rejection.TOO_SLOW: 3}
    assert tabulated.make_store(config).record() == study


def test_an_epoch_whose_report_was_lost_takes_the_next_ones_value(tmp_path):
    config = tabulated.experiment(tmp_path)
    store = tabulated.make_store(config)
    store.start(tabulated.make_proposer(config).propose(0))
    store.report_epoch(0, 1, 60.0, seconds=1.0)
    trial = store.report_epoch(0, 3, 64.0, seconds=2.0)
    assert (trial.curve, trial.epoch_s) == ((60.0, 64.0, 64.0), (1.0, 2.0, 2.0))


def test_a_trial_that_goes_on_after_its_driver_died_has_a_time_for_each_epoch(tmp_path):
    config = tabulated.experiment(tmp_path)
    store = tabulated.make_store(config)
    store.start(tabulated.make_proposer(config).propose(0))
    store.report_epoch(0, 2, 60.0, seconds=1.0)
    again = tabulated.make_store(config)  # the first driver is gone, and with it what it had only in memory
    (lost,) = again.reconcile()
    assert (len(lost.curve), lost.epoch_s) == (2, ())
    again.start(tabulated.make_proposer(config).retry(lost, 0))
    again.report_epoch(1, 3, 61.0, seconds=3.0)
    assert again.complete(1, 61.0).epoch_s == (3.0, 3.0, 3.0)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [("training", "epochs", 9), ("losses", "ratio", 1.0), ("latency", "max_latency_share", 0.5)],
)
def test_another_experiment_is_refused_by_the_name_of_its_key(tmp_path, section, key, value):
    config = tabulated.experiment(tmp_path)
    tabulated.make_store(config)
    values = config.model_dump(mode="json")
    values[section][key] = value
    with pytest.raises(StudyMismatchError, match=rf"{section}\.{key}: .* -> {value}\n"):
        tabulated.make_store(ExperimentConfig.model_validate(values))


def test_more_trials_are_the_same_experiment(tmp_path):
    tabulated.make_store(tabulated.experiment(tmp_path))
    store = tabulated.make_store(tabulated.experiment(tmp_path, num_trials=99, num_concurrent=7))
    assert store.record().num_trials == 99


def test_another_latency_table_is_refused(tmp_path):
    config = tabulated.experiment(tmp_path)
    tabulated.make_store(config, sha256="a" * 64)
    with pytest.raises(StudyMismatchError, match="aaaaaaaaaaaa -> bbbbbbbbbbbb"):
        tabulated.make_store(config, sha256="b" * 64)


def test_a_missing_study_names_those_that_there_are(tmp_path):
    tabulated.make_store(tabulated.experiment(tmp_path))
    with pytest.raises(UsageError, match=r"no study 'typo' .*; studies there: toy"):
        check_exists(tmp_path / "typo")


@pytest.mark.parametrize("damage", ["study.db", "study.json"])
def test_a_damaged_study_is_a_storage_error(tmp_path, damage):
    tabulated.make_store(tabulated.experiment(tmp_path)).close()
    (tmp_path / "toy" / damage).write_bytes(b"no such thing" * 1000)
    with pytest.raises(StorageError, match=r"toy.*(cannot be read|damaged)"):
        read_study(tmp_path / "toy")


def test_a_table_dropped_from_the_database_is_a_storage_error(tmp_path):
    tabulated.make_store(tabulated.experiment(tmp_path))
    with sqlite3.connect(tmp_path / "toy" / "study.db") as database:
        database.execute("DROP TABLE trial_user_attributes")
        database.execute("DELETE FROM study_user_attributes")
    with pytest.raises(StorageError, match="damaged or was written by another version"):
        read_study(tmp_path / "toy")


def test_a_second_driver_is_refused_by_name_and_the_lock_ends_with_its_holder(tmp_path):
    with study_lock(tmp_path / "toy"):
        assert is_locked(tmp_path / "toy")
        with (
            pytest.raises(StudyLockedError, match=r"'toy' is being run by process \d+ on .* since"),
            study_lock(tmp_path / "toy"),
        ):
            pass
    assert not is_locked(tmp_path / "toy")
    with study_lock(tmp_path / "toy"):
        assert is_locked(tmp_path / "toy")


def test_a_lock_on_other_work_names_that_work_and_its_command(tmp_path):
    other = {"what": "the fine-tuning in x", "again": "spvit-search fine-tune x.toml"}
    with (
        study_lock(tmp_path, **other),
        pytest.raises(StudyLockedError, match=r"fine-tuning in x is being run by .*`spvit-search fine-tune x\.toml`"),
        study_lock(tmp_path, **other),
    ):
        pass


def test_a_study_whose_latency_table_is_gone_says_that_no_new_one_will_do(tmp_path):
    config = tabulated.experiment(tmp_path)
    tabulated.make_store(config)
    for may_measure in (True, False):
        with pytest.raises(
            LatencyTableError, match=r"'toy' was searched with, .*latency_table\.json, is gone\. Put it"
        ):
            study_table(config, tmp_path / "toy", may_measure=may_measure, progress=lambda _share, _text: None)
