"""The run folder: where each stage's results lie."""

from dataclasses import dataclass
from pathlib import Path

from repro.configuration.files import is_name


class _Place:
    """A path inside the run folder, relative to it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, folder: "RunFolder", owner: object = None) -> Path:
        return folder.path / self.name


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths of one run."""

    path: Path

    manifest = _Place("checksums.json")
    config = _Place("config.yaml")
    provenance = _Place("provenance.json")
    model = _Place("model.safetensors")
    fit_checkpoint = _Place("fit.safetensors")
    weights = _Place("retrain/weights")
    retrain_record = _Place("retrain/record.json")
    table = _Place("leave_one_out.csv")
    summary = _Place("summary.json")
    groups = _Place("groups.csv")
    removals = _Place("removals.json")
    removal_rows = _Place("removals.npz")
    """Of groups that are too many for `removals`."""
    group_summary = _Place("groups.json")
    datamodeling = _Place("lds.json")
    diagnosis = _Place("diagnosis.json")
    report = _Place("report.html")
    comparison = _Place("compare.csv")
    score = _Place("score.json")
    score_table = _Place("score.csv")
    l2_terms = _Place("l2_terms.safetensors")
    figures = _Place("plots")

    def influence_table(self, method: str) -> Path:
        return self.path / "influence" / f"{method}.csv"

    def influence_record(self, method: str) -> Path:
        return self.path / "influence" / f"{method}.json"

    def influence_repeats(self, method: str) -> Path:
        return self.path / "influence" / f"{method}.safetensors"

    def influence_removals(self, method: str) -> Path:
        return self.path / "influence" / f"{method}.parquet"

    def methods(self) -> list[str]:
        """The methods of which there is a table or a record, by name; only names that a method can have."""
        files = (self.path / "influence").glob("[!.]*")
        return sorted({p.stem for p in files if p.suffix in (".csv", ".json") and is_name(p.stem)})

    def figure(self, suffix: str, name: str = "leave_one_out") -> Path:
        return self.figures / f"{name}.{suffix}"
