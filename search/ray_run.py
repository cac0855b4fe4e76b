"""Runs a driver's trials on Ray Tune, and keeps Ray silent, small and local unless told otherwise."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.config import ExperimentConfig
from search.failures import Failure, failure_of
from search.node_versions import check_nodes
from search.published_trials import published, scratch_directory, study_url
from search.ray_client import tuner_here
from search.ray_session import SETTINGS, connected
from search.ray_token import use_own_token
from search.secrets import is_driver_only
from search.signals import stop_on_signals
from search.trial_bundles import placement_problem
from spvit.errors import ClusterError, StorageError
from spvit.wording import first_line

if TYPE_CHECKING:
    from search.driver import SearchDriver
    from search.trial_factory import TrialFactory

OBJECT_STORE_BYTES = 80 * 1024**2
"""Ray's least. Nothing but small reports goes through it."""


def run_on_ray(
    driver: SearchDriver, experiment: ExperimentConfig, factory: TrialFactory, *, address: str | None = None
) -> None:
    """Runs trials until the driver has no more. Returns when every worker is gone.

    Args:
        driver: decides everything.
        experiment: says what a trial needs.
        factory: builds a trial on a worker; must be importable or picklable there.
        address: of a Ray cluster whose machines share the study's folder or have `study.checkpoints`; a local Ray is
            started where not given.

    Raises:
        ClusterError: Ray cannot be started or reached, its machines have other versions than this process, or lack
            what one trial needs.
        StorageError, ConfigError: `study.checkpoints` cannot be used.
    """
    if driver.is_stopping:
        return
    factory = published(experiment, factory)
    with _ray(experiment, driver.directory, address):
        if driver.is_stopping:  # asked to while Ray started; Tune would take seconds to begin and end
            return
        _check_resources(experiment)
        with stop_on_signals(driver.stop):  # once more: ray.init has put handlers of its own in place
            _fit(driver, experiment, factory)


def _fit(driver: SearchDriver, experiment: ExperimentConfig, factory: TrialFactory) -> None:
    from ray import tune

    from search.scheduler import DriverScheduler
    from search.searcher import DriverSearcher
    from search.trainable import SearchTrainable

    snapshots = driver.directory / "ray"
    shutil.rmtree(snapshots, ignore_errors=True)
    resources = experiment.trial_resources
    needs = tune.PlacementGroupFactory([resources.bundle()] * resources.workers, resources.placement.upper())
    trainable = tune.with_parameters(SearchTrainable, factory=factory, resources=resources)
    with (
        tuner_here(
            tune.with_resources(trainable, needs),
            tune_config=tune.TuneConfig(
                search_alg=DriverSearcher(
                    driver, scratch_directory(experiment), study_url(experiment), experiment.start
                ),
                scheduler=DriverScheduler(driver),
                num_samples=-1,
                reuse_actors=True,
                trial_dirname_creator=lambda trial: str(trial.trial_id),
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str(snapshots),
                verbose=0,
                # Left to itself, Tune saves every trial at its end; ours has no such save, failed, and was run again.
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
                # The study runs a lost trial again. Did Tune as well, two workers would train it in one folder.
                failure_config=tune.FailureConfig(max_failures=0),
            ),
        ) as tuner,
        _disk_errors(snapshots),
    ):
        tuner.fit()
    shutil.rmtree(snapshots, ignore_errors=True)


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    """Tune writes files of its own beside the study and ends with a traceback where it cannot.

    Raises:
        StorageError: the disk is full or read-only.
    """
    try:
        yield
    except Exception as error:
        if failure_of(error) is not Failure.STORAGE:
            raise
        raise StorageError(
            f"{folder} cannot be written: {first_line(error)}. What finished before is kept: free space or make the "
            f"folder writable, then `spvit-search resume {folder.parent.name}`"
        ) from error


@contextmanager
def _ray(experiment: ExperimentConfig, directory: Path, address: str | None) -> Iterator[None]:
    if address is None:
        use_own_token(directory)
    with connected(address, _init_arguments(experiment, address)):
        if address is not None:
            check_nodes(address, None if experiment.study.checkpoints else directory)
        yield


def _init_arguments(experiment: ExperimentConfig, address: str | None) -> dict[str, Any]:
    common = {"runtime_env": {"env_vars": _worker_environment(experiment)}}
    if address is not None:
        return common
    resources = experiment.trial_resources
    needed = math.ceil(experiment.search.num_concurrent * resources.cpus)
    gpus = {} if resources.gpus else {"num_gpus": 0}
    return {
        "num_cpus": max(len(os.sched_getaffinity(0)), needed),
        "include_dashboard": False,
        "object_store_memory": OBJECT_STORE_BYTES,
        "_node_ip_address": "127.0.0.1",
        **gpus,
        **common,
    }


def _worker_environment(experiment: ExperimentConfig) -> dict[str, str]:
    """Threads, and where our packages are: a worker imports them from where the driver did.

    What leads to the study's or the tracking server's passwords is blanked: a machine may have been given it.
    """
    num_threads = experiment.training.num_threads or experiment.trial_resources.threads_per_worker
    packages = str(Path(__file__).resolve().parents[1])
    paths = [packages, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    settings = {name: value for name, value in SETTINGS.items() if name.startswith("RAY_")}
    blank = dict.fromkeys(filter(is_driver_only, os.environ), "")
    return {"OMP_NUM_THREADS": str(num_threads), "PYTHONPATH": os.pathsep.join(paths), **settings, **blank}


def _check_resources(experiment: ExperimentConfig) -> None:
    """Tune would wait for ever for what the cluster does not have.

    Raises:
        ClusterError: naming what is missing.
    """
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if (problem := placement_problem(nodes, experiment.trial_resources)) is not None:
        raise ClusterError(problem)
