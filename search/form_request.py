"""In which form a model is to be run, as the user asked for it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from spvit.options import Serving, TokenForm

BUCKET = 8
NUM_CALIBRATION_IMAGES = 5000


@dataclass(frozen=True, kw_only=True, slots=True)
class FormRequest:
    """How a model is to be run. All but `form` is for the adaptive form alone."""

    form: TokenForm = TokenForm.GATHERED
    serving: Serving = Serving.PADDED
    bucket: int = BUCKET
    num_calibration_images: int = NUM_CALIBRATION_IMAGES

    def __post_init__(self) -> None:
        if self.bucket < 1 or self.num_calibration_images < 1:
            raise ValueError(f"A bucket and the number of calibration images must be 1 or more, but got {self}.")
