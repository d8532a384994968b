"""Are the four files of a torchvision data set there, and if not, can they be had?"""

import tempfile
from http.client import HTTPException
from pathlib import Path

from filelock import FileLock

from erm.data.errors import DataUnavailableError
from erm.data.torchvision_operators import declare_missing_operators

TRAIN_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
TEST_FILES = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
"""Images and labels, decompressed."""


def files_of(root: Path, class_name: str) -> Path:
    """The folder that holds all four files, <root>/<class_name>/raw: what is missing is downloaded.

    Nothing is written when they are there, so `root` may be read-only; and a file that is there is never
    replaced, whatever it holds. Processes that start together download once.

    Args:
        root: absolute path of the data folder.
        class_name: name of the class in torchvision.datasets, which is also the name of its folder.

    Raises:
        DataUnavailableError: a file is missing and cannot be downloaded or stored.
    """
    folder = root / class_name / "raw"
    if not _missing(folder):
        return folder
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{class_name}.lock"):
            # Another process may have finished the download while this one waited for the lock.
            if _missing(folder):
                _download(root, class_name)
    # HTTPException is a connection cut short, which torchvision lets through.
    except (OSError, RuntimeError, HTTPException) as error:
        raise DataUnavailableError(_how_to_provide(folder, error)) from error
    return folder


def _missing(folder: Path) -> list[str]:
    return [name for name in (*TRAIN_FILES, *TEST_FILES) if not (folder / name).is_file()]


def _download(root: Path, class_name: str) -> None:
    """Download beside the target and rename, so that a killed download leaves no partial file behind."""
    declare_missing_operators()
    from torchvision import datasets

    folder = root / class_name / "raw"
    with tempfile.TemporaryDirectory(dir=root, prefix=f".{class_name}-download-") as temporary:
        getattr(datasets, class_name)(root=temporary, download=True)
        folder.mkdir(parents=True, exist_ok=True)
        for name in _missing(folder):
            (Path(temporary) / class_name / "raw" / name).replace(folder / name)


def _how_to_provide(folder: Path, error: Exception) -> str:
    class_name, root = folder.parent.name, folder.parent.parent
    return (
        f"{class_name} is not complete in {folder}, where {', '.join(_missing(folder))} "
        f"cannot be found, and downloading failed: {' '.join(str(error).split())}\n"
        f"Put the decompressed files {', '.join((*TRAIN_FILES, *TEST_FILES))} there, or name a folder other "
        f"than {root} that holds {class_name}/raw with the environment variable REPRO_DATA_ROOT or with "
        "data.root=FOLDER. data=digits works without any download."
    )
