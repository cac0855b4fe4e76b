"""Puts a study and another device's latency table together: what `retarget` reads, checks and works out."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from latency_tables.health import check_table
from latency_tables.key import BackboneShape, Runtime
from latency_tables.table import LatencyTable
from search.answers import by_answers
from search.budget import LatencyBudget, price_from
from search.config import ExperimentConfig
from search.experiment import validate
from search.further import Further, further_trials
from search.further_space import further_space, search_from_elastic
from search.latency_options import TargetDevice
from search.profiling import check_head_weighting, experiment_shape
from search.records import StudyRecord
from search.retarget import AskedBudget, Retargeted, retarget
from search.staircase import Staircase
from spvit.errors import LatencyTableError, NothingFeasibleError
from spvit.options import SelectorKind
from spvit.schedule import PruningSchedule
from trainers.config import PruningConfig

NAME_LENGTH = 30
"""Of a study and of a device in a new study's name, so that the digest behind them is never cut off."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TableFile:
    """A latency table and where it was read from."""

    path: Path
    table: LatencyTable


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceReport:
    """One study on one other device: the device's table, the trials there, and what else would pay.

    Attributes:
        file: the device's latency table.
        result: the trials there.
        further: what else would pay.
        from_elastic: the search on the device of schedules from the study's elastic weights; None where its schedules
            were not trained from any.
    """

    file: TableFile
    result: Retargeted
    further: Further
    from_elastic: ExperimentConfig | None = None

    @property
    def device(self) -> str:
        """The device and the way of running, in words."""
        key = self.file.table.key
        threads = "1 thread" if key.num_threads == 1 else f"{key.num_threads} threads"
        return f"{key.device_id}, batch {key.batch_size}, {key.dtype}, {key.runtime}, {threads}"

    @property
    def lost_weights(self) -> str:
        """What to say where the elastic weights that further trials go on from are not here; empty where they are."""
        path = None if self.from_elastic is None else self.from_elastic.start.path
        if path is None or path.is_file():
            return ""
        return (
            f"{path}, the elastic weights that further trials go on from, is not there: bring it, and say where it is "
            f"with --set start.path=FILE"
        )

    @property
    def nothing_within(self) -> str:
        """What to say where no trial is within the budget; empty where one is."""
        result, fastest = self.result, self.result.fastest
        if result.recommended is not None or fastest is None:
            return ""
        return (
            f"no finished trial of study {result.before.name!r} is within {result.budget.max_ms:.3f} ms "
            f"({result.budget.source}) on {self.device}: the fastest is trial {fastest.number}, {fastest.top1:.2f} % "
            f"at {fastest.new.mean_ms:.3f} ms (at most {fastest.new.high_ms:.3f} ms); with every keep rate at its "
            f"lowest the model takes {self.further.fastest.mean_ms:.3f} ms. Raise --max-latency-ms or "
            f"--max-latency-share, or train further trials (--suggest)"
        )


def retarget_study(
    study: StudyRecord, paths: Sequence[Path], *, asked: AskedBudget, num_further: int
) -> list[DeviceReport]:
    """The study on the device of each table. Trains nothing and writes nothing.

    Args:
        study: as it stands; it may still be running.
        paths: of latency tables.
        asked: what a model may take.
        num_further: further trials to look for on each device.

    Raises:
        NothingFeasibleError: no trial was trained to the end.
        LatencyTableError: a table is missing, damaged, or of another model; names the file and every field.
        ConfigError: the study's experiment is not understood by this version.
    """
    if not study.finished:
        raise NothingFeasibleError(
            f"study {study.name!r} has no trial that was trained to the end, so there is nothing to take to another "
            f"device; look at `spvit-search status {study.name}`"
        )
    experiment = validate(study.experiment, source=f"study {study.name}")
    files = [TableFile(path=path, table=LatencyTable.load(path)) for path in paths]
    shape = experiment_shape(experiment)
    for file in files:
        with _naming(file, study):
            _check_fits(file.table, study, experiment, shape)
    return [_report(study, experiment, file, asked=asked, num_further=num_further) for file in files]


def experiment_on(experiment: ExperimentConfig, file: TableFile, budget: LatencyBudget) -> ExperimentConfig:
    """The study's experiment as it would be on the table's device, under a name of its own.

    A device of an imported table runs no search: there the study's machine goes on evaluating for it.

    Raises:
        ConfigError: no device can run what the table's key says.
    """
    key, is_imported = file.table.key, bool(file.table.provenance.imported_from)
    values = experiment.model_dump(mode="json")
    values["study"]["name"] = _name_on(experiment.study.name, file.table, budget)
    values["latency"] |= {
        "table": str(file.path.absolute()),
        "batch_size": key.batch_size,
        "num_threads": key.num_threads,
        "device": _torch_device(file.table, experiment.latency.device),
        "dtype": str(key.dtype),
        "runtime": str(key.runtime),
        "max_latency_ms": list(budget.all_ms) if budget.smaller_ms else budget.max_ms,
        "max_latency_share": None,
        "target": str(TargetDevice.OTHER_DEVICE if is_imported else TargetDevice.THIS_DEVICE),
    }
    return validate(values, source=f"{file.path}: the study on this table's device")


def _name_on(study: str, table: LatencyTable, budget: LatencyBudget) -> str:
    """Different for different tables and budgets, as trainings of one name share a folder."""
    device = re.sub(r"[^A-Za-z0-9._-]+", "-", table.key.device_id)
    digest = hashlib.sha256(f"{table.sha256} {' '.join(map(repr, budget.all_ms))}".encode()).hexdigest()[:8]
    return f"{study[:NAME_LENGTH]}-on-{device[:NAME_LENGTH]}-{digest}"


def _torch_device(table: LatencyTable, studys: str) -> str:
    """Where models of the table run, and the study's own where the table's device is known by a name alone."""
    if table.key.runtime is Runtime.ONNXRUNTIME:
        return "cpu"
    if table.provenance.imported_from:
        on_gpu = table.key.runtime is Runtime.CUDA_GRAPH and not studys.startswith("cuda")
        return "cuda:0" if on_gpu else studys
    return "cuda:0" if table.device.gpu_name or table.key.runtime is Runtime.CUDA_GRAPH else "cpu"


def _report(
    study: StudyRecord, experiment: ExperimentConfig, file: TableFile, *, asked: AskedBudget, num_further: int
) -> DeviceReport:
    geometry = file.table.geometry
    price = cache(price_from(file.table))  # asked for equal networks often, which must be equally fast to the last bit
    budget = asked.on(study, price(PruningSchedule().plan(geometry)))
    there = experiment_on(experiment, file, budget)
    with _naming(file, study):
        result = retarget(
            study,
            price=price,
            geometry=geometry,
            budget=budget,
            experiment=there.model_dump(mode="json"),
            default=there.fixed_trial(geometry.depth).pruning,
            compare=by_answers(study),
        )
    space = further_space(study, there, geometry)
    further = further_trials(
        result.after,
        space,
        price=price,
        budget=budget,
        search=there.search,
        num=num_further,
        staircase=Staircase.from_table(file.table),
    )
    is_own = space.experiment is there
    from_elastic = None if is_own else search_from_elastic(study, space, price=price, budget=budget)
    return DeviceReport(file=file, result=result, further=further, from_elastic=from_elastic)


def _check_fits(table: LatencyTable, study: StudyRecord, experiment: ExperimentConfig, shape: BackboneShape) -> None:
    """Refuses a table of another model; the device and the way of running may be any.

    Raises:
        LatencyTableError: names every field that differs.
    """
    key = table.key
    check_table(
        table,
        fingerprint=table.device,
        backbone=experiment.model.name,
        batch_size=key.batch_size,
        dtype=key.dtype,
        runtime=key.runtime,
        num_threads=key.num_threads,
        shape=shape,
    )
    for kind in _trained_kinds(study):
        table.selections_of(kind)
    check_head_weighting(table, experiment)


@contextmanager
def _naming(file: TableFile, study: StudyRecord) -> Iterator[None]:
    """Says which file an error is about: there may be several."""
    try:
        yield
    except LatencyTableError as error:
        raise LatencyTableError(f"{file.path} does not fit study {study.name!r}: {error}") from None


def _trained_kinds(study: StudyRecord) -> list[SelectorKind]:
    """The kinds of selectors that the study's trials have, each once."""
    prunings = (PruningConfig.model_validate(trial.config["pruning"]) for trial in study.trials)
    return list(dict.fromkeys(pruning.selector for pruning in prunings if pruning.schedule.stages))
