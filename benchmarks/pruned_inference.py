"""What pruning gains at inference: our gathered model beside DynamicViT, EViT and ToMe, and how far it is from ideal.

    python benchmarks/pruned_inference.py [--quick] [--json FILE] [--keep 0.7] [--models deit_tiny_patch16_224 ...]
        [--batch-sizes 1 8 32] [--threads 1 2] [--engines eager compiled bf16 compiled_bf16 onnxruntime ...]

Keep rates r, r^2, r^3 before blocks 3, 6, 9; random weights (speed does not depend on them) and random images; all
networks share one backbone. Peers are written from their papers (benchmarks/peers) and have as many tokens after each
of these blocks as ours, packages and fused tokens included; ToMe, which removes r tokens in every block, has the r
whose MACs are nearest to ours.

Timed in shuffled rounds, every sample one call between two calls of the dense model in eager float32, which is what
speed-ups are of. One thread: CPU time; more: wall time. Medians with 90 % bootstrap intervals.

    MACs x      dense over pruned as papers count them: selectors included, every block in full
    executed x  the same for what is really executed; our last block computes the class token alone
    efficiency  speed-up over MACs x
    of ideal    the ideal's time over the network's, each round by itself. Ideal is what stem, head and the blocks take
                in their chain on as many tokens, if choosing and removing tokens were free; for our network with the
                shortened last block, for peers with a whole one and with their own counts in attention and MLP

Without --quick also other engines, at the smallest of the batch sizes and threads, each as a speed-up over eager
float32 and over the dense model in the same engine; for int8 also what becomes of accuracy. Compiling takes minutes.
--quick: deit_tiny and deit_small at batch 1, eager.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import torch
from bars import Bar, finish, parser
from engines import Engine, runner, why_unavailable
from ideal import Ideal
from inference_networks import Network, images_for, our_name, our_networks, peer_networks

from latency_tables.clock import clock_for
from latency_tables.quiet import steady_process
from latency_tables.ratio import RatioEstimate, estimate_ratio
from latency_tables.timing import Interleaved, interleave
from spvit.factory import create_backbone
from spvit.options import SelectorKind

Row = dict[str, Any]
MODELS = ("deit_tiny_patch16_224", "deit_small_patch16_224", "deit_base_patch16_224")
QUICK_MODELS = MODELS[:2]
LIGHT, MULTI_HEAD = our_name(SelectorKind.LIGHT), our_name(SelectorKind.MULTI_HEAD)
SHARES = {
    ("deit_tiny_patch16_224", LIGHT): 0.95,
    ("deit_tiny_patch16_224", MULTI_HEAD): 0.92,
    ("deit_small_patch16_224", LIGHT): 0.97,
    ("deit_small_patch16_224", MULTI_HEAD): 0.97,
    ("deit_base_patch16_224", LIGHT): 0.97,
    ("deit_base_patch16_224", MULTI_HEAD): 0.97,
}
NUM_ROUNDS, SECONDS_PER_CASE = 100, 240.0
QUICK_ROUNDS, QUICK_SECONDS_PER_CASE = 60, 25.0


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is timed together."""

    model: str
    batch_size: int
    num_threads: int
    keep_rate: float

    def to_text(self) -> str:
        """For a heading."""
        return f"{self.model}, batch {self.batch_size}, {self.num_threads} thread(s), keep {self.keep_rate:g}"

    def to_row(self) -> Row:
        """For every row of its results."""
        return {"model": self.model, "batch_size": self.batch_size, "num_threads": self.num_threads}


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How long a case may take."""

    num_rounds: int
    time_limit_s: float


def measure_eager(case: Case, effort: Effort) -> list[Row]:
    """Every network and its ideal, between runs of the dense model."""
    backbone = backbone_of(case)
    images, ours = images_for(backbone, case.batch_size), our_networks(backbone, case.keep_rate)
    networks = [*ours, *peer_networks(backbone, ours[0])]
    work: dict[str, Callable[[Any], Any]] = {network.name: network.model for network in networks}
    for network in networks:
        work[network.ideal_name] = Ideal(backbone, images, network.block_tokens, shortens_last=network.is_ours)
    timed = time_all(work, backbone, images, case, effort)
    dense_macs = our_networks(backbone, 1.0)[0].macs
    return [eager_row(case, network, timed, dense_macs) for network in networks]


def eager_row(case: Case, network: Network, timed: Interleaved, dense_macs: int) -> Row:
    ratio, share = timed.ratio(network.name), share_of_ideal(timed, network)
    macs_ratio, executed_ratio = dense_macs / network.macs, dense_macs / network.executed_macs
    return case.to_row() | {
        "engine": Engine.EAGER.value,
        "network": network.name,
        **speedup_fields(ratio),
        "dense_ms": timed.reference_ms,
        "macs_ratio": macs_ratio,
        "executed_macs_ratio": executed_ratio,
        "efficiency": 1 / ratio.median / macs_ratio,
        "executed_efficiency": 1 / ratio.median / executed_ratio,
        "share_of_ideal": share.median,
        "share_low": share.low,
        "share_high": share.high,
        "ideal_speedup": 1 / timed.ratio(network.ideal_name).median,
    }


def share_of_ideal(timed: Interleaved, network: Network) -> RatioEstimate:
    """The ideal's time over the network's, of each round by itself."""
    ideal, own = (timed.workloads[name].ratios for name in (network.ideal_name, network.name))
    return estimate_ratio([best / real for best, real in zip(ideal, own, strict=True)])


def measure_engine(case: Case, engine: Engine, effort: Effort) -> list[Row]:
    """The dense model and ours in another engine, between runs of the dense model in eager float32."""
    backbone = backbone_of(case)
    images = images_for(backbone, case.batch_size)
    models = {"dense": backbone} | {network.name: network.model for network in our_networks(backbone, case.keep_rate)}
    work = {name: runner(engine, model, images, case.num_threads) for name, model in models.items()}
    timed = time_all(work, backbone, images, case, effort)
    dense = timed.ratio("dense").median
    return [
        case.to_row()
        | {"engine": engine.value, "network": name, **speedup_fields(timed.ratio(name))}
        | {"speedup_in_engine": dense / timed.ratio(name).median}
        for name in work
    ]


def time_all(
    work: dict[str, Callable[[Any], Any]], dense: Any, images: torch.Tensor, case: Case, effort: Effort
) -> Interleaved:
    with steady_process(case.num_threads):
        return interleave(
            {name: partial(run, images) for name, run in work.items()},
            partial(dense, images),
            clock=clock_for("cpu", case.num_threads),
            num_rounds=effort.num_rounds,
            time_limit_s=effort.time_limit_s,
            max_calls=1,
        )


def backbone_of(case: Case) -> Any:
    torch.manual_seed(0)
    return create_backbone(case.model).eval()


def speedup_fields(ratio: RatioEstimate) -> Row:
    return {"speedup": 1 / ratio.median, "low": 1 / ratio.high, "high": 1 / ratio.low, "samples": ratio.num_samples}


def print_eager(case: Case, rows: Sequence[Row]) -> None:
    print(f"\n{case.to_text()}, {rows[0]['samples']} rounds")
    print(f"  {'':18} speed-up  90 % interval    MACs x  executed x  efficiency (executed)  of ideal  90 % interval")
    for row in rows:
        print(
            f"  {row['network']:18} {row['speedup']:8.3f}  {row['low']:.3f} to {row['high']:.3f}  "
            f"{row['macs_ratio']:6.3f}  {row['executed_macs_ratio']:10.3f}  {row['efficiency']:10.3f}"
            f"  ({row['executed_efficiency']:.3f})    {row['share_of_ideal']:8.3f}  "
            f"{row['share_low']:.3f} to {row['share_high']:.3f}",
            flush=True,
        )


def print_engine(rows: Sequence[Row]) -> None:
    for row in rows:
        print(
            f"  {row['engine']:17} {row['network']:18} {row['speedup']:8.3f} of dense float32 eager "
            f"({row['low']:.3f} to {row['high']:.3f}), {row['speedup_in_engine']:.3f} of dense in the same engine",
            flush=True,
        )


def bars_of(rows: Sequence[Row], keep_rate: float) -> list[Bar]:
    """Bars hold at keep rate .7, batch 1, one thread, in eager float32."""
    told = [row for row in rows if row["engine"] == Engine.EAGER and row["batch_size"] == row["num_threads"] == 1]
    if keep_rate != 0.7:
        return []
    shares = [
        Bar(name=f"share of ideal, {row['model']}, {row['network']}", value=row["share_of_ideal"], target=target)
        for row in told
        if (target := SHARES.get((row["model"], row["network"])))
    ]
    return shares + [
        bar for model in dict.fromkeys(row["model"] for row in told) for bar in efficiency_bars(told, model)
    ]


def efficiency_bars(rows: Sequence[Row], model: str) -> list[Bar]:
    """Ours, with either selector, against the best peer."""
    efficiency = {row["network"]: row["efficiency"] for row in rows if row["model"] == model}
    best = max((name for name in efficiency if name not in (LIGHT, MULTI_HEAD)), key=efficiency.__getitem__)
    return [
        Bar(name=f"efficiency, {model}, {name}, against {best}", value=efficiency[name], target=efficiency[best])
        for name in (MULTI_HEAD, LIGHT)
    ]


def arguments() -> argparse.Namespace:
    made = parser(__doc__ or "")
    made.add_argument("--keep", type=float, default=0.7, help="base keep rate (0.7)")
    made.add_argument("--models", nargs="+", help=f"timm names ({' '.join(MODELS)})")
    made.add_argument("--batch-sizes", nargs="+", type=int, help="(1 8 32)")
    made.add_argument("--threads", nargs="+", type=int, help="(1 2)")
    made.add_argument("--engines", nargs="+", type=Engine, choices=list(Engine), help="(all)")
    options = made.parse_args()
    options.models = options.models or (QUICK_MODELS if options.quick else MODELS)
    options.batch_sizes = options.batch_sizes or ((1,) if options.quick else (1, 8, 32))
    options.threads = options.threads or ((1,) if options.quick else (1, 2))
    options.engines = options.engines or ((Engine.EAGER,) if options.quick else tuple(Engine))
    return options


def measure_engines(case: Case, engines: Sequence[Engine], effort: Effort) -> list[Row]:
    """Every engine that this machine can run."""
    rows: list[Row] = []
    for engine in engines:
        reason = why_unavailable(engine)
        if reason:
            print(f"  {engine} left out: {reason}")
            continue
        found = measure_engine(case, engine, effort)
        print_engine(found)
        rows += found
    return rows


def measure_int8(models: Sequence[str], keep_rate: float, is_quick: bool) -> list[Row]:
    if reason := why_unavailable(Engine.ONNX_INT8):
        print(f"\nAccuracy of int8 left out: {reason}")
        return []
    from int8_accuracy import demo_rows, random_row, to_text

    print("\nAccuracy of onnxruntime's int8 beside float32")
    rows = [*demo_rows(500 if is_quick else 2000), *(random_row(model, keep_rate) for model in models)]
    for row in rows:
        print(to_text(row), flush=True)
    return [{"engine": Engine.ONNX_INT8.value, "accuracy": True} | row for row in rows]


def main() -> None:
    options = arguments()
    effort = Effort(
        num_rounds=QUICK_ROUNDS if options.quick else NUM_ROUNDS,
        time_limit_s=QUICK_SECONDS_PER_CASE if options.quick else SECONDS_PER_CASE,
    )
    other_engines = [engine for engine in options.engines if engine is not Engine.EAGER]
    rows: list[Row] = []
    for model, size, num_threads in product(options.models, options.batch_sizes, options.threads):
        case = Case(model=model, batch_size=size, num_threads=num_threads, keep_rate=options.keep)
        if Engine.EAGER in options.engines:
            found = measure_eager(case, effort)
            print_eager(case, found)
            rows += found
        if other_engines and size == min(options.batch_sizes) and num_threads == min(options.threads):
            print(f"\n{case.to_text()}")
            rows += measure_engines(case, other_engines, effort)
    if Engine.ONNX_INT8 in options.engines:
        rows += measure_int8(options.models, options.keep, options.quick)
    print()
    finish(rows, bars_of(rows, options.keep), options.json)


if __name__ == "__main__":
    sys.exit(main())
