"""Where a trial's selectors start: warmed up once for all trials alike, then set to the trial's schedule."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from spvit.errors import StorageError
from spvit.pruned_model import PrunedModel
from spvit.pruned_weights import stored_selectors
from trainers.calibration import calibrate_margins
from trainers.config import TrialConfig
from trainers.data import Batches
from trainers.safe_folder import DamagedFolderError, set_aside, verify_folder, write_folder
from trainers.warmup import warm_up_selectors
from trainers.workers import WorkerGroup

log = logging.getLogger(__name__)

FILE = "selectors.safetensors"


def start_selectors(
    model: PrunedModel, batches: Batches, config: TrialConfig, *, cache: Path | None, workers: WorkerGroup
) -> None:
    """Warm the selectors up, or take them from the cache, and calibrate them to the model's schedule.

    Selectors that came with the model's checkpoint are trained already and stay as they are.

    Args:
        model: changed in place; its backbone stays as it is.
        batches: training images.
        config: the trial.
        cache: a folder shared by the trials of a study. The first trial that needs a start makes it, others that need
            the same wait for it: a warm-up costs as much as half an epoch, and trials that start alike differ by their
            configurations alone.
        workers: the processes that train together; the main one alone reads and writes the cache.

    Raises:
        DivergedError: the warm-up's loss is not finite.
        StorageError: the cache cannot be written.
    """
    if not model.has_learned_selectors or not config.training.selector_warmup_steps:
        return
    if stored_selectors(config.model.checkpoint):
        return
    if cache is None:
        warm_up_selectors(model, batches, config.training, workers=workers)
    else:
        _from_cache(model, batches, config, cache, workers)
    images, _ = next(iter(batches.epoch(config.training.epochs)))
    calibrate_margins(model, images, workers)


def start_key(model: PrunedModel, config: TrialConfig, num_workers: int = 1) -> str:
    """A hash of everything that a warm-up depends on: not the keep rates, nor the losses that trials explore."""
    training = config.training
    facts: dict[str, Any] = {
        "model": config.model.model_dump(mode="json"),
        "checkpoint": _version_of(config.model.checkpoint),
        "data": config.data.model_dump(mode="json", exclude={"num_workers"}),
        "blocks": [selection.block for selection in model.plan.selections],
        "selector": [config.pruning.selector.value, config.pruning.head_weighting.value],
        "training": training.model_dump(
            mode="json",
            include={
                "seed",
                "epochs",
                "batch_size",
                "images_per_epoch",
                "clip_grad_norm",
                "selector_warmup_steps",
                "selector_warmup_lr",
            },
        ),
    }
    if num_workers > 1:  # each has random draws of its own
        facts["workers"] = num_workers
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _version_of(path: Path | None) -> tuple[int, int] | None:
    """Size and time of change, by which a file that was trained anew under the same name is another one."""
    if path is None:
        return None
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _from_cache(model: PrunedModel, batches: Batches, config: TrialConfig, cache: Path, workers: WorkerGroup) -> None:
    folder = cache / start_key(model, config, workers.world_size)
    with _locked(folder.with_suffix(".lock")) if workers.is_main else nullcontext():
        is_there = workers.is_main and _read(model, folder)
        start = workers.from_main(model.selectors.state_dict() if is_there else None)
        if start is not None:
            model.selectors.load_state_dict(start)
            return
        warm_up_selectors(model, batches, config.training, workers=workers)
        if workers.is_main:
            with _refusals_named(cache):
                write_folder(folder, {FILE: partial(save_file, model.selectors.state_dict())})


def _read(model: PrunedModel, folder: Path) -> bool:
    """Load the start from a folder that is whole; a damaged one is set aside."""
    if not folder.exists():
        return False
    try:
        verify_folder(folder)
    except DamagedFolderError as error:
        log.warning("The selectors' start in %s is damaged (%s); it is made again.", folder, error)
        with _refusals_named(folder.parent):
            set_aside(folder)
        return False
    with _refusals_named(folder.parent):
        model.selectors.load_state_dict(load_file(folder / FILE))
    return True


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that ends with the process."""
    with ExitStack() as stack:
        with _refusals_named(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(path.open("w"))
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _refusals_named(cache: Path) -> Iterator[None]:
    """Tell what the system refuses as an error of this cache; a warm-up's own errors stay what they are."""
    try:
        yield
    except (OSError, SafetensorError) as error:  # safetensors wraps a full disk
        raise StorageError(
            f"Cannot keep the selectors' start in {cache}: {error}. Free space or rights there."
        ) from error
