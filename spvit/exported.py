"""A pruned model as a folder: weights, and what is needed to build the network that they belong to.

The folder is one of timm's local hub: `import spvit.timm_hub` and
`timm.create_model("local-dir:FOLDER", pretrained=True)` read it as well.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from spvit.errors import CheckpointError, ConfigError, UsageError
from spvit.export_json import read_export_json
from spvit.exported_schedules import best_within, schedules_in
from spvit.options import HeadWeighting, SelectorKind
from spvit.pruned_model import PrunedModel
from spvit.schedule import PackageMode
from spvit.timm_hub import ARCHITECTURE, WEIGHTS, build, model_args
from spvit.wording import first_line

DESCRIPTION = "config.json"
FORMAT = 2


def save_exported(
    directory: Path,
    model: PrunedModel,
    *,
    name: str,
    args: Mapping[str, bool | int | float | str],
    selector: SelectorKind,
    head_weighting: HeadWeighting,
    package: PackageMode,
    extra: Mapping[str, Any],
) -> None:
    """Write `model.safetensors` and `config.json` into an existing folder.

    Args:
        directory: where to.
        model: the pruned model.
        name: the backbone's name in timm.
        args: further arguments of `timm.create_model`.
        selector: how tokens are scored.
        head_weighting: how a multi-head selector weighs its heads.
        package: what becomes of dropped tokens.
        extra: further JSON values for whoever uses the model (input size, class names; `pretrained_cfg` and
            `label_names` as timm wants them).

    Raises:
        OSError: the folder cannot be written.
    """
    tensors = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    try:
        save_file(tensors, directory / WEIGHTS)
    except SafetensorError as error:  # which wraps what the file system refused
        raise OSError(f"{directory / WEIGHTS} could not be written: {error}") from error
    built_from = model_args(
        model, name=name, args=args, selector=selector, head_weighting=head_weighting, package=package
    )
    description = {
        "format": FORMAT,
        "architecture": ARCHITECTURE,
        "num_classes": model.backbone.num_classes,
        "num_features": model.backbone.num_features,
        "model_args": built_from,
        "pretrained_cfg": {},
        "weights_sha256": _sha256(directory / WEIGHTS),
    }
    (directory / DESCRIPTION).write_text(json.dumps(description | dict(extra), indent=2), encoding="utf-8")


def load(directory: Path | str, *, max_latency_ms: float | None = None) -> PrunedModel:
    """The model in an exported folder, as `load_exported` reads it.

    Where the folder holds one set of weights with several schedules, the model runs under the most accurate one of them
    that was certified to be within the latency. `model.at(schedule)` changes over to another one later.

    Args:
        directory: the folder.
        max_latency_ms: of one batch of the size that the folder was certified with; the most accurate of all if None.

    Raises:
        CheckpointError: the folder is no export, or one of its files was damaged.
        NothingFeasibleError: no schedule is within the latency.
        UsageError: a latency was given, but the folder holds a single schedule.
    """
    schedules = schedules_in(read_description(Path(directory)))
    if not schedules and max_latency_ms is not None:
        raise UsageError(
            f"{directory}: max_latency_ms = {max_latency_ms:g} chooses among several schedules, but this export holds "
            "one alone: leave it out, or export with `spvit-search export STUDY --schedules N`"
        )
    chosen = best_within(schedules, max_latency_ms) if schedules else None
    model = load_exported(directory)
    return model if chosen is None else model.at(chosen.schedule)


def load_exported(directory: Path | str) -> PrunedModel:
    """The model in an exported folder, on the CPU, in evaluation mode; it takes images and gives logits.

    Raises:
        CheckpointError: the folder is no export, or one of its files was damaged.
    """
    folder = Path(directory)
    description = read_description(folder)
    _check_weights(folder, description)
    try:
        model = build(**description["model_args"])
        model.load_state_dict(load_file(folder / WEIGHTS))
    except (KeyError, TypeError, ValueError, RuntimeError, ConfigError, SafetensorError) as error:
        raise CheckpointError(
            f"{folder}: weights and {DESCRIPTION} do not belong together ({first_line(error, most=200)}); "
            f"export the model again"
        ) from error
    return model.eval()


def read_description(directory: Path) -> dict[str, Any]:
    """What an exported folder's `config.json` says.

    Raises:
        CheckpointError: it is missing, damaged, or of a newer format.
    """
    return read_export_json(directory, DESCRIPTION, version=FORMAT, remedy="use a matching spvit-search")


def _check_weights(folder: Path, description: Mapping[str, Any]) -> None:
    path = folder / WEIGHTS
    if not path.is_file():
        raise CheckpointError(f"{path}: the weights are missing; export the model again")
    if _sha256(path) != description.get("weights_sha256"):
        raise CheckpointError(
            f"{path}: the weights were damaged or changed, their SHA-256 is not the one in {DESCRIPTION}; "
            f"export the model again"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
