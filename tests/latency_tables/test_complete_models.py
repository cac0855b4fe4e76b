from latency_tables.allowance import Allowance
from latency_tables.clock import Work
from latency_tables.complete_models import check_models
from latency_tables.end_to_end import random_schedules
from latency_tables.key import DType
from latency_tables.parts import Parts, shape_of
from latency_tables.repeats import Goal
from latency_tables.table import LatencyTable
from spvit.factory import create_backbone

ARGS = {"img_size": 28, "patch_size": 4, "in_chans": 1, "embed_dim": 64, "depth": 6, "num_heads": 4, "num_classes": 10}


class FastModels:
    """A clock to which every model is far shorter than the dense one, which comes first."""

    def __init__(self) -> None:
        self.dense: Work | None = None
        self.num_calls: list[int] = []

    def seconds(self, work: Work, num_calls: int) -> float:
        self.dense = self.dense or work
        self.num_calls.append(num_calls)
        return num_calls * (1.0 if work is self.dense else 0.05)


def test_complete_models_are_called_once_for_each_sample(table: LatencyTable) -> None:
    backbone = create_backbone("vit_tiny_patch16_224", args=ARGS)
    assert shape_of(backbone) == table.shape
    parts = Parts(backbone, batch_size=1, dtype=DType.FLOAT32, device="cpu", selector=table.selector)
    schedules = random_schedules(table.geometry, table.selector.package, num_schedules=3, seed=0)
    clock = FastModels()
    check = check_models(
        table,
        parts,
        schedules,
        clock=clock,
        goal=Goal(precision=0.01, max_rounds=4, until_s=100.0),
        seed=0,
        allowance=Allowance(100.0),
        say=lambda _: None,
        on_look=lambda _share, _done, _total: None,
    )
    warming_up = [2, 1] * (1 + len(schedules))
    assert clock.num_calls == warming_up + [1] * (1 + 2 * 4 * len(schedules))
    assert check.num_checked == len(schedules)
