"""`repro diagnose`: can the figure of this configuration be trusted, and if not, why not?"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from diagnosis.convergence import check_convergence, check_training_noise, what_is_left
from diagnosis.curvature import check_curvature, check_quadratic
from diagnosis.recursion import Ends, batch_curvature, check_recursion, relative_error
from diagnosis.verdict import Verdict, conclude, conclusion
from influence.spectrum import Spectrum, spectrum
from repro.diagnosing.panels import Panel, computed_panel, must_be_computed, stored_panels
from repro.diagnosing.repair import advice, repair
from repro.diagnosing.retraining import Judged, judge_figure_of, no_truth
from repro.diagnosing.spectra import draw_spectra
from repro.diagnosing.steps import Steps
from repro.diagnosing.subject import Reference, Subject, exact_solution, read_subject, reference
from repro.folder.manifest import write_json_result
from repro.notices import note_wrote
from repro.predictions import panel_order
from repro.problem import asks_for_minima, fit_to_a_minimum, make_fit, minima_by
from repro.session import Session
from repro.stages.train import train_unless_done
from repro.user_code import fit_of, naming_own_code

PRECISIONS = (torch.float32, torch.float64)
PROBE_DAMPING = 1e-2
"""Where H is singular, questions about a solution are asked of H + 0.01·I."""
EXACT = "s_test by conjugate gradient"
SEED = "training with another seed"
MODELS = "leave-one-out models"


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """Every check's answer, and what they come to."""

    folder: Path
    test_index: int
    verdicts: list[Verdict]
    """Causes before what they cause."""
    spectra: list[Spectrum]
    """Eigenvalues of H, one precision each."""
    judged_points: int
    """Points of the figure that retraining judged."""
    shown_points: int
    """Points that the figure shows."""
    repair: str
    """The fewest overrides that answer the failed checks; empty where that is not known."""

    @property
    def trusted(self) -> bool | None:
        """Whether the figure can be trusted; None where no check failed but some are undecided."""
        return conclude(self.verdicts)

    @property
    def conclusion(self) -> str:
        """What the checks come to, in a sentence."""
        return conclusion(self.verdicts)

    @property
    def what_to_change(self) -> str:
        """Where checks failed."""
        return advice(self.repair)


def diagnose(session: Session, asked: bool) -> Diagnosis:
    """Check the figure of this configuration; write diagnosis.json and the spectrum.

    Args:
        asked: whether the method was named, and is not only the default: then it is judged beside those that
            were computed, and else in their absence.
    """
    # A fit that did not converge has written θ̂ all the same, and is what there is to diagnose.
    train_unless_done(session, accept_unconverged=True)
    with session.opened():
        return _diagnose(read_subject(session), asked)


@naming_own_code()
def _diagnose(subject: Subject, asked: bool) -> Diagnosis:
    folder, config = subject.folder, subject.config
    stored = stored_panels(subject)
    computed = must_be_computed(subject, stored, asked)
    with subject.session.progress("diagnosing") as tell:
        steps = Steps(tell, _shares(subject, stored, computed))
        spectra = _spectra(subject, steps)
        verdicts, judged = _judge(subject, steps, spectra, stored, computed)
    failed = [verdict for verdict in verdicts if verdict.counts and verdict.passed is False]
    found = Diagnosis(
        folder=folder.path,
        test_index=subject.target,
        verdicts=verdicts,
        spectra=spectra,
        judged_points=0 if judged is None else judged.points,
        shown_points=0 if judged is None else judged.shown,
        repair=repair(config, failed, fit_to_a_minimum(subject.risk, subject.theta)),
    )
    write_json_result(
        folder, folder.diagnosis, {"trusted": found.trusted, "checks": [asdict(one) for one in verdicts]}
    )
    figures = draw_spectra(folder, config, spectra)
    subject.session.listener.result(found)
    note_wrote(folder.diagnosis, *figures)
    return found


def _shares(subject: Subject, stored: list[Panel], computed: bool) -> dict[str, float]:
    """The steps and what they take, roughly, in seconds for the 7,840 parameters of MNIST on two cores."""
    shares = {_spectrum_step(dtype): seconds for dtype, seconds in zip(PRECISIONS, (55.0, 95.0), strict=True)}
    shares[EXACT] = 8.0
    if computed:
        shares[_solver_step(subject.config.method)] = 8.0
    shares |= {_solver_step(panel.method.name): 2.0 for panel in stored if panel.lissa is not None}
    if "seed" in subject.config["fit"] and asks_for_minima(subject.config):
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
        found.append(spectrum(curvature))
    return found


def _judge(
    subject: Subject, steps: Steps, spectra: list[Spectrum], stored: list[Panel], computed: bool
) -> tuple[list[Verdict], Judged | None]:
    """Every verdict, causes before what they cause; and what retraining said, where it could be asked."""
    steps.begin(EXACT)
    exact = reference(subject, 0.0 if check_curvature(spectra, 0.0).passed else PROBE_DAMPING)
    verdicts, settings = _of_the_point(subject, spectra, exact), dict[str, Verdict]()
    panels = stored
    if computed:
        steps.begin(_solver_step(subject.config.method))
        panel, failure = computed_panel(subject, steps.counted)
        panels = [*(other for other in stored if other.method.name != panel.method.name), panel]
        panels.sort(key=lambda found: panel_order(subject.config)(found.method.name))
        # LiSSA's own check says the same with more.
        verdicts += [] if failure is None or panel.lissa is not None else [failure]
    for panel in panels:
        if panel.lissa is not None:
            steps.begin(_solver_step(panel.method.name))
            settings[panel.method.name] = _recursion(subject, panel, spectra[-1], exact, steps)
    noise = []
    if "seed" in subject.config["fit"] and asks_for_minima(subject.config):
        steps.begin(SEED)
        noise.append(_training_noise(subject, exact))
    steps.begin(MODELS)
    judgeable = [panel for panel in panels if len(panel.rows)]
    figure, judged = _against_retraining(subject, judgeable, no_truth(subject, verdicts), steps)
    return [*verdicts, *_outranked(settings, figure), *noise, *figure], judged


def _of_the_point(subject: Subject, spectra: list[Spectrum], exact: Reference) -> list[Verdict]:
    """Is θ̂ what the truth takes it for: a minimum, or a point around which a quadratic has one?"""
    gradient, damping = subject.risk.gradient(subject.theta), subject.config["retrain"]["damping"]
    if damping is not None:
        return [check_quadratic(spectra, damping, float(gradient.norm()))]
    fit = fit_to_a_minimum(subject.risk, subject.theta)
    way = minima_by(subject.config, fit)
    left = what_is_left(gradient, exact.solution.value, exact.damping)
    own = float(subject.config["influence"].get("damping", 0.0))
    curvature = check_curvature(spectra, own, "" if fit == "newton" else way)
    return [check_convergence(left, exact.typical, way), curvature]


def _outranked(settings: dict[str, Verdict], figure: list[Verdict]) -> list[Verdict]:
    """Of settings that look bad it is undecided whether they are, where what they predict was found good."""
    good = {verdict.check for verdict in figure if verdict.passed}
    return [
        replace(verdict, passed=None, evidence=f"{verdict.evidence}; what it predicts for the figure is good")
        if verdict.passed is False and f"predictions of {method}" in good
        else verdict
        for method, verdict in settings.items()
    ]


def _recursion(subject: Subject, panel: Panel, finest: Spectrum, exact: Reference, steps: Steps) -> Verdict:
    """LiSSA with the settings of a panel, measured by the exact solution with the same damping."""
    solver = panel.lissa
    assert solver is not None
    curvature, v = subject.risk.curvature(subject.theta), subject.test_gradient
    solution = panel.solution
    if solution is None:
        solution = solver.at(curvature, steps.counted)(v)
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
    return check_training_noise(after - before, exact.largest, fit_to_a_minimum(subject.risk, subject.theta))


def _against_retraining(
    subject: Subject, panels: list[Panel], reason: str, steps: Steps
) -> tuple[list[Verdict], Judged | None]:
    """What the page says of truth and methods, from the leave-one-out models of every point in the figure.

    Where there is a reason against such models it is undecided, and nothing is retrained.
    """
    if not panels:
        return [], None
    if reason:
        names = ["signal", *(f"predictions of {panel.method.name}" for panel in panels)]
        return [Verdict(check=name, passed=None, evidence=reason) for name in names], None
    judged = judge_figure_of(subject, panels, steps.retraining)
    signal, *others = judged.verdict.verdicts
    return [replace(signal, remedy=signal.remedy or judged.advice), *others], judged
