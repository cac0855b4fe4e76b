"""What batches cost in tokens when every image keeps a number of its own: the adaptive form, in arrays. No torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from spvit.plan_arrays import Flags, Ints, PlanArrays
from spvit.schedule import PackageMode, TokenGeometry, TokenPlan


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptCounts:
    """What images keep at each selector of one model, whose dropped tokens never come back.

    Attributes:
        plan: of the model.
        geometry: of its backbone, which has one level.
        package: what becomes of dropped tokens.
        num_kept: (images, selections) patches that stay, which never rise along a row.
    """

    plan: TokenPlan
    geometry: TokenGeometry
    package: PackageMode
    num_kept: Ints

    def __post_init__(self) -> None:
        if len(self.geometry.levels) > 1:
            raise ValueError(f"The adaptive form needs a backbone of one level, but got {self.geometry}.")
        shape, num_selections = self.num_kept.shape, len(self.plan.selections)
        if self.num_kept.ndim != 2 or shape[1] != num_selections or not num_selections:
            raise ValueError(f"Kept counts need the shape (images, {num_selections} selections), but have {shape}.")
        if not np.issubdtype(self.num_kept.dtype, np.integer):
            raise ValueError(f"Kept counts must be integers, but are {self.num_kept.dtype}.")
        if (np.diff(self._with_all, axis=1) > 0).any() or (self.num_kept < 1).any():
            raise ValueError(
                f"Every image keeps at least 1 and at most its {self.geometry.num_patches} patches, and never more at "
                "a later selector, but some do not."
            )

    @property
    def _with_all(self) -> Ints:
        """(images, 1 + selections): all patches first."""
        return np.pad(self.num_kept, ((0, 0), (1, 0)), constant_values=self.geometry.num_patches)

    @property
    def drops(self) -> Flags:
        """(images, selections): whether an image drops anything there."""
        return np.asarray(np.diff(self._with_all, axis=1) < 0)

    def num_batches(self, batch_size: int) -> int:
        """Whole batches of so many images.

        Raises:
            ValueError: there is none.
        """
        number = len(self.num_kept) // batch_size
        if not number:
            raise ValueError(f"A batch of {batch_size} images needs as many counts, but has {len(self.num_kept)}.")
        return number

    @property
    def blocks(self) -> tuple[int, ...]:
        """The block behind each selector."""
        return tuple(selection.block for selection in self.plan.selections)


def kept_counts(plan: TokenPlan, num_kept: ArrayLike, *, geometry: TokenGeometry, package: PackageMode) -> KeptCounts:
    """`KeptCounts` from whatever numpy takes for an array.

    Raises:
        ValueError: the counts do not fit the plan or the backbone.
    """
    return KeptCounts(plan=plan, geometry=geometry, package=package, num_kept=np.asarray(num_kept))


def padded_plans(kept: KeptCounts, batch_size: int) -> PlanArrays:
    """Token counts of whole batches, in the order of the images, each as long as its longest image.

    A selector acts even where no image of a batch drops anything; it then adds no package. Images that do not fill a
    last batch are left out.

    Raises:
        ValueError: there are fewer images than one batch has.
    """
    num_batches = kept.num_batches(batch_size)
    shape = (num_batches, batch_size, -1)
    widest = kept.num_kept[: num_batches * batch_size].reshape(shape).max(axis=1)
    is_used = np.asarray(kept.drops[: num_batches * batch_size].reshape(shape).any(axis=1))
    num_tokens = kept.geometry.num_prefix_tokens + widest + _num_packages(is_used, kept.package)
    dense = np.full((num_batches, 1), kept.geometry.num_tokens)
    before = np.concatenate((dense, num_tokens), axis=1)
    stage_of_block = np.searchsorted(kept.blocks, np.arange(kept.geometry.depth), side="right")
    return PlanArrays(
        block_tokens=before[:, stage_of_block],
        selection_blocks=np.broadcast_to(kept.blocks, num_tokens.shape),
        selection_tokens=before[:, :-1],
        selector=kept.plan.selector,
    )


def _num_packages(is_used: Flags, mode: PackageMode) -> Ints:
    """Packages behind each selection (batches, selections), by whether any image drops something there."""
    match mode:
        case PackageMode.NONE:
            return np.zeros(is_used.shape, dtype=np.int64)
        case PackageMode.SINGLE:
            return np.maximum.accumulate(is_used, axis=1).astype(np.int64)
        case PackageMode.PER_SELECTOR:
            return is_used.cumsum(axis=1)
