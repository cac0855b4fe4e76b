import sqlite3
import stat
from dataclasses import replace
from datetime import datetime

import optuna
import pytest
import tabulated
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import RDBStorage
from optuna.trial import TrialState, create_trial

from search import local_disk
from search.attaching import attach_study
from search.study import read_study
from search.study_storage import StudyStorage
from spvit.errors import UsageError

DISTRIBUTIONS = {
    "rate": FloatDistribution(0.1, 0.9),
    "lr": FloatDistribution(1e-5, 1e-1, log=True),
    "epochs": IntDistribution(1, 9),
    "form": CategoricalDistribution(("masked", None, 3)),
}


def _template(number):
    params = {"rate": 0.1 * (number + 1), "lr": 1e-3, "epochs": 2 + number, "form": ("masked", None, 3)[number % 3]}
    attrs = {"config": {"a": [1, 2.5, None]}, "curve": [], "label": "é", "retry_of": None}
    return create_trial(state=TrialState.RUNNING, params=params, distributions=DISTRIBUTIONS, user_attrs=attrs)


def _study(storage):
    return storage.create_new_study([optuna.study.StudyDirection.MAXIMIZE, optuna.study.StudyDirection.MINIMIZE], "s")


def _plain(trial):
    return (trial.number, trial.state, trial.params, trial.distributions, trial.user_attrs, trial.values)


def test_what_is_written_at_once_reads_as_what_optuna_writes_piece_by_piece(tmp_path):
    ours, naive = (StudyStorage(f"sqlite:///{tmp_path}/ours.db"), RDBStorage(f"sqlite:///{tmp_path}/naive.db"))
    ends = [
        (TrialState.COMPLETE, (71.5, 3.25), {}),
        (TrialState.PRUNED, (), {"reason": "slow"}),
        (TrialState.FAIL, (), {"reason": "lost"}),
    ]
    study, naive_study = _study(ours), _study(naive)
    for number, (state, values, attrs) in enumerate(ends):
        template = _template(number)
        started = ours.start_trial(study, template)
        assert started.number == number
        before = datetime.now()  # noqa: DTZ005 - as Optuna's
        ended_at = ours.end_trial(started._trial_id, state, values=values, attrs=attrs)
        assert before <= ended_at
        naive_id = naive.create_new_trial(naive_study, template)
        for key, value in attrs.items():
            naive.set_trial_user_attr(naive_id, key, value)
        naive.set_trial_state_values(naive_id, state, list(values) or None)
        stored = RDBStorage(f"sqlite:///{tmp_path}/ours.db").get_trial(started._trial_id)
        assert (stored.datetime_start, stored.datetime_complete) == (started.datetime_start, ended_at)
    again = RDBStorage(f"sqlite:///{tmp_path}/ours.db").get_all_trials(study)
    assert [_plain(trial) for trial in again] == [_plain(trial) for trial in naive.get_all_trials(naive_study)]


def test_looking_for_a_study_makes_no_database(tmp_path):
    file = tmp_path / "none.db"
    with pytest.raises(UsageError, match=r"no study 's' in sqlite://.*none\.db"):
        attach_study(tmp_path / "s", f"sqlite:///{file}")
    assert list(tmp_path.iterdir()) == []


def test_a_trial_ends_once(tmp_path):
    storage = StudyStorage(f"sqlite:///{tmp_path}/s.db")
    trial = storage.start_trial(_study(storage), _template(0))
    storage.end_trial(trial._trial_id, TrialState.PRUNED, attrs={"reason": "first"})
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        storage.end_trial(trial._trial_id, TrialState.COMPLETE, values=(1.0, 2.0), attrs={"reason": "second"})
    assert storage.get_trial(trial._trial_id).user_attrs["reason"] == "first"


def _journal_mode(path):
    with sqlite3.connect(path) as connection:
        return connection.execute("PRAGMA journal_mode").fetchone()[0]


@pytest.mark.parametrize(("is_local", "mode"), [(True, "wal"), (False, "delete")])
def test_a_study_is_written_ahead_on_a_local_disk_alone_and_read_at_any_time(tmp_path, monkeypatch, is_local, mode):
    monkeypatch.setattr("search.storage.is_local", lambda _: is_local)
    store = tabulated.make_store(tabulated.experiment(tmp_path))
    trial = store.start(tabulated.make_proposer(tabulated.experiment(tmp_path)).propose(0))
    store.report_epoch(trial.number, 1, 61.0, seconds=2.5)
    assert _journal_mode(tmp_path / "toy" / "study.db") == mode
    (read,) = read_study(tmp_path / "toy").trials
    assert replace(read, epoch_s=(2.5,)) == store.trial(trial.number)  # seconds are written when the trial ends
    store.complete(trial.number, 61.0)
    assert read_study(tmp_path / "toy").trials == store.trials


def test_a_closed_study_is_one_file_that_a_read_only_folder_can_hold(tmp_path):
    store = tabulated.make_store(tabulated.experiment(tmp_path))
    store.start(tabulated.make_proposer(tabulated.experiment(tmp_path)).propose(0))
    expected = store.trials
    store.close()
    folder = tmp_path / "toy"
    assert sorted(path.name for path in folder.iterdir()) == ["study.db", "study.json"]
    assert _journal_mode(folder / "study.db") == "delete"
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert read_study(folder).trials == expected
    finally:
        folder.chmod(stat.S_IRWXU)


def test_a_study_that_is_being_read_can_be_closed(tmp_path):
    store = tabulated.make_store(tabulated.experiment(tmp_path))
    with sqlite3.connect(tmp_path / "toy" / "study.db") as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM studies").fetchall()
        store.close()
    assert read_study(tmp_path / "toy").trials == ()


MOUNTINFO = """\
24 1 252:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 24 0:50 / /data rw - nfs4 server:/data rw
31 30 0:51 / /data/with\\040space rw shared:7 master:2 - xfs /dev/sdb rw
32 24 0:52 / /mnt rw - ext4 /dev/sdc rw
33 32 0:53 / /mnt rw - fuse.sshfs host: rw
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/home/me/runs", True),
        ("/data/runs", False),
        ("/data/with space/runs/study.db", True),
        ("/database", True),
        ("/mnt/runs", False),  # the topmost of two mounts counts
    ],
)
def test_the_file_system_of_the_nearest_mount_counts(tmp_path, monkeypatch, path, expected):
    (tmp_path / "mountinfo").write_text(MOUNTINFO)
    monkeypatch.setattr(local_disk, "MOUNTS", tmp_path / "mountinfo")
    assert local_disk.is_local(local_disk.Path(path)) is expected


@pytest.mark.parametrize("text", ["", "nonsense\n", "1 2 3 4 /\n"])
def test_where_it_cannot_be_told_nothing_is_assumed(tmp_path, monkeypatch, text):
    (tmp_path / "mountinfo").write_text(text)
    monkeypatch.setattr(local_disk, "MOUNTS", tmp_path / "mountinfo")
    assert not local_disk.is_local(tmp_path)
    monkeypatch.setattr(local_disk, "MOUNTS", tmp_path / "missing")
    assert not local_disk.is_local(tmp_path)


def test_this_machines_mounts_are_understood():
    assert set(dict(local_disk._mounts(local_disk.MOUNTS.read_text()))) >= {"/"}


def test_an_attribute_is_changed_added_and_refused_as_optuna_does(tmp_path):
    ours, naive = (StudyStorage(f"sqlite:///{tmp_path}/ours.db"), RDBStorage(f"sqlite:///{tmp_path}/naive.db"))
    ids = [ours.start_trial(_study(ours), _template(0))._trial_id, naive.create_new_trial(_study(naive), _template(0))]
    for storage, trial_id in zip((ours, naive), ids, strict=True):
        for key, value in (("curve", [61.0]), ("curve", [61.0, 62.5]), ("reason", "new"), ("curve", [])):
            storage.set_trial_user_attr(trial_id, key, value)
        storage.set_trial_state_values(trial_id, TrialState.PRUNED)
        with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
            storage.set_trial_user_attr(trial_id, "curve", [1.0])
        with pytest.raises(KeyError):
            storage.set_trial_user_attr(trial_id + 1, "curve", [1.0])
    assert _plain(ours.get_trial(ids[0])) == _plain(naive.get_trial(ids[1]))
