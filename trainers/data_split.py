"""The parts of a data set."""

from enum import StrEnum


class Split(StrEnum):
    """A part of the data, by the name of its file or folder."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"
