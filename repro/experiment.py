"""One experiment from Python: the stages of the command line, with the same files and the same guarantees."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro.agreement import JoinedChanges, join_changes
from repro.configuration.compose import compose, compose_methods
from repro.configuration.grammar import override
from repro.departures import method_titles
from repro.drawing.figures import scatter
from repro.listener import Listener
from repro.records.influence import read_record, read_table
from repro.session import Session
from repro.stages.diagnose import Diagnosis
from repro.stages.diagnose import diagnose as diagnose_stage
from repro.stages.influence import influence as influence_stage
from repro.stages.plot import Plotted
from repro.stages.plot import plot as plot_stage
from repro.stages.report import report as report_stage
from repro.stages.retrain import Retrained
from repro.stages.retrain import retrain as retrain_stage
from repro.stages.train import train_unless_done

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from repro.model_file import TrainedModel


class Experiment:
    """A configuration and its run folder.

    What is expensive (examples, risk) is read once and kept. Nothing is computed twice: what lies in the run
    folder already is taken from there, and what is computed is written there, as by the command line.

    Args:
        *words: KEY=VALUE each, as after a command, and perhaps a run folder, whose configuration they change.
        output_dir: the run folder; None names it by what determines θ̂, under outputs/.
        listener: who follows the work; None for nobody.

    Raises:
        repro.errors.UsageError: a key, value or choice that there is not.
    """

    def __init__(
        self, *words: str, output_dir: str | Path | None = None, listener: Listener | None = None
    ) -> None:
        named = [] if output_dir is None else [override("output_dir", str(output_dir))]
        self.session = Session(compose([*words, *named]), listener or Listener())

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.session.folder.path

    def train(self) -> TrainedModel:
        """θ̂ and the facts about it, trained now if it is not there.

        Raises:
            repro.errors.StageError: the fit did not converge.
        """
        train_unless_done(self.session)
        return self.session.model()

    def predict(self, method: str | None = None, **settings: Any) -> DataFrame:
        """Predicted changes of every training point for the test points asked for.

        Args:
            method: a file of configs/influence, such as "cg"; None for the configured one.
            **settings: of the method, such as tolerance=1e-4.

        Returns:
            The columns test_index, train_index, label, influence (I_up,loss), predicted_change (−I_up,loss/n)
            and predicted_stderr, one row for each test point and training point. What newton_step certifies,
            the chosen points, it also corrects; that stands in `agreement`, not here.

        Raises:
            repro.errors.UsageError: there is no such method or setting.
            repro.errors.StageError: θ̂ is missing, or the method failed; the message says why.
        """
        words = [*self.session.config.overrides]
        words += [override(f"influence.{key}", value) for key, value in settings.items()]
        (config,) = compose_methods(words, [] if method is None else [method])
        session = self.session.under(config)
        influence_stage(session)
        record = read_record(session.folder, config.method)
        table = None if record is None else read_table(session.folder, record)
        assert table is not None
        targets = session.targets(session.model())
        return table[table["test_index"].isin(targets)].reset_index(drop=True)

    def retrain(self) -> Retrained | None:
        """Solve every removal's model that is not there yet.

        Returns:
            What there is now; None where processes of their own have solved them (retrain.gpus > 1).

        Raises:
            repro.errors.StageError: an earlier stage is missing, or a model missed its tolerance.
        """
        return retrain_stage(self.session)

    def agreement(self) -> JoinedChanges:
        """Predicted beside actual changes: `table` has the columns of leave_one_out.csv, `summary` how well
        they agree. Nothing is written or drawn.

        Raises:
            repro.errors.StageError: an earlier stage is missing.
        """
        with self.session.opened():
            return join_changes(self.session)

    def figure(self) -> Figure:
        """The scatter of predicted against actual changes, as a matplotlib figure; nothing is written."""
        joined = self.agreement()
        titles = method_titles(self.session.config, joined.predictions)
        return scatter(self.session.config, joined.table, joined.agreements, titles, joined.selection)

    def plot(self) -> Plotted:
        """Write the table, its summary and the figures into the run folder."""
        return plot_stage(self.session)

    def report(self) -> Path:
        """Write the page, and what `plot` writes."""
        return report_stage(self.session).page

    def diagnose(self) -> Diagnosis:
        """Every check of whether the figure can be trusted."""
        return diagnose_stage(self.session, asked=False)
