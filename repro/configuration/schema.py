"""The keys that belong to no class which computes: processes, figures, comparison, and the top of the tree.

All others are declared where they are used, by what a YAML file names as `_target_` (`declared.py`).
"""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from erm.settings import Count, Positive, Setting, settings_of_class
from repro.configuration.declared import declared

EXTERNAL = "external"
"""In the record of a method the `_target_` of predictions that came from a file: no code of anybody's."""
FIRST_NAMES = {
    "erm.data.mnist.load_mnist": "erm.data.torchvision_images.load_mnist",
    "erm.data.mnist.load_fashion_mnist": "erm.data.torchvision_images.load_fashion_mnist",
}
"""What a target was called at first, where it has another name now. The first name is still understood, and
it is the one that run folders know the target by, so that a run from before keeps its folder."""

Format = Literal["png", "pdf", "svg"]
TestIndex = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, kw_only=True)
class Processes:
    """Who solves the leave-one-out models."""

    gpus: Annotated[int | None, Field(ge=0, description="processes, one per GPU; 0: one process on the CPU")]
    timeout_minutes: Annotated[Positive, Field(description="wait for a process that does not answer")]


@dataclass(frozen=True, kw_only=True)
class Plot:
    """How the figure looks."""

    limits: Annotated[float | None, Field(gt=0, allow_inf_nan=False, description="half-width of the axes")]
    titles: Annotated[dict[str, str], Field(description="panel title of each method")]
    # A default, so that folders written before there were styles or formats can still be checked.
    style: Annotated[Literal["default", "paper"], Field(description="look of the scatter")] = "default"
    formats: Annotated[list[Format], Field(min_length=1, description="files of every figure")] = field(
        default_factory=lambda: list[Format](["png", "pdf"])
    )
    beside: Annotated[
        list[Annotated[str, Field(min_length=1)]],
        Field(
            description="further panels: KEY=VALUE of another run, such as: model=network influence=cg; or "
            "its folder"
        ),
    ] = field(default_factory=list[str])


@dataclass(frozen=True, kw_only=True)
class Compare:
    """What is compared."""

    settings: Annotated[
        list[Annotated[str, Field(min_length=1)]],
        Field(min_length=1, description="a method and KEY=VALUE settings of it, such as: cg tolerance=1e-2"),
    ]


RETRAIN = "retrain.settings.RetrainSettings"


@dataclass(frozen=True, kw_only=True)
class Top:
    """Keys outside the groups."""

    output_dir: Annotated[str | None, Field(min_length=1, description="the run folder; null: named by hash")]
    device: Annotated[Literal["auto", "cpu", "cuda"], Field(description="where the stages compute")]
    test_index: Annotated[
        TestIndex | Annotated[list[TestIndex], Field(min_length=1)] | Literal["misclassified"],
        Field(
            description="an index, a list of indices, or misclassified: the first misclassified test point"
        ),
    ]
    top_k: Annotated[Count, Field(description="points of the scatter, largest |I_up,loss| first")]
    # A default for folders from before, as above.
    methods: Annotated[
        list[Annotated[str, Field(min_length=1)]],
        Field(description="methods of `repro run` where --method names none; empty: that of influence"),
    ] = field(default_factory=list[str])


def settings_of_group(group: str) -> dict[str, Setting] | None:
    """The settings of a group that names no implementation; None for the others."""
    if group == "retrain":
        return declared(RETRAIN) | settings_of_class(Processes)
    kind = {"plot": Plot, "compare": Compare}.get(group)
    return None if kind is None else settings_of_class(kind)
