"""The files of an export that say what the model is: weights, description, labels, an experiment that runs again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from search.config import ExperimentConfig
from search.elastic_search_config import SearchMode
from search.experiment import load_experiment, validate
from search.records import StudyRecord, TrialRecord
from search.study_report import experiment_toml, without_passwords
from search.trial_model import load_trial_model, trial_config
from spvit.exported_schedules import SCHEDULES, ExportedSchedule
from trainers.config import DataConfig, PruningConfig
from trainers.data import Loading, Split, open_split
from trainers.preprocessing import Preprocessing, preprocessing_of

EXPERIMENT, LABELS = "config.toml", "labels.txt"


def write_model(study: StudyRecord, trial: TrialRecord, staging: Path) -> None:
    """Write the trial's model, its description and its experiment into an existing folder."""
    write_weights(study, trial, staging)
    write_experiment(fixed_experiment(study, trial), staging / EXPERIMENT)


def write_experiment(experiment: ExperimentConfig, path: Path) -> None:
    """Write an experiment's file into an existing folder, without passwords, and see that it can be read again."""
    path.write_text(experiment_toml(without_passwords(experiment.model_dump(mode="json"))), encoding="utf-8")
    load_experiment(path)


def write_weights(
    study: StudyRecord, trial: TrialRecord, staging: Path, *, schedules: Sequence[ExportedSchedule] = ()
) -> None:
    """Write the trial's weights and what they are, with the schedules that they serve where these are several."""
    from spvit.exported import save_exported

    config = trial_config(trial)
    model = load_trial_model(study, trial)
    preprocessing = preprocessing_of(model.backbone)
    labels = _class_names(config.data, preprocessing)
    save_exported(
        staging,
        model,
        name=config.model.name,
        args=config.model.args,
        selector=config.pruning.selector,
        head_weighting=config.pruning.head_weighting,
        package=config.pruning.package,
        extra={
            "input": {key: value for key, value in asdict(preprocessing).items() if key != "num_classes"},
            "pretrained_cfg": _for_timm(preprocessing),
            "class_names": labels,
            "label_names": labels,
            "study": study.name,
            "trial": trial.number,
            **({SCHEDULES: [each.to_dict() for each in schedules]} if schedules else {}),
        },
    )
    (staging / LABELS).write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")


def fixed_experiment(study: StudyRecord, trial: TrialRecord) -> ExperimentConfig:
    """The study's experiment with the trial's schedule, losses and training, and nothing left to explore."""
    config = trial_config(trial)
    # Run again it begins anew: neither the weights nor the shorter training that a trial went on from are with it.
    values = {key: value for key, value in study.experiment.items() if key not in {"search", "start"}}
    schedule = config.pruning.schedule
    values |= {
        "study": _own_study(study, trial),
        "pruning": {
            "blocks": list(schedule.blocks) or None,
            "stage_keep_rates": list(schedule.keep_rates) or None,
            **_form(config.pruning),
        },
        "losses": config.losses.model_dump(mode="json"),
        "training": config.training.model_copy(update={"continues_epochs": None}).model_dump(mode="json"),
    }
    return validate(values, source=f"trial {trial.number} of study {study.name}")


def elastic_experiment(study: StudyRecord, trial: TrialRecord) -> ExperimentConfig:
    """The study's experiment as a search for this elastic trial alone, with its settings."""
    config, given = trial_config(trial), study.experiment
    own = (
        {} if config.elastic is None else config.elastic.model_dump(mode="json", include={"sandwich_share", "teacher"})
    )
    of_one_schedule = {"ratio": given["losses"]["ratio"], "latency": given["losses"]["latency"]}
    of_the_file = {key: given["training"][key] for key in ("epochs", "warmup_epochs", "freeze_epochs")}
    elastic = {**given["search"].get("elastic", {}), "num_trials": 1, "epochs": config.training.epochs}
    space = {**given["search"].get("space", {}), "elastic": {}}
    values = {
        **{key: value for key, value in given.items() if key != "start"},
        "study": _own_study(study, trial),
        "pruning": {**given["pruning"], **_form(config.pruning)},
        "losses": config.losses.model_dump(mode="json") | of_one_schedule,
        "training": config.training.model_dump(mode="json") | of_the_file,
        "elastic": {**given.get("elastic", {}), **own},
        "search": {**given["search"], "mode": str(SearchMode.ELASTIC), "elastic": elastic, "space": space},
    }
    return validate(values, source=f"trial {trial.number} of study {study.name}")


def _own_study(study: StudyRecord, trial: TrialRecord) -> dict[str, Any]:
    return {**study.experiment["study"], "name": f"{study.name[:80]}-trial-{trial.number}"}


def _form(pruning: PruningConfig) -> dict[str, str]:
    return {key: str(getattr(pruning, key)) for key in ("selector", "head_weighting", "package")}


def _for_timm(preprocessing: Preprocessing) -> dict[str, Any]:
    """The same in the words of `timm.data.resolve_data_config`."""
    return {
        "input_size": [preprocessing.num_channels, preprocessing.height, preprocessing.width],
        "fixed_input_size": True,
        "mean": list(preprocessing.mean),
        "std": list(preprocessing.std),
        "crop_pct": preprocessing.crop_pct,
        "interpolation": preprocessing.interpolation,
        "custom_load": False,
    }


def _class_names(data: DataConfig, preprocessing: Preprocessing) -> list[str]:
    return list(open_split(data, Split.VAL, preprocessing, Loading(batch_size=1, training=False)).class_names)
