"""What the page on groups says: put together from the run, as `repro/stages/report.py` asks for it."""

import base64
import shlex
from io import BytesIO

import numpy as np
from matplotlib.figure import Figure

from plots.groups import draw_agreement_by_size, draw_groups, several_sizes
from plots.style import save
from report.group_page import GroupMethod, GroupPage, GroupTestPoint
from report.group_points import group_figure_data, shown_members
from repro.configuration.shortest import shortest_overrides
from repro.departures import method_titles
from repro.drawing.figures import configured_style
from repro.folder.manifest import file_checksum
from repro.group_agreement import JoinedGroups
from repro.group_choice import of
from repro.page.examples import Pictures
from repro.retraining import make_retrainer
from repro.selection import describe_groups
from repro.session import Session


def describe_groups_page(session: Session, joined: JoinedGroups) -> GroupPage:
    """All that the page on groups says."""
    dataset, config = session.dataset, session.config
    model, choice = session.model(), joined.choice
    titles, pictures = method_titles(config, choice.predictions), Pictures.of(dataset)
    noun = "image" if dataset.image_shape else "example"
    targets, first = list(joined.summary), choice.predictions[0]
    figure = group_figure_data(
        joined.table,
        choice.removals,
        np.asarray(dataset.y_train),
        {target: of(first, target) for target in targets},
        titles,
    )
    figure |= {"images": pictures.by_index(dataset.x_train, shown_members(figure)), "noun": noun}
    selection = describe_groups(config, choice.removals)
    methods = [word for found in choice.predictions for word in ("--method", found.method)]
    return GroupPage(
        data=f"{config.choices['data']}, {len(dataset.y_train):,} training examples",
        model=make_retrainer(session, model).description,
        selection=selection,
        example_noun=noun,
        test_points=[_test_point(session, joined, target, pictures) for target in targets],
        figure=figure,
        table_checksum=file_checksum(session.folder.groups),
        printed_figure=_picture(session, draw_groups(joined.table, titles, selection)),
        printed_sizes=_picture(session, draw_agreement_by_size(joined.table, titles))
        if several_sizes(joined.table)
        else None,
        commands=[
            shlex.join(["repro", "run", *methods, *shortest_overrides(config)]),
            shlex.join(["repro", "report", *shortest_overrides(config)]),
        ],
        facts={
            "L2 of a group": _scaling(config["retrain"]["l2_scaling"]),
            "R(θ̂)": f"{model.facts.objective:.10f}",
            "Test accuracy": f"{model.facts.test_accuracy:.4f}",
            "SHA-256 of the data": model.facts.provenance.data_checksum,
            "SHA-256 of θ̂": model.key,
        },
    )


def _test_point(session: Session, joined: JoinedGroups, target: int, pictures: Pictures) -> GroupTestPoint:
    summary = joined.summary[target]
    return GroupTestPoint(
        index=target,
        label=str(int(session.dataset.y_test[target])),
        image=pictures(session.dataset.x_test[target]),
        methods=[
            GroupMethod(name=name, agreement=found.agreement, seconds=found.seconds)
            for name, found in summary.methods.items()
        ],
        max_certificate=summary.max_certificate,
        null_control=summary.null_control,
    )


def _scaling(scaling: str) -> str:
    return "λ, as the paper has it" if scaling == "mean" else "n·λ is kept: λ·n/(n − |S|)"


def _picture(session: Session, figure: Figure) -> str:
    picture = BytesIO()
    save(figure, picture, "png", style=configured_style(session.config))
    return "data:image/png;base64," + base64.b64encode(picture.getvalue()).decode("ascii")
