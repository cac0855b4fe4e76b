"""Many schedules at once give what each gives alone, to the bit, for a part of the work."""

from itertools import product

import pytest
import torch
from torch import nn

from spvit.factory import create_backbone
from spvit.many import ManySchedules
from spvit.options import SelectorKind
from spvit.pruned_model import PrunedModel
from spvit.pruning import prune
from spvit.schedule import PackageMode, PruningSchedule
from spvit.schedule_tree import shared_block_tokens

ARGS = {"img_size": 12, "patch_size": 2, "in_chans": 1, "embed_dim": 24, "depth": 5, "num_heads": 3, "num_classes": 4}
PIT_ARGS = {"img_size": 64, "in_chans": 1, "num_classes": 4, "depth": [1, 2, 1]}
BLOCKS = (1, 2, 4)


def home(blocks: tuple[int, ...]) -> PruningSchedule:
    return PruningSchedule.from_keep_rates([0.8, 0.7, 0.6][: len(blocks)], blocks)


def elastic_vit(package: PackageMode = PackageMode.PER_SELECTOR, **options: object) -> PrunedModel:
    torch.manual_seed(0)
    backbone = create_backbone("vit_tiny_patch16_224", args=ARGS)
    return prune(backbone, home(BLOCKS), package=package, **options).eval()  # type: ignore[arg-type]


def every_kind_of_schedule() -> tuple[PruningSchedule, ...]:
    rates = [(a, a * b, a * b * c) for a, b, c in product((0.8, 0.4), (0.9, 0.5), (1.0, 0.3))]
    three = [PruningSchedule.from_keep_rates(r, BLOCKS) for r in rates]
    fewer = [
        PruningSchedule.from_keep_rates(r, blocks) for r, blocks in (([0.5], [2]), ([0.4], [4]), ([0.8, 0.2], [1, 4]))
    ]
    return (*three, PruningSchedule(), *fewer, three[0], PruningSchedule.from_keep_rates([1.0], [1]))


@pytest.mark.parametrize("package", list(PackageMode))
@pytest.mark.parametrize("selector", [SelectorKind.MULTI_HEAD, SelectorKind.CLASS_ATTENTION])
def test_logits_are_those_of_each_schedule_alone(package: PackageMode, selector: SelectorKind):
    model, schedules = elastic_vit(package, selector=selector), every_kind_of_schedule()
    many, images = ManySchedules(model, schedules), torch.randn(6, 1, 12, 12)
    with torch.inference_mode():
        found = dict(many.logits(images))
        for schedule, network in zip(schedules, many.tree.networks, strict=True):
            assert torch.equal(found[network], model.at(schedule)(images)), schedule
    assert sorted(found) == list(range(many.tree.num_networks))
    assert many.tree.num_networks == len({model.at(schedule).plan.selections for schedule in schedules})


def test_a_view_is_the_model_that_would_be_built_for_the_schedule():
    model, images = elastic_vit(), torch.randn(3, 1, 12, 12)
    for schedule in every_kind_of_schedule()[::5]:
        built = prune(model.backbone, schedule).eval()
        built.load_state_dict({name: model.state_dict()[name] for name in built.state_dict()})
        with torch.inference_mode():
            assert torch.equal(model.at(schedule)(images), built(images))
            ours, theirs = model.at(schedule).run(images), built.run(images)
        assert torch.equal(ours.logits, theirs.logits)
        assert [s.block for s in ours.selections] == [s.block for s in theirs.selections]


def test_a_view_shares_every_weight_and_leaves_its_model_as_it_was():
    model = elastic_vit()
    view = model.at(PruningSchedule.from_keep_rates([0.5], [2]))
    assert {id(p) for p in view.parameters()} == {id(p) for p in model.parameters()}
    assert view.schedule.blocks == (2,)
    assert model.schedule.blocks == BLOCKS
    assert view.num_leading_blocks == model.num_leading_blocks == 1


def test_schedules_without_a_selector_are_refused():
    schedule = PruningSchedule.from_keep_rates([0.9, 0.5], [1, 3])
    with pytest.raises(ValueError, match=r"selectors before blocks \[3\].*before blocks \[1, 2, 4\] only"):
        ManySchedules(elastic_vit(), (schedule,))


def test_pit_runs_any_schedule_too():
    torch.manual_seed(0)
    model = prune(create_backbone("pit_ti_224", args=PIT_ARGS), home((1, 2))).eval()
    schedules = tuple(PruningSchedule.from_keep_rates(r, b) for r, b in (([0.5, 0.3], [1, 2]), ([0.6], [2]), ([], [])))
    images = torch.randn(2, 1, 64, 64)
    with torch.inference_mode():
        found = dict(ManySchedules(model, schedules).logits(images))
        for number, schedule in enumerate(schedules):
            built = prune(model.backbone, schedule).eval()
            built.load_state_dict({name: model.state_dict()[name] for name in built.state_dict()})
            assert torch.equal(found[number], built(images))


class TokenCounter:
    """Counts the tokens that enter the blocks of a model."""

    def __init__(self, model: PrunedModel) -> None:
        self.num_tokens = 0
        for block in model.backbone.blocks:
            block.norm1.register_forward_pre_hook(self._count)

    def _count(self, _block: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        self.num_tokens += inputs[0].shape[1]


def test_a_grid_of_a_thousand_takes_a_fifth_of_the_work():
    args = {**ARGS, "img_size": 28, "embed_dim": 12, "depth": 12}
    model = prune(create_backbone("vit_tiny_patch16_224", args=args), home((3, 6, 9))).eval()
    steps = [0.3 + 0.07 * number for number in range(10)]
    grid = [PruningSchedule.from_keep_rates([a, a * b, a * b * c], [3, 6, 9]) for a, b, c in product(steps, repeat=3)]
    many = ManySchedules(model, tuple(grid))
    counter, image = TokenCounter(model), torch.randn(1, 1, 28, 28)
    with torch.inference_mode():
        assert sum(1 for _ in many.logits(image)) == many.tree.num_networks
        together, counter.num_tokens = counter.num_tokens, 0
        for schedule in grid[::250]:
            model.at(schedule)(image)
    plans = [model.at(schedule).plan for schedule in grid]
    assert counter.num_tokens == sum(sum(plan.block_tokens) for plan in plans[::250])
    assert together == shared_block_tokens(plans)
    assert len(grid) == 1000
    assert together * 5 <= sum(sum(plan.block_tokens) for plan in plans)
