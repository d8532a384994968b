"""Small data sets in the format of MNIST, written by the tests."""

from pathlib import Path

import numpy as np

from erm.data.download import TEST_FILES, TRAIN_FILES
from erm.data.mnist import load_fashion_mnist, load_mnist

FILES = (*TRAIN_FILES, *TEST_FILES)


LOADERS = {"MNIST": load_mnist, "FashionMNIST": load_fashion_mnist}


def idx_bytes(array: np.ndarray, magic: int | None = None) -> bytes:
    header = [0x0800 + array.ndim if magic is None else magic, *array.shape]
    return np.array(header, dtype=">u4").tobytes() + array.astype(np.uint8).tobytes()


def tiny_arrays(seed: int = 0) -> dict[str, np.ndarray]:
    """Seven training and three test images of random pixels that include 0 and 255."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for (images, labels), count in ((TRAIN_FILES, 7), (TEST_FILES, 3)):
        arrays[images] = rng.integers(0, 256, (count, 28, 28))
        arrays[images][0, 0, :2] = 0, 255
        arrays[labels] = rng.permutation(10)[:count]
    return arrays


def write_tiny(root: Path, class_name: str = "MNIST", seed: int = 0) -> Path:
    folder = root / class_name / "raw"
    folder.mkdir(parents=True)
    for name, array in tiny_arrays(seed).items():
        (folder / name).write_bytes(idx_bytes(array))
    return folder


def snapshot(root: Path) -> dict[str, tuple[int, int, bytes]]:
    """Modification time, change time and content of everything: any write, even one undone, changes it."""

    def state(path: Path) -> tuple[int, int, bytes]:
        content = path.read_bytes() if path.is_file() else b""
        return path.stat().st_mtime_ns, path.stat().st_ctime_ns, content

    return {str(path): state(path) for path in (root, *root.rglob("*"))}
