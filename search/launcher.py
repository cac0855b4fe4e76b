"""Puts a search together and runs it: the only place that knows all the parts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from latency_tables.table import LatencyTable
from search.budget import LatencyBudget, Price, price_from
from search.checkpoint_keeper import CheckpointKeeper
from search.config import ExperimentConfig
from search.disk_space import check_disk_space
from search.driver import SearchDriver
from search.feasible import check_feasible
from search.latency_target import target_from
from search.limits import Limits
from search.listener import StudyListener
from search.lock import study_lock
from search.modes import ModeParts
from search.proposer import Proposer
from search.pruner import PeerPruner
from search.ray_run import run_on_ray
from search.records import StudyRecord
from search.retries import IN_ORDER
from search.signals import StopRequest, stop_on_signals
from search.space import SearchSpace
from search.staircase import Staircase
from search.study import USUAL_TERMS, StudyFacts, StudyStore, check_exists, study_directory
from search.study_opening import OpeningTerms
from search.table_files import keep_rescaled
from search.trial_factory import TrialFactory, fine_tune_trial
from spvit.errors import StoppedError, StudyLockedError
from spvit.schedule import PruningSchedule, TokenGeometry

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """What a search must know of the device: the backbone's tokens, what networks cost, and which table says so.

    A latency term in the loss needs the table itself.
    """

    geometry: TokenGeometry
    price: Price
    table_sha256: str
    table: LatencyTable | None = None

    @classmethod
    def from_table(cls, table: LatencyTable) -> Device:
        """The device that a latency table was measured on."""
        return cls(
            geometry=table.geometry,
            price=price_from(table),
            table_sha256=table.sha256,
            table=table,
        )


def launch(
    experiment: ExperimentConfig,
    table: LatencyTable,
    *,
    listeners: Sequence[StudyListener] = (),
    resume: bool = False,
    address: str | None = None,
    terms: OpeningTerms = USUAL_TERMS,
) -> StudyRecord:
    """Searches to the end, or goes on with a study that was stopped, killed or is to have more trials.

    Args:
        experiment: what to search; its paths are absolute.
        table: latencies on the device where the model will run.
        listeners: told of everything; closed at the end.
        resume: refuse to begin a new study.
        address: of a Ray cluster; a local Ray where not given.
        terms: what is allowed when the study is opened.

    Returns:
        The study with every trial in a final state.

    Raises:
        NothingFeasibleError: no configuration can meet the budget; nothing was started.
        StudyLockedError: another driver runs this study.
        StudyMismatchError: the study was made from another experiment or table.
        UsageError: `resume` of a study that does not exist.
        TooManyFailuresError: so many trials failed that the search was ended.
        StoppedError: SIGINT or SIGTERM ended it; what was running goes on when it is resumed.
        StorageError: the study or a checkpoint cannot be written, or there is not enough space for what is to come.
        ClusterError, ConfigError: what their names say.
    """
    check_disk_space(experiment, study_directory(experiment))
    return search(
        experiment,
        Device.from_table(table),
        listeners=listeners,
        resume=resume,
        address=address,
        terms=terms,
        dense_top1=lambda: _dense_top1(experiment),
    )


def search(
    experiment: ExperimentConfig,
    device: Device,
    *,
    listeners: Sequence[StudyListener] = (),
    resume: bool = False,
    address: str | None = None,
    terms: OpeningTerms = USUAL_TERMS,
    trial_factory: TrialFactory = fine_tune_trial,
    dense_top1: Callable[[], float | None] = lambda: None,
    driver_type: Callable[..., SearchDriver] = SearchDriver,
) -> StudyRecord:
    """As `launch`, with any source of latencies and of the dense model's top-1 (percent), any kind of trial and driver.

    `driver_type` is called with what `SearchDriver` is made of.
    """
    target = None if device.table is None else target_from(experiment, device.table)
    space = SearchSpace(experiment, device.geometry, target)
    dense = device.price(PruningSchedule().plan(device.geometry))
    budget = LatencyBudget.from_config(experiment.latency, dense)
    check_feasible(space, device.price, budget, device.table)
    facts = StudyFacts(
        dense_latency=dense,
        max_latency_ms=budget.max_ms,
        smaller_budgets_ms=budget.smaller_ms,
        table_sha256=device.table_sha256,
    )
    stop = StopRequest()
    with (
        stop_on_signals(stop),
        _locked_store(experiment, facts, space, device.table, resume=resume, terms=terms) as store,
        _closing(listeners),
    ):
        for listener in listeners:
            listener.on_open(store.set_mlflow_run, store.set_mlflow_experiment)
        note_dense_top1(store, dense_top1)
        proposer = Proposer(
            space,
            price=device.price,
            budget=budget,
            config=experiment.search,
            seed=experiment.study.seed,
            staircase=None if device.table is None else Staircase.from_table(device.table),
            num_workers=experiment.trial.workers,
        )
        pruner = PeerPruner(experiment.search, experiment.training, experiment.study.name)
        if experiment.has_elastic_trials and driver_type is SearchDriver:
            parts = ModeParts(
                experiment=experiment, device=device, space=space, budget=budget, directory=store.directory
            )
            driver_type, pruner = parts.driver_type(), parts.pruner()
        driver = driver_type(
            store=store,
            proposer=proposer,
            pruner=pruner,
            limits=Limits.from_config(experiment),
            listeners=[*listeners, CheckpointKeeper(experiment.search.keep_checkpoints)],
        )
        stop.goes_to(driver.stop)
        return _run(driver, store, experiment, trial_factory, address)


def _run(
    driver: SearchDriver,
    store: StudyStore,
    experiment: ExperimentConfig,
    factory: TrialFactory,
    address: str | None,
) -> StudyRecord:
    store.keep_seat(lambda error: setattr(driver, "error", driver.error or error))
    driver.start()
    try:
        if not driver.is_finished:
            run_on_ray(driver, experiment, factory, address=address)
    finally:
        if not isinstance(driver.error, StudyLockedError):  # else nothing of it is this driver's any more
            driver.finish()
    if driver.error is not None:
        raise driver.error
    if not driver.is_finished:
        num_ended = sum(trial.state.is_finished and trial.failure not in IN_ORDER for trial in store.trials)
        raise StoppedError(
            f"the search was stopped after {num_ended} trials; everything finished is kept and interrupted trials go "
            f"on from their checkpoints: `spvit-search resume {experiment.study.name}`"
        )
    return store.record()


def note_dense_top1(store: StudyStore, dense_top1: Callable[[], float | None]) -> None:
    """Evaluates the dense model once per study."""
    if store.record().dense_top1 is None and (top1 := dense_top1()) is not None:
        store.set_dense_top1(top1)


def _dense_top1(experiment: ExperimentConfig) -> float | None:
    from trainers.dense import evaluate_dense

    evaluation = evaluate_dense(experiment.model, experiment.data, experiment.training)
    return None if evaluation is None else evaluation.top1


@contextmanager
def _locked_store(
    experiment: ExperimentConfig,
    facts: StudyFacts,
    space: SearchSpace,
    table: LatencyTable | None,
    *,
    resume: bool,
    terms: OpeningTerms,
) -> Iterator[StudyStore]:
    directory = study_directory(experiment)
    if resume:
        check_exists(directory)
    with study_lock(directory, takeover=terms.takeover):
        if table is not None:
            keep_rescaled(table, directory)
        store = StudyStore.open(experiment, facts, space, replace(terms, as_driver=True))
        try:
            yield store
        finally:
            store.close()


@contextmanager
def _closing(listeners: Sequence[StudyListener]) -> Iterator[None]:
    try:
        yield
    finally:
        for listener in listeners:
            try:
                listener.close()
            except Exception:
                logger.exception("A listener (%s) could not be closed.", type(listener).__name__)
