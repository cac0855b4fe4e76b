"""Tune's loop in this process, where the driver is, also where Ray is reached through `ray://`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any


@contextmanager
def tuner_here(trainable: Any, *, tune_config: Any, run_config: Any) -> Iterator[Any]:
    """Something whose `fit` runs the trials; valid while the block runs.

    Through Ray's client a `Tuner` would run its loop in the cluster, with copies of our searcher and scheduler that
    know no driver. The class behind it runs here, but asks this machine's node for a folder, and a client has no node.
    """
    import ray
    from ray import tune
    from ray.tune.impl.tuner_internal import TunerInternal

    if not ray.util.client.ray.is_connected():
        yield tune.Tuner(trainable, tune_config=tune_config, run_config=run_config)
        return
    ray._private.worker._global_node = SimpleNamespace(get_session_dir_path=lambda: run_config.storage_path)
    try:
        yield TunerInternal(
            trainable=trainable, tune_config=tune_config, run_config=run_config, _tuner_kwargs={"_remote": False}
        )
    finally:
        ray._private.worker._global_node = None
