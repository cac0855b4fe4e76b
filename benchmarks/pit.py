"""What pruning within its levels gains on a PiT.

    python benchmarks/pit.py [--quick] [--json FILE] [--batch 8]

pit_s at 224 x 224 with random weights and one multi-head selector in each level, before its second block (1, 3, 9) or
where SPViT's code has them (1, 5, 10); each keeps the given share of its level's patches. Timed in shuffled rounds,
each sample as a ratio to the dense model just before and after it; one thread, CPU time.
"""

from __future__ import annotations

import torch
from bars import Bar, finish, parser

from latency_tables.timing import compare_models
from spvit.factory import create_backbone
from spvit.pruning import prune
from spvit.schedule import PruningSchedule

BLOCKS = {"": (1, 3, 9), " as published": (1, 5, 10)}
KEEP_RATES = (0.7, 0.5)
TARGET_SPEEDUP = 1.15


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--batch", type=int, default=8)
    given = options.parse_args()
    torch.manual_seed(0)
    backbone = create_backbone("pit_s_224").eval()
    models = {
        f"keep {rate}{suffix}": prune(backbone, PruningSchedule.from_keep_rates([rate] * 3, blocks)).eval()
        for rate in KEEP_RATES
        for suffix, blocks in BLOCKS.items()
    }
    with torch.inference_mode():
        timed = compare_models(
            {"dense": backbone} | models,
            torch.randn(given.batch, 3, 224, 224),
            num_rounds=10 if given.quick else 30,
            time_limit_s=300,
        )
    rows = []
    for name, time in timed.items():
        low, high = 1 / time.ratio.high, 1 / time.ratio.low
        print(f"{name:21} {time.p50_ms:9.1f} ms  speed-up {time.speedup:.3f} ({low:.3f} to {high:.3f})")
        rows.append({"model": name, "ms": time.p50_ms, "speedup": time.speedup, "low": low, "high": high})
    bar = Bar(name="speed-up of pit_s at keep 0.7", value=timed["keep 0.7"].speedup, target=TARGET_SPEEDUP)
    finish(rows, [bar], given.json)


if __name__ == "__main__":
    main()
