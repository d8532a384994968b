"""`repro retrain`: solve every leave-one-out model that is asked for."""

import math
import socket
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from erm.aligned import aligned
from erm.softmax import SoftmaxRisk
from repro.configuration.compose import Config
from repro.errors import StageError, UsageError
from repro.folder.paths import RunFolder
from repro.listener import ProgressReport
from repro.predictions import read_predictions, selected_indices
from repro.ranks import run_in_ranks
from repro.selection import chosen_points
from repro.session import Session
from repro.solving import Stored, Task, solve_and_record
from retrain import distributed
from retrain.removal import NOTHING
from retrain.schedule import Progress


@dataclass(frozen=True, kw_only=True)
class Retrained:
    """The models that were asked for, as the run's weights hold them now."""

    stored: Stored
    weights: Path
    tolerance: float


def retrain(session: Session) -> Retrained | None:
    """Retrain without each point, here, in processes of its own, or as a rank of a launched run.

    Returns:
        What there is now; None where another process has done it and told of it.

    Raises:
        StageError: an earlier stage is missing, a process failed, or a model missed its tolerance.
        UsageError: more GPUs were asked for than there are.
    """
    with session.opened() as folder:
        arguments = ["retrain", *session.config.overrides]
        found = run_in_ranks(session.config, arguments, lambda device: _solve(session, folder, device))
        session.remember()
        return found


def softmax_risk(config: Config, risk: object) -> SoftmaxRisk:
    """The risk, if it is one whose leave-one-out models can be solved and certified.

    Raises:
        StageError: it is another model.
    """
    if isinstance(risk, SoftmaxRisk):
        return risk
    raise StageError(
        f"model={config.choices['model']}: leave-one-out models are solved for softmax regression in closed "
        "form. Use model=logistic"
    )


def _solve(session: Session, folder: RunFolder, device: torch.device) -> Retrained | None:
    config = session.config
    # Examples that are shared out stay in host memory until each rank takes its own.
    home = torch.device("cpu") if config["retrain"]["shard"] == "data" else device
    risk = softmax_risk(config, session.risk_on(home))
    task = _read_task(session, folder, risk)
    with session.progress("retraining", shown=distributed.rank() == 0) as tell:
        stored = solve_and_record(
            folder, config, risk, task, device, lambda progress: tell(_how_far(progress))
        )
    if stored is None:
        return None
    found = Retrained(stored=stored, weights=folder.weights, tolerance=config["retrain"]["tolerance"])
    session.listener.result(found)
    if stored.missed:
        raise StageError(_about_missed(stored, found.tolerance))
    return found


def _read_task(session: Session, folder: RunFolder, risk: SoftmaxRisk) -> Task:
    """What there is to do, from the run folder of rank 0: ranks on other machines have none.

    Raises:
        StageError: an earlier stage is missing; on rank 0, which speaks for all.
    """
    task: Task | None = None
    problem: StageError | UsageError | None = None
    if distributed.rank() == 0:
        try:
            model = session.model(risk.x.device)
            chosen = chosen_points(session.config, risk.num_examples)
            if chosen is None:
                targets = session.targets(model)
                chosen = selected_indices(read_predictions(folder, session.config, model.key, targets, None))
            task = Task(model.theta.cpu(), model.key, chosen)
        except (StageError, UsageError) as error:
            problem = error
    task = distributed.from_first_rank(task)
    if problem is not None:
        raise _naming_machine(problem)
    if task is None:
        raise SystemExit(1)
    return Task(aligned(task.theta, like=risk.x), task.key, task.indices)


def _naming_machine(problem: StageError | UsageError) -> StageError | UsageError:
    """The problem, and in a run on several machines whose run folder it is about."""
    if distributed.num_ranks() == distributed.ranks_here():
        return problem
    return type(problem)(
        f"{problem}\nProcess 0 of this run, which reads the run folder, is on {socket.gethostname()}: all "
        "machines have to see the folder, or have a copy of it"
    )


def _how_far(progress: Progress) -> ProgressReport:
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


def _about_missed(stored: Stored, tolerance: float) -> str:
    first = min((index for index in stored.missed if index != NOTHING), default="that of the null control")
    # A certificate is made of the norm that a model did reach, and never assumes the tolerance.
    return (
        f"{len(stored.missed)} models did not reach retrain.tolerance={tolerance:g}, first training index "
        f"{first}: gradient norms of up to {stored.gradient_norm:.1e} are left. Their certificates follow "
        "from these norms, not from the tolerance, and are wider by as much; `repro plot` shows them. "
        f"retrain.tolerance={_accepting(stored.gradient_norm):.0e} accepts them; more model.l2 makes them "
        "easier to solve"
    )


def _accepting(norm: float) -> float:
    """The smallest power of ten that is not below a norm."""
    return float(f"1e{math.ceil(math.log10(norm))}")
