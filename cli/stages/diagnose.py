"""`repro diagnose`: can the figure of this configuration be trusted, and if not, why not?"""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from rich.box import SIMPLE_HEAD
from rich.table import Table
from torch import Tensor

from cli.compose import Config, compose
from cli.console import say, say_wrote, show
from cli.errors import StageError
from cli.figures import write_figure
from cli.influence_files import read_record, read_table
from cli.manifest import write_json_result
from cli.open_run import open_run_folder
from cli.own_code import naming_own_code
from cli.problem import (
    compute_device,
    load_dataset,
    load_model,
    make_fit,
    make_risk,
    make_solver,
    test_indices,
)
from cli.progress import Standing, progress_bar
from cli.run_folder import RunFolder
from cli.stages.retrain import weight_cache
from cli.stages.train import train_unless_done
from cli.verdicts import say_verdict
from diagnosis.conventions import check_conventions
from diagnosis.convergence import check_convergence, largest_example_gradient, remaining_change
from diagnosis.curvature import check_curvature
from diagnosis.recursion import batch_curvature, check_recursion
from diagnosis.signal import check_signal, check_training_noise
from diagnosis.verdict import Verdict
from erm.dataset import Dataset
from erm.risk import EmpiricalRisk
from erm.softmax import SoftmaxRisk
from influence.cg import CG
from influence.lissa import LiSSA
from influence.scores import influence_scores, most_influential
from influence.solution import Solution
from influence.spectrum import Spectrum, spectrum
from plots.spectrum import ComputedSpectrum, draw_spectrum
from retrain.ground_truth import ground_truth
from retrain.removal import NOTHING
from retrain.schedule import RetrainSettings, solve_missing

PRECISIONS = (torch.float32, torch.float64)
PROBE_DAMPING = 1e-2
"""Where H is singular, questions about a solution are asked of H + 0.01·I."""
ENDS = 5
"""Points retrained at either end of what the figure shows: the strongest and the weakest."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is diagnosed."""

    config: Config
    folder: RunFolder
    dataset: Dataset
    risk: EmpiricalRisk
    theta: Tensor
    model_key: str
    target: int
    """The first test point asked for."""

    @property
    def test_point(self) -> tuple[Tensor, Tensor]:
        x, y = self.dataset.x_test[[self.target]], self.dataset.y_test[[self.target]]
        return torch.from_numpy(x), torch.from_numpy(y)

    @property
    def test_gradient(self) -> Tensor:
        return self.risk.loss_gradient(self.theta, *self.test_point)[0]


def diagnose(config: Config) -> None:
    """Print a verdict a line, write diagnosis.json and the spectrum.

    Raises:
        StageError: a check found a reason not to trust the figure.
    """
    # A fit that did not converge has written θ̂ all the same, and is what there is to diagnose.
    train_unless_done(config, accept_unconverged=True)
    with open_run_folder(config) as folder:
        _diagnose(_subject(folder, config))


@naming_own_code()
def _diagnose(subject: Subject) -> None:
    config = subject.config
    path, target = subject.folder.path, subject.target
    say(f"run folder  {path}   test point {target}", run_folder=path, test_index=target)
    verdicts: list[Verdict] = []
    with progress_bar("diagnosing") as bar:
        bar.update(Standing(stage="spectrum of H in float32 and float64"))
        spectra = [
            spectrum(subject.risk.to(dtype).curvature(subject.theta.to(dtype)), dtype, subject.theta.device)
            for dtype in PRECISIONS
        ]
        damping = float(config["influence"].get("damping", 0.0))
        curvature = check_curvature(spectra, damping)
        bar.update(Standing(stage="gradient of θ̂ against a removal", done=1))
        probe = 0.0 if check_curvature(spectra, 0.0).passed else PROBE_DAMPING
        solution = CG(damping=probe, tolerance=1e-6).at(subject.risk.curvature(subject.theta))(
            subject.test_gradient
        )
        verdicts += [_convergence(subject, solution, probe), curvature]
        bar.update(Standing(stage="LiSSA", done=2))
        verdicts.append(_recursion(subject, spectra[-1]))
        bar.update(Standing(stage="a few points, predicted and retrained", done=3))
        verdicts += _against_retraining(subject, solution)
    for verdict in verdicts:
        say_verdict(verdict)
    _show_spectra(spectra)
    _write(subject.folder, config, verdicts, spectra)
    failed = [verdict for verdict in verdicts if verdict.passed is False]
    if failed:
        say(_repair(config, failed))
        raise StageError(
            f"{len(failed)} of {len(verdicts)} checks failed: this configuration's figure cannot be trusted"
        )
    say("The figure can be trusted.")


def _subject(folder: RunFolder, config: Config) -> Subject:
    device, dataset = compute_device(config), load_dataset(config)
    risk = make_risk(config, dataset, device)
    model = load_model(folder, config, dataset, device)
    return Subject(
        config=config,
        folder=folder,
        dataset=dataset,
        risk=risk,
        theta=model.theta,
        model_key=model.key,
        target=test_indices(config, dataset, risk, model.theta)[0],
    )


def _convergence(subject: Subject, solution: Solution, damping: float) -> Verdict:
    gradient = subject.risk.gradient(subject.theta)
    x, y = torch.from_numpy(subject.dataset.x_train), torch.from_numpy(subject.dataset.y_train)
    return check_convergence(
        gradient_norm=float(gradient.norm()),
        largest_gradient=largest_example_gradient(subject.risk, subject.theta, x, y),
        num_examples=subject.risk.num_examples,
        remaining_change=remaining_change(gradient, solution.value),
        damping=damping,
    )


def _recursion(subject: Subject, finest: Spectrum) -> Verdict:
    """The configured LiSSA, or the paper's when another method is configured."""
    solver = make_solver(subject.config)
    if not isinstance(solver, LiSSA):
        solver = LiSSA()
    curvature, v = subject.risk.curvature(subject.theta), subject.test_gradient
    smallest = finest.smallest if finest.smallest > finest.resolution else 0.0
    return check_recursion(solver, batch_curvature(curvature, solver, v), smallest, solver.at(curvature)(v))


def _against_retraining(subject: Subject, solution: Solution) -> list[Verdict]:
    """Signal and conventions, from leave-one-out models of the strongest and the weakest points plotted.

    The stored predictions of every method are judged, CG's where there are none. Where training is
    stochastic, the signal is held against what another seed changes.
    """
    stochastic = [_training_noise(subject, solution)] if "seed" in subject.config["fit"] else []
    if not isinstance(subject.risk, SoftmaxRisk) or subject.risk.l2 <= 0:
        reason = "leave-one-out models can be certified for model=logistic with model.l2 > 0 only"
        open_checks = [Verdict(check="conventions", passed=None, evidence=reason)]
        if not stochastic:
            open_checks.insert(0, Verdict(check="signal", passed=None, evidence=reason))
        return [*stochastic, *open_checks]
    predictions = _stored_predictions(subject)
    if not predictions:
        scores = influence_scores(subject.risk, subject.theta, solution)
        predictions = {"cg": scores.predicted_change.cpu().numpy()}
    some = torch.from_numpy(next(iter(predictions.values())).copy())
    plotted = most_influential(some, min(subject.config["influence"]["top_k"], len(some))).tolist()
    points = sorted({*plotted[:ENDS], *plotted[-ENDS:]})
    cache = weight_cache(subject.folder, subject.model_key)
    solve_missing(subject.risk, subject.theta, points, cache, RetrainSettings(), lambda _: None)
    truth = ground_truth(subject.risk, subject.theta, cache.parts([NOTHING, *points]), *subject.test_point)
    removed = truth.indices != NOTHING
    actual, certificates = truth.actual_change[0, removed], truth.certificate[0, removed]
    signal = check_signal(actual, certificates, float(truth.actual_change[0, ~removed].item()))
    conventions = [
        check_conventions(method, predicted[truth.indices[removed]], actual)
        for method, predicted in predictions.items()
    ]
    return [*(stochastic or [signal]), *conventions]


def _training_noise(subject: Subject, solution: Solution) -> Verdict:
    fit = subject.config["fit"]
    again = make_fit(replace(subject.config, values={**subject.config.values, "fit": _next_seed(fit)}))
    other = again(subject.risk).theta
    before, after = (float(subject.risk.losses(at, *subject.test_point)) for at in (subject.theta, other))
    scores = influence_scores(subject.risk, subject.theta, solution)
    return check_training_noise(after - before, float(scores.predicted_change.abs().max()))


def _next_seed(fit: dict[str, Any]) -> dict[str, Any]:
    return {**fit, "seed": fit["seed"] + 1}


def _stored_predictions(subject: Subject) -> dict[str, np.ndarray]:
    """Predicted changes of all training points for the target, by method."""
    found = {}
    for method in subject.folder.methods():
        record = read_record(subject.folder, method)
        table = None if record is None else read_table(subject.folder, record)
        if record is None or table is None or record["model_checksum"] != subject.model_key:
            continue
        rows = table[table["test_index"] == subject.target]
        if len(rows):
            found[method] = rows["predicted_change"].to_numpy(dtype=np.float64, copy=True)
    return found


def _show_spectra(spectra: list[Spectrum]) -> None:
    title = "eigenvalues of H" if spectra[-1].complete else "eigenvalues of H, at both ends of the spectrum"
    table = Table(box=SIMPLE_HEAD, pad_edge=False, title=title)
    table.add_column("", no_wrap=True)
    for found in spectra:
        table.add_column(found.precision, justify="right")
    table.add_row("smallest", *(f"{found.smallest:.1e}" for found in spectra))
    table.add_row("largest", *(f"{found.largest:.4g}" for found in spectra))
    for name in spectra[0].counts():
        table.add_row(name, *(f"{found.counts()[name]:,}" for found in spectra))
    table.add_row("rounding, p·eps·λ_max", *(f"{found.rounding:.1e}" for found in spectra))
    show(table, "spectrum", [_row(found) for found in spectra])


def _row(found: Spectrum) -> dict[str, Any]:
    """One precision's column of the table, for a program."""
    numbers = {name: getattr(found, name) for name in ("precision", "smallest", "largest", "rounding")}
    return numbers | {"complete": found.complete, "counts": found.counts()}


def _write(folder: RunFolder, config: Config, verdicts: list[Verdict], spectra: list[Spectrum]) -> None:
    passed = all(verdict.passed is not False for verdict in verdicts)
    write_json_result(
        folder, folder.diagnosis, {"trusted": passed, "checks": [asdict(verdict) for verdict in verdicts]}
    )
    figure = draw_spectrum(
        {
            found.precision: ComputedSpectrum(eigenvalues=found.eigenvalues, rounding=found.rounding)
            for found in spectra
        }
    )
    say_wrote(folder.diagnosis, *write_figure(folder, config, figure, "spectrum"))


def _repair(config: Config, failed: list[Verdict]) -> str:
    """The fewest overrides that answer the failed checks."""
    checks = {verdict.check for verdict in failed}
    changes = []
    if "curvature" in checks and config["model"].get("l2") == 0:
        changes.append(f"model.l2={compose([])['model']['l2']:g}")
    if "converged" in checks:
        changes.append("fit=newton")
    if "LiSSA" in checks and "curvature" not in checks:
        changes.append("--method cg")
    if not changes:
        return "What to change stands beside each check."
    return f"The smallest change that repairs the figure: {' '.join(changes)}"
