"""A start for the selectors: before the first epoch they learn to rank patches as the class token attends to them.

Selectors that start at random rank patches at random, and a short fine-tune spends its steps on finding out. The
class token's attention in the block behind a selector is a strong ranking that costs one dense forward.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import islice

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.optim import AdamW

from spvit.attention import class_attention, embed
from spvit.losses import attention_ranking_loss, keep_ratio_loss
from spvit.model import PrunedViT
from trainers.config import TrainingConfig
from trainers.data import Batches
from trainers.learning_rate import lr_at
from trainers.loss import LossTerms
from trainers.loss_meter import LossMeter
from trainers.optim import clip
from trainers.workers import WorkerGroup

Examples = list[tuple[Tensor, Tensor]]


def warm_up_selectors(
    model: PrunedViT, batches: Batches, config: TrainingConfig, *, workers: WorkerGroup | None = None
) -> None:
    """Train the selectors alone for `selector_warmup_steps` steps, on the backbone as it is.

    Raises:
        DivergedError: the loss became NaN or infinite.
    """
    blocks = [selection.block for selection in model.plan.selections]
    if not blocks or not config.selector_warmup_steps:
        return
    parameters = list(model.selector_parameters())
    optimizer = AdamW(parameters, lr=config.selector_warmup_lr, weight_decay=0.0, fused=True)
    targets = [selection.num_kept / model.layout.num_patches for selection in model.plan.selections]
    meter = LossMeter()
    images = islice(_endless(batches, first_epoch=config.epochs), config.selector_warmup_steps)
    for step, batch in enumerate(images):
        optimizer.param_groups[0]["lr"] = _lr_at(step, config)
        loss = _ranking_terms(model, attention_examples(model.backbone, batch, blocks), targets)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss.total)
        _average_gradients(parameters, workers or WorkerGroup.single())
        clip(parameters, config.clip_grad_norm)
        optimizer.step()
        meter.add(loss, step=step)


def _lr_at(step: int, config: TrainingConfig) -> float:
    """Selectors start with tiny weights (SPViT, trunc_normal 0.02): at 2e-3 a hundred steps taught them nothing."""
    peak = config.selector_warmup_lr
    return lr_at(step, total_steps=config.selector_warmup_steps, peak=peak, floor=peak / 10)


@torch.no_grad()
def attention_examples(backbone: VisionTransformer, images: Tensor, blocks: Collection[int]) -> Examples:
    """For each block: the dense model's patch tokens (B, N0, C) before it, and how its class token attends to them.

    The shares (B, N0) are the mean over heads, and sum to 1 over patches. Blocks behind the last are not run.
    """
    examples: Examples = []
    first_patch = backbone.num_prefix_tokens
    x = embed(backbone, images)
    for number, block in enumerate(backbone.blocks):
        if number in blocks:
            shares = class_attention(block, x)[:, first_patch:]
            examples.append((x[:, first_patch:], shares / shares.sum(1, keepdim=True)))
        if number == max(blocks):
            break
        x = block(x)
    return examples


def _average_gradients(parameters: Sequence[nn.Parameter], workers: WorkerGroup) -> None:
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad = workers.all_reduce_mean(parameter.grad)


def _ranking_terms(model: PrunedViT, examples: Examples, targets: Sequence[float]) -> LossTerms:
    scores = [model.selectors[name](tokens, None) for name, (tokens, _) in zip(model.selectors, examples, strict=True)]
    rankings = [attention_ranking_loss(s.margin, shares) for s, (_, shares) in zip(scores, examples, strict=True)]
    ratio = keep_ratio_loss([s.margin.sigmoid().mean(1) for s in scores], list(targets))
    ranking = torch.stack(rankings).mean()
    return LossTerms(total=ranking + ratio, terms={"ranking": ranking, "ratio": ratio})


def _endless(batches: Batches, *, first_epoch: int) -> Iterator[Tensor]:
    """Images of the epochs after the last one that training sees."""
    epoch = first_epoch
    while True:
        for images, _ in batches.epoch(epoch):
            yield images
        epoch += 1
