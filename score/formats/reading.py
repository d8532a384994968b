"""Which of the formats a file is: by what is in it, never by its name."""

import zipfile
from dataclasses import replace
from pathlib import Path

from score.formats.arrays import MAGIC as NPY
from score.formats.arrays import read_npy, read_npz
from score.formats.folders import read_folder
from score.formats.limits import needs_code, refused
from score.formats.tables import MAGIC as PARQUET
from score.formats.tables import read_csv, read_parquet
from score.formats.tensors import read_pt, read_safetensors
from score.formats.words import read_json
from score.formats.zarr import is_zarr, read_zarr
from score.predicted import Layout, Scores, ScoresError

AUTO = "auto"
LAYOUTS: dict[str, Layout] = {
    "dattri": "train_rows",
    "trak": "train_rows",
    "bergson": "train_rows",
    "captum": "test_rows",
    "kronfluence": "test_rows",
    "pydvl": "test_rows",
    "quanda": "test_rows",
    "plain": "test_rows",
}
"""What a row is in the files of a tool."""
PICKLE = b"\x80"
ZIP = b"PK\x03\x04"
LEAST_HEADER = 2**16
"""Bytes; a file that claims more than it holds is told so, unless the claim is beyond all reason."""


def read_scores(path: Path, tool: str = AUTO) -> Scores:
    """The scores in a file or folder.

    Args:
        path: what a tool has written.
        tool: whose layout it has; a key of `LAYOUTS`, or "auto" for what the file itself says.

    Raises:
        ScoresError: it holds none, is damaged, claims more than can be held, or would execute code.
        FileNotFoundError: it is not there.
    """
    found = _read(path)
    return found if tool == AUTO else replace(found, layout=LAYOUTS[tool])


def _read(path: Path) -> Scores:
    if path.is_dir():
        return read_zarr(path) if is_zarr(path) else read_folder(path)
    with path.open("rb") as file:
        head = file.read(16)
    if not head:
        raise ScoresError("is empty")
    if head.startswith(NPY):
        return read_npy(path)
    if head.startswith(PARQUET):
        return read_parquet(path)
    if head.startswith(ZIP):
        return _archive(path)
    # Its length first: the lowest byte of one may be what a pickle begins with, all eight are never so small.
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < max(path.stat().st_size, LEAST_HEADER):
        return read_safetensors(path)
    if head[:1] == PICKLE and head[1] <= 5:
        raise needs_code("is a pickle", path, f"numpy.load('{path.name}', allow_pickle=True)")
    if head.lstrip()[:1] in (b"{", b"["):
        return read_json(path)
    if b"\x00" in head:
        raise ScoresError(f"begins with {head[:4].hex(' ')}, which is no format of scores that is known here")
    return read_csv(path)


def _archive(path: Path) -> Scores:
    damaged = (zipfile.BadZipFile, NotImplementedError, EOFError, OSError, RuntimeError)
    with refused("is a damaged archive", *damaged):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        return read_pt(path) if any(name.endswith("data.pkl") for name in names) else read_npz(path)
