"""`repro diagnose`: can the figure of this configuration be trusted, and if not, why not?"""

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import torch

from cli.console import say, say_wrote
from cli.progress import progress_bar
from cli.verdicts import say_verdict
from diagnosis.convergence import check_convergence, what_is_left
from diagnosis.curvature import check_curvature
from diagnosis.recursion import Ends, batch_curvature, check_recursion, relative_error
from diagnosis.training_noise import check_training_noise
from diagnosis.verdict import Verdict, conclude
from influence.spectrum import Spectrum, spectrum
from repro.configuration.compose import Config, compose
from repro.diagnosing.panels import Panel, computed_panel, has_asked_settings, stored_panels
from repro.diagnosing.retraining import judge_by_retraining
from repro.diagnosing.spectra import draw_spectra, show_spectra
from repro.diagnosing.steps import Steps
from repro.diagnosing.subject import Reference, Subject, exact_solution, read_subject, reference
from repro.errors import StageError, UsageError
from repro.folder.manifest import write_json_result
from repro.folder.opening import open_run_folder
from repro.predictions import panel_order
from repro.problem import make_fit
from repro.stages.train import train_unless_done
from repro.user_code import fit_of, naming_own_code
from retrain.certified_softmax import is_certifiable
from retrain.settings import RetrainingProgress

PRECISIONS = (torch.float32, torch.float64)
PROBE_DAMPING = 1e-2
"""Where H is singular, questions about a solution are asked of H + 0.01·I."""
EXACT = "s_test by conjugate gradient"
SEED = "training with another seed"
MODELS = "leave-one-out models"


def diagnose(config: Config, asked: bool) -> None:
    """Print a verdict a line, write diagnosis.json and the spectrum.

    Args:
        config: what is asked about.
        asked: whether the method was named, and is not only the default: then it is judged beside those that
            were computed, and else in their absence.

    Raises:
        StageError: a check found a reason not to trust the figure.
    """
    # A fit that did not converge has written θ̂ all the same, and is what there is to diagnose.
    train_unless_done(config, accept_unconverged=True)
    with open_run_folder(config) as folder:
        _diagnose(read_subject(folder, config), asked)


@naming_own_code()
def _diagnose(subject: Subject, asked: bool) -> None:
    folder, config = subject.folder, subject.config
    say(
        f"run folder  {folder.path}   test point {subject.target}",
        run_folder=folder.path,
        test_index=subject.target,
    )
    stored = stored_panels(subject)
    computed = not stored or (asked and not has_asked_settings(subject))
    with progress_bar("diagnosing") as bar:
        steps = Steps(bar, _shares(subject, stored, computed))
        spectra = _spectra(subject, steps)
        verdicts = _judge(subject, steps, spectra, stored, computed)
    for verdict in verdicts:
        say_verdict(verdict)
    show_spectra(spectra)
    trusted = conclude(verdicts)
    write_json_result(
        folder, folder.diagnosis, {"trusted": trusted, "checks": [asdict(verdict) for verdict in verdicts]}
    )
    say_wrote(folder.diagnosis, *draw_spectra(folder, config, spectra))
    _say_whether_trusted(config, verdicts, trusted)


def _shares(subject: Subject, stored: list[Panel], computed: bool) -> dict[str, float]:
    """The steps and what they take, roughly, in seconds for the 7,840 parameters of MNIST on two cores."""
    shares = {_spectrum_step(dtype): seconds for dtype, seconds in zip(PRECISIONS, (55.0, 95.0), strict=True)}
    shares[EXACT] = 8.0
    if computed:
        shares[_solver_step(subject.config.method)] = 8.0
    shares |= {_solver_step(panel.method.name): 2.0 for panel in stored if panel.lissa is not None}
    if "seed" in subject.config["fit"]:
        shares[SEED] = 30.0
    return shares | {MODELS: 35.0}


def _spectrum_step(dtype: torch.dtype) -> str:
    return f"eigenvalues of H in {str(dtype).removeprefix('torch.')}"


def _solver_step(method: str) -> str:
    return f"s_test by {method}"


def _spectra(subject: Subject, steps: Steps) -> list[Spectrum]:
    found = []
    for dtype in PRECISIONS:
        steps.begin(_spectrum_step(dtype))
        steps.inside(0.0, f"{subject.risk.num_parameters:,} parameters")
        curvature = subject.risk.to(dtype).curvature(subject.theta.to(dtype))
        found.append(spectrum(curvature, dtype, subject.theta.device))
    return found


def _judge(
    subject: Subject, steps: Steps, spectra: list[Spectrum], stored: list[Panel], computed: bool
) -> list[Verdict]:
    """Every verdict, causes before what they cause."""
    finest = spectra[-1]
    curvature = check_curvature(spectra, float(subject.config["influence"].get("damping", 0.0)))
    steps.begin(EXACT)
    exact = reference(subject, 0.0 if check_curvature(spectra, 0.0).passed else PROBE_DAMPING)
    verdicts, settings = [_convergence(subject, exact), curvature], dict[str, Verdict]()
    panels = stored
    if computed:
        steps.begin(_solver_step(subject.config.method))
        panel, failure = _computed(subject, steps)
        panels = [*(other for other in stored if other.method.name != panel.method.name), panel]
        panels.sort(key=lambda found: panel_order(subject.config)(found.method.name))
        # LiSSA's own check says the same with more.
        verdicts += [] if failure is None or panel.lissa is not None else [failure]
    for panel in panels:
        if panel.lissa is not None:
            steps.begin(_solver_step(panel.method.name))
            settings[panel.method.name] = _recursion(subject, panel, finest, exact, steps)
    noise = []
    if "seed" in subject.config["fit"]:
        steps.begin(SEED)
        noise.append(_training_noise(subject, exact))
    steps.begin(MODELS)
    figure = _against_retraining(subject, [panel for panel in panels if len(panel.rows)], steps)
    return [*verdicts, *_outranked(settings, figure), *noise, *figure]


def _outranked(settings: dict[str, Verdict], figure: list[Verdict]) -> list[Verdict]:
    """Of settings that look bad it is undecided whether they are, where what they predict was found good."""
    good = {verdict.check for verdict in figure if verdict.passed}
    return [
        replace(verdict, passed=None, evidence=f"{verdict.evidence}; what it predicts for the figure is good")
        if verdict.passed is False and f"predictions of {method}" in good
        else verdict
        for method, verdict in settings.items()
    ]


def _computed(subject: Subject, steps: Steps) -> tuple[Panel, Verdict | None]:
    try:
        return computed_panel(subject, lambda done, total: steps.inside(done / max(total, 1)))
    except ValueError as error:
        raise UsageError(f"{subject.config.method}: {error}") from error


def _convergence(subject: Subject, exact: Reference) -> Verdict:
    left = what_is_left(subject.risk.gradient(subject.theta), exact.solution.value, exact.damping)
    return check_convergence(left, exact.typical)


def _recursion(subject: Subject, panel: Panel, finest: Spectrum, exact: Reference, steps: Steps) -> Verdict:
    """LiSSA with the settings of a panel, measured by the exact solution with the same damping."""
    solver = panel.lissa
    assert solver is not None
    curvature, v = subject.risk.curvature(subject.theta), subject.test_gradient
    solution = panel.solution
    if solution is None:
        solution = solver.at(curvature, lambda done, total: steps.inside(done / max(total, 1)))(v)
    truth = exact.solution if exact.damping == solver.damping else exact_solution(subject, solver.damping)
    ends = Ends(
        smallest=finest.smallest if finest.smallest > finest.resolution else 0.0, largest=finest.largest
    )
    error = relative_error(solution, truth)
    return check_recursion(solver, batch_curvature(curvature, solver, v), ends, solution, error)


def _training_noise(subject: Subject, exact: Reference) -> Verdict:
    fit = subject.config["fit"]
    another = {**subject.config.values, "fit": {**fit, "seed": fit["seed"] + 1}}
    minimise, name = make_fit(replace(subject.config, values=another)), f"fit._target_={fit['_target_']}"
    other = fit_of(minimise, subject.risk, name, lambda passes, norm: None).theta
    before, after = (float(subject.risk.losses(at, *subject.test_point)) for at in (subject.theta, other))
    return check_training_noise(after - before, exact.largest)


def _against_retraining(subject: Subject, panels: list[Panel], steps: Steps) -> list[Verdict]:
    """What the page says of truth and methods, from the leave-one-out models of every point in the figure."""
    if not panels:
        return []
    if not is_certifiable(subject.risk):
        reason = "leave-one-out models can be certified for model=logistic with model.l2 > 0 only"
        names = ["signal", *(f"predictions of {panel.method.name}" for panel in panels)]
        return [Verdict(check=name, passed=None, evidence=reason) for name in names]
    judged = judge_by_retraining(subject, panels, _report(steps))
    if judged.points < judged.shown:
        say(f"judged by {judged.points:,} of the {judged.shown:,} points; `repro retrain` solves all")
    signal, *others = judged.verdict.verdicts
    return [replace(signal, remedy=judged.advice), *others]


def _report(steps: Steps) -> Callable[[RetrainingProgress], None]:
    def report(progress: RetrainingProgress) -> None:
        total = max(progress.models_total, 1)
        counted = f"{progress.models_done:,} of {progress.models_total:,}" if progress.models_total else ""
        steps.inside(progress.models_done / total, f"{progress.stage} {counted}".strip())

    return report


def _say_whether_trusted(config: Config, verdicts: list[Verdict], trusted: bool | None) -> None:
    counted = [verdict for verdict in verdicts if verdict.counts]
    failed = [verdict for verdict in counted if verdict.passed is False]
    undecided = [verdict.check for verdict in counted if verdict.passed is None]
    if failed:
        say(_repair(config, failed))
        raise StageError(
            f"{len(failed)} of {len(counted)} checks failed: this configuration's figure cannot be trusted"
        )
    if trusted:
        say("The figure can be trusted.")
        return
    say(
        f"No check failed, but {', '.join(undecided) or 'everything'} stayed undecided: the figure is "
        "neither confirmed nor refuted."
    )


def _repair(config: Config, failed: list[Verdict]) -> str:
    """The fewest overrides that answer the failed checks."""
    checks = {verdict.check for verdict in failed}
    changes: list[Any] = []
    if "curvature" in checks and config["model"].get("l2") == 0:
        changes.append(f"model.l2={compose([])['model']['l2']:g}")
    if "converged" in checks and config["fit"].get("_target_") != compose(["fit=newton"])["fit"]["_target_"]:
        changes.append("fit=newton")
    if "LiSSA" in checks and "curvature" not in checks:
        changes.append("--method cg")
    if not changes:
        return "What to change stands beside each check."
    return f"The smallest change that repairs the figure: {' '.join(changes)}"
