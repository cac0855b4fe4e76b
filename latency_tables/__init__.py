"""What a transformer block costs on a device at every number of tokens. Importing this does not import torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latency_tables.adaptive import AdaptiveEstimate, predict_adaptive
    from latency_tables.device import DeviceFingerprint
    from latency_tables.drift import Drift, sentinel
    from latency_tables.estimate import LatencyEstimate, LatencyEstimates
    from latency_tables.health import check_table, table_warnings
    from latency_tables.key import BackboneShape, DType, Runtime, SelectorOptions, TableKey
    from latency_tables.measure import Effort, measure_table
    from latency_tables.measurement import Measurement
    from latency_tables.predict import predict_arrays, predict_dense, predict_many
    from latency_tables.predictor import Predictor
    from latency_tables.stairs import Plateau, level_plateaus, plateaus, snap
    from latency_tables.store import SHIPPED_TABLES, find_table, table_path
    from latency_tables.table import LatencyTable
    from latency_tables.timing import Comparison, compare_models

__all__ = [
    "SHIPPED_TABLES",
    "AdaptiveEstimate",
    "BackboneShape",
    "Comparison",
    "DType",
    "DeviceFingerprint",
    "Drift",
    "Effort",
    "LatencyEstimate",
    "LatencyEstimates",
    "LatencyTable",
    "Measurement",
    "Plateau",
    "Predictor",
    "Runtime",
    "SelectorOptions",
    "TableKey",
    "check_table",
    "compare_models",
    "find_table",
    "level_plateaus",
    "measure_table",
    "plateaus",
    "predict_adaptive",
    "predict_arrays",
    "predict_dense",
    "predict_many",
    "sentinel",
    "snap",
    "table_path",
    "table_warnings",
]

# `predict`, one plan, is imported from its module: a package attribute cannot be both the module and the function.
_HOMES = {
    "adaptive": ("AdaptiveEstimate", "predict_adaptive"),
    "device": ("DeviceFingerprint",),
    "health": ("check_table", "table_warnings"),
    "key": ("BackboneShape", "DType", "Runtime", "SelectorOptions", "TableKey"),
    "measure": ("Effort", "measure_table"),
    "measurement": ("Measurement",),
    "estimate": ("LatencyEstimate", "LatencyEstimates"),
    "predict": ("predict_arrays", "predict_dense", "predict_many"),
    "predictor": ("Predictor",),
    "drift": ("Drift", "sentinel"),
    "stairs": ("Plateau", "level_plateaus", "plateaus", "snap"),
    "store": ("SHIPPED_TABLES", "find_table", "table_path"),
    "table": ("LatencyTable",),
    "timing": ("Comparison", "compare_models"),
}


def __getattr__(name: str) -> Any:
    home = next((module for module, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
