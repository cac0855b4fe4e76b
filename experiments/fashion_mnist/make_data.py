"""Make the embedded subset of Fashion-MNIST: balanced, fixed, with the number of each image in its source.

    python experiments/fashion_mnist/make_data.py --source /usr/share/datasets/fashion-mnist

The source is Debian's package `dataset-fashion-mnist`, or the folder `FashionMNIST/raw` that torchvision downloads;
both hold the same four files. Training and validation images come from the source's training split, test and holdout
images from its test split. No image of one split is equal, pixel by pixel, to one of another.
"""

import argparse
import gzip
from pathlib import Path

import numpy as np

SEED = 20220216
NUM_CLASSES = 10
PER_CLASS = {"train": 800, "val": 200, "test": 200, "holdout": 780}
HERE = Path(__file__).parent


def read_idx(path: Path) -> np.ndarray:
    """One IDX file (yann.lecun.com/exdb/mnist): magic with the number of axes, big-endian sizes, bytes."""
    raw = gzip.decompress(path.read_bytes())
    sizes = np.frombuffer(raw, dtype=">i4", count=raw[3], offset=4)
    return np.frombuffer(raw, dtype=np.uint8, offset=4 + 4 * raw[3]).reshape(sizes)


def read_split(source: Path, prefix: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 28, 28) and labels (N,) of `train` or `t10k`."""
    return read_idx(source / f"{prefix}-images-idx3-ubyte.gz"), read_idx(source / f"{prefix}-labels-idx1-ubyte.gz")


def first_of_each(images: np.ndarray, taken: set[bytes]) -> np.ndarray:
    """Numbers of the images that equal none before them and none that is taken; adds them to `taken`."""
    numbers = []
    for number, image in enumerate(images):
        key = image.tobytes()
        if key not in taken:
            taken.add(key)
            numbers.append(number)
    return np.array(numbers)


def draw(labels: np.ndarray, numbers: np.ndarray, counts: dict[str, int], rng: np.random.Generator) -> dict:
    """For each split, `counts[split]` numbers of every class, disjoint, in random order."""
    drawn: dict[str, list[np.ndarray]] = {split: [] for split in counts}
    for label in range(NUM_CLASSES):
        of_class = rng.permutation(numbers[labels[numbers] == label])
        start = 0
        for split, count in counts.items():
            drawn[split].append(of_class[start : start + count])
            start += count
    return {split: rng.permutation(np.concatenate(parts)) for split, parts in drawn.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="folder with the four idx.gz files")
    parser.add_argument("--output", type=Path, default=HERE)
    options = parser.parse_args()
    rng, taken = np.random.default_rng(SEED), set[bytes]()
    for prefix, splits in (("train", ("train", "val")), ("t10k", ("test", "holdout"))):
        images, labels = read_split(options.source, prefix)
        drawn = draw(labels, first_of_each(images, taken), {split: PER_CLASS[split] for split in splits}, rng)
        for split, numbers in drawn.items():
            path = options.output / f"{split}.npz"
            np.savez_compressed(path, images=images[numbers], labels=labels[numbers], source_index=numbers)
            print(f"{path}: {len(numbers)} images, {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
