"""What every pruned model has in common, whatever backbone it is made of, and what it tells of a batch."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from spvit.options import TokenForm
from spvit.schedule import PackageMode, PruningSchedule, Selection, TokenGeometry, TokenPlan
from spvit.selection import Gathered, Masked, Sampling
from spvit.selector import TokenSelector


@dataclass(frozen=True, kw_only=True)
class SelectionOutput:
    """One selector's decisions for a batch.

    Attributes:
        block: the block that the selector stands before.
        target_keep_rate: kept patches over all patches, as the schedule wants it in whole tokens.
        keep_fraction: (B,), the share of all patches that stays, with a gradient: decisions themselves in the masked
            form, expected decisions of the candidates in the gathered one.
        margin: keep minus drop logits of the candidates: (B, N0) masked, (B, M) gathered.
        num_kept: (B,), patches that stayed.
    """

    block: int
    target_keep_rate: float
    keep_fraction: Tensor
    margin: Tensor
    num_kept: Tensor


@dataclass(frozen=True, kw_only=True)
class PrunedOutput:
    """What a pruned model gives for B images in training and evaluation.

    Attributes:
        logits: (B, classes).
        patch_tokens: (B, M, C) after the final norm: the survivors if gathered, all patches if masked; None where they
            were not asked for and the model could do without them.
        patch_index: (B, M), each token's number among the image's patches.
        patch_policy: (B, M), 1 for patches that stayed to the end (all, if gathered).
        selections: one for each selector, in the order of their blocks.
    """

    logits: Tensor
    patch_tokens: Tensor | None
    patch_index: Tensor
    patch_policy: Tensor
    selections: tuple[SelectionOutput, ...]


class PrunedModel(nn.Module, ABC):
    """A timm model that drops tokens on the way: `model(images)` gives logits, as the timm model does.

    Attributes:
        backbone: the timm model; it does all the work.
        schedule: where tokens are pruned and how many stay.
        plan: what the schedule means on this backbone, in whole tokens.
        geometry: what of the backbone decides its token counts.
        package: what becomes of dropped tokens.
        selectors: by the number of the block that they stand before; some may be idle under the schedule (see `at`).
    """

    backbone: Any
    schedule: PruningSchedule
    plan: TokenPlan
    geometry: TokenGeometry
    package: PackageMode
    selectors: nn.ModuleDict
    _selections: dict[int, Selection]

    def at(self, schedule: PruningSchedule) -> Self:
        """This model under another schedule, with the same backbone and selectors: nothing is built or copied.

        What one of the two learns, the other has learnt. Blocks before the first selector of all, idle or not, remain
        the leading ones, so that `leading_tokens` are the same under every schedule.

        Raises:
            ValueError: the schedule drops tokens before a block at which this model has no selector.
        """
        plan = schedule.plan(self.geometry, self.package)
        absent = [selection.block for selection in plan.selections if str(selection.block) not in self.selectors]
        if absent:
            raise ValueError(
                f"The schedule needs selectors before blocks {absent}, but this model has them before blocks "
                f"{sorted(map(int, self.selectors))} only."
            )
        view = copy.copy(self)
        view._set_schedule(schedule, plan)
        return view

    def _set_schedule(self, schedule: PruningSchedule, plan: TokenPlan) -> None:
        self.schedule, self.plan = schedule, plan
        self._selections = {selection.block: selection for selection in plan.selections}

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes) of images (B, 3, H, W): gathered, deterministic, with static token counts."""

    def run(
        self,
        images: Tensor,
        *,
        form: TokenForm = TokenForm.GATHERED,
        sample: bool = False,
        temperature: float = 1.0,
        noise_scale: float = 1.0,
        leading_tokens: Tensor | None = None,
        with_patches: bool = True,
    ) -> PrunedOutput:
        """Run the model and tell what its selectors did.

        Args:
            images: (B, 3, H, W).
            form: whether dropped tokens are removed or masked.
            sample: draw decisions with noise and pass gradients through them (training); otherwise the tokens with the
                largest margins stay, and both forms give the same logits.
            temperature: of the gradient of sampled decisions.
            noise_scale: 0 for sampled decisions without noise.
            leading_tokens: what `leading_tokens(images)` gave, where the caller has it already.
            with_patches: False where nobody reads the output's patch tokens, so that the last block need not make them.

        Raises:
            ValueError: the adaptive form is asked for, which needs thresholds.
        """
        if form not in (TokenForm.GATHERED, TokenForm.MASKED):
            raise ValueError(
                f"A model runs in the gathered or the masked form, but {form.value!r} was asked for. The adaptive form "
                "needs calibrated thresholds: wrap the model in spvit.AdaptiveViT."
            )
        sampling = Sampling(temperature=temperature, noise_scale=noise_scale) if sample else None
        x = self.leading_tokens(images) if leading_tokens is None else leading_tokens
        if form is TokenForm.MASKED:
            return self._run_masked(x, sampling)
        return self._run_gathered(x, sampling, with_patches=with_patches)

    @abstractmethod
    def _run_gathered(self, x: Tensor, sampling: Sampling | None, *, with_patches: bool) -> PrunedOutput:
        """Run what follows the leading tokens (B, N, C), without the tokens that are dropped."""

    @abstractmethod
    def _run_masked(self, x: Tensor, sampling: Sampling | None) -> PrunedOutput:
        """Run what follows the leading tokens (B, N, C), with dropped tokens masked."""

    @property
    @abstractmethod
    def num_leading_blocks(self) -> int:
        """Blocks before the first selector: they see all tokens."""

    @abstractmethod
    def leading_tokens(self, images: Tensor) -> Tensor:
        """Tokens (B, N, C) that reach the first selector, or the end where there is none."""

    @abstractmethod
    def leading_parameters(self) -> list[nn.Parameter]:
        """The backbone's parameters before the first selector: the embedding and the blocks that see all tokens."""

    def selector(self, block: int) -> TokenSelector:
        """The selector before a block."""
        return cast("TokenSelector", self.selectors[str(block)])

    @property
    def has_learned_selectors(self) -> bool:
        """Whether there is any selector to be taught."""
        return any(self.selector(block).is_learned for block in map(int, self.selectors))

    def backbone_parameters(self) -> list[nn.Parameter]:
        """Parameters of the timm model."""
        return list(self.backbone.parameters())

    def selector_parameters(self) -> list[nn.Parameter]:
        """Parameters of the selectors."""
        return list(self.selectors.parameters())

    def _num_patches(self, selection: Selection) -> int:
        """Patches of the level that a selector stands in, of which its keep rate is a fraction."""
        return self.geometry.levels[self.geometry.level_of(selection.block)].num_patches

    def _describe_gathered(self, selection: Selection, step: Gathered) -> SelectionOutput:
        counts = torch.full((len(step.kept),), step.kept.shape[1], device=step.kept.device)
        if self.selector(selection.block).is_learned:
            expected = torch.sigmoid(step.margin).sum(1) / self._num_patches(selection)
        else:
            expected = counts / self._num_patches(selection)
        return self._describe(selection, expected, step.margin, counts)

    def _describe_masked(self, selection: Selection, step: Masked) -> SelectionOutput:
        return self._describe(selection, step.keep.mean(1), step.margin, (step.keep > 0.5).sum(1))

    def _describe(
        self, selection: Selection, keep_fraction: Tensor, margin: Tensor, num_kept: Tensor
    ) -> SelectionOutput:
        return SelectionOutput(
            block=selection.block,
            target_keep_rate=selection.num_kept / self._num_patches(selection),
            keep_fraction=keep_fraction,
            margin=margin,
            num_kept=num_kept,
        )
