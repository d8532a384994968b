"""`repro retrain`: solve the model of every removal that is asked for."""

import math
import socket
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from erm.aligned import aligned
from erm.risk import EmpiricalRisk
from parallel.collectives import broadcast_object
from parallel.group import Group
from repro.errors import StageError, UsageError
from repro.folder.paths import RunFolder
from repro.group_choice import groups_to_retrain
from repro.listener import ProgressReport
from repro.notices import note
from repro.predictions import read_predictions, selected_removals
from repro.ranks import run_in_ranks
from repro.retraining import (
    RetrainingJob,
    RetrainingResult,
    refuse_other_models,
    retrain_settings,
    retrainer_for_key,
    solve_and_record,
)
from repro.score_l2 import leave_l2_term
from repro.selection import makes_groups, points_without_predictions
from repro.session import Session
from retrain.removal import Removal, leave_one_out
from retrain.settings import RetrainingProgress


@dataclass(frozen=True, kw_only=True)
class Retrained:
    """The models that were asked for, as the run's weights hold them now."""

    result: RetrainingResult
    weights: Path
    tolerance: float

    @property
    def missed(self) -> tuple[Removal, ...]:
        """Those that did not reach the tolerance."""
        return self.result.models.missed(self.tolerance)


def retrain(session: Session) -> Retrained | None:
    """Solve the models here, in processes of its own, or as a rank of a launched run.

    Returns:
        What there is now; None where another process has done it and told of it.

    Raises:
        StageError: an earlier stage is missing, a process failed, or a model missed its tolerance.
        UsageError: more GPUs were asked for than there are.
    """
    with session.opened() as folder:
        arguments = ["retrain", *session.config.overrides]
        found = run_in_ranks(
            session.config, arguments, lambda group, device: _solve(session, folder, group, device)
        )
        session.remember()
        # Scores are judged by single points; examples that are shared out are too many for one process.
        shared_out = session.config["retrain"]["shard"] == "data"
        if found is not None and not shared_out and not makes_groups(session.config):
            leave_l2_term(session)
        return found


def _solve(session: Session, folder: RunFolder, group: Group, device: torch.device) -> Retrained | None:
    config = session.config
    # Examples that are shared out stay in host memory until each rank takes its own.
    home = torch.device("cpu") if config["retrain"]["shard"] == "data" else device
    risk = session.risk_on(home)
    refuse_other_models(config, risk)
    job = _read_job(session, folder, risk, group)
    theta = aligned(job.theta, like=torch.empty(0, dtype=job.theta.dtype, device=home))
    retrainer = retrainer_for_key(folder, config, risk, theta, job.key, group=group)
    with session.progress("retraining", shown=group.is_first) as tell:
        result = solve_and_record(
            folder, config, retrainer, job, lambda progress: tell(_how_far(progress)), group
        )
    host = broadcast_object(socket.gethostname(), group)
    if result is None:
        if group.first_here and group.size > group.ranks_here:
            note(f"process 0 of this run, on {host}, has all models in its run folder: go on there")
        return None
    found = Retrained(result=result, weights=folder.weights, tolerance=retrain_settings(config).aim)
    session.listener.result(found)
    if found.missed:
        raise StageError(_about_missed(found))
    return found


def _read_job(session: Session, folder: RunFolder, risk: EmpiricalRisk, group: Group) -> RetrainingJob:
    """What there is to do, from the run folder of rank 0: ranks on other machines have none.

    Raises:
        StageError: an earlier stage is missing; on rank 0, which speaks for all.
    """
    job: RetrainingJob | None = None
    problem: StageError | UsageError | None = None
    if group.is_first:
        try:
            model = session.model(risk.initial_parameters().device)
            grouped = makes_groups(session.config)
            chosen = None if grouped else points_without_predictions(session.config, risk.num_examples)
            if grouped:
                removals = groups_to_retrain(session, model)
            elif chosen is None:
                targets = session.targets(model)
                found = read_predictions(folder, session.config, model.key, targets, None)
                removals = selected_removals(found)
            else:
                removals = leave_one_out(chosen)
            job = RetrainingJob(model.theta.cpu(), model.key, removals)
        except (StageError, UsageError) as error:
            problem = error
    job = broadcast_object(job, group)
    if problem is not None:
        raise _naming_machine(problem, group)
    if job is None:
        raise SystemExit(1)
    return job


def _naming_machine(problem: StageError | UsageError, group: Group) -> StageError | UsageError:
    """The problem, and in a run on several machines whose run folder it is about."""
    if group.size == group.ranks_here:
        return problem
    return type(problem)(
        f"{problem}\nProcess 0 of this run, which reads the run folder, is on {socket.gethostname()}: all "
        "machines have to see the folder, or have a copy of it"
    )


def _how_far(progress: RetrainingProgress) -> ProgressReport:
    """Progress of rank 0's share, as it is shown."""
    report = ProgressReport(
        stage=progress.stage,
        done=progress.models_done,
        total=progress.models_total or None,
        unit="models",
    )
    if progress.last_pass is None:
        return report
    return replace(
        report,
        passes=progress.last_pass.number,
        num_models=progress.last_pass.num_models,
        gradient_norm=progress.last_pass.max_gradient_norm,
        contraction=progress.last_pass.contraction,
    )


def _about_missed(found: Retrained) -> str:
    first = next((rows[0] for rows in found.missed if rows), "that of the null control")
    norm = found.result.models.largest_norm
    # A certificate is made of the norm that a model did reach, and never assumes the tolerance.
    return (
        f"{len(found.missed)} models did not reach retrain.tolerance={found.tolerance:g}, first training "
        f"index {first}: gradient norms of up to {norm:.1e} are left. Their certificates follow from these "
        "norms, not from the tolerance, and are wider by as much; `repro plot` shows them. "
        f"retrain.tolerance={_accepting(norm):.0e} accepts them; more model.l2 makes them easier to solve"
    )


def _accepting(norm: float) -> float:
    """The smallest power of ten that is not below a norm."""
    return float(f"1e{math.ceil(math.log10(norm))}")
