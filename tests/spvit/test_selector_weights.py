import pytest
import torch
from torch import Tensor

from spvit.errors import CheckpointError
from spvit.multi_head_selector import MultiHeadSelector
from spvit.options import HeadWeighting
from spvit.selector_weights import split_selectors

THEIRS = {
    "norm": "in_conv.{}0",
    "project": "in_conv.{}1",
    "hidden": "out_conv.{}0",
    "narrow": "out_conv.{}2",
    "out": "out_conv.{}4",
}


def published(selector: MultiHeadSelector, stage: int, *, copies: bool) -> dict[str, Tensor]:
    """A selector under the names of SPViT's checkpoints, one copy per head, or of DynamicViT's."""
    heads = [f"{h}." for h in range(selector.num_heads)] if copies else [""]
    names: dict[str, Tensor] = {}
    for name, value in selector.state_dict().items():
        part, _, rest = name.partition(".")
        if part == "weigh":
            names[f"score_predictor.{stage}.senet.{rest}"] = value
        else:
            names |= {f"score_predictor.{stage}.{THEIRS[part].format(h)}.{rest}": value.clone() for h in heads}
    return names


@pytest.mark.parametrize("weighting", HeadWeighting)
def test_spvits_selectors_round_trip(weighting: HeadWeighting) -> None:
    selectors = [MultiHeadSelector(96, 6, weighting=weighting) for _ in range(3)]
    weights = {"cls_token": torch.zeros(1)}
    for stage in (2, 0, 1):
        weights |= published(selectors[stage], stage, copies=True)
    assert len(weights) == 1 + 3 * (64 if weighting is HeadWeighting.SENET else 60)
    backbone, found = split_selectors(weights)
    assert list(backbone) == ["cls_token"]
    for selector, stored in zip(selectors, found, strict=True):
        assert (stored.num_heads, stored.weighting) == (6, weighting)
        fresh = MultiHeadSelector(96, stored.num_heads, weighting=stored.weighting)
        fresh.load_state_dict(stored.state, strict=True)
        torch.testing.assert_close(fresh.state_dict(), selector.state_dict())


def test_dynamicvits_predictor_is_a_selector_with_one_head() -> None:
    selector = MultiHeadSelector(48, 1)
    (stored,) = split_selectors(published(selector, 0, copies=False))[1]
    assert (stored.num_heads, stored.weighting) == (1, HeadWeighting.MEAN)
    torch.testing.assert_close(dict(stored.state), dict(selector.state_dict()))


def test_heads_that_differ_are_refused() -> None:
    weights = published(MultiHeadSelector(96, 6), 1, copies=True)
    weights["score_predictor.1.out_conv.4.2.bias"] += 1
    with pytest.raises(CheckpointError, match=r"selector 1 .* out_conv\.4\.2\.bias differs|out_conv\.4\.2\.bias"):
        split_selectors(weights)


@pytest.mark.parametrize("name", ["score_predictor.0.foo.weight", "score_predictor.x.norm.weight"])
def test_unknown_parts_are_refused(name: str) -> None:
    with pytest.raises(CheckpointError, match="selector"):
        split_selectors({name: torch.zeros(1)})


def test_plain_checkpoints_have_no_selectors() -> None:
    assert split_selectors({"norm.weight": torch.ones(2)})[1] == ()
