"""`repro influence`: predict the change of a test loss for every training point, by one method."""

import time
from typing import Any

import pandas as pd
import torch

from cli.compose import Config
from cli.console import progress_bar, say, warn
from cli.errors import StageError
from cli.problem import (
    compute_device,
    load_dataset,
    load_model,
    make_risk,
    make_solver,
    not_converged,
    test_indices,
)
from cli.run_folder import run_folder
from erm.files import write_atomically, write_json
from influence.scores import influence_scores, most_influential
from influence.solution import Solution


def influence(config: Config) -> None:
    """Score every training point for each test point, and write the method's table and record.

    Raises:
        StageError: θ̂ is missing, or the method failed; its record says why, and there is no table.
    """
    folder, method = run_folder(config), config.method
    device = compute_device(config)
    dataset = load_dataset(config)
    solver = make_solver(config)
    risk = make_risk(config, dataset, device)
    model = load_model(folder, config, dataset, device)
    if not model.facts["converged"]:
        warn(not_converged(model.facts, config))
    targets = test_indices(config, dataset, risk, model.theta)
    started = time.perf_counter()
    with progress_bar(f"influence ({method})") as bar:
        solve = solver.at(risk.curvature(model.theta), lambda done, total: bar.update(done, total))
        gradients = risk.loss_gradient(
            model.theta, torch.from_numpy(dataset.x_test[targets]), torch.from_numpy(dataset.y_test[targets])
        )
        solutions = [solve(gradient) for gradient in gradients]
    failed = [solution for solution in solutions if solution.status.failed]
    scores = [] if failed else [influence_scores(risk, model.theta, solution) for solution in solutions]
    seconds = time.perf_counter() - started
    record = _record(config, model.key, targets, solutions, seconds)
    # The record goes first and the table last: a table without its record is never seen.
    folder.influence_table(method).unlink(missing_ok=True)
    write_json(folder.influence_record(method), record)
    if failed:
        raise StageError(f"{method}: {failed[0].message}")
    table = pd.concat(
        [
            pd.DataFrame(
                {
                    "test_index": target,
                    "train_index": range(risk.num_examples),
                    "label": dataset.y_train,
                    "influence": score.influence.cpu().numpy(),
                    "predicted_change": score.predicted_change.cpu().numpy(),
                    "predicted_stderr": score.predicted_stderr.cpu().numpy(),
                }
            )
            for target, score in zip(targets, scores, strict=True)
        ]
    )
    write_atomically(folder.influence_table(method), lambda path: table.to_csv(path, index=False))
    for target, solution, score in zip(targets, solutions, scores, strict=True):
        top = most_influential(score.influence, config["influence"]["top_k"])
        strongest = score.predicted_change[top].cpu()
        say(
            f"{method}: test point {target}: {solution.message}\n"
            f"  top {len(top)} of {risk.num_examples} predicted changes: "
            f"{strongest.abs().min():.3g} to {strongest.abs().max():.3g} in absolute value, "
            f"{int((strongest < 0).sum())} negative, {int((strongest > 0).sum())} positive; {seconds:.1f} s"
        )


def _record(
    config: Config, model_key: str, targets: list[int], solutions: list[Solution], seconds: float
) -> dict[str, Any]:
    return {
        "method": config.method,
        "settings": config.solver_settings,
        "model_checksum": model_key,
        "test_index": targets,
        "seconds": seconds,
        "solutions": [
            {
                "test_index": target,
                "status": solution.status,
                "message": solution.message,
                "norm": None if solution.status.failed else float(solution.value.norm()),
                "relative_residual": solution.relative_residual,
                "hessian_vector_products": solution.num_hvps,
                "trace": solution.trace,
            }
            for target, solution in zip(targets, solutions, strict=True)
        ],
    }
