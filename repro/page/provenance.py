"""How a run was made, for its page: its stages, what it was made from, and how to make it again."""

import math
from collections.abc import Collection, Sequence

from plots.numbers import format_number
from report.content import Making, Stage, Trace
from repro.configuration.compose import Config
from repro.folder.manifest import read_manifest
from repro.folder.paths import RunFolder
from repro.model_file import TrainedModel
from repro.page.commands import caveat, commands, configuration
from repro.page.retraining import Retraining
from repro.predictions import Prediction
from repro.records.influence import age_in_words


def describe_making(
    folder: RunFolder,
    config: Config,
    model: TrainedModel,
    predictions: Sequence[Prediction],
    targets: Collection[int],
    retraining: Retraining,
    *,
    models: str,
    traces: Sequence[Trace] = (),
    before_page: Sequence[list[str]] = (),
) -> Making:
    """All that the page says of how the run was made.

    Args:
        models: what those of `retraining` are called, in the plural.
        before_page: command lines of what else it shows.
    """
    found = (age_in_words(prediction.record) for prediction in predictions)
    ages = [f"{age}." for age in found if age]
    return Making(
        commands=commands(config, predictions, retraining, before_page),
        caveat=" ".join([*ages, caveat(retraining)]).strip(),
        stages=[
            _train_stage(model),
            *_influence_stages(predictions, set(targets)),
            _retrain_stage(retraining, models),
        ],
        traces=traces,
        facts=_facts(model),
        checksums=_checksums(folder),
        configuration=configuration(config, predictions, retraining),
    )


def _checksums(folder: RunFolder) -> dict[str, str]:
    """Of every result that is there, but the page itself, which cannot hold its own."""
    known = read_manifest(folder) or {}
    return {
        name: checksums[-1]
        for name, checksums in known.items()
        if folder.path / name != folder.report and (folder.path / name).exists()
    }


def _train_stage(model: TrainedModel) -> Stage:
    facts = model.facts
    ended = (
        f"R(θ̂) = {facts.objective:.10f}",
        f"‖∇R(θ̂)‖ = {format_number(facts.gradient_norm)}",
        *([] if (lowest := facts.smallest_eigenvalue) is None else [f"λ_min(H) = {format_number(lowest)}"]),
        f"test accuracy {facts.test_accuracy:.4f}",
    )
    return Stage(
        name="train",
        seconds=None if math.isnan(facts.seconds) else facts.seconds,
        work=f"{facts.passes:,} passes" if facts.passes else "–",
        ended=", ".join(ended),
    )


def _influence_stages(predictions: Sequence[Prediction], targets: set[int]) -> list[Stage]:
    several = len(targets) > 1
    return [
        Stage(
            name=f"influence, {prediction.method}"
            + (f", test point {solution.test_index}" if several else ""),
            seconds=solution.seconds,
            # LiSSA's batches count by their size.
            work="–" if products is None else f"{products:,.3g} products with H",
            ended=f"{solution.message}; made {prediction.record.written.moment()}",
        )
        for prediction in predictions
        for solution in prediction.record.solutions
        if solution.test_index in targets
        for products in [solution.hessian_vector_products]
    ]


def _retrain_stage(retraining: Retraining, models: str) -> Stage:
    ended = (
        f"{retraining.models - 1:,} {models} and the null control, "
        f"the largest gradient norm that a finished model kept is {format_number(retraining.gradient_norm)}"
    )
    if retraining.runs and retraining.seconds is None:
        seconds = sum(run.seconds for run in retraining.runs)
        ended += (
            f"; the records are of {retraining.timed + retraining.others:,} models in {seconds:.1f} s, "
            f"{retraining.timed:,} of them are shown here"
        )
    return Stage(
        name="retrain",
        seconds=retraining.seconds,
        work=f"{retraining.passes_per_model:.1f} passes per model",
        ended=ended,
    )


def _facts(model: TrainedModel) -> dict[str, str]:
    provenance = model.facts.provenance
    versions = ", ".join(f"{name} {number}" for name, number in provenance.versions.items())
    return {
        "Versions": versions,
        "Machine": f"{provenance.device}, {provenance.threads} threads, {provenance.platform}",
        "Commit": str(provenance.git_commit or "installed from a package"),
        "SHA-256 of the data": provenance.data_checksum,
        "SHA-256 of θ̂": model.key,
    }
