"""Puts the selectors of a checkpoint of SPViT or DynamicViT into a pruned model."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from spvit.errors import CheckpointError
from spvit.multi_head_selector import MultiHeadSelector
from spvit.pruned_model import PrunedModel
from spvit.selector_weights import SelectorWeights, split_selectors
from spvit.weights import read_weights
from spvit.wording import some_names


def stored_selectors(path: Path | None) -> tuple[SelectorWeights, ...]:
    """The selectors that a checkpoint holds, in the order of their stages; none in a plain one, or without a file.

    Raises:
        CheckpointError: the file is unreadable, or the heads of one selector differ.
    """
    return () if path is None else split_selectors(read_weights(path))[1]


def load_selectors(model: PrunedModel, path: Path) -> bool:
    """Load the selectors that `path` holds, in place: its first one into the schedule's first stage, and so on.

    Stages that drop nothing have no selector and leave theirs unused. Models that learn no selectors are left alone.

    Returns:
        Whether there were any.

    Raises:
        CheckpointError: the file is unreadable, or its selectors are of another kind or number than the model's.
    """
    stored = stored_selectors(path)
    if not stored or not model.has_learned_selectors:
        return False
    blocks = model.schedule.blocks
    if len(stored) != len(blocks):
        raise _unfit(path, f"it holds {len(stored)} selectors, but the schedule has stages before blocks {blocks}")
    for block, weights in zip(blocks, stored, strict=True):
        if str(block) in model.selectors:
            _load(model, block, weights, path)
    return True


def load_pruned(model: PrunedModel, path: Path, *, backbone_share: float = 1.0) -> None:
    """Load backbone and selectors as `model.state_dict()` names them, in place.

    The file may hold more selectors than the model has, as that of an elastic trial does.

    Args:
        model: changed in place.
        path: of the file.
        backbone_share: of the file's backbone in a weighted mean with the model's own, between 0 and 1 (WiSE-FT,
            Wortsman et al. 2022, equation 1). Selectors are the file's.

    Raises:
        CheckpointError: the file is unreadable, lacks a part of the model, or a part has another shape.
    """
    weights, wanted = read_weights(path), model.state_dict()
    missing = wanted.keys() - weights.keys()
    foreign = [n for n in weights.keys() - wanted.keys() if not n.startswith("selectors.")]
    reshaped = [n for n in wanted.keys() & weights.keys() if wanted[n].shape != weights[n].shape]
    for names, what in ((missing, "lacks"), (foreign, "holds"), (reshaped, "has in another shape")):
        if names:
            raise CheckpointError(
                f"{path} was required to hold the trained weights of this model, but it {what} "
                f"{some_names(names)}. Use model.name, model.args and [pruning] of the trial that it comes from; "
                "selectors can stand only where that trial had some."
            )
    loaded = {name: weights[name] for name in wanted}
    if backbone_share < 1:
        loaded |= {n: _between(wanted[n], loaded[n], backbone_share) for n in wanted if n.startswith("backbone.")}
    model.load_state_dict(loaded)


def _between(own: Tensor, other: Tensor, share: float) -> Tensor:
    """`own` and, to a share, `other`; where the two are equal they come out as they are."""
    return own + share * (other.to(own.device) - own) if own.is_floating_point() else own


def _load(model: PrunedModel, block: int, weights: SelectorWeights, path: Path) -> None:
    selector = model.selector(block)
    if not isinstance(selector, MultiHeadSelector):
        raise _unfit(path, f"its kind is multi_head or single_head, but the model's are {type(selector).__name__}s")
    if selector.num_heads != weights.num_heads:
        raise _unfit(
            path,
            f"the selector before block {block} has {selector.num_heads} heads, but the file's {weights.num_heads} "
            '(DynamicViT\'s has 1: pruning.selector = "single_head")',
        )
    if (selector.weigh is not None) != any(name.startswith("weigh.") for name in weights.state):
        raise _unfit(path, f'the file\'s heads are weighted by pruning.head_weighting = "{weights.weighting}"')
    try:
        selector.load_state_dict(dict(weights.state))
    except RuntimeError as error:  # other widths, or a part that is missing
        raise _unfit(path, str(error).splitlines()[-1].strip()) from error


def _unfit(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"{path} holds selectors that were required to fit the model's: {reason}. Change [pruning], or give a copy of "
        "the file without its score_predictor.* tensors, which starts with fresh selectors."
    )
