"""A place where the printed command lines can run as they are: MNIST in miniature, arrays of one's own."""

import os
import shlex
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tests.command_line import repro
from tests.idx_files import FILES, idx_bytes

SIDE = 4
"""Pixels of a side of the miniature's images."""
NUM_VALIDATION, NUM_TEST = 5000, 100
NUM_TRAIN = 6100
"""Where MNIST has 55,000; one printed line takes 6,000 of them."""


def write_mnist(root: Path, side: int, num_train: int) -> None:
    """Real digits of few pixels in the files of MNIST, those of the training set with noise and repeated.

    Args:
        root: gets MNIST/raw.
        side: pixels of a side; the digit stands in the corner, and all else is black.
        num_train: training images beside those of the validation.
    """
    digits, labels = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    pixels = digits.reshape(-1, SIDE, 2, SIDE, 2).mean(axis=(2, 4)) * 255 / 16
    chosen = rng.integers(0, len(labels), NUM_VALIDATION + num_train + NUM_TEST)
    noisy = np.clip(pixels[chosen] + rng.normal(0, 25, (len(chosen), SIDE, SIDE)), 0, 255)
    larger = np.pad(noisy, ((0, 0), (0, side - SIDE), (0, side - SIDE)))
    arrays = [
        part[rows] for rows in (slice(-NUM_TEST), slice(-NUM_TEST, None)) for part in (larger, labels[chosen])
    ]
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name, array in zip(FILES, arrays, strict=True):
        (folder / name).write_bytes(idx_bytes(array))


def furnish(folder: Path, patch: pytest.MonkeyPatch, side: int = SIDE, num_train: int = NUM_TRAIN) -> None:
    """Make a folder the current and the home folder, with data/ and mine.npz, as a user would have them."""
    write_mnist(folder / "data", side, num_train)
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 700)
    features = rng.normal(size=(700, 5)) + np.eye(3, 5)[labels]
    np.savez(
        folder / "mine.npz",
        x_train=features[:600], y_train=labels[:600], x_test=features[600:], y_test=labels[600:],
    )  # fmt: skip
    patch.chdir(folder)
    patch.setenv("HOME", str(folder))
    patch.delenv("REPRO_DATA_ROOT", raising=False)
    # A machine with a screen, whose browser shows the page to nobody.
    patch.setenv("DISPLAY", ":0")
    patch.setattr("webbrowser.open", lambda address: True)
    if side != 28:
        patch.setattr("erm.data.mnist.IMAGE_SHAPE", (side, side))


def run_line(line: str, exit_code: int = 0) -> str:
    """Run a command line of `repro` as a shell would; its standard output."""
    program, *words = (os.path.expanduser(word) for word in shlex.split(line))  # noqa: PTH111
    assert program == "repro", line
    result = repro(*words)
    assert result.exit_code == exit_code, f"{line}: exit code {result.exit_code}\n{result.output}"
    return result.stdout
