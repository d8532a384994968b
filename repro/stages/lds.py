"""`repro lds`: the linear datamodeling score of each method, with the interval that certificates leave."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from erm.files import without_non_finite
from plots.agreement import comparable
from plots.rank_interval import RankCorrelation, spearman_interval
from repro.configuration.compose import Config
from repro.errors import UsageError
from repro.folder.manifest import write_json_result
from repro.group_agreement import JoinedGroups, join_groups
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


@dataclass(frozen=True, kw_only=True)
class DatamodelingScores:
    """Linear datamodeling scores (Park et al. 2023, "TRAK", section 2) over the models of one run."""

    methods: list[MethodScore]
    models: int
    max_certificate: float
    file: Path


def lds(session: Session, methods: list[Config]) -> DatamodelingScores:
    """Run what is missing, then score each method over the models; writes lds.json.

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
        found = DatamodelingScores(
            methods=_scores(joined, {one.method for one in methods}),
            models=comparable(joined.table)["removal"].nunique(),
            max_certificate=float(joined.table["certificate"].max()),
            file=folder.datamodeling,
        )
        write_json_result(folder, folder.datamodeling, without_non_finite(_as_json(found)))
        session.listener.result(found)
        return found


def _scores(joined: JoinedGroups, asked: set[str]) -> list[MethodScore]:
    found = []
    for method, rows in comparable(joined.table).groupby("method", sort=False):
        if method not in asked:
            continue
        points = {
            int(str(target)): spearman_interval(
                *(
                    part[name].to_numpy(np.float64)
                    for name in ("predicted_change", "actual_change", "certificate")
                )
            )
            for target, part in rows.groupby("test_index", sort=False)
        }
        mean = RankCorrelation(
            **{
                name: float(np.mean([getattr(one, name) for one in points.values()]))
                for name in ("value", "lowest", "highest")
            }
        )
        found.append(MethodScore(method=str(method), test_points=points, mean=mean))
    return found


def _as_json(found: DatamodelingScores) -> dict[str, object]:
    return {
        "models": found.models,
        "max_certificate": found.max_certificate,
        "methods": {
            one.method: {
                "mean": asdict(one.mean),
                "test_points": {str(target): asdict(value) for target, value in one.test_points.items()},
            }
            for one in found.methods
        },
    }
