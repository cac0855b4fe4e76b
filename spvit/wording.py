"""Long texts in short, for messages. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def first_line(error: BaseException, *, most: int | None = None) -> str:
    """What an error says first, cut to so many characters if asked for; its kind where it says nothing."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:most]


def first_of(items: Sequence[object], most: int) -> list[str]:
    """The first of many items as text, and behind them how many more there are: `["a", "b", "and 3 more"]`."""
    left = len(items) - most
    return [*map(str, items[:most]), *([f"and {left} more"] if left > 0 else [])]


def some_names(names: Collection[str], most: int = 3) -> str:
    """A few names in a sentence, in their order: `a, b, c and 2 more`, or `nothing`."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(sorted(names)[:most]) + more if names else "nothing"


def install_hint(extra: str) -> str:
    """How an extra of this product is installed; it is on no package index."""
    return f"`pip install -c constraints.txt -e '.[{extra}]'` in the project's folder"
