"""One driver per study, wherever it runs: who holds it is told, and who was shut out writes nothing more."""

import threading
from dataclasses import replace

import pytest
import tabulated

from search.driver_holder import Holder, age_of
from search.driver_seat import DriverSeat
from search.driver_seen import is_running
from search.launcher import Device, search
from search.records import TrialState
from search.storage import create_or_load
from search.study import StudyStore, read_study
from search.study_opening import OpeningTerms
from spvit.errors import StudyLockedError

pytestmark = pytest.mark.usefixtures("few_candidates")

DRIVER, TAKEOVER = OpeningTerms(as_driver=True), OpeningTerms(as_driver=True, takeover=True)
ELSEWHERE = "another boot of another machine"


@pytest.fixture
def config(tmp_path):
    return tabulated.experiment(tmp_path)


def _open(config, terms=DRIVER):
    return tabulated.make_store(config, terms=terms)


def _hold_as(config, monkeypatch, **changes):
    """Leaves a seat held by a process that is not this one."""
    with monkeypatch.context() as patched:
        holder = replace(Holder.here(token=1), **changes)
        patched.setattr(Holder, "here", classmethod(lambda cls, *, token: replace(holder, token=token)))
        return _open(config)


def test_a_second_driver_is_told_who_the_first_one_is_and_for_how_long(config):
    store = _open(config)
    with pytest.raises(
        StudyLockedError, match=r"'toy' is being run by process \d+ on \S+ since \S+ \(\d+ s ago\).*--takeover"
    ):
        _open(config)
    assert is_running(read_study(store.directory), store.directory)
    store.close()
    assert not is_running(read_study(store.directory), store.directory)
    _open(config).close()


def test_what_a_refused_driver_was_given_is_not_written(config):
    _open(config)
    with pytest.raises(StudyLockedError):
        _open(tabulated.experiment(config.study.directory, num_trials=99))
    assert read_study(config.study.directory / "toy").num_trials == 8


@pytest.mark.parametrize("changes", [{"begun": "0"}, {"pid": 2**22 + 1}])
def test_a_dead_process_of_this_machine_holds_nothing(config, monkeypatch, changes):
    dead = _hold_as(config, monkeypatch, **changes)
    assert not is_running(read_study(dead.directory), dead.directory)
    assert _open(config).record().driver.token == 2


def test_a_silent_driver_of_another_host_is_taken_for_dead_and_one_with_a_beat_is_not(config, monkeypatch):
    remote = _hold_as(config, monkeypatch, space=ELSEWHERE, host="far")
    study, storage = create_or_load("toy", f"sqlite:///{remote.directory}/study.db")
    remote._writer._seat.keep(lambda error: None, beat_s=0.05)
    with pytest.raises(StudyLockedError, match="on far since"):
        DriverSeat.take(storage, study._study_id, "toy", DRIVER, watch_s=5.0)
    remote._writer._seat._ended.set()
    remote._writer._seat._thread.join()
    DriverSeat.take(storage, study._study_id, "toy", DRIVER, watch_s=0.3).leave()


WRITES = {
    "start": lambda store, proposer: store.start(proposer.propose(1)),
    "report": lambda store, proposer: store.report_epoch(0, 1, 99.0),
    "complete": lambda store, proposer: store.complete(0, 99.0),
    "fail": lambda store, proposer: store.fail(0, "lost"),
    "reconcile": lambda store, proposer: store.reconcile(),
    "study": lambda store, proposer: store.set_dense_top1(99.0),
}


@pytest.mark.parametrize("name", WRITES)
def test_nothing_that_a_driver_writes_after_a_takeover_is_kept(config, name):
    old, proposer = _open(config), tabulated.make_proposer(config)
    old.start(proposer.propose(0))
    new = _open(config, TAKEOVER)
    before = read_study(new.directory)
    with pytest.raises(StudyLockedError, match=r"taken over by process \d+ on .* This driver ends"):
        WRITES[name](old, proposer)
    assert read_study(new.directory) == before
    old.close()  # which does not free what is another's
    assert read_study(new.directory).driver.token == 2
    new.complete(0, 80.0)
    assert read_study(new.directory).trials[0].top1 == 80.0


def test_a_driver_that_only_waits_learns_of_the_takeover_too(config):
    store, told = _open(config), threading.Event()
    errors = []
    _open(config, TAKEOVER)
    store._writer._seat.keep(lambda error: (errors.append(error), told.set()), beat_s=0.05)
    assert told.wait(30)
    assert isinstance(errors[0], StudyLockedError)


def test_of_drivers_that_start_at_once_one_gets_the_study(config):
    _open(config).close()
    study, _ = create_or_load("toy", f"sqlite:///{config.study.directory}/toy/study.db")
    barrier, taken, refused = threading.Barrier(4), [], []

    def take():
        _, storage = create_or_load("toy", f"sqlite:///{config.study.directory}/toy/study.db")
        barrier.wait()
        try:
            taken.append(DriverSeat.take(storage, study._study_id, "toy", DRIVER))
        except StudyLockedError as error:
            refused.append(error)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(taken), len(refused)) == (1, 3)


def test_a_search_that_is_taken_over_ends_with_6_and_leaves_its_trials_to_the_new_driver(config, monkeypatch):
    def play(driver, experiment, factory, *, address=None):
        first = driver.suggest()
        stores.append(_open(config, TAKEOVER))
        driver.on_result(first.number, tabulated.metrics(1, 99.0))
        assert driver.is_stopping

    stores: list[StudyStore] = []
    monkeypatch.setattr("search.launcher.run_on_ray", play)
    device = Device(geometry=tabulated.GEOMETRY, price=tabulated.price, table_sha256="")
    with pytest.raises(StudyLockedError, match="taken over") as caught:
        search(config, device)
    assert caught.value.exit_code == 6
    (trial,) = read_study(stores[0].directory).trials
    assert (trial.state, trial.curve) == (TrialState.RUNNING, ())
    assert [t.number for t in stores[0].reconcile()] == [0]


def test_a_driver_may_take_over_from_one_that_still_holds_the_lock_of_this_machine(config, monkeypatch):
    def play(driver, experiment, factory, *, address=None):
        with pytest.raises(StudyLockedError, match="--takeover"):
            search(config, device)
        monkeypatch.setattr("search.launcher.run_on_ray", lambda new, *_, **__: tabulated.run(new))
        assert search(config, device, terms=OpeningTerms(takeover=True)).end is not None

    monkeypatch.setattr("search.launcher.run_on_ray", play)
    device = Device(geometry=tabulated.GEOMETRY, price=tabulated.price, table_sha256="")
    with pytest.raises(StudyLockedError):
        search(config, device)
    assert all(t.state.is_finished for t in read_study(config.study.directory / "toy").trials)


def test_an_age_is_told_in_words():
    assert age_of("2020-01-01T00:00:00+00:00").endswith(" h ago")
    assert age_of("never") == "at an unknown time"
