"""`repro ground-truth`: export the actual changes of any test points, to judge other estimators by."""

from pathlib import Path

import pandas as pd
import torch

from cli.console import say
from erm.files import write_atomically
from repro.configuration.compose import Config
from repro.errors import StageError
from repro.folder.opening import open_run_folder
from repro.folder.paths import RunFolder
from repro.problem import command, compute_device, load_dataset, load_model, make_risk, test_indices
from repro.solving import weight_cache
from repro.stages.retrain import softmax_risk
from retrain.ground_truth import GroundTruth, ground_truth
from retrain.removal import NOTHING


def export_ground_truth(config: Config, out: Path) -> None:
    """Write one row for each test point and each training point that has been left out.

    Raises:
        StageError: an earlier stage is missing.
    """
    with open_run_folder(config) as folder:
        _export(folder, config, out)


def _export(folder: RunFolder, config: Config, out: Path) -> None:
    device, dataset = compute_device(config), load_dataset(config)
    risk = softmax_risk(config, make_risk(config, dataset, device))
    model = load_model(folder, config, dataset, device)
    targets = test_indices(config, dataset, risk, model.theta)
    truth = ground_truth(
        risk,
        model.theta,
        weight_cache(folder, model.key).parts(),
        torch.from_numpy(dataset.x_test[targets]),
        torch.from_numpy(dataset.y_test[targets]).to(device),
    )
    if not len(truth.indices):
        raise StageError(
            f"{folder.weights} holds no leave-one-out models. Run first: {command('retrain', config)}"
        )
    table = _table(truth, targets)
    write = table.to_parquet if out.suffix == ".parquet" else table.to_csv
    write_atomically(out, lambda path: write(path, index=False))
    num_left_out, certificate = len(truth.indices) - 1, float(table["certificate"].max())
    say(
        f"{len(targets)} test points × {num_left_out} left-out training points of {risk.num_examples}; "
        f"largest certificate {certificate:.1e}\nwrote {out}",
        "wrote",
        files=[out],
        test_points=len(targets),
        training_points=num_left_out,
        examples=risk.num_examples,
        max_certificate=certificate,
    )


def _table(truth: GroundTruth, targets: list[int]) -> pd.DataFrame:
    left_out = truth.indices != NOTHING
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "test_index": target,
                    "train_index": truth.indices[left_out],
                    "actual_change": truth.actual_change[row, left_out],
                    "certificate": truth.certificate[row, left_out],
                }
            )
            for row, target in enumerate(targets)
        ],
        ignore_index=True,
    )
