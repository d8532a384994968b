"""IDX files: are they whole, and what do they hold?

An IDX file is a header of big-endian 32-bit numbers, the magic number (0x0800 for unsigned bytes, plus the
number of dimensions) and the size of each dimension, and then the bytes
(http://yann.lecun.com/exdb/mnist/).
"""

import math
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8

from erm.dataset import DataError

REMEDY = "replace it with the decompressed original, or delete it so that it is downloaded again"


def read_idx_files(
    images: Path, labels: Path, image_shape: tuple[int, int]
) -> tuple[UInt8[np.ndarray, "n pixels"], Int64[np.ndarray, " n"]]:
    """Pixels 0 … 255, one flattened image per row, and the label of each.

    Headers and lengths are checked first, and that there is one label for each image.

    Raises:
        DataError: a file cannot be read, has another magic number, length or image size than it should, is
            empty, or the two disagree; the message names the file, what was found and what was expected.
    """
    num_images, *shape = _checked_sizes(images, num_dimensions=3)
    (num_labels,) = _checked_sizes(labels, num_dimensions=1)
    if tuple(shape) != image_shape:
        raise DataError(
            f"{images} holds images of {shape[0]} × {shape[1]} pixels, expected "
            f"{image_shape[0]} × {image_shape[1]}; {REMEDY}"
        )
    if num_images != num_labels:
        raise DataError(
            f"{labels} holds {num_labels} labels, expected {num_images}, the number of images in {images}; "
            "replace both with the originals of one data set"
        )
    pixels = _numbers(images, num_dimensions=3).reshape(num_images, -1)
    return pixels, _numbers(labels, num_dimensions=1).astype(np.int64)


def _numbers(path: Path, num_dimensions: int) -> UInt8[np.ndarray, " size"]:
    """All that follows the header."""
    return np.fromfile(path, dtype=np.uint8, offset=_header_bytes(num_dimensions))


def _header_bytes(num_dimensions: int) -> int:
    return 4 * (1 + num_dimensions)


def _checked_sizes(path: Path, num_dimensions: int) -> tuple[int, ...]:
    """Size of each dimension as the header states it, once the file is exactly as long as that implies."""
    try:
        header = np.fromfile(path, dtype=">u4", count=1 + num_dimensions)
        num_bytes = path.stat().st_size
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}); make it readable, or {REMEDY}") from error
    header_bytes = _header_bytes(num_dimensions)
    if num_bytes < header_bytes:
        raise DataError(
            f"{path} has {num_bytes} bytes, expected at least the {header_bytes} of its header; {REMEDY}"
        )
    magic, *sizes = (int(number) for number in header)
    expected_magic = 0x0800 + num_dimensions
    if magic != expected_magic:
        raise DataError(
            f"{path} starts with the magic number 0x{magic:08x}, expected 0x{expected_magic:08x}; {REMEDY}"
        )
    expected_bytes = header_bytes + math.prod(sizes)
    if num_bytes != expected_bytes:
        raise DataError(
            f"{path} has {num_bytes} bytes, expected {expected_bytes} for the sizes "
            f"{' × '.join(map(str, sizes))} in its header; {REMEDY}"
        )
    if 0 in sizes:
        raise DataError(
            f"{path} has the sizes {' × '.join(map(str, sizes))}, expected at least 1 each; {REMEDY}"
        )
    return tuple(sizes)
