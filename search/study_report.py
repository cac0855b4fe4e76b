"""The files that tell what a study found: front as table, picture and page, the experiment, and a note."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from search.analysis_plots import analysis_pictures
from search.elastic_text import elastic_sentences
from search.importance import Importances, importances
from search.page import write_page
from search.plot_data import plot_data
from search.plots import draw_front
from search.records import StudyRecord, TrialState
from search.results import front_frame, history_frame, importance_frame, knee_trial, trials_frame
from search.secrets import without_password
from search.selection import front_trials, keep_rates
from search.summary import BudgetBest, StudySummary, summarise

TITLES = {
    "history": "How the front grew",
    "importance": "What made a difference",
    "slices": "Each parameter by itself: top-1 (dots) and latency (crosses, ms)",
}


def write_study_files(study: StudyRecord, directory: Path) -> tuple[Path, ...]:
    """Write `pareto.png`, `pareto.html`, `pareto.table.json`, `trials.csv`, `experiment.toml` and `summary.md`.

    Beside them how the search went: `history`, `importance` and `slices` as `.png` and, but for the last, `.csv`; the
    page holds the pictures too.

    Returns:
        The paths written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    names = ("pareto.png", "pareto.html", "pareto.table.json", "trials.csv", "experiment.toml", "summary.md")
    png, html, table, trials, experiment, note = paths = tuple(directory / name for name in names)
    data = plot_data(study)
    draw_front(data, png)
    found = importances(study)
    pictures = analysis_pictures(study, found)
    write_page(data, html, {TITLES[name]: content for name, content in pictures.items()})
    # `split` without an index is the form in which MLflow shows a file as a table.
    front_frame(study).to_json(table, orient="split", index=False, double_precision=4)
    trials_frame(study).to_csv(trials, index=False)
    experiment.write_text(experiment_toml(without_passwords(study.experiment)), encoding="utf-8")
    note.write_text(study_note(study), encoding="utf-8")
    return (*paths, *_write_analysis(study, found, pictures, directory))


def _write_analysis(
    study: StudyRecord, found: Importances, pictures: Mapping[str, bytes], directory: Path
) -> list[Path]:
    written = [directory / f"{name}.png" for name in pictures]
    for path, content in zip(written, pictures.values(), strict=True):
        path.write_bytes(content)
    for name, frame in (("history", history_frame(study)), ("importance", importance_frame(study, found))):
        written.append(directory / f"{name}.csv")
        frame.to_csv(written[-1], index=False)
    return written


def experiment_toml(experiment: Mapping[str, Any]) -> str:
    """A resolved experiment as TOML; keys without a value are left out, as TOML has no null."""
    import tomli_w

    return tomli_w.dumps(without_nulls(experiment))


def without_passwords(experiment: Mapping[str, Any]) -> dict[str, Any]:
    """An experiment that may be shown: the addresses of its storage and its MLflow hold no user and no password."""
    shown = {key: dict(value) if isinstance(value, Mapping) else value for key, value in experiment.items()}
    for section, key in (("study", "storage"), ("tracking", "uri")):
        if shown.get(section, {}).get(key):
            shown[section][key] = without_password(shown[section][key])
    return shown


def without_nulls(values: Mapping[str, Any]) -> dict[str, Any]:
    """The mapping without its null values, at every depth."""
    return {key: _without_nulls(value) for key, value in values.items() if value is not None}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return without_nulls(value)
    return [_without_nulls(item) for item in value] if isinstance(value, list | tuple) else value


def study_note(study: StudyRecord) -> str:
    """A study in a few lines of Markdown."""
    summary = summarise(study)
    lines = [
        f"# Study {study.name}",
        "",
        *_best_sentences(summary),
        "",
        *_count_lines(summary),
        *_knee_lines(study),
        *(f"* {sentence}" for sentence in elastic_sentences(study)),
        *(f"* changed {generation}" for generation in study.generations),
        "",
        *_front_table(study),
    ]
    return "\n".join(lines) + "\n"


def _best_sentences(summary: StudySummary) -> list[str]:
    """One line, or an item for each of several budgets."""
    sentences = [_best_sentence(budget, summary) for budget in summary.budgets]
    return sentences if len(sentences) == 1 else [f"* {sentence}" for sentence in sentences]


def _best_sentence(budget: BudgetBest, summary: StudySummary) -> str:
    best = budget.best
    if best is None:
        return f"No finished trial is within the budget of {budget.max_latency_ms:.3g} ms."
    return (
        f"Best under {budget.max_latency_ms:.3g} ms: **{best.top1:.2f} % top-1 at {best.latency_ms:.2f} ms** "
        f"(trial {best.number}), {summary.dense_latency_ms / best.latency_ms:.2f} times as fast as the dense model."
    )


def _count_lines(summary: StudySummary) -> list[str]:
    counts = summary.counts
    rejected = ", ".join(f"{count} {reason}" for reason, count in summary.rejections.items())
    ended = (
        f"{counts[TrialState.COMPLETE]} trials trained in full, {counts[TrialState.PRUNED]} stopped early, "
        f"{summary.num_interrupted} interrupted, {summary.num_failed} failed"
    )
    return [
        f"* {ended}",
        f"* proposals rejected before any training: {rejected}",
        f"* {summary.num_epochs_trained} epochs trained, {summary.num_epochs_saved} saved by stopping early",
        *([] if summary.end is None else [f"* ended: {summary.end.reason}"]),
        f"* hypervolume {summary.hypervolume:.1f} % x ms (over 0 % at {summary.dense_latency_ms:.3g} ms)",
    ]


def _knee_lines(study: StudyRecord) -> list[str]:
    trial = knee_trial(study)
    if trial is None:
        return []
    point = f"trial {trial.number}, {trial.top1:.2f} % at {trial.latency.mean_ms:.2f} ms"
    return [f"* knee of the front: {point}; beyond it a little more accuracy costs much latency"]


def _front_table(study: StudyRecord) -> list[str]:
    rows = [
        f"| {t.number} | {t.top1:.2f} | {t.latency.mean_ms:.2f} | {', '.join(f'{r:.3g}' for r in keep_rates(t))} |"
        for t in front_trials(study)
    ]
    return ["| trial | top-1 (%) | latency (ms) | keep rates |", "|---|---|---|---|", *rows]
