"""Writes the pictures of the front page: a finished study in MLflow, and its front.

    python docs/make_pictures.py demo [--runs-dir runs]

Needs Chromium and playwright (the group `test`). It is the browser of the tests that looks.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "pictures"
SIZE, FRONT_HEIGHT = {"width": 1200, "height": 800}, 725
PATIENCE_MS = 240_000
"""For charts to be drawn, on a machine that does other things."""


def main() -> None:
    """Look at the study that the command line names."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("study")
    options.add_argument("--runs-dir", type=Path, default=Path("runs"))
    given = options.parse_args()
    sys.path.insert(0, str(ROOT / "tests" / "integration"))
    import mlflow_page
    from mlflow_page import MlflowPage, browser_page

    from search.commands.dashboard import mlflow_server
    from search.commands.local_server import free_port
    from search.report_files import FOLDER
    from search.study import read_study
    from search.tracking_place import default_tracking_uri
    from search.tracking_view import experiment_fragment

    mlflow_page.TIMEOUT_MS = PATIENCE_MS
    experiment = read_study(given.runs_dir / given.study).mlflow_experiment_id
    if experiment is None:
        sys.exit(f"{given.study} was not tracked in {given.runs_dir}")
    server = mlflow_server(default_tracking_uri(given.runs_dir), free_port())
    with server as (_, base), browser_page() as page:
        page.set_viewport_size(SIZE)
        mlflow = MlflowPage(page, f"{base}/{experiment_fragment(experiment)}", pictures=PICTURES)
        mlflow.open_view()
        mlflow.close_banner()
        mlflow.picture("dashboard")
        # Not within MLflow, which says where on this machine the file is.
        page.set_viewport_size(SIZE | {"height": FRONT_HEIGHT})
        page.goto((given.runs_dir / given.study / FOLDER / "pareto.html").resolve().as_uri())
        page.locator(".point").first.wait_for()
        mlflow.picture("front")


if __name__ == "__main__":
    main()
