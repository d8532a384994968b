"""`repro lds`: the linear datamodeling score of each method, with the interval that certificates leave."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from erm.files import without_non_finite
from plots.agreement import comparable
from plots.rank_interval import RankCorrelation
from repro.configuration.compose import Config
from repro.datamodeling import mean_score, scores_of_method
from repro.errors import UsageError
from repro.folder.manifest import write_json_result
from repro.group_agreement import JoinedGroups, join_groups
from repro.noisy_truth import NoisyScore, noisy_score, sgd_losses
from repro.selection import makes_groups, selection_name
from repro.session import Session
from repro.stages.run import run


@dataclass(frozen=True, kw_only=True)
class MethodScore:
    """How well a method orders the models by the losses that they have."""

    method: str
    test_points: dict[int, RankCorrelation]
    mean: RankCorrelation
    """Over the test points; so are the ends of its interval."""
    noisy: dict[int, NoisyScore]
    """By test point, what SGD's losses would have scored; empty where these were not asked for."""

    @property
    def scores(self) -> dict[str, RankCorrelation]:
        """By test point, and the mean where there are several."""
        several = {"mean": self.mean} if len(self.test_points) > 1 else {}
        return {str(target): score for target, score in self.test_points.items()} | several


@dataclass(frozen=True, kw_only=True)
class DatamodelingScores:
    """Linear datamodeling scores (Park et al. 2023, "TRAK", section 2) over the models of one run."""

    methods: list[MethodScore]
    models: int
    max_certificate: float
    file: Path
    sgd_seeds: int = 0
    truths: dict[int, NoisyScore] = field(default_factory=dict)
    """By test point, how SGD's losses order the models beside their certified losses."""


def lds(session: Session, methods: list[Config], sgd_seeds: int = 0) -> DatamodelingScores:
    """Run what is missing, then score each method over the models; writes lds.json.

    Each model is trained by SGD with so many seeds too, to be compared with.

    Raises:
        UsageError: `removals` makes single points.
        StageError: a stage failed.
    """
    config = session.config
    if not makes_groups(config):
        raise UsageError(
            f"a linear datamodeling score is one of models without groups, and removals="
            f"{selection_name(config)} makes single points: choose removals=halves"
        )
    run(session, methods)
    with session.opened() as folder:
        joined = join_groups(session)
        noisy = sgd_losses(session, joined.removals, sgd_seeds) if sgd_seeds else None
        found = DatamodelingScores(
            methods=_scores(joined, {one.method for one in methods}, noisy),
            models=comparable(joined.table)["removal"].nunique(),
            max_certificate=float(joined.table["certificate"].max()),
            file=folder.datamodeling,
            sgd_seeds=sgd_seeds,
            truths=_beside_sgd(joined.table, noisy, "actual_change"),
        )
        write_json_result(folder, folder.datamodeling, without_non_finite(_as_json(found)))
        session.listener.result(found)
        return found


def _beside_sgd(
    table: pd.DataFrame, losses: Float[np.ndarray, "s t B"] | None, column: str
) -> dict[int, NoisyScore]:
    """A column of groups.csv scored by SGD's losses, by test point; each model counts once."""
    if losses is None:
        return {}
    return {
        int(str(target)): noisy_score(own[column].to_numpy(np.float64), losses[:, row, own["removal"]])
        for row, (target, rows) in enumerate(table.groupby("test_index", sort=False))
        for own in [rows.drop_duplicates("removal")]
    }


def _scores(
    joined: JoinedGroups, asked: set[str], noisy: Float[np.ndarray, "s t B"] | None
) -> list[MethodScore]:
    found = []
    for method, rows in comparable(joined.table).groupby("method", sort=False):
        if method not in asked:
            continue
        points = scores_of_method(rows)
        found.append(
            MethodScore(
                method=str(method),
                test_points=points,
                mean=mean_score(points.values()),
                noisy=_beside_sgd(rows, noisy, "predicted_change"),
            )
        )
    return found


def _as_json(found: DatamodelingScores) -> dict[str, object]:
    return {
        "models": found.models,
        "max_certificate": found.max_certificate,
        "methods": {
            one.method: {
                "mean": asdict(one.mean),
                "test_points": {str(target): asdict(value) for target, value in one.test_points.items()},
                **({"sgd": _by_target(one.noisy)} if one.noisy else {}),
            }
            for one in found.methods
        },
        **({"sgd_seeds": found.sgd_seeds, "sgd_truth": _by_target(found.truths)} if found.truths else {}),
    }


def _by_target(scores: dict[int, NoisyScore]) -> dict[str, object]:
    return {str(target): asdict(value) for target, value in scores.items()}
