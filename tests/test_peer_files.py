"""Files that other packages wrote, by `python -m benchmarks.peers.files`: what is in them is what is read."""

import json
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from erm.softmax import SoftmaxRisk
from repro import fit, influence, leave_out, score
from score.formats.reading import read_scores
from score.predicted import ScoresError
from tests.problems import digits_risk

PEERS = Path(__file__).parent / "data" / "peers"
NUM_TRAIN, L2, TARGETS = 100, 0.1, [3, 8, 14]
N = float(NUM_TRAIN)
EXACT, WITHOUT_L2, PRODUCT = "exact", "exact, without L2 in the training gradient", "product"
FILES = {
    "dattri.pt": (EXACT, N, 1e-6),
    "pydvl.npy": (WITHOUT_L2, N, 1e-6),
    "pydvl.zarr": (WITHOUT_L2, N, 1e-6),
    "captum.pt": (PRODUCT, 1.0, 1e-6),
    "quanda": (PRODUCT, 1.0, 1e-6),
    "bergson": (PRODUCT, 1.0, 1e-5),
    "kronfluence": (PRODUCT, 1.0, 1e-5),
    "kronfluence-partitions": (PRODUCT, 1.0, 1e-5),
}
"""What is in it, how many times, and to what relative error: those of float32 are coarser."""


@cache
def problem() -> tuple[SoftmaxRisk, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The model that the peers explained, and its test points."""
    from erm.data.digits import load_digits

    data = load_digits(num_train=NUM_TRAIN)
    risk = digits_risk(NUM_TRAIN, l2=L2)
    assert np.array_equal(risk.x.numpy(), data.x_train)
    x, y = torch.from_numpy(data.x_test[TARGETS]), torch.from_numpy(data.y_test[TARGETS])
    return risk, fit(risk).theta, x, y


@cache
def expected(kind: str) -> np.ndarray:
    """Predicted changes by the exact solution, or ∇ℓ(z_test)ᵀ∇ℓ(zᵢ) without L2; t × n."""
    risk, theta, x, y = problem()
    if kind == EXACT:
        return influence(risk, theta, x, y).numpy()
    at_test, at_train = (risk.loss_gradient(theta, *pair) for pair in ((x, y), (risk.x, risk.y)))
    if kind == WITHOUT_L2:
        at_test = torch.linalg.solve(risk.curvature(theta).matrix(), at_test.T).T / NUM_TRAIN
    return (at_test @ at_train.T).numpy()


@pytest.mark.parametrize("name", FILES)
def test_the_numbers_are_those_of_the_closed_form(name: str) -> None:
    kind, factor, tolerance = FILES[name]
    found = read_scores(PEERS / name)
    values = found.values.T if found.values.shape == (NUM_TRAIN, 3) else found.values
    wanted = factor * expected(kind)
    np.testing.assert_allclose(values, wanted, rtol=0, atol=tolerance * float(np.abs(wanted).max()))


@cache
def truth() -> pd.DataFrame:
    """Every training point left out."""
    risk, theta, x, y = problem()
    changes = leave_out(risk, theta, [[i] for i in range(NUM_TRAIN)], x, y)
    return (
        pd.DataFrame(
            {
                "test_index": target,
                "train_index": range(NUM_TRAIN),
                "actual_change": changes.actual_change[row].numpy(),
                "certificate": changes.certificate[row].numpy(),
            }
            for row, target in enumerate(TARGETS)
        )
        .explode(["train_index", "actual_change", "certificate"])
        .astype({"train_index": int, "actual_change": float, "certificate": float})
    )


@pytest.mark.parametrize("name", ["dattri.pt", "pydvl.npy", "pydvl.zarr"])
def test_exact_solutions_lack_the_factor(name: str) -> None:
    """Both leave the 1/n of a removal out; rows and columns are told apart by their shape. pyDVL was given
    the loss without L2, so its training gradients lack λθ̂."""
    found = score(PEERS / name, truth())
    assert found.fault_names == (["factor_n"] if name == "dattri.pt" else ["factor_n", "l2_train"])
    assert found.pearson.value > 0.98
    assert found.mended[3].slope.value == pytest.approx(1.0, abs=0.3)


def test_projections_in_half_precision_are_judged() -> None:
    """TRAK's: of 512 random numbers for each gradient."""
    found = score(PEERS / "trak.mmap", truth())
    assert found.measures.keys() == set(TARGETS)
    assert "transpose" not in found.fault_names


def test_a_recursion_that_forgets_gives_gradient_products() -> None:
    """pytorch-influence-functions begins each step of LiSSA anew, so that its s_test is the test gradient
    times a number; its sign is that of I_up,loss."""
    found = score(PEERS / "influence_results.json", truth())
    assert "sign" in found.fault_names
    for row, other in zip(found.scores.rows, expected(PRODUCT), strict=True):
        assert np.corrcoef(row, other)[0, 1] < -0.999


def test_what_wrote_the_files_is_recorded() -> None:
    facts = json.loads((PEERS / "written_by.json").read_text(encoding="utf-8"))
    assert facts["test_index"] == TARGETS
    assert {"dattri", "kronfluence", "pyDVL", "captum", "traker", "bergson"} <= set(facts["versions"])


def test_a_partition_that_is_missing_is_told(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(PEERS / "kronfluence-partitions", tmp_path / "scores"))
    next(folder.glob("*data_partition0*")).unlink()
    with pytest.raises(ScoresError, match="lacks 1 of 2 × 1 partitions"):
        read_scores(folder)


def change_zarr(folder: Path, **facts: object) -> Path:
    copy = Path(shutil.copytree(PEERS / "pydvl.zarr", folder / "mine.zarr"))
    content = json.loads((copy / "zarr.json").read_text(encoding="utf-8"))
    (copy / "zarr.json").write_text(json.dumps(content | facts), encoding="utf-8")
    return copy


def grid(*steps: int) -> dict[str, object]:
    return {"name": "regular", "configuration": {"chunk_shape": steps}}


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"shape": [10**6, 10**6]}, "claims 1,000,000 × 1,000,000"),
        ({"chunk_grid": grid(10**6, 10**6)}, "claims 1,000,000 × 1,000,000"),
        ({"shape": [10, 10**7], "chunk_grid": grid(1, 1)}, "claims 100,000,000 chunks"),
        ({"chunk_grid": grid(2, 61)}, "damaged chunk"),
        ({"chunk_grid": grid(0, 60)}, "which cannot be"),
        ({"shape": [3, 100, 1]}, "which cannot be"),
        ({"codecs": [{"name": "bytes"}, {"name": "numcodecs.pickle"}]}, "convert it: python -c"),
        ({"data_type": "object"}, "convert it: python -c"),
        ({"zarr_format": 2}, "convert it: python -c"),
        ({"codecs": "all"}, "convert it: python -c"),
    ],
)
def test_a_zarr_that_claims_nonsense_is_refused(tmp_path: Path, facts: dict[str, object], said: str) -> None:
    with pytest.raises(ScoresError, match=said) as refused:
        read_scores(change_zarr(tmp_path, **facts))
    assert "\n" not in str(refused.value)


def test_a_chunk_that_unpacks_to_more_than_it_may_is_refused(tmp_path: Path) -> None:
    import pyarrow as pa

    copy = change_zarr(tmp_path)
    (copy / "c" / "0" / "0").write_bytes(pa.Codec("zstd").compress(bytes(10**7), asbytes=True))
    with pytest.raises(ScoresError, match="damaged chunk"):
        read_scores(copy)


def test_a_chunk_that_was_never_written_has_the_fill_value(tmp_path: Path) -> None:
    copy = change_zarr(tmp_path, fill_value="NaN")
    (copy / "c" / "1" / "1").unlink()
    found = read_scores(copy).values
    assert np.isnan(found).sum() == 40
    np.testing.assert_array_equal(found[:2], read_scores(PEERS / "pydvl.zarr").values[:2])
