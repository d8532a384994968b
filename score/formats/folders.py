"""Folders: bergson's scores.bin with info.json, quanda's batches, a .pt each, kronfluence's partitions."""

import json
import re
from pathlib import Path

import numpy as np

from score.formats.limits import check_shape, refused
from score.formats.tensors import read_pt, read_safetensors
from score.predicted import Scores, ScoresError

FLOATS = {"float64": "<f8", "float32": "<f4", "float16": "<f2", "bfloat16": "<u2"}
PAIRWISE = "pairwise_scores.safetensors"
PARTITION = re.compile(r"pairwise_scores_data_partition(\d+)_module_partition(\d+)\.safetensors")


def read_folder(path: Path) -> Scores:
    """By what lies in it.

    Raises:
        ScoresError: nothing that holds scores.
    """
    if (path / "scores.bin").is_file() and (path / "info.json").is_file():
        return _bergson(path)
    if (path / PAIRWISE).is_file():
        return read_safetensors(path / PAIRWISE)
    partitions = {
        (int(found[1]), int(found[2])): file
        for file in path.glob("pairwise_scores_*.safetensors")
        if (found := PARTITION.fullmatch(file.name))
    }
    if partitions:
        return _partitions(partitions)
    batches = sorted(path.glob("*.pt"), key=lambda file: (len(file.stem), file.stem))
    if batches:
        return _batches(batches)
    raise ScoresError(
        f"is a folder without scores.bin and info.json (bergson), {PAIRWISE} or its partitions "
        "(kronfluence), zarr.json (pyDVL) or batches in .pt files (quanda)"
    )


def _bergson(path: Path) -> Scores:
    """A record for each training point, with a score and whether it was written for each query."""
    damaged = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)
    with refused("info.json is not as bergson writes it", *damaged):
        info = json.loads((path / "info.json").read_text(encoding="utf-8"))
        items, queries, form = int(info["num_items"]), int(info["num_scores"]), info["dtype"]
        fields = dict(zip(form["names"], zip(form["formats"], form["offsets"], strict=True), strict=True))
        itemsize = int(form["itemsize"])
        numbers = [
            (str(fields[f"score_{i}"][0]), int(fields[f"score_{i}"][1])) for i in range(min(queries, 2**20))
        ]
        flags = [int(fields[f"written_{i}"][1]) for i in range(len(numbers))]
    check_shape((items, queries))
    size = (path / "scores.bin").stat().st_size
    if items < 1 or queries < 1 or itemsize < 1 or items * itemsize != size:
        raise ScoresError(f"info.json claims {items:,} × {itemsize:,} bytes, scores.bin holds {size:,}")
    for kind, offset in numbers:
        width = np.dtype(FLOATS[kind]).itemsize if kind in FLOATS else 0
        if not width or not 0 <= offset <= itemsize - width:
            raise ScoresError(
                f"info.json names numbers of type {kind[:20]} at byte {offset}, which cannot be"
            )
    if any(not 0 <= flag < itemsize for flag in flags):
        raise ScoresError("info.json places a flag outside its record")
    records = np.fromfile(path / "scores.bin", dtype=np.uint8).reshape(items, itemsize)
    if not all(records[:, flag].all() for flag in flags):
        raise ScoresError("holds scores that were never written: its run did not finish")
    values = np.stack([_column(records, kind, offset) for kind, offset in numbers], axis=1)
    return Scores(values=values, layout="train_rows", form="bergson")


def _column(records: np.ndarray, kind: str, offset: int) -> np.ndarray:
    width = np.dtype(FLOATS[kind]).itemsize
    raw = np.ascontiguousarray(records[:, offset : offset + width]).view(FLOATS[kind])[:, 0]
    if kind == "bfloat16":
        raw = (raw.astype(np.uint32) << 16).view(np.float32)
    return np.asarray(raw, dtype=np.float64)


def _partitions(files: dict[tuple[int, int], Path]) -> Scores:
    """Side by side over the training points, added up over the modules, as kronfluence joins them."""
    data, modules = (1 + max(places) for places in zip(*files, strict=True))
    missing = data * modules - len(files)
    if missing:
        raise ScoresError(f"lacks {missing:,} of {data:,} × {modules:,} partitions: its run did not finish")
    parts = []
    for place in range(data):
        found = [read_safetensors(files[place, module]).values for module in range(modules)]
        if len({values.shape for values in found}) != 1:
            raise ScoresError("holds partitions of modules whose shapes differ")
        parts.append(np.sum(found, axis=0))
    if len({len(part) for part in parts}) != 1:
        raise ScoresError("holds partitions of different test points")
    check_shape((len(parts[0]), sum(part.shape[1] for part in parts)))
    return Scores(values=np.concatenate(parts, axis=1), form="safetensors")


def _batches(files: list[Path]) -> Scores:
    parts = [read_pt(file).values for file in files]
    if len({part.shape[1] for part in parts}) != 1:
        raise ScoresError("holds batches whose rows differ in length")
    check_shape((sum(map(len, parts)), parts[0].shape[1]))
    return Scores(values=np.concatenate(parts), form="batches")
