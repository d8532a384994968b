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
from repro.solving import make_retrainer, refuse_other_models
from retrain.changes import Changes


def export_ground_truth(config: Config, out: Path) -> None:
    """Write one row for each test point and each training point that has been left out.

    Raises:
        StageError: an earlier stage is missing.
    """
    with open_run_folder(config) as folder:
        _export(folder, config, out)


def _export(folder: RunFolder, config: Config, out: Path) -> None:
    device, dataset = compute_device(config), load_dataset(config)
    risk = make_risk(config, dataset, device)
    refuse_other_models(config, risk)
    model = load_model(folder, config, dataset, device)
    targets = test_indices(config, dataset, risk, model.theta)
    retrainer = make_retrainer(folder, config, risk, model.theta, model.key)
    x_test, y_test = (torch.from_numpy(array[targets]) for array in (dataset.x_test, dataset.y_test))
    truth = retrainer.changes(x_test, y_test)
    if not truth.removals:
        raise StageError(
            f"{folder.weights} holds no leave-one-out models. Run first: {command('retrain', config)}"
        )
    table = _table(truth, targets)
    write = table.to_parquet if out.suffix == ".parquet" else table.to_csv
    write_atomically(out, lambda path: write(path, index=False))
    num_left_out, certificate = len(truth.points), float(table["certificate"].max())
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


def _table(truth: Changes, targets: list[int]) -> pd.DataFrame:
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "test_index": target,
                    "train_index": truth.points,
                    "actual_change": truth.actual_change[row, truth.is_point],
                    "certificate": truth.bound[row, truth.is_point],
                }
            )
            for row, target in enumerate(targets)
        ],
        ignore_index=True,
    )
