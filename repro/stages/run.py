"""`repro run`: the four stages in order, skipping what is already done."""

from dataclasses import replace

from influence.estimator import RemovalEstimator
from parallel.launch import NotEnoughGPUsError, num_processes
from repro.configuration.compose import Config
from repro.errors import StageError, UsageError
from repro.notices import LOGGER, note
from repro.panels_beside import sessions_beside
from repro.problem import make_solver
from repro.records.influence import read_predicted
from repro.removal_predictions import lacks_removals
from repro.retraining import refuse_other_models, refuse_sum_for_points
from repro.selection import (
    chosen_groups,
    makes_groups,
    needs_influence,
    needs_model,
    points_without_predictions,
    refuse_gradients_of,
    refuse_impossible_groups,
)
from repro.session import Session
from repro.stages.influence import influence
from repro.stages.plot import Plotted, plot
from repro.stages.retrain import retrain
from repro.stages.train import train_unless_done
from retrain.certified_softmax import check_certifiable
from retrain.retrainer import LeaveOneOutError


def run(session: Session, methods: list[Config]) -> Plotted:
    """Train, predict by each method, retrain, plot.

    Args:
        methods: one configuration per method; they differ in the influence group alone.

    Raises:
        StageError: a stage failed; a method that failed does not keep the others from being plotted.
    """
    _refuse_what_cannot_be_retrained(session)
    _refuse_methods_of_other_models(session, methods)
    for other in sessions_beside(session, before_work=True):
        _refuse_what_cannot_be_retrained(other)
        _refuse_methods_of_other_models(other, [other.config])
    train_unless_done(session)
    with session.opened():
        attempts = [_predict(session.under(config)) for config in methods]
        failures = [failure for failure in attempts if failure is not None]
        if len(failures) == len(methods):
            raise StageError(failures[-1])
        for failure in failures:
            LOGGER.error(failure)
        shared = session.under(_without_method_settings(session.config))
        retrain(shared)
    for other in sessions_beside(session):
        run(other, [other.config])
    found = plot(shared)
    if failures:
        raise StageError(f"{len(failures)} of {len(methods)} methods failed; the figure shows the others")
    return found


def _refuse_what_cannot_be_retrained(session: Session) -> None:
    """Before any work starts: the model, its L2 and the number of processes.

    Raises:
        StageError, UsageError: what `retrain` would refuse after all other stages.
    """
    config = session.config
    refuse_sum_for_points(config)
    refuse_other_models(config, session.risk)
    try:
        check_certifiable(config["model"].get("l2", 1.0))
        num_processes(config["retrain"]["gpus"], config["device"])
    except (LeaveOneOutError, NotEnoughGPUsError) as error:
        raise UsageError(str(error)) from error
    if not makes_groups(config):
        points_without_predictions(config, len(session.dataset.y_train))
        return
    refuse_gradients_of(config, session.risk)
    if needs_influence(config):
        refuse_impossible_groups(config, len(session.dataset.y_train))
    elif not needs_model(config):
        chosen_groups(config, session.dataset)


def _refuse_methods_of_other_models(session: Session, methods: list[Config]) -> None:
    for config in methods:
        estimator = make_solver(config)
        if isinstance(estimator, RemovalEstimator):
            try:
                estimator.check(session.risk)
            except ValueError as error:
                raise UsageError(f"{config.method}: {error}") from error


def _predict(session: Session) -> str | None:
    """Run a method unless its table is there; why it failed, if it did."""
    if _is_done(session):
        table = session.folder.influence_table(session.config.method)
        note(f"already predicted: {table}", "skipped", file=table)
        return None
    try:
        influence(session)
    except (StageError, UsageError) as error:
        return str(error)
    return None


def _is_done(session: Session) -> bool:
    known = read_predicted(session.folder, session.config.method)
    if known is None:
        return False
    record, model = known[0], session.model()
    targets = session.targets(model)
    return (
        record.settings == session.config.solver_settings
        and record.model_checksum == model.key
        and set(targets) <= set(record.test_index)
        and not lacks_removals(session, record, targets)
    )


def _without_method_settings(config: Config) -> Config:
    """For the stages that treat all methods alike: no settings of one method among the overrides."""
    kept = tuple(text for text in config.overrides if not text.startswith("influence"))
    damping = config["retrain"]["damping"]
    # Which may have followed that of the method: other processes compose what is kept.
    pinned = () if damping is None else (f"retrain.damping={damping!r}",)
    return replace(config, overrides=(*kept, *pinned))
