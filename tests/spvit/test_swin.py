"""The benchmark that the refusal of Swin rests on computes what it claims to."""

import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import swin


@pytest.fixture
def backbone() -> Any:
    torch.manual_seed(0)
    return timm.create_model(
        "swin_tiny_patch4_window7_224", embed_dim=24, depths=(1, 2, 2, 1), num_heads=(1, 2, 4, 8), num_classes=5
    ).eval()


@pytest.mark.parametrize("form", swin.FORMS)
def test_keeping_everything_is_timms_own_model(backbone: Any, form: str) -> None:
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(swin.PrunedSwin(backbone, form, 1.0)(images), backbone(images), rtol=0, atol=1e-5)


def test_padded_windows_are_whole_windows(backbone: Any) -> None:
    images = torch.randn(2, 3, 224, 224)
    whole, padded = (swin.PrunedSwin(backbone, form, 0.6).eval() for form in ("linear", "padded"))
    padded.selectors.load_state_dict(whole.selectors.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(padded(images), whole(images), rtol=0, atol=1e-5)
        assert not torch.allclose(whole(images), backbone(images), atol=1e-3)
