"""Runs a driver's trials on Ray Tune, and keeps Ray silent, small and local unless told otherwise."""

from __future__ import annotations

import logging
import math
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.config import ExperimentConfig
from search.failures import Failure, failure_of
from search.signals import stop_on_signals
from spvit.errors import ClusterError, StorageError

if TYPE_CHECKING:
    from search.driver import SearchDriver
    from search.trial_factory import TrialFactory

OBJECT_STORE_BYTES = 80 * 1024**2
"""Ray's least. Nothing but small reports goes through it."""
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints a table of errors even at verbosity 0
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # see search/signals.py
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # Tune's snapshots are never read: the study is what is resumed
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}


def run_on_ray(
    driver: SearchDriver, experiment: ExperimentConfig, factory: TrialFactory, *, address: str | None = None
) -> None:
    """Runs trials until the driver has no more. Returns when every worker is gone.

    Args:
        driver: decides everything.
        experiment: says what a trial needs.
        factory: builds a trial on a worker; must be importable or picklable there.
        address: of a Ray cluster whose nodes share the study's folder; a local Ray is started where not given.

    Raises:
        ClusterError: Ray cannot be started, reached, or lacks what one trial needs.
    """
    if driver.is_stopping:
        return
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
    needs = {"cpu": experiment.search.cpus_per_trial, "gpu": experiment.search.gpus_per_trial}
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(SearchTrainable, factory=factory), needs),
        tune_config=tune.TuneConfig(
            search_alg=DriverSearcher(driver),
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
    )
    with _disk_errors(snapshots):
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
        first_line = (str(error) or type(error).__name__).splitlines()[0]
        raise StorageError(
            f"{folder} cannot be written: {first_line}. What finished before is kept: free space or make the folder "
            f"writable, then `spvit-search resume {folder.parent.name}`"
        ) from error


@contextmanager
def _ray(experiment: ExperimentConfig, directory: Path, address: str | None) -> Iterator[None]:
    os.environ.update({name: value for name, value in SETTINGS.items() if name not in os.environ})
    if address is None:
        _use_own_token(directory)
    import ray

    _silence()
    try:
        ray.init(**_init_arguments(experiment, address))
    except SystemExit:  # by Ray's own handler of SIGTERM, which is in place before ours are again
        raise KeyboardInterrupt from None
    except Exception as error:
        where = f"the Ray cluster at {address}" if address else "a local Ray"
        first_line = (str(error) or type(error).__name__).splitlines()[0]
        raise ClusterError(
            f"{where} cannot be {'reached' if address else 'started'}: {first_line}. "
            f"{'Check --address and that its version of Ray is the same' if address else 'Check memory and /tmp'}"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _silence() -> None:
    """What a user should know the study tells. That a worker died Ray prints on stdout, and no setting changes that."""
    import ray._private.worker

    for name in ("ray", "ray.tune", "ray.train", "ray.air"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    ray._private.worker.print_to_stdstream = lambda *_, **__: None


def _init_arguments(experiment: ExperimentConfig, address: str | None) -> dict[str, Any]:
    common = {
        "logging_level": logging.CRITICAL,
        "log_to_driver": False,
        "runtime_env": {"env_vars": _worker_environment(experiment)},
    }
    if address is not None:
        return {"address": address, **common}
    search = experiment.search
    needed = math.ceil(search.num_concurrent * search.cpus_per_trial)
    gpus = {} if search.gpus_per_trial else {"num_gpus": 0}
    return {
        "num_cpus": max(len(os.sched_getaffinity(0)), needed),
        "include_dashboard": False,
        "object_store_memory": OBJECT_STORE_BYTES,
        "_node_ip_address": "127.0.0.1",
        **gpus,
        **common,
    }


def _worker_environment(experiment: ExperimentConfig) -> dict[str, str]:
    """Threads, and where our packages are: a worker imports them from where the driver did."""
    num_threads = experiment.training.num_threads or max(1, int(experiment.search.cpus_per_trial))
    packages = str(Path(__file__).resolve().parents[1])
    paths = [packages, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    settings = {name: value for name, value in SETTINGS.items() if name.startswith("RAY_")}
    return {"OMP_NUM_THREADS": str(num_threads), "PYTHONPATH": os.pathsep.join(paths), **settings}


def _use_own_token(directory: Path) -> None:
    """Ray without a token lets everybody on the machine run code as us; a token of our own leaves ~/.ray alone."""
    if "RAY_AUTH_MODE" in os.environ or "ray" in sys.modules:  # Ray reads these once, when it is imported
        return
    path = directory / "ray_token"
    if not path.exists():
        temporary = path.with_suffix(".new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(secrets.token_hex(32))
        temporary.replace(path)
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(path)


def _check_resources(experiment: ExperimentConfig) -> None:
    """Tune would wait for ever for what the cluster does not have.

    Raises:
        ClusterError: naming what is missing.
    """
    import ray

    available = ray.cluster_resources()
    for name, needed in (("CPU", experiment.search.cpus_per_trial), ("GPU", experiment.search.gpus_per_trial)):
        if needed > available.get(name, 0):
            raise ClusterError(
                f"one trial needs {needed:g} {name}s (search.{name.lower()}s_per_trial), but Ray has "
                f"{available.get(name, 0):g} in all; ask for less or use a larger cluster (--address)"
            )
