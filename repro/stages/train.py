"""`repro train`: fit θ̂ to a gradient norm."""

import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from erm.dataset import Dataset
from erm.files import without_non_finite
from erm.fit import Fit
from erm.local_fit import LocalFit
from erm.risk import EmpiricalRisk
from repro.configuration.compose import Config
from repro.errors import StageError
from repro.fit_checkpoint import FitCheckpoint
from repro.folder.manifest import write_json_result
from repro.folder.naming import determining
from repro.folder.paths import RunFolder
from repro.listener import ProgressReport
from repro.model_file import not_converged, read_facts, save_model, theta_checksum
from repro.notices import note, warn
from repro.problem import asks_for_minima, fit_to_a_minimum, make_fit, minima_by
from repro.records.model import ModelFacts
from repro.records.provenance import provenance
from repro.session import Session, write_configuration
from repro.user_code import fit_of, naming_own_code

MOST_LABELS = 5
"""Labels named in a warning."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What `train` has found and written."""

    folder: Path
    facts: ModelFacts
    examples: int
    parameters: int
    test_examples: int


def train(session: Session) -> Trained:
    """Fit θ̂ and write the run folder's first files.

    Raises:
        StageError: the gradient norm did not come down to `fit.tolerance`; θ̂ is written all the same.
    """
    # Refused before the data are read, if it cannot be written.
    folder, config = session.folder, session.config
    _warn_of_empty_classes(session.dataset)
    risk, minimise = session.risk, make_fit(config)
    if isinstance(minimise, LocalFit) and risk.l2 == 0:
        warn(
            "model.l2=0: nothing keeps the curvature of this model above 0, so there may be no minimum to "
            "end at, and the fit may take all its passes. Set model.l2 > 0, such as 0.01"
        )
    with session.opened(create=True):
        started = time.perf_counter()
        checkpoint = FitCheckpoint(folder, determining(config.values), session.data_checksum)
        fit = _fit_with_progress(session, minimise, risk, checkpoint)
        facts = _facts(session, fit, time.perf_counter() - started)
        _write_records(folder, config, facts)
        save_model(folder, fit.theta, facts, fit.moments)
        checkpoint.remove()
    found = Trained(
        folder=folder.path,
        facts=facts,
        examples=risk.num_examples,
        parameters=risk.num_parameters,
        test_examples=len(session.dataset.y_test),
    )
    session.listener.result(found)
    better = fit_to_a_minimum(risk, fit.theta)
    if not fit.converged and "tolerance" in config["fit"]:
        raise StageError(not_converged(facts, config, better))
    # The quadratic around θ̂ is of any θ̂.
    if not fit.converged and config["retrain"]["damping"] is None:
        assume = "influence and retraining assume" if asks_for_minima(config) else "influence assumes"
        warn(
            f"{config.choices['fit']} ends after its steps, not at a minimum, which {assume}. "
            f"`repro diagnose` says how far off it is; fit={minima_by(config, better)} gets there"
        )
    return found


def train_unless_done(session: Session, accept_unconverged: bool = False) -> None:
    """See to it that θ̂ of this configuration is there.

    Raises:
        StageError: as `train`, unless a θ̂ that has not converged is what is asked about.
    """
    with session.opened() as folder:
        if folder.model.exists():
            note(f"already trained: {folder.model}", "skipped", file=folder.model)
            facts = read_facts(folder, session.config)
            if not (folder.config.exists() and folder.provenance.exists()):
                _write_records(folder, session.config, facts)
            return
    try:
        train(session)
    except StageError as error:
        if not accept_unconverged or not folder.model.exists():
            raise
        warn(str(error))


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


@naming_own_code()
def _fit_with_progress(
    session: Session, minimise: object, risk: EmpiricalRisk, checkpoint: FitCheckpoint
) -> Fit:
    settings = session.config["fit"]
    with session.progress("training") as tell:
        norms: list[float] = []

        def report(passes: int, norm: float) -> None:
            tell(_how_far(passes, norm, norms, settings.get("tolerance", 1e-10)))
            norms.append(norm)

        name = f"fit._target_={settings['_target_']}"
        found: Fit = fit_of(minimise, risk, name, report, checkpoint)
        return found


def _how_far(passes: int, norm: float, before: list[float], tolerance: float) -> ProgressReport:
    """Done on a logarithmic scale, from the first gradient norm down to the tolerance."""
    first = max(before[0] if before else norm, tolerance)
    # A fit tells every pass, and the norm is the same until the next step.
    previous = next((earlier for earlier in reversed(before) if earlier != norm), 0.0)
    done = math.log10(first / max(norm, tolerance)) if math.isfinite(norm) else 0.0
    return ProgressReport(
        stage="fit",
        done=max(0, round(done)),
        total=max(1, round(math.log10(first / tolerance))),
        unit="decades",
        passes=passes,
        gradient_norm=norm,
        contraction=norm / previous if previous > 0 else None,
    )


def _facts(session: Session, fit: Fit, seconds: float) -> ModelFacts:
    dataset = session.dataset
    predicted = session.risk.predict(fit.theta, torch.from_numpy(dataset.x_test)).cpu().numpy()
    return ModelFacts(
        objective=fit.value,
        gradient_norm=fit.gradient_norm,
        converged=fit.converged,
        smallest_eigenvalue=fit.smallest_eigenvalue,
        reason=fit.reason,
        passes=fit.passes,
        trace=without_non_finite(fit.trace),
        test_accuracy=float((predicted == dataset.y_test).mean()),
        seconds=seconds,
        checksum=theta_checksum(fit.theta),
        data_checksum=session.data_checksum,
        configuration=determining(session.config.values),
        provenance=provenance(session.data_checksum, fit.theta.device),
    )


def _write_records(folder: RunFolder, config: Config, facts: ModelFacts) -> None:
    write_configuration(folder, config)
    write_json_result(folder, folder.provenance, facts.provenance.model_dump())
