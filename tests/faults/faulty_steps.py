"""Single steps that are to be killed on the way: a checkpoint that is saved, an export that takes another's place."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from harness import wait_for_go

from spvit.errors import SpvitError
from trainers.checkpoint import save_checkpoint


def save(folder: Path, step: int) -> None:
    """A small checkpoint with all its files."""
    parameter = torch.nn.Parameter(torch.full((64,), float(step)))
    optimizer = torch.optim.AdamW([parameter])
    parameter.grad = torch.ones(64)
    optimizer.step()
    save_checkpoint(folder, step, weights={"w": parameter}, optimizer=optimizer.state_dict(), meta={"step": step})


def save_third(folder: Path) -> None:
    """In a process of its own: the checkpoint after two others."""
    wait_for_go(folder)
    try:
        save(folder / "trial", 3)
    except SpvitError as error:
        os._exit(int(error.exit_code))
    os._exit(0)


def make_export(folder: Path) -> None:
    """In a process of its own: a study with checkpoints, and the export of a trial."""
    from exported_study import export_trained, trained_study

    export_trained(trained_study(folder), folder / "runs" / "small" / "export" / "model", formats=())


def export_again(folder: Path) -> None:
    """In a process of its own: the same export with force."""
    from exported_study import export_trained

    from search.study import read_study

    study = read_study(folder / "runs" / "small")
    wait_for_go(folder)
    export_trained(study, folder / "runs" / "small" / "export" / "model", formats=(), force=True)
    os._exit(0)
