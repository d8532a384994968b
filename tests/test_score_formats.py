"""Files of scores: read by what is in them, refused before anything is allocated, and never executed."""

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import save_file

from score.formats.reading import read_scores
from score.predicted import ScoresError
from tests.forged import Touch, write_pickle

VALUES = np.random.default_rng(0).normal(size=(2, 30))


def long_table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "test_index": np.repeat([4, 9], 30),
            "train_index": np.tile(np.arange(30), 2),
            "label": 1,
            "predicted_change": VALUES.ravel(),
        }
    ).sample(frac=1, random_state=0)


def bergson(folder: Path) -> None:
    """As bergson's MemmapSequenceScoreWriter lays a record out: a score and a flag for each query."""
    folder.mkdir()
    form = {
        "names": ["score_0", "written_0", "score_1", "written_1"],
        "formats": ["float32", "bool", "float32", "bool"],
        "offsets": [0, 4, 8, 12],
        "itemsize": 16,
    }
    records: Any = np.zeros(30, dtype=np.dtype(form))  # type: ignore[call-overload]
    for query in range(2):
        records[f"score_{query}"], records[f"written_{query}"] = VALUES[query], True
    records.tofile(folder / "scores.bin")
    (folder / "info.json").write_text(json.dumps({"num_items": 30, "num_scores": 2, "dtype": form}))


def write(kind: str, path: Path) -> None:
    influences = {
        str(i): {"label": 1, "influence": row.tolist(), "helpful": [1]} for i, row in enumerate(VALUES)
    }
    written: dict[str, Callable[[], Any]] = {
        "npy": lambda: np.save(path, VALUES),
        "trak": lambda: np.save(path, VALUES.T.astype(np.float16)),
        "npz": lambda: np.savez_compressed(path, scores=VALUES, test_index=[4, 9]),
        "csv": lambda: long_table().to_csv(path, index=False),
        "matrix": lambda: pd.DataFrame(VALUES).to_csv(path, index=False, header=False),
        "parquet": lambda: long_table().to_parquet(path, index=False),
        "json": lambda: path.write_text(json.dumps(VALUES.tolist())),
        "influences": lambda: path.write_text(json.dumps(influences)),
        "safetensors": lambda: save_file({"all_modules": VALUES}, path),
        "modules": lambda: save_file({"one": VALUES / 2, "two": VALUES / 2}, path),
        "pt": lambda: torch.save(torch.from_numpy(VALUES), path),
        "dattri": lambda: torch.save(torch.from_numpy(VALUES.T.copy()), path),
        "batches": lambda: torch.save([torch.from_numpy(row[None]) for row in VALUES], path),
        "bergson": lambda: bergson(path),
    }
    written[kind]()


KINDS = (
    "npy", "trak", "npz", "csv", "matrix", "parquet", "json", "influences", "safetensors", "modules", "pt",
    "dattri", "batches", "bergson",
)  # fmt: skip
UPRIGHT = ("trak", "dattri", "bergson")
"""Files with a row for each training point."""


@pytest.mark.parametrize("kind", KINDS)
def test_a_format_is_read_whatever_its_name(tmp_path: Path, kind: str) -> None:
    plain = tmp_path / "written"
    write(kind, plain)
    # NumPy adds a suffix of its own.
    path = next(tmp_path.iterdir()).rename(tmp_path / "scores.bin")
    found = read_scores(path)
    values = found.values.T if kind in UPRIGHT else found.values
    np.testing.assert_allclose(values, VALUES, rtol=1e-3 if kind == "trak" else 1e-6)
    assert found.test_index in (None, (4, 9))
    assert found.layout == {
        "dattri": "either",
        "trak": "either",
        "pt": "either",
        "bergson": "train_rows",
    }.get(kind, "test_rows")


def test_bfloat16_is_read(tmp_path: Path) -> None:
    from safetensors.torch import save_file as save_tensors

    save_tensors({"all_modules": torch.from_numpy(VALUES).bfloat16()}, tmp_path / "s")
    np.testing.assert_allclose(read_scores(tmp_path / "s").values, VALUES, rtol=1e-2)


def test_a_vector_by_training_point(tmp_path: Path) -> None:
    """As OpenDataVal's values are written: an index and a value, in any order."""
    table = pd.DataFrame({"data_values": VALUES[0]}, index=pd.Index(range(30), name="indices"))
    table.sample(frac=1, random_state=1).to_csv(tmp_path / "v.csv")
    np.testing.assert_allclose(read_scores(tmp_path / "v.csv").values, VALUES[:1])


def header(shape: tuple[int, ...], descr: str = "<f8") -> bytes:
    text = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def huge_npz(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("scores.npy", header((10**6, 10**6)) + bytes(10**6))


def huge_tensor(path: Path) -> None:
    """A number and strides of 0: terabytes by its shape, a few bytes on disk."""
    torch.save(torch.zeros(1).expand(10**6, 10**6), path)


def lying_safetensors(path: Path) -> None:
    entry = {"all_modules": {"dtype": "F64", "shape": [10**6, 10**6], "data_offsets": [0, 8 * 10**12]}}
    text = json.dumps(entry).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)


def huge_parquet(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    column = pa.chunked_array([pa.nulls(10**6, pa.float64())] * 10)
    table = pa.table({f"c{i}": column for i in range(60)})
    pq.write_table(table, path)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.write_bytes(header((10**6, 10**6))), r"claims 1,000,000 × 1,000,000"),
        (lambda path: path.write_bytes(header((2, 30)) + bytes(8)), "holds 8"),
        (lambda path: path.write_bytes(header((2, 30, 4)) + bytes(1920)), "a vector or a matrix"),
        (lambda path: path.write_bytes(header((2,), "<c16") + bytes(32)), "expected real numbers"),
        (huge_npz, "claims 1,000,000 × 1,000,000"),
        (huge_tensor, "claims 1,000,000 × 1,000,000"),
        (lying_safetensors, "claims 1,000,000 × 1,000,000"),
        (huge_parquet, "claims"),
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_bytes(b"PK\x03\x04 and no more"), "damaged archive"),
        (lambda path: path.write_bytes(b"PAR1 and no more, really"), "damaged Parquet"),
        (lambda path: path.write_text("[" * 10**5), "damaged JSON"),
        (lambda path: path.write_text("[[1, 2], [3]]"), "different lengths"),
        (lambda path: path.write_text("a,b\nx,y\n"), "expected numbers"),
        (lambda path: path.write_bytes(b"\x7fELF\x00\x00"), "no format of scores"),
    ],
)
def test_what_claims_or_holds_nonsense_is_refused(tmp_path: Path, make: object, said: str) -> None:
    path = tmp_path / "scores"
    make(path)  # type: ignore[operator]
    with pytest.raises(ScoresError, match=said) as refused:
        read_scores(path)
    assert "\n" not in str(refused.value)


def objects_npy(path: Path, canary: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.array([Touch(canary)], dtype=object), allow_pickle=True)


def objects_npz(path: Path, canary: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, scores=np.array([Touch(canary)], dtype=object))


def evil_pt(path: Path, canary: Path) -> None:
    torch.save({"scores": torch.zeros(3), "more": Touch(canary)}, path)


def bytes_pt(path: Path, canary: Path) -> None:
    """Not evil, only as long as a disk: torch itself would take this name."""
    torch.save(torch.zeros(3), path)
    with zipfile.ZipFile(path) as archive:
        parts = {one.filename: archive.read(one) for one in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            wrong = pickle.dumps(bytearray(5), protocol=2) if name.endswith("data.pkl") else content
            archive.writestr(name, wrong)


def legacy_pt(path: Path, canary: Path) -> None:
    torch.save(torch.zeros(3), path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize(
    "make",
    [write_pickle, objects_npy, objects_npz, evil_pt, bytes_pt, legacy_pt],
    ids=lambda one: one.__name__,
)
def test_a_pickle_is_refused_with_the_line_that_converts_it(tmp_path: Path, make: object) -> None:
    path, canary = tmp_path / "scores.pkl", tmp_path / "executed"
    make(path, canary)  # type: ignore[operator]
    with pytest.raises(ScoresError, match=r"executes code.*convert it: python -c") as refused:
        read_scores(path)
    assert not canary.exists()
    assert "\n" not in str(refused.value)


def test_the_line_that_converts_a_pickle_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("mine.pkl")
    path.write_bytes(pickle.dumps(VALUES.tolist()))
    with pytest.raises(ScoresError) as refused:
        read_scores(path)
    exec(str(refused.value).split('python -c "')[1].rstrip('"'))
    np.testing.assert_array_equal(read_scores(Path("mine.npy")).values, VALUES)


def test_scores_that_were_never_written_are_refused(tmp_path: Path) -> None:
    bergson(tmp_path / "run")
    path = tmp_path / "run" / "scores.bin"
    content = bytearray(path.read_bytes())
    content[16 * 7 + 12] = 0
    path.write_bytes(content)
    with pytest.raises(ScoresError, match="never written"):
        read_scores(tmp_path / "run")


def test_an_archive_that_unpacks_to_more_than_it_says_is_cut_off(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, VALUES)
    with zipfile.ZipFile(tmp_path / "s.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("scores.npy", buffer.getvalue() + bytes(10**6))
    np.testing.assert_array_equal(read_scores(tmp_path / "s.npz").values, VALUES)
