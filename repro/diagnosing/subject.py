"""What is diagnosed: one θ̂ and one test point, and the exact solution that other checks measure by."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from erm.risk import EmpiricalRisk
from influence.cg import CG
from influence.scores import influence_scores
from influence.solution import Solution
from repro.configuration.compose import Config
from repro.folder.paths import RunFolder
from repro.group_agreement import JoinedGroups, join_groups
from repro.model_file import TrainedModel
from repro.selection import makes_groups, points_by_influence, points_without_predictions
from repro.session import Session

REFERENCE_TOLERANCE = 1e-6
"""Relative residual of the solution that LiSSA is measured by, and convergence estimated with."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is diagnosed."""

    session: Session
    model: TrainedModel
    target: int
    """The first test point asked for."""
    groups: JoinedGroups | None
    """Where `removals` makes groups: what is predicted of them, beside what retraining found."""

    @property
    def config(self) -> Config:
        return self.session.config

    @property
    def folder(self) -> RunFolder:
        return self.session.folder

    @property
    def risk(self) -> EmpiricalRisk:
        return self.session.risk

    @property
    def theta(self) -> Tensor:
        return self.model.theta

    @property
    def test_point(self) -> tuple[Tensor, Tensor]:
        return self.session.test_examples([self.target])

    @property
    def test_gradient(self) -> Tensor:
        return self.risk.loss_gradient(self.theta, *self.test_point)[0]

    @property
    def chosen(self) -> list[int] | None:
        """Training points that `removals` names; None when the predictions choose them."""
        return points_without_predictions(self.config, self.risk.num_examples)


def read_subject(session: Session) -> Subject:
    """Load data and θ̂.

    Raises:
        StageError: θ̂ is missing, or belongs to another configuration or other data; or groups are to be
            diagnosed that were not predicted and retrained.
    """
    model = session.model()
    return Subject(
        session=session,
        model=model,
        target=session.targets(model)[0],
        groups=join_groups(session) if makes_groups(session.config) else None,
    )


@dataclass(frozen=True, kw_only=True)
class Reference:
    """s_test by conjugate gradient, and the effects that it predicts for the points of the figure."""

    solution: Solution
    damping: float
    effects: Float[np.ndarray, " k"]
    """|predicted change| of what the figure shows; empty where the solver failed."""

    @property
    def typical(self) -> float:
        return float(np.median(self.effects)) if len(self.effects) else 0.0

    @property
    def largest(self) -> float:
        return float(self.effects.max(initial=0.0))


def reference(subject: Subject, damping: float) -> Reference:
    """Solve (H + damping·I) s = ∇ℓ."""
    solution = exact_solution(subject, damping)
    if solution.status.failed:
        return Reference(solution=solution, damping=damping, effects=np.empty(0))
    scores = influence_scores(subject.risk, subject.theta, solution)
    changes = scores.predicted_change.cpu().double().numpy()
    if subject.groups is not None:
        effects = np.array([changes[list(rows)].sum() for rows in subject.groups.removals])
    else:
        points = subject.chosen
        if points is None:
            points = points_by_influence(subject.config, scores.influence.cpu().double().numpy())
        effects = changes[points]
    return Reference(solution=solution, damping=damping, effects=np.abs(effects))


def exact_solution(subject: Subject, damping: float) -> Solution:
    """s_test to a residual that is small against every limit; a failure where H + damping·I is singular."""
    solver = CG(damping=damping, tolerance=REFERENCE_TOLERANCE)
    return solver.at(subject.risk.curvature(subject.theta))(subject.test_gradient)
