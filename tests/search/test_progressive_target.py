"""What a progressive insertion aims at is read from the rows of its own kind of selector."""

import pytest
from small_table import row, small_table

from latency_tables.predict import predict
from search.experiment import validate
from search.progressive_target import make_target
from spvit.factory import create_backbone
from spvit.options import SelectorKind
from spvit.schedule import PruningSchedule

NAME = "vit_tiny_patch16_224"
ARGS = {"img_size": 16, "patch_size": 4, "in_chans": 1, "embed_dim": 32, "depth": 3, "num_heads": 2, "num_classes": 4}
SCHEDULE = PruningSchedule.from_keep_rates([0.5], [1])


@pytest.mark.parametrize("kind", [SelectorKind.MULTI_HEAD, SelectorKind.LIGHT])
def test_the_selector_of_the_experiment_is_priced(kind):
    light = {n: row(0.001 * n) for n in (3, 10, 17)}
    table = small_table(create_backbone(NAME, args=ARGS), NAME, other_selections={SelectorKind.LIGHT: light})
    values = {
        "study": {"name": "small"},
        "model": {"name": NAME, "args": ARGS, "pretrained": True},
        "data": {"path": "nowhere"},
        "pruning": {"selector": kind},
        "latency": {"max_latency_share": 0.9},
    }
    target = make_target(validate(values, source="test"), table)
    expected = {k: predict(table, SCHEDULE.plan(table.geometry, selector=k)).mean_ms for k in table.selector_kinds}
    assert target.latency(SCHEDULE).mean_ms == expected[kind]
    assert len(set(expected.values())) == 2
