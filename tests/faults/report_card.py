"""Makes the report card of what `long_run.py` and `peer.py` wrote: DIRECTORY. JSON, and the table in the docs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[2] / "docs"
CARD, PAGE = DOCS / "reliability.json", DOCS / "reliability.md"
BEGIN, END = "<!-- report card -->", "<!-- end of the report card -->"
ROWS = {
    "killed": "driver killed, without Ray",
    "stopped": "driver told to stop (SIGTERM, SIGINT, twice)",
    "full_disk": "no space from a write of the study on",
    "broken_disk": "I/O error when a file is put on the disk",
    "taken_over": "driver paused, taken over from, and woken",
    "ray": "driver and worker killed, with Ray and MLflow",
    "saving": "killed at every step of saving a checkpoint",
    "exporting": "killed at every step of replacing an export",
    "peer": "Ray Tune + OptunaSearch + MLflowLoggerCallback: driver killed",
}
DRIVER_KILLS = {"killed", "ray"}


def lines_of(path: Path) -> list[dict[str, Any]]:
    """What was written line by line; nothing where nothing was."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def quantile(values: Sequence[float], share: float) -> float | None:
    """The nearest-rank quantile; None of nothing."""
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2) if ordered else None


def summary(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Searches of one kind together."""
    recoveries = [second for line in lines for second in line["recoveries_s"]]
    wasted, epochs = _sum(lines, "epochs_wasted"), _sum(lines, "epochs")
    return {
        "searches": len(lines),
        "faults": _sum(lines, "faults"),
        "finished_trials_lost": _sum(lines, "lost"),
        "finished_trials_run_twice": _sum(lines, "run_twice"),
        "epochs": epochs,
        "epochs_wasted": wasted,
        "recovery_p50_s": quantile(recoveries, 0.5),
        "recovery_p95_s": quantile(recoveries, 0.95),
        "fronts": _sum(lines, "fronts"),
        "fronts_identical": _sum(lines, "fronts_identical"),
        "violations": [text for line in lines for text in line.get("violations", ())],
    }


def _sum(lines: Iterable[dict[str, Any]], key: str) -> int:
    return sum(line.get(key, 0) for line in lines)


def peer_summary(lines: Sequence[dict[str, Any]], num_trials: int) -> dict[str, Any]:
    """The peer's searches, and what Optuna and MLflow said at their ends."""
    ended = [line["result"] for line in lines if line["result"] is not None]
    return summary(lines) | {
        "searches_that_could_not_be_ended": len(lines) - len(ended),
        "optuna_trials_left_running": sum(result["optuna"].get("RUNNING", 0) for result in ended),
        "mlflow_runs_left_running": sum(result["mlflow"].get("RUNNING", 0) for result in ended),
        "mlflow_runs_beyond_the_trials": sum(result["num_runs"] - num_trials for result in ended),
    }


def table(card: dict[str, Any]) -> str:
    """The card as Markdown."""
    head = (
        "| fault | searches | faults | finished trials lost | run twice | epochs wasted | recovery p50 / p95 | fronts |"
    )
    rows = [head, "|---" * 8 + "|"]
    for kind, what in ROWS.items():
        if kind in card["kinds"]:
            rows.append(_row(what, card["kinds"][kind]))
    return "\n".join(rows)


def _row(what: str, kind: dict[str, Any]) -> str:
    p50, p95 = kind["recovery_p50_s"], kind["recovery_p95_s"]
    wasted = f"{kind['epochs_wasted']} of {kind['epochs']}" if kind["epochs"] else ""
    fronts = f"{kind['fronts_identical']} of {kind['fronts']}" if kind["fronts"] else ""
    cells = [
        what,
        kind["searches"],
        kind["faults"],
        kind["finished_trials_lost"],
        kind["finished_trials_run_twice"],
        wasted,
        "" if p50 is None else f"{p50:g} s / {p95:g} s",
        fronts,
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


def main() -> None:
    from peer_search import NUM_TRIALS

    directory = Path(sys.argv[1])
    lines, peer = lines_of(directory / "results.jsonl"), lines_of(directory / "peer.jsonl")
    kinds = {kind: summary(own) for kind in ROWS if (own := [line for line in lines if line["kind"] == kind])}
    if peer:
        kinds["peer"] = peer_summary(peer, NUM_TRIALS)
    ours = [kind for name, kind in kinds.items() if name != "peer"]
    card = {
        "faults": sum(kind["faults"] for kind in ours),
        "driver_kills": sum(kind["faults"] for name, kind in kinds.items() if name in DRIVER_KILLS),
        "violations": sum(len(kind["violations"]) for kind in ours),
        "kinds": kinds,
    }
    CARD.write_text(json.dumps(card, indent=1) + "\n")
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n\n{table(card)}\n\n{END}{rest.partition(END)[2]}")
    print(table(card))
    sys.exit(int(card["violations"] > 0))


if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
    main()
