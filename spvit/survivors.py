"""The tokens of images that keep different numbers of them: padded to the longest, with a note of what is padding."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from spvit.attention import bool_policy_mask
from spvit.packaging import Packages, add_package, no_packages, pack, package_weights
from spvit.schedule import PackageMode
from spvit.selection import Layout, take
from spvit.selector import Scores


class Survivors(NamedTuple):
    """Images somewhere in the network.

    Attributes:
        tokens: (B, P + W + S, C), laid out as [prefix tokens, patches, package tokens].
        present: (B, W), False for padding.
        mass: (B, S), what went into each package; 0 for one that no token may see.
        rows: (B,), each image's number in the batch that came in.
        num_kept: (B, selectors so far), patches that stayed at each.
    """

    tokens: Tensor
    present: Tensor
    mass: Tensor
    rows: Tensor
    num_kept: Tensor

    @property
    def policy(self) -> Tensor | None:
        """(B, W + S): 1 for patches and packages that are there; None where all are."""
        policy = torch.cat((self.present.to(self.mass.dtype), Packages(self.tokens, self.mass).policy), dim=1)
        return None if bool((policy > 0).all()) else policy

    def mask(self, num_prefix: int) -> Tensor | None:
        """Attention mask (B, 1, 1, N), True where a token may be seen; None where all may."""
        policy = self.policy
        if policy is None:
            return None
        return bool_policy_mask(torch.cat((policy.new_ones(len(policy), num_prefix), policy), dim=1))

    def part(self, members: Sequence[int], num_prefix: int) -> Survivors:
        """Some of the images, by their places in this batch, as long as the longest of them."""
        places = torch.tensor(members, device=self.rows.device)
        after, counts = num_prefix + self.present.shape[1], self.num_kept[places]
        width = int(counts[:, -1].max())
        tokens = self.tokens[places]
        return Survivors(
            tokens=torch.cat((tokens[:, : num_prefix + width], tokens[:, after:]), dim=1),
            present=self.present[places, :width],
            mass=self.mass[places],
            rows=self.rows[places],
            num_kept=counts,
        )

    def padded(self, width: int, num_packages: int, num_prefix: int) -> Survivors:
        """With room for so many patches and packages."""
        end = num_prefix + self.present.shape[1]
        more, more_packages = width - self.present.shape[1], num_packages - self.mass.shape[1]
        patches = functional.pad(self.tokens[:, :end], (0, 0, 0, more))
        packages = functional.pad(self.tokens[:, end:], (0, 0, 0, more_packages))
        return self._replace(
            tokens=torch.cat((patches, packages), dim=1),
            present=functional.pad(self.present, (0, more)),
            mass=functional.pad(self.mass, (0, more_packages)),
        )

    def without_empty_packages(self, num_prefix: int) -> Survivors:
        """Without the packages that are empty in every image."""
        is_used = (self.mass > 0).any(0)
        if bool(is_used.all()):
            return self
        start = num_prefix + self.present.shape[1]
        packages = self.tokens[:, start:][:, is_used]
        tokens = torch.cat((self.tokens[:, :start], packages), dim=1)
        return self._replace(tokens=tokens, mass=self.mass[:, is_used])


def regroup(groups: Sequence[Survivors], bucket: int, num_prefix: int) -> list[Survivors]:
    """The same images, those together whose counts are equal after rounding up to a multiple of `bucket`."""
    parts: dict[int, list[Survivors]] = defaultdict(list)
    for group in groups:
        places: dict[int, list[int]] = defaultdict(list)
        for place, count in enumerate(group.num_kept[:, -1].tolist()):
            places[-(-count // bucket)].append(place)
        for key, members in places.items():
            parts[key].append(group.part(members, num_prefix))
    return [_joined(parts[key], num_prefix) for key in sorted(parts)]


def _joined(parts: Sequence[Survivors], num_prefix: int) -> Survivors:
    """Several groups as one, as long as the longest."""
    if len(parts) == 1:
        return parts[0]
    width = max(part.present.shape[1] for part in parts)
    num_packages = max(part.mass.shape[1] for part in parts)
    alike = [part.padded(width, num_packages, num_prefix) for part in parts]
    return Survivors(*(torch.cat(fields) for fields in zip(*alike, strict=True)))


def all_present(tokens: Tensor, layout: Layout) -> Survivors:
    """Images before the first selector, from their tokens (B, P + N0, C)."""
    batch = len(tokens)
    return Survivors(
        tokens=tokens,
        present=torch.ones(batch, layout.num_patches, dtype=torch.bool, device=tokens.device),
        mass=no_packages(tokens).mass,
        rows=torch.arange(batch, device=tokens.device),
        num_kept=torch.zeros(batch, 0, dtype=torch.int64, device=tokens.device),
    )


def keep_above(margin: Tensor, present: Tensor, threshold: float) -> Tensor:
    """Which patches stay (B, W): those with at least this margin, and the best one of every image in any case."""
    margin = margin.masked_fill(~present, -math.inf)
    best = torch.zeros_like(present).scatter(1, margin.argmax(1, keepdim=True), value=True)
    return present & ((margin >= threshold) | best)


def drop(images: Survivors, scores: Scores, keep: Tensor, layout: Layout) -> Survivors:
    """Remove the patches that do not stay, in their order, and pack them; as long as the image that keeps most."""
    start, end = layout.num_prefix, layout.num_prefix + images.present.shape[1]
    counts = keep.sum(1)
    width = int(counts.max())
    # A stable sort brings those that stay to the front and leaves them in their order.
    index = (~keep).byte().sort(dim=1, stable=True).indices[:, :width]
    packages = Packages(images.tokens[:, end:], images.mass)
    if layout.package_mode is not PackageMode.NONE:
        weights = package_weights(scores.keep_probability) * (images.present & ~keep)
        packages = add_package(packages, pack(images.tokens[:, start:end], weights), layout.package_mode)
    left = (images.tokens[:, :start], take(images.tokens, index, start), packages.tokens)
    return Survivors(
        tokens=torch.cat(left, dim=1),
        present=torch.arange(width, device=counts.device) < counts.unsqueeze(1),
        mass=packages.mass,
        rows=images.rows,
        num_kept=torch.cat((images.num_kept, counts.unsqueeze(1)), dim=1),
    )
