"""`repro train`: fit θ̂ to a gradient norm."""

import hashlib
import math
import time
from typing import Any

import torch
from omegaconf import OmegaConf

from cli.console import say, warn
from cli.progress import Standing, progress_bar
from erm.dataset import Dataset
from erm.files import without_non_finite
from erm.fit import Fit
from erm.risk import EmpiricalRisk
from repro.configuration.compose import Config
from repro.errors import StageError
from repro.folder.manifest import write_json_result, write_text_result
from repro.folder.opening import open_run_folder
from repro.folder.paths import RunFolder, determining, run_folder
from repro.folder.provenance import provenance
from repro.problem import (
    compute_device,
    load_dataset,
    make_fit,
    make_risk,
    not_converged,
    read_facts,
    save_model,
)
from repro.user_code import fit_of, naming_own_code

MOST_LABELS = 5
"""Labels named in a warning."""


def train(config: Config) -> RunFolder:
    """Fit θ̂, say how well, and write the run folder's first files.

    Raises:
        StageError: the gradient norm did not come down to `fit.tolerance`; θ̂ is written all the same.
    """
    # Refused before the data are read, if it cannot be written.
    run_folder(config)
    device, dataset = compute_device(config), load_dataset(config)
    _warn_of_empty_classes(dataset)
    risk, minimise = make_risk(config, dataset, device), make_fit(config)
    with open_run_folder(config, create=True) as folder:
        _train(folder, config, dataset, risk, minimise)
    return folder


def _warn_of_empty_classes(dataset: Dataset) -> None:
    empty = dataset.classes_without_examples()
    if not empty:
        return
    first, last = int(dataset.y_train.min()), int(dataset.y_train.max())
    remedy = ". If labels count from 1, subtract 1 from all of them" if empty == [0] else ""
    warn(
        f"{dataset.name}: no training example has the label {', '.join(map(str, empty[:MOST_LABELS]))}"
        f"{' …' if len(empty) > MOST_LABELS else ''}; the labels are {first} … {last}, and the model has "
        f"{dataset.num_classes} classes, 0 … {dataset.num_classes - 1}, {len(empty)} of them empty{remedy}"
    )


def _train(
    folder: RunFolder, config: Config, dataset: Dataset, risk: EmpiricalRisk, minimise: object
) -> None:
    started = time.perf_counter()
    name = f"fit._target_={config['fit']['_target_']}"
    fit = _fit_with_progress(minimise, risk, name, config["fit"].get("tolerance", 1e-10))
    seconds = time.perf_counter() - started
    # Hashed once: on MNIST that is 400 MB.
    data_checksum = dataset.checksum
    facts = _facts(fit, risk, dataset, seconds) | {
        "data_checksum": data_checksum,
        "configuration": determining(config.values),
        "provenance": provenance(data_checksum, fit.theta.device),
    }
    _write_records(folder, config, facts)
    save_model(folder, fit.theta, facts)
    _say_result(folder, fit, risk, dataset, facts)
    if not fit.converged and "tolerance" not in config["fit"]:
        warn(
            f"{config.choices['fit']} ends after its steps, not at a minimum, which influence and retraining "
            "assume. `repro diagnose` says how far off it is; fit=newton gets there"
        )
    elif not fit.converged:
        raise StageError(not_converged(facts, config))


def _say_result(
    folder: RunFolder, fit: Fit, risk: EmpiricalRisk, dataset: Dataset, facts: dict[str, Any]
) -> None:
    of = f"(R(θ̂): {risk.num_examples} examples, {risk.num_parameters} parameters)"
    lines = (
        f"run folder     {folder.path}",
        f"objective      {fit.value:.10f}   {of}",
        f"test accuracy  {facts['test_accuracy']:.4f}   ({len(dataset.y_test)} examples)",
        f"gradient norm  {fit.gradient_norm:.1e}   after {fit.passes} passes over the data",
        f"seconds        {facts['seconds']:.1f}",
    )
    said = ("objective", "test_accuracy", "gradient_norm", "converged", "passes", "seconds")
    say(
        "\n".join(lines),
        "trained",
        run_folder=folder.path,
        examples=risk.num_examples,
        parameters=risk.num_parameters,
        test_examples=len(dataset.y_test),
        **{name: facts[name] for name in said},
    )


def _write_records(folder: RunFolder, config: Config, facts: dict[str, Any]) -> None:
    write_text_result(folder, folder.config, OmegaConf.to_yaml(OmegaConf.create(config.values)))
    write_json_result(folder, folder.provenance, facts["provenance"])


def train_unless_done(config: Config, accept_unconverged: bool = False) -> RunFolder:
    """The folder of this configuration's θ̂, trained now if it is not there.

    Raises:
        StageError: as `train`, unless a θ̂ that has not converged is what is asked about.
    """
    with open_run_folder(config) as folder:
        if folder.model.exists():
            say(f"already trained: {folder.model}", "skipped", file=folder.model)
            facts = read_facts(folder, config)
            if not (folder.config.exists() and folder.provenance.exists()):
                _write_records(folder, config, facts)
            return folder
    try:
        train(config)
    except StageError as error:
        if not accept_unconverged or not folder.model.exists():
            raise
        warn(str(error))
    return folder


@naming_own_code()
def _fit_with_progress(minimise: object, risk: EmpiricalRisk, name: str, tolerance: float) -> Fit:
    with progress_bar("training") as bar:
        norms: list[float] = []

        def report(passes: int, norm: float) -> None:
            bar.update(_standing(passes, norm, norms, tolerance))
            norms.append(norm)

        found: Fit = fit_of(minimise, risk, name, report)
        return found


def _standing(passes: int, norm: float, before: list[float], tolerance: float) -> Standing:
    """Done on a logarithmic scale, from the first gradient norm down to the tolerance."""
    first = max(before[0] if before else norm, tolerance)
    done = math.log10(first / max(norm, tolerance)) if math.isfinite(norm) else 0.0
    return Standing(
        stage="fit",
        done=max(0, round(done)),
        total=max(1, round(math.log10(first / tolerance))),
        unit="decades",
        passes=passes,
        gradient_norm=norm,
        contraction=norm / before[-1] if before and before[-1] > 0 else None,
    )


def _facts(fit: Fit, risk: EmpiricalRisk, dataset: Dataset, seconds: float) -> dict[str, object]:
    predicted = risk.predict(fit.theta, torch.from_numpy(dataset.x_test)).cpu().numpy()
    return {
        "objective": fit.value,
        "gradient_norm": fit.gradient_norm,
        "converged": fit.converged,
        "passes": fit.passes,
        "trace": without_non_finite(fit.trace),
        "test_accuracy": float((predicted == dataset.y_test).mean()),
        "seconds": seconds,
        "checksum": hashlib.sha256(fit.theta.cpu().numpy().tobytes()).hexdigest(),
    }
