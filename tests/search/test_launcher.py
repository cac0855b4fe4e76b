import pytest
import tabulated

from search.commands.searching import what_launching_does
from search.config import ExperimentConfig
from search.driver import Failure, ReportKey
from search.launcher import Device, note_dense_top1, search
from search.records import TrialState
from search.retries import INTERRUPTED
from search.study import read_study
from spvit.errors import ClusterError, StoppedError, StudyMismatchError, TooManyFailuresError

pytestmark = pytest.mark.usefixtures("few_candidates")

DEVICE = Device(geometry=tabulated.GEOMETRY, price=tabulated.price, table_sha256="")


def test_the_dense_model_is_evaluated_once_per_study(tmp_path):
    config = tabulated.experiment(tmp_path)
    note_dense_top1(tabulated.make_store(config), lambda: None)
    assert read_study(tmp_path / "toy").dense_top1 is None
    note_dense_top1(tabulated.make_store(config), lambda: 81.5)
    note_dense_top1(tabulated.make_store(config), lambda: 99.0)
    assert read_study(tmp_path / "toy").dense_top1 == 81.5


def _breaks(error):
    def end(driver):
        raise error

    return end


def _fails_all(driver):
    report = {ReportKey.FAILURE: Failure.CONFIGURATION.value, ReportKey.REASON: "cannot be built"}
    while driver.error is None:
        driver.on_result(driver.suggest().number, report)


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (lambda driver: driver.stop(), StoppedError),
        (lambda driver: None, StoppedError),  # Ray returned although there was more to do
        (_fails_all, TooManyFailuresError),
        (_breaks(ClusterError("the cluster went away")), ClusterError),
        (_breaks(RuntimeError("a defect")), RuntimeError),
        (_breaks(KeyboardInterrupt()), KeyboardInterrupt),
    ],
)
def test_whatever_ends_a_search_leaves_no_trial_running(tmp_path, monkeypatch, end, expected):
    def play(driver, experiment, factory, *, address=None):
        first = driver.suggest()
        driver.on_result(first.number, tabulated.metrics(1, 60.0))
        end(driver)

    monkeypatch.setattr("search.launcher.run_on_ray", play)
    config = tabulated.experiment(tmp_path, num_trials=12, num_concurrent=3)
    with pytest.raises(expected) as raised:
        search(config, DEVICE)
    if expected is StoppedError:  # what was interrupted is not among those that ended
        assert "was stopped after 0 trials" in str(raised.value)
    trials = read_study(tmp_path / "toy").trials
    assert all(trial.state.is_finished for trial in trials)
    assert (trials[0].state, trials[0].reason) == (TrialState.FAIL, INTERRUPTED)
    assert all(trial.reason for trial in trials)


def test_what_launching_does_is_said_once_nothing_refuses_to_go_on(tmp_path, capsys):
    config = tabulated.experiment(tmp_path, num_trials=2)
    assert what_launching_does(config) == ()
    driver = tabulated.make_driver(config)
    tabulated.run(driver)
    driver.finish()
    values = config.model_dump(mode="json")
    values["latency"]["max_latency_share"] = 0.6
    other = ExperimentConfig.model_validate(values)
    with pytest.raises(StudyMismatchError, match=r"latency\.max_latency_share: 0\.7 -> 0\.6"):
        search(other, DEVICE, listeners=what_launching_does(other))
    assert "exists" not in capsys.readouterr().err
    search(config, DEVICE, listeners=what_launching_does(config))
    assert "exists with 2 of 2 trials: it is finished, and nothing is run" in capsys.readouterr().err
