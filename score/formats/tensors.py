"""Tensors: safetensors, as kronfluence writes them, and .pt, as dattri, captum and quanda do.

A .pt is an archive with a pickle in it. The names in that are read as data and held against a short list
before torch, told to load weights only, sees the file.
"""

import json
import math
import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from score.formats.limits import MAX_NUMBERS, check_shape, needs_code, refused
from score.predicted import Layout, Scores, ScoresError

ALL_MODULES = "all_modules"
MOST_HEADER = 10**8
DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "BF16": "<u2"}
ALLOWED = {
    "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter", "collections OrderedDict",
    "torch Size",
    *(f"torch {kind}Storage" for kind in ("Float", "Double", "Half", "BFloat16", "Long", "Int")),
}  # fmt: skip
"""What the pickle of a tensor names."""
MOST_PICKLE = 2**24


def read_safetensors(path: Path) -> Scores:
    """`all_modules` of kronfluence (queries × training points), the sum of its modules, or the one tensor."""
    tensors = dict(_safetensors(path))
    matrices = {name: values for name, values in tensors.items() if values.ndim in (1, 2)}
    if ALL_MODULES in matrices:
        chosen = matrices[ALL_MODULES]
    elif matrices and len({values.shape for values in matrices.values()}) == 1:
        chosen = np.sum(list(matrices.values()), axis=0)
    else:
        shapes = ", ".join(f"{name} {values.shape}" for name, values in list(tensors.items())[:5])
        raise ScoresError(f"holds {shapes or 'no tensor'}; call the matrix of scores {ALL_MODULES}")
    return Scores(values=np.atleast_2d(chosen).astype(np.float64), form="safetensors")


def _safetensors(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(size - 8, MOST_HEADER):
            raise ScoresError(f"claims a header of {length:,} bytes and is {size:,} long")
        damaged = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
        with refused("has a damaged header", *damaged):
            header = json.loads(file.read(length))
            entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
            facts = [_fact(name, entry) for name, entry in entries.items()]
        for name, dtype, shape, begin, end in facts:
            if dtype not in DTYPES:
                raise ScoresError(f"holds {name} of type {dtype}, expected real numbers")
            check_shape(shape or [1])
            claimed = math.prod(shape) * np.dtype(DTYPES[dtype]).itemsize
            if not 0 <= begin <= end <= size - 8 - length or end - begin != claimed:
                raise ScoresError(f"claims {shape} numbers for {name}, which its {size:,} bytes do not hold")
            file.seek(8 + length + begin)
            values = np.frombuffer(file.read(end - begin), dtype=DTYPES[dtype])
            if dtype == "BF16":
                values = (values.astype(np.uint32) << 16).view(np.float32)
            yield name, values.reshape(shape)


def _fact(name: str, entry: dict[str, Any]) -> tuple[str, str, list[int], int, int]:
    """Name, dtype, shape, and where the numbers begin and end."""
    begin, end = entry["data_offsets"]
    return name, str(entry["dtype"]), [int(one) for one in entry["shape"]], int(begin), int(end)


def read_pt(path: Path) -> Scores:
    """A tensor, a list of batches, or a dictionary with one tensor; rows may be test or training points."""
    _check_archive(path)
    import torch

    with refused("cannot be read by torch", Exception):
        content = torch.load(path, map_location="cpu", weights_only=True)
    tensors = _tensors(content)
    if not tensors:
        raise ScoresError(f"holds a {type(content).__name__}, expected a tensor of scores")
    for tensor in tensors:
        if tensor.layout != torch.strided or tensor.is_complex():
            raise ScoresError(f"holds a tensor of type {tensor.dtype}, expected dense real numbers")
        check_shape(list(tensor.shape) or [1])
    parts = [np.atleast_2d(tensor.detach().double().numpy()) for tensor in tensors]
    if len({part.shape[1] for part in parts}) != 1:
        raise ScoresError(
            "holds several tensors whose rows differ in length, so they are no batches of one matrix"
        )
    layout: Layout = "either" if len(parts) == 1 else "test_rows"
    return Scores(values=np.concatenate(parts), layout=layout, form="pt")


def _tensors(content: Any) -> list[Any]:
    import torch

    if isinstance(content, torch.Tensor):
        return [content]
    if isinstance(content, dict):
        named = [value for value in content.values() if isinstance(value, torch.Tensor)]
        return named if len(named) == 1 else []
    if isinstance(content, (list, tuple)) and all(isinstance(one, torch.Tensor) for one in content):
        return list(content)
    return []


def _check_archive(path: Path) -> None:
    """Sizes as the archive claims them, and the names that its pickle calls."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        claimed, size = sum(member.file_size for member in members), path.stat().st_size
        if claimed > min(size, 8 * MAX_NUMBERS):
            raise ScoresError(f"claims {claimed:,} bytes and is {size:,} long")
        pickles = [member for member in members if member.filename.endswith("data.pkl")]
        if len(pickles) != 1 or pickles[0].file_size > MOST_PICKLE:
            raise ScoresError("is an archive that torch has not written")
        names = set(_named(archive.read(pickles[0])))
    foreign = sorted(name.replace(" ", ".") for name in names - ALLOWED)
    if foreign:
        raise needs_code(
            f"names {', '.join(foreign[:3])}",
            path,
            f"__import__('torch').load('{path.name}', weights_only=False)",
        )


def _named(pickle: bytes) -> Iterator[str]:
    """Every "module name" that a pickle refers to; it is taken apart, not run."""
    recent: list[str] = []
    with refused("holds a damaged pickle", Exception):
        for opcode, argument, _ in pickletools.genops(pickle):
            if opcode.name in ("GLOBAL", "INST"):
                yield str(argument)
            elif opcode.name == "STACK_GLOBAL":
                yield " ".join(recent[-2:])
            elif isinstance(argument, str) and "UNICODE" in opcode.name:
                recent = [*recent[-1:], argument]
