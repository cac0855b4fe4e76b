"""How one elastic training ranks the trials of a recorded study, which had other loss weights and rates each.

    python benchmarks/elastic_recorded.py [--quick] [--json FILE] [--results FOLDER]

The trials of `experiments/recorded/fashion_mnist.parquet` whose selectors are learned and whose learning rate is near
the recipe's: one seed each, 12 epochs of 400 images, explored loss weights. They are not trainings of the recipe, so a
ground truth with more noise than that of `elastic.py`, but of many schedules. The elastic training is that of
`elastic.py`, seed 0, and is made where the folder lacks it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import accuracy_parity as parity
import elastic
from bars import Bar, finish, parser
from elastic_report import ELASTIC, INDIVIDUAL, SPECIALISED, Result, Table

RECORDED = Path(__file__).parents[1] / "experiments" / "recorded" / "fashion_mnist.parquet"
RATES = (2e-4, 2e-3)
"""Beyond these the recording's trials learn too little or are ruined, whatever their schedule."""


def recorded() -> dict[parity.KeepRates, float]:
    """Top-1 after the last epoch by keep rates."""
    from search.recorded import RecordedStudy

    found = {}
    for trial in RecordedStudy.load(RECORDED).trials:
        pruning, lr = trial.config["pruning"], trial.config["training"]["lr"]
        if pruning["selector"] == "multi_head" and RATES[0] <= lr <= RATES[1]:
            found[tuple(stage["keep_rate"] for stage in pruning["schedule"]["stages"])] = trial.top1
    return found


def estimated(size: elastic.Size, results: Path, rates: list[parity.KeepRates]) -> list[float]:
    """What the elastic weights make of them on the validation images."""
    from dataclasses import replace

    from trainers.elastic import ElasticTuner

    job = elastic.Job(kind=ELASTIC, seed=0)
    config = elastic.trial(job, size)
    tuner: Any = ElasticTuner(config, elastic.elastic_folder(0, size, results), cache=results / "starts")
    tuner.fit()
    return elastic.evaluated(tuner.model, config, rates, replace(size, splits=("val",)))


def main() -> None:
    import torch

    arguments = parser(__doc__ or "")
    arguments.add_argument("--results", type=Path, default=Path("elastic_results"), help="those of elastic.py")
    options = arguments.parse_args()
    torch.set_num_threads(1)
    truth = recorded()
    ours = estimated(elastic.QUICK if options.quick else elastic.FULL, options.results, list(truth))
    rows = [
        Result(kind=kind, seed=0, keep_rates=rates, identity="", macs=elastic.macs(rates), top1=top1, cpu_s=0.0)
        for rates, estimate in zip(truth, ours, strict=True)
        for kind, top1 in ((ELASTIC, estimate), (INDIVIDUAL, truth[rates]), (SPECIALISED, truth[rates]))
    ]
    table = Table(rows)
    (tau, beyond), macs = table.estimates(INDIVIDUAL)[0], table.tau(table.macs, truth)
    print(f"{len(truth)} recorded trials; tau of MACs to them {macs:.3f}")
    print(f"tau of the elastic estimate {tau:.3f}, correlation of ranks beyond MACs {beyond:.3f}")
    finish([], [Bar(name="tau of the elastic estimate, at least that of MACs", value=tau, target=macs)], options.json)


if __name__ == "__main__":
    main()
