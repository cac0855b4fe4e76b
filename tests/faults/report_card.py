"""Makes the report card of what `long_run.py`, `peer.py` and `stop_times.py` wrote: DIRECTORY. JSON and tables."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[2] / "docs"
CARD, PAGE = DOCS / "reliability.json", DOCS / "reliability.md"
MARKS = {
    "kinds": ("<!-- report card -->", "<!-- end of the report card -->"),
    "stops": ("<!-- stops -->", "<!-- end of stops -->"),
}
STOPPED_CODE = 75
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


def peer_summary(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The peer's searches, and what Optuna and MLflow said at their ends."""
    ended = [line["result"] for line in lines if line["result"] is not None]
    return summary(lines) | {
        "searches_that_could_not_be_ended": len(lines) - len(ended),
        "optuna_trials_left_running": sum(result["optuna"].get("RUNNING", 0) for result in ended),
        "mlflow_runs_left_running": sum(result["mlflow"].get("RUNNING", 0) for result in ended),
        "mlflow_runs_beyond_the_trials": sum(result["num_runs"] - result["tune"] for result in ended),
    }


def stops_summary(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """How long searches with Ray took to end when they were told to."""
    seconds = [line["seconds"] for line in lines]
    return {
        "searches": len(lines),
        "p50_s": quantile(seconds, 0.5),
        "p95_s": quantile(seconds, 0.95),
        "max_s": quantile(seconds, 1.0),
        "in_order": sum(not line["at_once"] for line in lines),
        "with_another_code": sum(line["code"] != STOPPED_CODE for line in lines),
    }


def stops_table(stops: dict[str, Any]) -> str:
    """The same as Markdown."""
    rows = ["| signal | searches | p50 | p95 | longest | ended in order | exit code was not 75 |", "|---" * 7 + "|"]
    for number, one in stops.items():
        times = " | ".join(f"{one[key]:g} s" for key in ("p50_s", "p95_s", "max_s"))
        counts = f"{one['in_order']} of {one['searches']} | {one['with_another_code']}"
        rows.append(f"| {number} | {one['searches']} | {times} | {counts} |")
    return "\n".join(rows)


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


def _num_driver_kills(name: str, kind: dict[str, Any]) -> int:
    """With Ray the last fault of each search hits a worker."""
    return {"killed": kind["faults"], "ray": kind["faults"] - kind["searches"]}.get(name, 0)


def _put(what: str, text: str) -> None:
    """Between its marks in the docs, and on the terminal."""
    begin, end = MARKS[what]
    before, _, rest = PAGE.read_text().partition(begin)
    PAGE.write_text(f"{before}{begin}\n\n{text}\n\n{end}{rest.partition(end)[2]}")
    print(text)


def main() -> None:
    directory = Path(sys.argv[1])
    lines, peer = lines_of(directory / "results.jsonl"), lines_of(directory / "peer.jsonl")
    kinds = {kind: summary(own) for kind in ROWS if (own := [line for line in lines if line["kind"] == kind])}
    if peer:
        kinds["peer"] = peer_summary(peer)
    ours = [kind for name, kind in kinds.items() if name != "peer"]
    card = {
        "faults": sum(kind["faults"] for kind in ours),
        "driver_kills": sum(_num_driver_kills(name, kind) for name, kind in kinds.items()),
        "violations": sum(len(kind["violations"]) for kind in ours),
        "kinds": kinds,
    }
    stops = lines_of(directory / "stops.jsonl")
    if stops:
        numbers = sorted({line["number"] for line in stops})
        card["stops"] = {name: stops_summary([line for line in stops if line["number"] == name]) for name in numbers}
    CARD.write_text(json.dumps(card, indent=1) + "\n")
    _put("kinds", table(card))
    if stops:
        _put("stops", stops_table(card["stops"]))
    sys.exit(int(card["violations"] > 0))


if __name__ == "__main__":
    main()
