from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from spvit.macs import ModelWidths, count_macs, selector_macs
from spvit.model import PrunedViT
from spvit.options import HeadWeighting, SelectorKind
from spvit.schedule import PackageMode, PruningSchedule, TokenGeometry

DEIT = TokenGeometry(depth=12, num_patches=196)
WIDTHS = {
    "T": ModelWidths(dim=192, num_heads=3),
    "S": ModelWidths(dim=384, num_heads=6),
    "B": ModelWidths(dim=768, num_heads=12),
}
# Published analytic figures (GMACs) for DeiT at 224, selectors before blocks 3, 6, 9, three package tokens.
PUBLISHED = {
    (1.0, 1.0, 1.0): (1.254, 4.599, 17.564),
    (0.9, 0.81, 0.729): (1.081, 3.971, 15.183),
    (0.8, 0.64, 0.512): (0.923, 3.403, 13.038),
    (0.7, 0.49, 0.343): (0.793, 2.930, 11.232),
    (0.6, 0.36, 0.216): (0.684, 2.522, 9.662),
    (0.5, 0.25, 0.125): (0.597, 2.194, 8.390),
    (0.617, 0.369, 0.137): (0.669, 2.463, 9.428),
    (0.708, 0.436, 0.198): (0.736, 2.711, 10.379),
}


@pytest.mark.parametrize("rates", PUBLISHED)
def test_the_table_for_deit_is_reproduced(rates: tuple[float, ...]) -> None:
    """The table keeps int(rate * 196) patches, as DynamicViT does; our plans round to the nearest instead."""
    floored = [int(rate * 196 + 1e-9) / 196 for rate in rates]
    plan = PruningSchedule.from_keep_rates(floored, (3, 6, 9)).plan(DEIT)
    gmacs = tuple(round(count_macs(plan, WIDTHS[size], num_patches=196) / 1e9, 3) for size in "TSB")
    assert gmacs == PUBLISHED[rates]


@pytest.mark.parametrize("kind", SelectorKind)
@pytest.mark.parametrize("keep_rates", [(1.0, 1.0), (0.5, 0.25)])
def test_counts_are_those_of_the_running_model(
    make_backbone: Callable[..., Any], keep_rates: tuple[float, ...], kind: SelectorKind
) -> None:
    """Against a counter of executed operations. Our selector spends less than the method's: its products with the
    global half of the features are made once per head, not once per token."""
    schedule = PruningSchedule.from_keep_rates(keep_rates, (2, 4))
    model = PrunedViT(make_backbone(), schedule, selector=kind, package=PackageMode.NONE).eval()
    widths = ModelWidths(dim=48, num_heads=3, patch_size=4, num_classes=7, selector=kind)
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        model.run(torch.randn(1, 3, 32, 32))  # `forward` leaves out what the head does not read
    executed, counted = counter.get_total_flops() / 2, count_macs(model.plan, widths, num_patches=64)
    selectors = sum(selector_macs(selection, widths) for selection in model.plan.selections)
    assert counted - 0.5 * selectors <= executed <= counted


def test_head_weights_cost_what_their_branch_has() -> None:
    plan = PruningSchedule.from_keep_rates([0.5], [3]).plan(DEIT)
    mean = ModelWidths(dim=384, num_heads=6, weighting=HeadWeighting.MEAN)
    difference = count_macs(plan, WIDTHS["S"], num_patches=196) - count_macs(plan, mean, num_patches=196)
    assert difference == 196 * (6 * 3 + 3 * 6)


def test_a_width_that_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of the number of heads"):
        ModelWidths(dim=100, num_heads=3)
