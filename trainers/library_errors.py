"""What a data library says when it cannot open something, for the person who named it in an experiment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from spvit.errors import DataError, SpvitError
from spvit.wording import first_line
from trainers.data_config import DataConfig


@contextmanager
def opening(config: DataConfig, split: str) -> Iterator[None]:
    """Whatever a library raises while it opens a split becomes a `DataError`; our own errors pass.

    Raises:
        DataError: a package is missing, or the data is not there or damaged.
    """
    try:
        yield
    except SpvitError:
        raise
    except ImportError as error:
        package = error.name or str(error)
        raise DataError(
            f"data.name = {config.name!r} needs the package {package!r}, which is not installed: pip install {package}"
        ) from error
    except Exception as error:  # libraries raise whatever their code meets: RuntimeError, AssertionError, KeyError
        what = f"data.name = {config.name!r}" if config.name else f"data.format = '{config.format}'"
        raise DataError(
            f"{what}: the split {split!r} cannot be opened in {config.path}: {first_line(error).rstrip('.')}. "
            f"Correct data.path, data.train_split or data.val_split{_advice(config)}."
        ) from error


def _advice(config: DataConfig) -> str:
    return "" if config.download else ", or set data.download = true where there is a network"
