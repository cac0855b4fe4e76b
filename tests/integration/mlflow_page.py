"""MLflow's pages as a person uses them, in headless Chromium: what is clicked, and what is then to be seen."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
TIMEOUT_MS = 30_000
"""Playwright's own."""
SIZE = {"width": 1500, "height": 950}


def require_chromium() -> None:
    """Skips where there is no browser, unless services are required."""
    missing = [] if CHROMIUM else ["Chromium (Debian: apt-get install chromium)"]
    try:
        import playwright  # noqa: F401
    except ImportError:
        missing.append("playwright (pip install playwright)")
    if not missing:
        return
    reason = f"needs {' and '.join(missing)}"
    if os.environ.get("REQUIRE_SERVICES"):
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def browser_page() -> Iterator[Page]:
    """A new page; what a page logs as an error is printed, to be read where a test fails."""
    from playwright.sync_api import sync_playwright

    # Docker's default seccomp profile and root users leave Chromium no sandbox; it opens nothing but our own server.
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE)
        page.set_default_timeout(TIMEOUT_MS)
        page.on("pageerror", lambda error: print(f"page error: {error}"))
        # MLflow's tour of what we do not use, which opens some seconds after a page and covers it.
        page.add_locator_handler(page.get_by_role("button", name="Got it", exact=True), lambda button: button.click())
        try:
            yield page
        finally:
            browser.close()


class MlflowPage:
    """One experiment in MLflow."""

    def __init__(self, page: Page, address: str, *, pictures: Path) -> None:
        self.page, self._address, self._pictures = page, address, pictures
        pictures.mkdir(parents=True, exist_ok=True)

    def picture(self, name: str) -> None:
        """Keeps what is to be seen."""
        self.page.screenshot(path=self._pictures / f"{name}.png")

    def find_study(self, name: str) -> None:
        """From the list of all experiments, as somebody does who has only the server's address."""
        self.page.goto(f"{self._address.split('#')[0]}#/experiments")
        self.page.get_by_role("link", name=f"spvit/{name}").first.click()
        self.page.get_by_text("Model training", exact=True).click()
        self.page.get_by_role("link", name="Runs", exact=True).first.click()
        self.page.get_by_role("link", name="search", exact=True).wait_for()

    def open_view(self) -> Locator:
        """The study's own view, which the address leads to: its charts that have been drawn."""
        self.page.goto(self._address)
        charts = self.page.locator(".js-plotly-plot .main-svg")
        charts.first.wait_for()
        self._close_assistant()
        return charts

    def open_runs(self) -> None:
        """The table of runs, its searches opened to show their trials."""
        experiment = re.search(r"experiments/(\d+)", self._address)
        assert experiment is not None
        self.page.goto("about:blank")  # else only the fragment changes, and the page keeps what was chosen before
        self.page.goto(f"{self._address.split('#')[0]}#/experiments/{experiment[1]}/runs?workflowType=machine_learning")
        self.page.get_by_role("link", name="search", exact=True).wait_for()
        self._close_assistant()
        trials = self.page.get_by_role("link", name=re.compile("^(trial|fixed)"))
        if not trials.count():
            self.page.get_by_role("row").filter(has_text="search").locator("button").first.click()
        trials.first.wait_for()

    def sort_by(self, key: str) -> None:
        """The table, best first."""
        self.page.get_by_role("button", name=re.compile("^Sort:")).click()
        self.page.get_by_role("menuitemcheckbox", name=key, exact=True).or_(
            self.page.get_by_text(key, exact=True)
        ).first.click()
        self.page.get_by_role("button", name=f"Sort: {key}").wait_for()

    def run_names(self) -> list[str]:
        """Of the rows, from top to bottom. Their order in the page's source is another."""
        links = self.page.locator("[role=gridcell] a").all()
        places = [(box["y"], link.inner_text()) for link in links if (box := link.bounding_box())]
        return [name for _, name in sorted(places)]

    def open_run(self, name: str) -> None:
        """A run's own page."""
        self.page.get_by_role("link", name=name, exact=True).first.click()
        self.page.get_by_text("About this run").wait_for()

    def open_tab(self, name: str) -> None:
        """Of a run's page."""
        self.page.get_by_text(name, exact=True).first.click()

    def search_charts(self, name: str) -> None:
        """Of a run's curves, those of one name; others further down are not drawn before they are seen."""
        self.page.get_by_placeholder("Search metric charts").fill(name)

    def charts(self) -> Locator:
        """The curves of a run that have been drawn."""
        return self.page.locator(".js-plotly-plot .main-svg")

    def open_artifact(self, name: str) -> Locator:
        """The body of an HTML artifact, which MLflow shows in a frame of its own."""
        self.open_tab("Artifacts")
        self.page.get_by_text(name, exact=True).first.click()
        body = self.page.frame_locator("iframe").locator("body")
        body.wait_for()
        return body

    def compare(self, *names: str) -> None:
        """Two or more rows side by side."""
        for name in names:
            self._tick(name)
        self.page.get_by_role("button", name="Compare").click()
        self.page.get_by_text(f"Comparing {len(names)} Runs").wait_for()

    def _tick(self, name: str) -> None:
        row = self.page.get_by_role("link", name=name, exact=True).first.bounding_box()
        assert row is not None
        for box in self.page.get_by_role("checkbox").all():
            place = box.bounding_box()
            if place and abs(place["y"] - row["y"]) < row["height"]:
                box.click()
                return
        raise AssertionError(f"the row of {name} has no box to tick")

    def close_banner(self) -> None:
        """What MLflow says of a view that somebody else has prepared."""
        words = self.page.get_by_text("You're viewing a shared view")
        words.locator("xpath=ancestor::div[.//button][1]").get_by_role("button").last.click()
        words.wait_for(state="hidden")

    def _close_assistant(self) -> None:
        """It covers a third of the page."""
        if self.page.get_by_role("button", name="New Chat").count():
            self.page.get_by_role("button", name="Close", exact=True).last.click()
            self.page.get_by_role("button", name="New Chat").wait_for(state="hidden")
