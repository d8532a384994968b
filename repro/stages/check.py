"""`repro check`: does everything in a finished run folder follow from the data and the stored weights?"""

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch

from diagnosis.verdict import Verdict
from erm.dataset import Dataset
from repro.checks import (
    check_actual_changes,
    check_basins,
    check_fit,
    check_gradients,
    check_places,
    check_predicted_certificates,
    check_predictions,
    check_summary,
    recheck_all,
)
from repro.configuration.compose import Config
from repro.configuration.mistakes import no_run
from repro.datamodeling import check_datamodeling
from repro.errors import UsageError
from repro.folder.checked_files import check_files, check_page, only_checksums
from repro.folder.inside import refuse_what_leads_out
from repro.folder.paths import RunFolder
from repro.folder.recorded_config import recorded_config, recorded_dataset
from repro.group_checks import check_group_predictions, read_groups, recorded_scaling
from repro.listener import Listener
from repro.model_file import TrainedModel, load_model
from repro.printable import printable
from repro.problem import compute_device, make_risk
from repro.records.summary import Summary, read_summary
from repro.retraining import refuse_other_models, retrainer_for_key
from retrain.removal import Removal, leave_one_out
from retrain.retrainer import Retrainer, with_null_control
from retrain.settings import L2Scaling

FAULTS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What computing with numbers and names of another form raises."""
REMEDY = "`repro run` with the same configuration sets aside what is damaged and makes it again"


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A verdict on each thing that must follow from the data and the stored weights."""

    folder: Path
    verdicts: list[Verdict]

    @property
    def failed(self) -> int:
        """Checks that failed."""
        return sum(verdict.passed is False for verdict in self.verdicts)

    @property
    def conclusion(self) -> str:
        """What the checks come to, in a sentence or two."""
        if self.failed:
            all_say = all(verdict.remedy for verdict in self.verdicts if verdict.passed is False)
            remedy = "What to do stands beside each" if all_say else REMEDY
            return f"{self.failed} of {len(self.verdicts)} checks failed. {remedy}"
        aside = ", ".join(only_checksums(RunFolder(self.folder)))
        aside = aside and f" Of these it was only checked that they are as they were written: {aside}."
        if unchecked := ", ".join(verdict.check for verdict in self.verdicts if verdict.passed is None):
            known = f"What could be checked in {self.folder} follows from the data"
            return f"{known}. Not checked: {unchecked}; why stands beside each.{aside}"
        whole = "All that was computed again in" if aside else "Everything in"
        return f"{whole} {self.folder} follows from the data and the stored weights.{aside}"


def check(path: Path, data_root: str | None, listener: Listener) -> Checked:
    """Check a run folder. Nothing in it is changed.

    Args:
        data_root: where the data lie now, a folder or for data=npz a file; None for where they lay.

    Raises:
        UsageError: there is no run in the folder, or it leads out of it, or names code that is neither this
            tool's nor trusted.
        StageError: the configuration or the data cannot be read.
    """
    folder = RunFolder(path)
    if not folder.path.is_dir() or not folder.manifest.exists():
        raise UsageError(no_run(path, folder.manifest.name))
    refuse_what_leads_out(folder.path)
    verdicts = [check_files(folder)]
    listener.result(verdicts[0])
    if verdicts[0].passed:
        config = recorded_config(folder)
        dataset = recorded_dataset(config, data_root)
        for verdict in _contents_or_fault(folder, config, dataset, listener):
            listener.result(verdict)
            verdicts.append(verdict)
    return Checked(folder=path, verdicts=verdicts)


def _contents_or_fault(
    folder: RunFolder, config: Config, dataset: Dataset, listener: Listener
) -> list[Verdict]:
    """The verdicts on what the files say; one, if a file says what cannot be understood.

    The checksums have matched, so a table or record of another form is none that this tool has written.
    """
    try:
        return _contents(folder, config, dataset, listener)
    except FAULTS as error:
        said = f"{type(error).__name__}: {' '.join(str(error).split())}"
        form = "a file is not of the form that this tool writes"
        return [Verdict(check="contents", passed=False, evidence=f"{form} ({said})")]


def _contents(folder: RunFolder, config: Config, dataset: Dataset, listener: Listener) -> list[Verdict]:
    device = compute_device(config)
    risk = make_risk(config, dataset, device)
    refuse_other_models(config, risk)
    model = load_model(folder, config, dataset.checksum, device)
    verdicts = [check_fit(risk, model.theta, model.facts)]
    if folder.groups.exists():
        scaling = recorded_scaling(folder)
        table, groups = read_groups(folder, dataset)
        found = _against_weights(
            table,
            [groups[place] for place in table["removal"]],
            check_group_predictions(folder, table, groups, model.key, scaling),
            read_summary(folder, _targets(table), folder.group_summary),
            _retrainer(folder, config, risk, model, scaling),
            dataset,
            listener,
        )
        verdicts += [replace(verdict, check=f"groups: {verdict.check}") for verdict in found]
        verdicts += check_datamodeling(folder)
        if not folder.table.exists():
            return [*verdicts, *check_page(folder)]
    try:
        table = pd.read_csv(folder.table)
        summary = read_summary(folder, _targets(table))
    except FileNotFoundError as error:
        evidence = f"no {Path(error.filename).name} yet; `repro run` with this configuration makes it"
        return [*verdicts, Verdict(check="table", passed=None, evidence=evidence)]
    except (OSError, ValueError, RecursionError) as error:
        evidence, remedy = f"the table cannot be read ({error})", "`repro run` makes it anew"
        return [*verdicts, Verdict(check="table", passed=False, evidence=evidence, remedy=remedy)]
    table["method"] = table["method"].map(lambda name: printable(str(name)))
    check_places(table, "test_index", len(dataset.y_test))
    check_places(table, "train_index", len(dataset.y_train))
    found = _against_weights(
        table,
        leave_one_out(table["train_index"]),
        check_predictions(folder, table, model.key, risk.num_examples),
        summary,
        _retrainer(folder, config, risk, model, "mean"),
        dataset,
        listener,
    )
    return [*verdicts, *found, *check_page(folder)]


def _targets(table: pd.DataFrame) -> list[int]:
    return list(dict.fromkeys(table["test_index"].tolist()))


def _against_weights(
    table: pd.DataFrame,
    removed: list[Removal],
    predictions: Verdict,
    summary: Summary,
    retrainer: Retrainer,
    dataset: Dataset,
    listener: Listener,
) -> list[Verdict]:
    """The verdicts on a table of points or of groups, of which each row leaves out one of the removals."""
    grouped, targets, wanted = "removal" in table, _targets(table), with_null_control(removed)
    x_test, y_test = torch.from_numpy(dataset.x_test[targets]), torch.from_numpy(dataset.y_test[targets])
    task = "checking groups" if grouped else "checking"
    plain = recheck_all(retrainer, x_test, y_test, wanted, listener, task)
    truth = retrainer.changes(x_test, y_test, wanted)
    return [
        check_gradients(plain, "models" if grouped else "leave-one-out models"),
        *check_basins(plain),
        check_actual_changes(table, removed, targets, truth, plain),
        predictions,
        *check_predicted_certificates(table),
        check_summary(table, targets, summary, truth),
    ]


def _retrainer(
    folder: RunFolder, config: Config, risk: object, model: TrainedModel, scaling: L2Scaling
) -> Retrainer:
    """That of the weights as they lie there, whatever the configuration asks for now."""
    return retrainer_for_key(
        folder, config, risk, model.theta, model.key, warn=lambda _: None, l2_scaling=scaling
    )
