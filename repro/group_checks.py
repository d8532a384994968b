"""The verdicts of `repro check` on groups: does groups.csv follow from the data and the stored weights?"""

import json

import numpy as np
import pandas as pd

from diagnosis.verdict import Verdict
from erm.dataset import Dataset
from repro.checks import check_places
from repro.folder.paths import RunFolder
from repro.group_agreement import l2_part, predicted_group_changes
from repro.printable import printable
from repro.records.group_rows import read_removals
from repro.records.influence import InfluenceRecord, read_predicted
from repro.records.removals import own_predictions, read_removals_of
from retrain.removal import Removal, removal
from retrain.settings import L2Scaling


def read_groups(folder: RunFolder, dataset: Dataset) -> tuple[pd.DataFrame, list[Removal]]:
    """groups.csv, and the rows that each `removal` of it leaves out.

    Raises:
        OSError, ValueError, LookupError, TypeError: a file is missing, or not of the form that this tool
            writes.
    """
    table = pd.read_csv(folder.groups)
    table["method"] = table["method"].map(lambda name: printable(str(name)))
    groups = [removal(rows, len(dataset.y_train)) for rows in read_removals(folder)]
    check_places(table, "removal", len(groups))
    check_places(table, "test_index", len(dataset.y_test))
    return table, groups


def recorded_scaling(folder: RunFolder) -> L2Scaling:
    """Which L2 the groups of groups.csv have, as groups.json says.

    Raises:
        OSError, ValueError: it is missing, or says nothing of the kind.
    """
    content = json.loads(folder.group_summary.read_text(encoding="utf-8"))
    found = content.get("l2_scaling") if isinstance(content, dict) else None
    if found not in ("mean", "sum"):
        raise ValueError(f"groups.json has l2_scaling={found!r:.20}")
    return "sum" if found == "sum" else "mean"


def check_group_predictions(
    folder: RunFolder, table: pd.DataFrame, groups: list[Removal], key: str, scaling: str
) -> Verdict:
    """Predictions of groups are the sums of their members' in the methods' own tables."""
    faults = []
    for method, rows in table.groupby("method"):
        known = read_predicted(folder, str(method))
        if known is None or known[0].model_checksum != key:
            faults.append(f"{method} has no predictions of this θ̂")
            continue
        record, own = known
        for target, part in rows.groupby("test_index"):
            members = [groups[place] for place in part["removal"]]
            sums = _predicted(folder, record, own[own["test_index"] == target], members, scaling)
            if sums is None or not np.array_equal(part["predicted_change"].to_numpy(), sums):
                faults.append(f"{method}: predictions for test point {target} are not those of its groups")
            if [len(rows) for rows in members] != part["size"].tolist():
                faults.append(f"{method}: sizes for test point {target} are not those of removals.json")
    return Verdict(
        check="predictions",
        passed=not faults,
        evidence="; ".join(faults)
        or "every prediction is the sum of its members' in its method's own table, or its method's own",
    )


def _predicted(
    folder: RunFolder, record: InfluenceRecord, own: pd.DataFrame, members: list[Removal], scaling: str
) -> np.ndarray | None:
    """What a method predicts of groups on one test point; None where it has not."""
    target = int(own["test_index"].iloc[0])
    if record.predicts_groups:
        found = own_predictions(read_removals_of(folder, record), target, members, scaling)
        return None if found is None else found["predicted_change"].to_numpy(np.float64)
    sums, _ = predicted_group_changes(own, members, None, l2_part(record, target, len(own), scaling))
    return sums
