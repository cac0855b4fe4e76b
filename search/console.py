"""A console on a terminal that may go away."""

from __future__ import annotations

from rich.console import Console


class LastingConsole(Console):
    """A console whose reader may go away: rich's own would then end the program and close its standard output."""

    def on_broken_pipe(self) -> None:
        """Fall silent."""
        self.quiet = True
