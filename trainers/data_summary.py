"""What a data folder holds, in numbers. No torch."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitSummary:
    """What a split holds. Without names classes are called by their numbers, and the last ones may be missing."""

    num_images: int
    class_names: tuple[str, ...]
    has_class_names: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSummary:
    """What a data folder holds; validation never has a class that training lacks."""

    train: SplitSummary
    val: SplitSummary

    @property
    def num_classes(self) -> int:
        """Classes of the training split."""
        return len(self.train.class_names)
