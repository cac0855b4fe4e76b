"""A start for the selectors: before the first epoch they learn to rank patches as the class token will attend to them.

Selectors that start at random rank patches at random, and a short fine-tune spends its steps on finding out. What the
class token attends to in the blocks still to come is a strong ranking that costs one dense forward.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from spvit.attention import Lookahead, lookahead_attentions
from spvit.losses import attention_ranking_loss
from spvit.pruned_model import PrunedModel
from trainers.config import TrainingConfig
from trainers.data import Batches
from trainers.learning_rate import lr_at
from trainers.loss import LossTerms
from trainers.loss_meter import LossMeter
from trainers.optim import clip
from trainers.workers import WorkerGroup

RISE = 0.1
"""Share of the steps in which the learning rate rises."""


def warm_up_selectors(
    model: PrunedModel, batches: Batches, config: TrainingConfig, *, workers: WorkerGroup | None = None
) -> None:
    """Train the selectors alone for `selector_warmup_steps` steps, on the backbone as it is, in evaluation mode.

    In training mode its batch norms would drift, and dropout and dropped paths would be noise in the targets. Which
    patches a selector prefers does not depend on how many are to stay: see `calibrate_margins` for that.

    Raises:
        DivergedError: the loss became NaN or infinite.
    """
    blocks, num_steps = [selection.block for selection in model.plan.selections], config.selector_warmup_steps
    if not model.has_learned_selectors or not num_steps:
        return
    was_training = model.training
    model.train().backbone.eval()
    parameters = list(model.selector_parameters())
    optimizer = AdamW(parameters, lr=config.selector_warmup_lr, weight_decay=0.0, fused=True)
    meter = LossMeter()
    for step, images in enumerate(islice(_endless(batches, first_epoch=config.epochs), num_steps)):
        _set_lr(optimizer, config, step)
        loss = _ranking_terms(model, lookahead_attentions(model.backbone, images, blocks))
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss.total)
        _average_gradients(parameters, workers or WorkerGroup.single())
        clip(parameters, config.clip_grad_norm)
        optimizer.step()
        meter.add(loss, step=step)
    model.train(was_training)


def _set_lr(optimizer: AdamW, config: TrainingConfig, step: int) -> None:
    peak, num_steps = config.selector_warmup_lr, config.selector_warmup_steps
    lr = lr_at(step, total_steps=num_steps, peak=peak, floor=peak / 100, warmup_steps=round(RISE * num_steps))
    for group in optimizer.param_groups:
        group["lr"] = lr


def _average_gradients(parameters: Sequence[nn.Parameter], workers: WorkerGroup) -> None:
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad = workers.all_reduce_mean(parameter.grad)


def _ranking_terms(model: PrunedModel, examples: Mapping[int, Lookahead]) -> LossTerms:
    rankings = [
        attention_ranking_loss(model.selectors[str(block)](example.tokens, None).margin, example.importance)
        for block, example in examples.items()
    ]
    ranking = torch.stack(rankings).mean()
    return LossTerms(total=ranking, terms={"ranking": ranking})


def _endless(batches: Batches, *, first_epoch: int) -> Iterator[Tensor]:
    """Images of the epochs after the last one that training sees."""
    epoch = first_epoch
    while True:
        for images, _ in batches.epoch(epoch):
            yield images
        epoch += 1
