"""Files made by a stranger cannot run code, nor have memory allocated for what they only claim to hold."""

import ast
import json
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from leave_one_out_reproducer import PACKAGES
from retrain.weight_file import RetrainedWeights, WeightFileError, packed, read_weights
from retrain.weights import WeightCache
from tests.command_line import PROJECT

LOADS_PICKLES = re.compile(
    r"torch\.load\b(?!\(.*weights_only=True)|allow_pickle\s*=\s*True"
    r"|\b(import|from) (pickle|dill|cloudpickle|joblib|marshal|shelve)\b"
    r"|read_pickle|yaml\.(unsafe_|full_)?load\b|(?<![.\w])(eval|exec)\("
)


def without_strings(path: Path) -> str:
    """The code of a file: what is said to the user, such as how to convert a file, is not done."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = ""
    return ast.unparse(tree)


def test_no_file_is_read_in_a_way_that_can_run_code() -> None:
    offences = [
        f"{path.relative_to(PROJECT)}:{number}: {line.strip()}"
        for package in PACKAGES
        for path in sorted((PROJECT / package).rglob("*.py"))
        for number, line in enumerate(without_strings(path).splitlines(), start=1)
        if LOADS_PICKLES.search(line)
    ]
    assert not offences
    # The pattern finds what it is for.
    for line in (
        "import pickle",
        "torch.load(path)",
        "np.load(path, allow_pickle=True)",
        "from joblib import load",
    ):
        assert LOADS_PICKLES.search(line)


CALLS = re.compile(
    r"hydra\.utils\.|import_module|__import__|\bsubprocess\.(?!CompletedProcess|SubprocessError)|os\.(system|exec|spawn)"
    r"|webbrowser\.|elastic_launch\(|OmegaConf\.(load|resolve)|\.attrgetter|\.methodcaller|shell\s*=\s*True"
)
WHERE = {
    "repro/problem.py": "what a checked configuration names",
    "repro/folder/trust.py": "what a trusted module defines, before it is called",
    "repro/configuration/tree.py": "the package's and the user's own YAML files, read as data",
    "repro/configuration/declared.py": "the packages that annotations take words from, of a fixed list",
    "repro/records/provenance.py": "git, in the folder of the package",
    "repro/sweep/job.py": "this program",
    "repro/__init__.py": "the functions that the package offers, by their listed names",
    "parallel/launch.py": "this program",
    "cli/commands/figure.py": "the page that was just written",
}
"""Where something is called by its name or a program is started, and what."""


def test_calls_by_name_and_programs_stand_where_they_are_listed() -> None:
    found = {
        path.relative_to(PROJECT).as_posix()
        for package in PACKAGES
        for path in (PROJECT / package).rglob("*.py")
        if CALLS.search(without_strings(path))
    }
    assert found == set(WHERE)


def test_every_test_that_the_page_names_is_there() -> None:
    page = (PROJECT / "docs" / "reliability.md").read_text(encoding="utf-8")
    tests = "".join(path.read_text(encoding="utf-8") for path in (PROJECT / "tests").glob("test_*.py"))
    for name in set(re.findall(r"`(test_\w+)(?:\.py)?`", page)):
        assert (PROJECT / "tests" / f"{name}.py").exists() or f"def {name}(" in tests, name


def crafted(header: dict[str, object]) -> bytes:
    """A safetensors file with this header and nothing behind it."""
    encoded = json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded


def entries(count: int) -> dict[str, object]:
    """A header that claims so many models of 10 classes and 784 features."""
    sizes = {"differences": ("F32", [count, 10, 784], 4 * count * 7840)}
    sizes |= {"unrounded_differences": ("F64", [0, 10, 784], 0), "unrounded_rows": ("I64", [0], 0)}
    sizes |= {
        name: ("F64", [count], 8 * count) for name in ("distance_bounds", "gradient_norms", "tolerances")
    }
    sizes |= {name: ("I64", [count], 8 * count) for name in ("indices", "passes")}
    header: dict[str, object] = {"__metadata__": {"format": "2", "key": "key", "checksum": "0" * 64}}
    offset = 0
    for name, (dtype, shape, size) in sizes.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    return header


def raw(header_length: int, rest: bytes) -> bytes:
    return struct.pack("<Q", header_length) + rest


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(crafted(entries(10**9)), id="claims a billion models"),
        pytest.param(crafted(entries(-1)), id="claims a negative number of models"),
        pytest.param(raw(2**63, b"{}"), id="claims a header of 2⁶³ bytes"),
        pytest.param(raw(10**6, b"{}"), id="claims a header longer than the file"),
        pytest.param(raw(2, b"[]"), id="has a header that is no object"),
        pytest.param(b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.", id="is a pickle"),
        pytest.param(b"", id="is empty"),
    ],
)
def test_crafted_headers_are_refused_and_set_aside(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "crafted.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightFileError):
        read_weights(path)
    said: list[str] = []
    assert list(WeightCache(tmp_path, "key", said.append).parts()) == []
    assert "set aside" in said[0]
    assert not path.exists()


SOUND = RetrainedWeights(
    removals=((1,), (2,)),
    differences=np.zeros((2, 3, 4)),
    gradient_norms=np.zeros(2),
    distance_bounds=np.zeros(2),
    passes=np.zeros(2, dtype=np.int64),
    tolerances=np.full(2, 1e-9),
)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"offsets": np.array([0, 1, 2, 2])}, "different lengths"),
        ({"differences": np.zeros((2, 12), dtype=np.float32)}, "dimensions"),
        ({"gradient_norms": np.zeros(2, dtype=np.float32)}, "types"),
        ({"rows": np.array([1.0, 2.0])}, "types"),
        ({"unrounded_rows": np.array([0])}, "different lengths"),
        ({"unrounded_differences": np.zeros((0, 3, 5))}, "different lengths"),
        ({}, "checksum"),
    ],
)
def test_arrays_that_are_no_weights_are_refused(
    tmp_path: Path, changed: dict[str, np.ndarray], said: str
) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(packed(SOUND) | changed, path, metadata={"format": "3", "key": "key", "checksum": "0" * 64})
    with pytest.raises(WeightFileError, match=said):
        read_weights(path)


def test_another_model_s_weights_under_our_key_are_refused(tmp_path: Path) -> None:
    """The checksum covers the key, so a file cannot be turned into another model's by its metadata."""
    said: list[str] = []
    path = WeightCache(tmp_path, "theirs", said.append).write(SOUND)
    content = path.read_bytes()
    assert content.count(b"theirs") == 1
    path.write_bytes(content.replace(b"theirs", b"yours!"))
    assert list(WeightCache(tmp_path, "yours!", said.append).parts()) == []
    assert "checksum" in said[0]
