"""Runs the examples of docs/api.md one after the other as they stand, but for their size. To be run: EXPERIMENT.

How many workers each trial had while it was trained on is printed last, as JSON.
"""

from __future__ import annotations

import json
import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

import search
from search import StudyListener

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
FINISHED_EPOCHS = 2


class Teams(StudyListener):
    """Counts the bundles of the placement groups that there are while epochs are reported."""

    def __init__(self) -> None:
        self.num_workers: dict[str, int] = {}

    def on_epoch(self, trial: Any, metrics: Any) -> None:
        """Asks Ray, whose driver this process is."""
        del metrics
        from ray.util import placement_group_table

        groups = [group for group in placement_group_table().values() if group["state"] == "CREATED"]
        self.num_workers[str(trial.number)] = max(len(group["bundles"]) for group in groups)


def example(experiment: str) -> str:
    """The page's code as one script, about a smaller search."""
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL))
    for old, new in (
        ('"experiments/demo.toml"', repr(experiment)),
        ("num_trials=8", "num_trials=1"),
        ("epochs=6", f"epochs={FINISHED_EPOCHS}"),
    ):
        assert code.count(old) == 1, old
        code = code.replace(old, new)
    return code


def main() -> None:
    teams = Teams()
    search.finish = partial(search.finish, listeners=[teams])  # type: ignore[attr-defined]
    names: dict[str, Any] = {"__name__": "api"}
    exec(compile(example(sys.argv[1]), "api.md", "exec"), names)  # noqa: S102  # our own page
    print(json.dumps({"num_workers": teams.num_workers, "exported": names["report"].to_dict()}, default=str))


if __name__ == "__main__":
    main()
