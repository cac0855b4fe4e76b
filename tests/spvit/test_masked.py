from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from spvit.masked import MaskedViT
from spvit.model import PrunedViT
from spvit.options import TokenForm
from spvit.schedule import PruningSchedule

SCHEDULE = PruningSchedule.from_keep_rates([0.5], [2])


@pytest.mark.parametrize("mode", [True, False])
def test_it_is_in_the_mode_of_its_model(make_backbone: Callable[..., Any], mode: bool) -> None:
    model = PrunedViT(make_backbone(), SCHEDULE).train(mode)
    assert MaskedViT(model).training is mode


def test_its_logits_are_those_of_the_masked_form(make_backbone: Callable[..., Any], images: Tensor) -> None:
    model = PrunedViT(make_backbone(), SCHEDULE).eval()
    with torch.no_grad():
        assert torch.equal(MaskedViT(model)(images), model.run(images, form=TokenForm.MASKED).logits)
