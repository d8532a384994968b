"""How well the settings that are compared predict groups, against what retraining has found of these."""

import time
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from erm.softmax import SoftmaxRisk
from influence.estimator import GroupPredictor, ParameterPredictor, RemovalEstimator
from influence.without_rows import NotDefiniteError
from plots.agreement import Agreement, agreement
from repro.agreement import known_changes
from repro.group_choice import groups_to_retrain
from repro.measuring import Measured, TestPointProblem
from repro.selection import makes_groups
from repro.session import Session
from repro.step_functions import certified_steps
from retrain.removal import Removal


@dataclass(frozen=True, kw_only=True)
class KnownGroups:
    """The groups of an experiment, and what leaving them out does to the loss of one test point."""

    groups: list[Removal]
    actual: Float[np.ndarray, " g"]
    scales_l2: bool
    """Whether they keep n·λ."""
    test: tuple[Tensor, Tensor]

    def by_sums(self, problem: TestPointProblem, found: Measured) -> Agreement:
        """Of the sums of the members' predicted changes, as `repro plot` has them."""
        assert found.predicted_change is not None
        changes = found.predicted_change.cpu().numpy()
        if self.scales_l2:
            # A member loses no L2 with its loss where n·λ is kept.
            risk = problem.risk
            changes = changes - float(risk.l2 * (found.solution.value @ problem.theta)) / risk.num_examples
        return agreement(np.array([changes[list(rows)].sum() for rows in self.groups]), self.actual)

    def by_removal(
        self, problem: TestPointProblem, estimator: RemovalEstimator
    ) -> tuple[Agreement | None, float]:
        """Of a method that looks at the groups themselves, and its seconds; None where it finds no factor."""
        started, risk, theta = time.perf_counter(), problem.risk, problem.theta
        # Only softmax regression has such methods.
        assert isinstance(risk, SoftmaxRisk)
        try:
            predictor = estimator.at_fit(risk, theta, risk.curvature(theta))
            if isinstance(predictor, ParameterPredictor):
                predicted = certified_steps(
                    predictor, risk, theta, self.groups, *self.test, scales_l2=self.scales_l2
                ).predicted_change
            else:
                assert isinstance(predictor, GroupPredictor)
                predicted = predictor.groups(self.groups, *self.test, scales_l2=self.scales_l2)
        except NotDefiniteError:
            return None, time.perf_counter() - started
        seconds = time.perf_counter() - started
        return agreement(predicted[0].cpu().numpy(), self.actual), seconds


def known_groups(session: Session) -> KnownGroups | None:
    """Those that `removals` makes, for the first test point; None where it makes single points.

    Raises:
        StageError: they were not predicted, where predictions choose them, or not retrained.
    """
    config = session.config
    if not makes_groups(config):
        return None
    model = session.model()
    groups = groups_to_retrain(session, model)
    truth = known_changes(session, model, groups)
    columns = [truth.removals.index(rows) for rows in groups]
    return KnownGroups(
        groups=groups,
        actual=truth.actual_change[0, columns],
        scales_l2=config["retrain"]["l2_scaling"] == "sum",
        test=session.test_examples(session.targets(model)[:1]),
    )
