"""The same search by plain Ray Tune, OptunaSearch and MLflowLoggerCallback, restored as Tune's documentation says.

One session: FOLDER. Begins, or restores what is there; at the end `result.json` says what Tune, Optuna and MLflow hold.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "search"), str(Path(__file__).parents[2])]

from faulty_search import EPOCHS, TOLD, WORK, note  # noqa: E402

NUM_TRIALS, NUM_CONCURRENT, EPOCH_S = 7, 2, 0.3


def train(config: dict[str, Any], folder: str) -> None:
    """A trial that goes on from its checkpoint."""
    from ray import tune

    name, done = tune.get_context().get_trial_id(), 0
    if (checkpoint := tune.get_checkpoint()) is not None:
        with checkpoint.as_directory() as place:
            done = json.loads((Path(place) / "epoch.json").read_text())
    for epoch in range(done + 1, EPOCHS + 1):
        note(Path(folder) / WORK, root=name, epoch=epoch)
        time.sleep(EPOCH_S)
        with tempfile.TemporaryDirectory() as place:
            (Path(place) / "epoch.json").write_text(str(epoch))
            values = {"top1": 60 + 2 * epoch + 8 * config["keep"] - abs(config["ratio"] - 1), "epoch": epoch}
            values["latency_ms"] = 10 * config["keep"]
            tune.report(values, checkpoint=tune.Checkpoint.from_directory(place))


def main() -> None:
    import optuna
    import ray
    from optuna.distributions import FloatDistribution
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.search.optuna import OptunaSearch

    class Told(tune.Callback):
        """Notes each end of a trial after Tune has told it."""

        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            note(folder / TOLD, number=trial.trial_id, top1=trial.last_result["top1"])

    folder = Path(sys.argv[1])
    ray.init(num_cpus=NUM_CONCURRENT, include_dashboard=False, object_store_memory=80 * 1024**2, log_to_driver=False)
    trainable, place = tune.with_parameters(train, folder=str(folder)), folder / "results" / "peer"
    storage, uri = f"sqlite:///{folder}/optuna.db", f"sqlite:///{folder}/mlflow.db"
    if tune.Tuner.can_restore(str(place)):
        tuner = tune.Tuner.restore(str(place), trainable=trainable)
    else:
        space = {"keep": FloatDistribution(0.15, 0.9), "ratio": FloatDistribution(0.1, 4.0, log=True)}
        search = OptunaSearch(
            space,
            metric=["top1", "latency_ms"],
            mode=["max", "min"],
            storage=optuna.storages.RDBStorage(storage),
            study_name="peer",
            seed=3,
        )
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=search, num_samples=NUM_TRIALS, max_concurrent_trials=NUM_CONCURRENT
            ),
            run_config=tune.RunConfig(
                name="peer",
                storage_path=str(folder / "results"),
                failure_config=tune.FailureConfig(max_failures=3),
                callbacks=[Told(), MLflowLoggerCallback(tracking_uri=uri, experiment_name="peer")],
                verbose=0,
            ),
        )
    results = tuner.fit()
    _write_result(folder, results, storage, uri)


def _write_result(folder: Path, results: Any, storage: str, uri: str) -> None:
    import mlflow
    import optuna

    study = optuna.load_study(study_name="peer", storage=storage)
    client = mlflow.MlflowClient(tracking_uri=uri)
    runs = client.search_runs([client.get_experiment_by_name("peer").experiment_id])
    ended = {Path(r.path).name: r.metrics.get("top1") for r in results if r.metrics.get("epoch") == EPOCHS}
    (folder / "result.json").write_text(
        json.dumps(
            {
                "tune": len(ended),
                "optuna": Counter(trial.state.name for trial in study.trials),
                "mlflow": Counter(run.info.status for run in runs),
                "num_runs": len(runs),
                "front": sorted(map(list, {(t.params["keep"], t.params["ratio"]) for t in study.best_trials})),
                "top1": sorted(top1 for top1 in ended.values() if top1 is not None),
            }
        )
    )


if __name__ == "__main__":
    import peer_search

    peer_search.main()
