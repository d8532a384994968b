"""The run folder: where each stage's results lie."""

from dataclasses import dataclass
from pathlib import Path

from repro.configuration.files import is_name


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths of one run."""

    path: Path

    @property
    def manifest(self) -> Path:
        return self.path / "checksums.json"

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def provenance(self) -> Path:
        return self.path / "provenance.json"

    @property
    def model(self) -> Path:
        return self.path / "model.safetensors"

    @property
    def fit_checkpoint(self) -> Path:
        return self.path / "fit.safetensors"

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

    @property
    def weights(self) -> Path:
        return self.path / "retrain" / "weights"

    @property
    def retrain_record(self) -> Path:
        return self.path / "retrain" / "record.json"

    @property
    def table(self) -> Path:
        return self.path / "leave_one_out.csv"

    @property
    def groups(self) -> Path:
        return self.path / "groups.csv"

    @property
    def removals(self) -> Path:
        return self.path / "removals.json"

    @property
    def removal_rows(self) -> Path:
        """Of groups that are too many for `removals`."""
        return self.path / "removals.npz"

    @property
    def group_summary(self) -> Path:
        return self.path / "groups.json"

    @property
    def datamodeling(self) -> Path:
        return self.path / "lds.json"

    @property
    def summary(self) -> Path:
        return self.path / "summary.json"

    @property
    def diagnosis(self) -> Path:
        return self.path / "diagnosis.json"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def comparison(self) -> Path:
        return self.path / "compare.csv"

    @property
    def score(self) -> Path:
        return self.path / "score.json"

    @property
    def score_table(self) -> Path:
        return self.path / "score.csv"

    @property
    def l2_terms(self) -> Path:
        return self.path / "l2_terms.safetensors"

    @property
    def figures(self) -> Path:
        return self.path / "plots"

    def figure(self, suffix: str, name: str = "leave_one_out") -> Path:
        return self.figures / f"{name}.{suffix}"
