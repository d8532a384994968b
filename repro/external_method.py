"""A method whose predictions came from a file: written like any other, for plot, report and check."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

from influence.scores import scores_of_changes
from repro.configuration.schema import EXTERNAL
from repro.errors import UsageError
from repro.explaining import Found
from repro.folder.paths import RunFolder
from repro.records.influence import InfluenceRecord, read_record, read_table, write_predictions
from score.score import Score


def write_external(folder: RunFolder, name: str, file: Path, score: Score) -> None:
    """Write the scores of a file, as they are, as the predictions of a method.

    Raises:
        UsageError: the file does not score every training point, or the run has no predictions yet.
    """
    records = (read_record(folder, method) for method in folder.methods())
    known = [found for found in records if found is not None]
    pairs = [(record, table) for record in known if (table := read_table(folder, record)) is not None]
    if not pairs:
        raise UsageError(f"--into {folder.path}: it has no predictions yet, so no θ̂ that is explained")
    record, table = pairs[0]
    labels = table.loc[table["test_index"] == table["test_index"].iloc[0], "label"].to_numpy()
    scores = score.scores
    if scores.train_index is not None or scores.rows.shape[1] != len(labels):
        raise UsageError(
            f"--into {folder.path}: {file} scores {scores.rows.shape[1]:,} training points; a method "
            f"scores all {len(labels):,}"
        )
    found = [
        Found(
            target=target,
            message=f"scores of {file.name}",
            seconds=0.0,
            scores=replace(scores_of_changes(row), predicted_stderr=torch.full_like(row, torch.nan)),
        )
        for target, row in zip(scores.test_points, map(torch.tensor, scores.rows), strict=True)
    ]
    written = InfluenceRecord(
        method=name,
        settings={"_target_": EXTERNAL, "file": str(file)},
        model_checksum=record.model_checksum,
        test_index=list(scores.test_points),
        solutions=[one.as_record() for one in found],
        table_checksum=None,
    )
    write_predictions(folder, written, pd.concat([one.as_table(labels) for one in found], ignore_index=True))
