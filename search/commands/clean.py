"""`spvit-search clean`: remove what a study does not need any more."""

from __future__ import annotations

from pathlib import Path

import click

from search.commands.options import epilog, existing_study, json_option, runs_dir_option, study_argument
from search.commands.output import emit
from search.search_config import KeepCheckpoints

MIB = 1 << 20


@click.command("clean", epilog=epilog("spvit-search clean demo --keep front --dry-run", "usage", "locked", "storage"))
@study_argument
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option(
    "--keep",
    type=click.Choice([keep.value for keep in KeepCheckpoints]),
    help="Whose last checkpoints stay: of all trials trained in full, of those on the front or best within a budget, "
    "or of the latter alone; the study's own search.keep_checkpoints if absent.",
)
@runs_dir_option
@json_option
def command(study: str, runs_dir: Path, keep: str | None, *, dry_run: bool, as_json: bool) -> None:
    """Remove checkpoints that nothing needs, half-written ones, and Ray's snapshots.

    What `resume` goes on from, the fixed schedule, and the best trial within each budget are never removed, nor what
    was exported.
    """
    from contextlib import nullcontext

    from search.cleaning import removals, remove
    from search.lock import study_lock
    from search.study import read_study

    folder = existing_study(runs_dir, study)
    with nullcontext() if dry_run else study_lock(folder):
        record = read_study(folder)
        rule = KeepCheckpoints(keep or record.experiment["search"].get("keep_checkpoints", KeepCheckpoints.ALL))
        doomed = removals(record, folder, rule)
        if not dry_run:
            remove(doomed)
    num_bytes = sum(removal.num_bytes for removal in doomed)
    verb = "would free" if dry_run else "freed"
    lines = [
        f"{removal.num_bytes / MIB:9.1f} MiB  {removal.path.relative_to(folder)}: {removal.why}" for removal in doomed
    ]
    emit(
        {"study": study, "keep": rule, "is_dry_run": dry_run, "num_bytes": num_bytes, "removed": doomed},
        lambda: "\n".join([*lines, f"{verb} {num_bytes / MIB:.1f} MiB in {len(doomed)} folders (keep: {rule.value})"]),
        as_json=as_json,
    )
