"""What the page on groups says: put together from the run, as `repro/stages/report.py` asks for it."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from pandas import DataFrame

from diagnosis.figure import judge_figure
from diagnosis.truth import Retrained
from plots.groups import draw_agreement_by_size, draw_groups, several_sizes
from plots.numbers import format_number
from report.content import DatamodelingScore, GroupPage, JudgedPoint
from report.group_points import group_figure_data, shown_members
from report.images import figure_uri
from repro.configuration.compose import Config
from repro.configuration.shortest import shortest_overrides
from repro.datamodeling import REMEDY, check_datamodeling
from repro.departures import method_titles
from repro.drawing.figures import configured_style
from repro.folder.manifest import file_checksum
from repro.folder.paths import RunFolder
from repro.group_agreement import JoinedGroups
from repro.group_choice import of
from repro.notices import warn
from repro.page.examples import Pictures, methods_judged, methods_shown
from repro.page.other import other_points
from repro.page.provenance import describe_making
from repro.page.retraining import Retraining, read_retraining
from repro.records.datamodeling import read_datamodeling
from repro.retraining import make_retrainer
from repro.selection import describe_groups
from repro.session import Session

SCALINGS = {"mean": "λ, as the paper has it", "sum": "n·λ is kept: λ·n/(n − |S|)"}


def describe_groups_page(session: Session, joined: JoinedGroups) -> GroupPage:
    """All that the page on groups says."""
    dataset, config, folder = session.dataset, session.config, session.folder
    model = session.model()
    retrainer = make_retrainer(session, model)
    titles = method_titles(config, joined.predictions)
    targets, first = list(joined.summary), joined.predictions[0]
    figure = group_figure_data(
        joined.table,
        joined.removals,
        np.asarray(dataset.y_train),
        {target: of(first, target) for target in targets},
        titles,
    )
    selection = describe_groups(config, joined.removals)
    retraining = read_retraining(folder, config, model.key, retrainer, joined.removals)
    scores = datamodeling_scores(folder)
    making = describe_making(
        folder,
        config,
        model,
        joined.predictions,
        targets,
        retraining,
        models="models of groups",
        before_page=[lds_line(folder, config, scores)] if scores else [],
    )
    scaling = {"L2 of a group": SCALINGS[config["retrain"]["l2_scaling"]]}
    style = configured_style(config)
    return GroupPage(
        data=f"{config.choices['data']}, {len(dataset.y_train):,} training examples",
        model=retrainer.description,
        selection=selection,
        example_noun="image" if dataset.image_shape else "example",
        test_points=[_test_point(session, joined, retraining, target, titles) for target in targets],
        scores=scores,
        certified=certified_predictions(joined.table),
        figure=figure,
        images=Pictures.of(dataset).by_index(dataset.x_train, shown_members(figure)),
        other=other_points(session),
        local=any(point.basins is not None for point in joined.summary.values()),
        table_checksum=file_checksum(folder.groups),
        printed_figure=figure_uri(draw_groups(joined.table, titles, selection), style),
        printed_sizes=figure_uri(draw_agreement_by_size(joined.table, titles), style)
        if several_sizes(joined.table)
        else None,
        making=dataclasses.replace(making, facts=scaling | dict(making.facts)),
    )


def certified_predictions(table: DataFrame) -> list[str]:
    """For each method with certificates of its own: what they are, and that the actual changes obey them."""
    own = table[np.isfinite(table["predicted_certificate"])]
    return [_certified(str(method), rows) for method, rows in own.groupby("method", sort=False)]


def _certified(method: str, rows: DataFrame) -> str:
    own, errors = rows["predicted_certificate"], (rows["predicted_change"] - rows["actual_change"]).abs()
    within = int((errors <= own + rows["certificate"]).sum())
    return (
        f"{method} certifies its predictions itself, without retraining: predicted ± its own certificate, "
        f"{format_number(own.min())} to {format_number(own.max())} here; the card of a group has it. "
        f"{within:,} of {len(rows):,} actual changes are within; the largest error is "
        f"{format_number(errors.max())}."
    )


def _test_point(
    session: Session, joined: JoinedGroups, retraining: Retraining, target: int, titles: dict[str, str]
) -> JudgedPoint:
    summary, predictions = joined.summary[target], joined.predictions
    verdict = judge_figure(
        joined.table[joined.table["test_index"] == target],
        Retrained(
            null_control=summary.null_control,
            null_certificate=summary.null_control_certificate,
            models=retraining.models,
            missed=len(retraining.missed),
        ),
        methods_judged(predictions),
        joined.wholes,
    )
    return JudgedPoint(
        index=target,
        label=str(int(session.dataset.y_test[target])),
        holds=verdict.passed,
        summary=verdict.summary,
        methods=methods_shown(verdict, summary, titles),
        truth=verdict.truth,
    )


def datamodeling_scores(folder: RunFolder) -> list[DatamodelingScore]:
    """A row for each method and test point; none where lds.json is not there, or not of groups.csv."""
    try:
        bad = [verdict for verdict in check_datamodeling(folder) if verdict.passed is False]
        for verdict in bad:
            warn(f"{verdict.evidence}, so that the page leaves it out: {verdict.remedy}")
        known = None if bad else read_datamodeling(folder)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        warn(f"{folder.datamodeling} is damaged ({error}), so that the page leaves it out: {REMEDY}")
        known = None
    return [
        DatamodelingScore(method=method, target=target, **dataclasses.asdict(score))
        for method, found in (known.methods.items() if known else ())
        for target, score in found.every.items()
    ]


def lds_line(folder: RunFolder, config: Config, scores: Sequence[DatamodelingScore]) -> list[str]:
    """The command line that makes the scores again, without `repro`."""
    methods = [word for name in dict.fromkeys(one.method for one in scores) for word in ("--method", name)]
    known = read_datamodeling(folder)
    by_sgd = ["--sgd-seeds", str(known.sgd_seeds)] if known and known.sgd_seeds else []
    own = [text for text in shortest_overrides(config) if not text.startswith("influence")]
    return ["lds", *methods, *by_sgd, *own]
