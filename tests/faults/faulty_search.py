"""One session of a search whose driver is to be killed, as a process of its own: with Ray, or with a worker within it.

Everything is the product's own but the training: trials have known learning curves and real checkpoints. Two notebooks
beside the study, which no fault reaches, say what happened: `work.log` each epoch that was begun, `told.log` each trial
whose end the driver had told.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "search")]

import tabulated  # noqa: E402
import torch  # noqa: E402
from kept_trial import KeptTrial  # noqa: E402

from search import launcher  # noqa: E402
from search.listener import StudyListener  # noqa: E402
from search.records import TrialRecord  # noqa: E402
from search.signals import end_process  # noqa: E402
from search.study_opening import OpeningTerms  # noqa: E402
from spvit.errors import ExitCode, SpvitError  # noqa: E402
from trainers.build import identity_of  # noqa: E402
from trainers.checkpoint import latest_checkpoint, save_checkpoint  # noqa: E402
from trainers.config import TrialConfig  # noqa: E402
from trainers.metrics import EpochMetrics  # noqa: E402

STUDY, WORK, TOLD, GO = "toy", "work.log", "told.log", "go"
EPOCHS = 4
DIVERGES_ABOVE, RAISES_BELOW = 2.5, 0.15


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What a session is to do.

    Attributes:
        folder: of the notebooks; the study is in its `runs`.
        directory: the study's directory as the user writes it, seen from `folder`: relative, through a link, ...
        num_trials: to search.
        num_concurrent: trials at once.
        epoch_s: how long an epoch takes, the processor idle.
        takeover: take the study from whoever holds it.
        is_tracked: in MLflow too.
        waits: until the file `go` is there, so that somebody can prepare.
    """

    folder: str
    directory: str = "runs"
    num_trials: int = 6
    num_concurrent: int = 1
    epoch_s: float = 0.02
    takeover: bool = False
    is_tracked: bool = False
    waits: bool = False


def note(path: Path, **values: Any) -> None:
    """Adds a line in one write, which a kill cannot tear."""
    line = json.dumps(values | {"at": time.time(), "pid": os.getpid()}) + "\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


class FaultyTrial(KeptTrial):
    """Keeps real checkpoints. Some configurations diverge, some cannot be trained."""

    def __init__(self, config: TrialConfig, directory: Path) -> None:
        super().__init__(config, directory)
        self._notebook = directory.resolve().parents[3] / WORK
        self._epoch_s = float(self._notebook.with_name("epoch_s").read_text())

    def run_epoch(self) -> EpochMetrics:
        epoch, ratio = self.epoch + 1, self._config.losses.ratio
        note(self._notebook, root=int(self._directory.name), epoch=epoch)
        time.sleep(self._epoch_s)
        if ratio < RAISES_BELOW:
            raise RuntimeError("this configuration cannot be trained")
        if ratio > DIVERGES_ABOVE and epoch == 2:
            return self._unkept(float("nan"))
        rates = [stage.keep_rate for stage in self._config.pruning.schedule.stages]
        return self._after(60 + 2 * epoch + 8 * sum(rates) - abs(ratio - 1))

    def _kept(self) -> Sequence[float]:
        found = latest_checkpoint(self._directory, identity=identity_of(self._config))
        return () if found is None else found.meta["history"]

    def _keep(self, tops: Sequence[float]) -> None:
        save_checkpoint(
            self._directory,
            self.epoch,
            weights={"w": torch.full((256,), tops[-1])},
            optimizer={},
            meta={"identity": identity_of(self._config), "history": list(tops)},
        )


class Told(StudyListener):
    """Writes down each end of a trial after the driver has told it: from then on it may not be lost."""

    def __init__(self, notebook: Path) -> None:
        self._notebook = notebook

    def on_trial_end(self, trial: TrialRecord) -> None:
        note(self._notebook, number=trial.number, state=str(trial.state), top1=trial.top1)


def run_here(driver: Any, experiment: Any, factory: Any, *, address: str | None = None) -> None:
    """Stands for Tune's loop: the product's searcher and trainable, with one worker in this process."""
    from itertools import count

    from ray.tune.search.searcher import Searcher

    from search.driver import Decision
    from search.ray_border import TrialTask
    from search.searcher import DriverSearcher
    from search.signals import stop_on_signals
    from search.trainable import SearchTrainable

    searcher, worker = DriverSearcher(driver), SearchTrainable.__new__(SearchTrainable)
    is_set_up = False
    with stop_on_signals(driver.stop):
        for turn in count():
            task = searcher.suggest(str(turn))
            if task == Searcher.FINISHED:
                return
            if task is None:
                time.sleep(0.05)
                continue
            is_set_up = worker.reset_config(task) if is_set_up else (worker.setup(task, factory=factory) is None)
            number = TrialTask.from_ray(task).number
            driver.on_running(number)
            while driver.on_result(number, worker.step()) is Decision.CONTINUE:
                pass
            searcher.on_trial_complete(str(turn))


def run_session(order: Order) -> int:
    """Searches, or goes on. Returns the exit code that the command would have."""
    folder = Path(order.folder)
    os.chdir(folder)
    while order.waits and not (folder / GO).exists():
        time.sleep(0.005)
    (folder / "epoch_s").write_text(str(order.epoch_s))
    config = tabulated.experiment(
        Path(order.directory),
        num_trials=order.num_trials,
        num_concurrent=order.num_concurrent,
        sampler="tpe",
        max_failed_share=1.0,
    )
    device = launcher.Device(geometry=tabulated.GEOMETRY, price=tabulated.price, table_sha256="")
    listeners: list[StudyListener] = [Told(folder / TOLD)]
    if order.is_tracked:
        from search.tracking import MlflowTracker

        listeners.append(MlflowTracker(Path(order.directory).resolve() / STUDY, close_timeout_s=120))
    try:
        launcher.search(
            config,
            device,
            listeners=listeners,
            trial_factory=FaultyTrial,
            terms=OpeningTerms(takeover=order.takeover),
        )
    except SpvitError as error:
        (folder / f"stderr-{os.getpid()}.log").write_text(f"error: {error}\n")
        return int(error.exit_code)
    except KeyboardInterrupt:  # as the command does
        return int(ExitCode.STOPPED)
    return 0


def forked(order: Order) -> None:
    """A session without Ray, in a process forked for it."""
    launcher.run_on_ray = run_here
    os._exit(run_session(order))


if __name__ == "__main__":
    import faulty_search  # so that Ray's workers find the trial by this name

    end_process(faulty_search.run_session(faulty_search.Order(**json.loads(sys.argv[1]))))


def command(order: Order) -> list[str]:
    """The command line of a session with Ray."""
    return [sys.executable, str(Path(__file__)), json.dumps(asdict(order))]
