"""The forms agree on models of the published sizes: 224 x 224 images, 16 x 16 patches, 12 blocks, random weights."""

import pytest
import torch

from spvit.factory import create_backbone
from spvit.model import PrunedViT
from spvit.options import TokenForm
from spvit.schedule import PackageMode, PruningSchedule

NAMES = (
    "deit_tiny_patch16_224",
    "deit_small_patch16_224",
    "deit_base_patch16_224",
    "deit_small_distilled_patch16_224",
)
SCHEDULE = PruningSchedule.from_base_rate(0.7, [3, 6, 9])


@pytest.mark.parametrize("name", NAMES)
def test_masked_equals_gathered_and_keeping_all_is_timms_model(name: str) -> None:
    backbone, images = create_backbone(name).eval(), torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        assert torch.equal(PrunedViT(backbone, PruningSchedule()).eval()(images), backbone(images))
        for package in (PackageMode.PER_SELECTOR, PackageMode.NONE):
            model = PrunedViT(backbone, SCHEDULE, package=package).eval()
            for parameter in model.selector_parameters():
                torch.nn.init.normal_(parameter, std=0.5)
            gathered, masked = (model.run(images, form=form) for form in (TokenForm.GATHERED, TokenForm.MASKED))
            assert [selection.num_kept.tolist() for selection in gathered.selections] == [[137] * 2, [96] * 2, [67] * 2]
            torch.testing.assert_close(masked.logits, gathered.logits, rtol=0, atol=1e-5)
