"""The weight cache gives back what was written, and never what it cannot vouch for."""

from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from retrain.removal import NOTHING, Removal, leave_one_out
from retrain.settings import RetrainingProgress, RetrainSettings
from retrain.weight_file import (
    DTYPES,
    FORMAT,
    RetrainedWeights,
    WeightFileError,
    checksum_of,
    packed,
    read_weights,
)
from retrain.weights import WeightCache
from tests.problems import fitted_digits, read_all, solve_missing


def some_weights(removals: list[Removal], value: float = 1.0) -> RetrainedWeights:
    count = len(removals)
    return RetrainedWeights(
        removals=tuple(removals),
        differences=np.full((count, 3, 4), value),
        gradient_norms=np.linspace(0, 1e-9, count),
        distance_bounds=np.linspace(0, 1e-7, count),
        passes=np.arange(count),
        tolerances=np.full(count, 1e-9),
    )


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def cache(tmp_path: Path, warnings: list[str]) -> WeightCache:
    return WeightCache(tmp_path / "weights", "key", warnings.append)


def test_what_is_read_is_what_was_written(cache: WeightCache) -> None:
    cache.write(some_weights([(5,), (9, 12, 40), NOTHING]))
    read = read_all(cache)
    assert read is not None
    for name, array in (
        some_weights([(5,), (9, 12, 40), NOTHING]).select(np.array([2, 0, 1])).numbers().items()
    ):
        np.testing.assert_array_equal(getattr(read, name), array)
    assert read.removals == (NOTHING, (5,), (9, 12, 40))


def test_files_join_by_index_and_a_model_in_two_files_counts_once(cache: WeightCache) -> None:
    cache.write(some_weights([(3,), (1,)]))
    cache.write(some_weights([(2, 5), (3,)], value=2.0))
    read = read_all(cache, [(1,), (3,), (8,)])
    assert read is not None
    assert read.removals == ((1,), (3,))
    assert cache.settled_removals(1e-9) == {(1,), (2, 5), (3,)}


def test_an_empty_folder_holds_nothing(cache: WeightCache) -> None:
    assert read_all(cache) is None
    assert cache.settled_removals(1e-9) == set()


def test_weights_of_another_theta_are_left_alone(
    cache: WeightCache, tmp_path: Path, warnings: list[str]
) -> None:
    cache.write(some_weights([(1,)]))
    assert read_all(WeightCache(tmp_path / "weights", "other", warnings.append)) is None
    assert warnings == []


@pytest.mark.parametrize("offset", [0, 4, 9, 200, -1, -40])
def test_a_flipped_byte_anywhere_is_noticed(cache: WeightCache, warnings: list[str], offset: int) -> None:
    path = cache.write(some_weights([(1,), (2,)]))
    content = bytearray(path.read_bytes())
    content[offset] ^= 0xFF
    path.write_bytes(content)
    assert read_all(cache) is None
    # A byte of the metadata may make it the file of another key or format, which is no fault.
    assert len(warnings) <= 1


def test_a_truncated_file_is_named_and_not_used(cache: WeightCache, warnings: list[str]) -> None:
    path = cache.write(some_weights([(1,), (2,)]))
    path.write_bytes(path.read_bytes()[:-3])
    assert read_all(cache) is None
    assert str(path) in warnings[0]


def test_swapped_content_under_a_true_header_is_noticed(cache: WeightCache, warnings: list[str]) -> None:
    path = cache.write(some_weights([(1,), (2,)]))
    with safe_open(path, framework="numpy") as file:
        metadata, arrays = file.metadata(), {name: file.get_tensor(name) for name in DTYPES[FORMAT]}
    save_file(arrays | {"passes": arrays["passes"] + 1}, path, metadata=metadata)
    assert read_all(cache) is None
    assert "checksum" in warnings[0]


def test_files_of_format_2_are_read_as_removals_of_one_row_and_none(
    cache: WeightCache, tmp_path: Path, warnings: list[str]
) -> None:
    """As earlier versions wrote them: `indices`, −1 for the null control, under their own checksum."""
    written = some_weights([(5,), (9,), NOTHING], value=1 / 3)
    arrays = packed(written)
    del arrays["rows"], arrays["offsets"]
    arrays["indices"] = np.array([5, 9, -1])
    metadata = {"format": "2", "key": "key", "checksum": checksum_of("key", arrays, "2")}
    cache.folder.mkdir()
    save_file(arrays, cache.folder / "old.safetensors", metadata=metadata)
    read = read_all(cache)
    assert read is not None
    assert read.removals == (NOTHING, (5,), (9,))
    np.testing.assert_array_equal(read.differences, written.differences)
    assert cache.settled_removals(1e-9) == {NOTHING, (5,), (9,)}
    assert warnings == []


def test_files_of_format_1_are_set_aside_with_a_line(cache: WeightCache, warnings: list[str]) -> None:
    cache.folder.mkdir()
    arrays = packed(some_weights([(5,)]))
    save_file(arrays, cache.folder / "old.safetensors", metadata={"format": "1", "key": "key"})
    assert read_all(cache) is None
    assert "has format 1, and norms are certified from 2 on; set aside" in warnings[0]


@pytest.mark.parametrize(
    ("rows", "offsets", "said"),
    [
        ([5, 9], [0, 1, 1], "do not divide"),
        ([5, 9], [1, 1, 2], "do not divide"),
        ([5, 9], [0, 2, 1], "do not divide"),
        ([9, 5], [0, 0, 2], "do not ascend"),
        ([5, 5], [0, 0, 2], "do not ascend"),
        ([-5, 9], [0, 1, 2], "do not ascend"),
    ],
)
def test_rows_that_are_no_removals_are_refused(
    tmp_path: Path, rows: list[int], offsets: list[int], said: str
) -> None:
    """Under a true checksum, as a file that was forged."""
    arrays = packed(some_weights([(5,), (9,)])) | {"rows": np.array(rows), "offsets": np.array(offsets)}
    metadata = {"format": FORMAT, "key": "key", "checksum": checksum_of("key", arrays)}
    save_file(arrays, tmp_path / "forged.safetensors", metadata=metadata)
    with pytest.raises(WeightFileError, match=said):
        read_weights(tmp_path / "forged.safetensors")


def test_only_what_is_missing_is_solved_again(cache: WeightCache) -> None:
    risk, fit = fitted_digits(100)
    settings = RetrainSettings(batch_size=4)
    solved = [
        solve_missing(risk, fit.theta, leave_one_out(rows), cache, settings, lambda _: None).removals
        for rows in ([1, 2, 3], [2, 3, 4, 5], [1, 5])
    ]
    # The null control is solved once, with the first.
    assert solved == [(NOTHING, (1,), (2,), (3,)), ((4,), (5,)), ()]


def test_the_trace_is_the_worst_of_the_batches_and_counts_every_pass(cache: WeightCache) -> None:
    risk, fit = fitted_digits(100)
    reports: list[RetrainingProgress] = []
    solved = solve_missing(
        risk, fit.theta, leave_one_out(range(20)), cache, RetrainSettings(batch_size=6), reports.append
    )
    weights = read_all(cache)
    assert weights is not None
    numbers, norms, models = zip(*solved.trace, strict=True)
    assert numbers == tuple(range(1, 1 + int(weights.passes.max())))
    assert models == tuple(int((weights.passes >= number).sum()) for number in numbers)
    assert norms[-1] <= 1e-9 < norms[0]
    told = [report.last_pass for report in reports if report.last_pass is not None]
    for number, norm in zip(numbers, norms, strict=True):
        assert norm == max(found.max_gradient_norm for found in told if found.number == number)
    # Over the same models, a pass contracts by what their norms say.
    first = next(found for found in told if found.number == 2 and found.num_models == 6)
    before = told[told.index(first) - 1]
    assert first.contraction == pytest.approx(first.max_gradient_norm / before.max_gradient_norm)
    done = [report.models_done for report in reports]
    assert done == sorted(done)
    assert done[-1] == reports[-1].models_total == 21


def test_batches_of_any_size_give_the_same_models(tmp_path: Path, cache: WeightCache) -> None:
    risk, fit = fitted_digits(100)
    other = WeightCache(tmp_path / "other", "key", pytest.fail)
    for target, size in ((cache, 3), (other, 100)):
        solve_missing(
            risk,
            fit.theta,
            leave_one_out(range(20)),
            target,
            RetrainSettings(batch_size=size),
            lambda _: None,
        )
    ours, theirs = read_all(cache), read_all(other)
    assert ours is not None
    assert theirs is not None
    distances = np.linalg.norm((ours.differences - theirs.differences).reshape(21, -1), axis=1)
    assert np.all(distances <= ours.distance_bounds + theirs.distance_bounds)
