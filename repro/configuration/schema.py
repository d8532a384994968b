"""What the configuration may hold: types, ranges and meaning of every key, known without importing torch.

Each YAML file of a group names its implementation by `_target_`; `SETTINGS` gives that target's schema. A
target of your own needs none: its values then go to its constructor as they are, which is the judge.
"""

from dataclasses import field
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

_checked = dataclass(config=ConfigDict(strict=True, extra="forbid"), kw_only=True, slots=True)

NumTrain = Annotated[int | None, Field(ge=2, description="keep only the first so many training examples")]
Damping = Annotated[float, Field(ge=0, allow_inf_nan=False, description="solve with H + damping·I")]
L2 = Annotated[
    float,
    Field(ge=0, allow_inf_nan=False, description="λ of (λ/2)‖θ‖²; at 0 the Hessian is singular"),
]
Bias = Annotated[bool, Field(description="add a feature that is always 1, regularised like the others")]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


@_checked
class MNIST:
    """MNIST and Fashion-MNIST."""

    root: Annotated[str, Field(description="folder that holds, or receives, the files")]
    num_train: NumTrain
    num_validation: Annotated[int, Field(ge=0, description="leading train images that are left out")]


@_checked
class Digits:
    """scikit-learn's bundled digits."""

    num_train: NumTrain


@_checked
class Npz:
    """The user's own arrays."""

    path: Annotated[str, Field(description=".npz file with x_train, y_train, x_test, y_test")]
    num_train: NumTrain


@_checked
class Logistic:
    """Softmax regression in closed form."""

    l2: L2
    bias: Bias


@_checked
class LogisticAutograd:
    """Softmax regression through torch.func."""

    l2: L2
    bias: Bias
    hvp: Annotated[
        Literal["forward_over_reverse", "double_backward"],
        Field(description="how Hessian-vector products are formed"),
    ]


@_checked
class NewtonFit:
    """The converged fit of θ̂."""

    tolerance: Annotated[Positive, Field(description="‖∇R(θ̂)‖ at which the fit has converged")]
    max_passes: Annotated[Count, Field(description="gradients and Hessian-vector products at the most")]


@_checked
class StochasticFit:
    """Training for a fixed number of steps."""

    optimiser: Annotated[Literal["sgd", "adam"], Field(description="how a step follows from a gradient")]
    steps: Annotated[Count, Field(description="parameter updates")]
    learning_rate: Annotated[Positive, Field(description="of every step")]
    batch_size: Annotated[Count, Field(description="examples a step")]
    precision: Annotated[Literal["float32", "float64"], Field(description="of the training")]
    seed: Annotated[int, Field(ge=0, lt=2**63, description="of the order of the examples")]


@_checked
class Exact:
    """Cholesky factor of the explicit Hessian."""

    damping: Damping


@_checked
class CG:
    """Conjugate gradient."""

    damping: Damping
    tolerance: Annotated[float, Field(gt=0, lt=1, description="true relative residual to reach")]
    max_iterations: Annotated[Count, Field(description="iterations at the most")]
    preconditioner: Annotated[
        Literal["none", "subsample", "kronecker"], Field(description="what makes the iterations fewer")
    ]
    subsample_size: Annotated[Count, Field(description="random examples a preconditioner is made from")]


@_checked
class LiSSA:
    """Stochastic recursion."""

    scale: Annotated[Positive, Field(description="divides every step; must exceed the batch Hessians")]
    depth: Annotated[Count, Field(description="steps of a repeat (recursion depth)")]
    batch_size: Annotated[Count, Field(description="examples a step")]
    repeats: Annotated[Count, Field(description="independent recursions that are averaged")]
    damping: Damping
    seed: Annotated[int, Field(ge=0, lt=2**63, description="of the drawn batches")]
    allow_divergence: Annotated[bool, Field(description="start also where the batches foretell divergence")]


@_checked
class LiSSAAuto:
    """Stochastic recursion that tunes itself."""

    target: Annotated[float, Field(gt=0, lt=1, description="relative error of s_test aimed at")]
    batch_size: Annotated[Count, Field(description="examples a step")]
    repeats: Annotated[int, Field(ge=2, description="independent recursions; their spread is the error")]
    damping: Damping
    seed: Annotated[int, Field(ge=0, lt=2**63, description="of the drawn batches")]


@_checked
class GradDot:
    """The Hessian replaced by the identity."""


@_checked
class NoSettings:
    """What has none."""


@_checked
class RandomPoints:
    """Random training points."""

    count: Annotated[Count, Field(description="how many")]
    seed: Annotated[int, Field(ge=0, lt=2**63, description="of which")]


@_checked
class ChosenPoints:
    """The training points named."""

    indices: Annotated[
        list[Annotated[int, Field(ge=0)]], Field(min_length=1, description="training points left out")
    ]


SETTINGS: dict[str, type] = {
    "erm.data.mnist.load_mnist": MNIST,
    "erm.data.mnist.load_fashion_mnist": MNIST,
    "erm.data.digits.load_digits": Digits,
    "erm.data.npz.load_npz": Npz,
    "erm.models.logistic": Logistic,
    "erm.models.logistic_autograd": LogisticAutograd,
    "erm.fit.NewtonFit": NewtonFit,
    "erm.sgd.StochasticFit": StochasticFit,
    "influence.exact.Exact": Exact,
    "influence.cg.CG": CG,
    "influence.lissa.LiSSA": LiSSA,
    "influence.lissa_auto.LiSSAAuto": LiSSAAuto,
    "influence.grad_dot.GradDot": GradDot,
    "retrain.removal_kinds.influential": NoSettings,
    "retrain.removal_kinds.random_points": RandomPoints,
    "retrain.removal_kinds.all_points": NoSettings,
    "retrain.removal_kinds.chosen_points": ChosenPoints,
}

FIRST_NAMES = {
    "erm.data.mnist.load_mnist": "erm.data.torchvision_images.load_mnist",
    "erm.data.mnist.load_fashion_mnist": "erm.data.torchvision_images.load_fashion_mnist",
}
"""What a target was called at first, where it has another name now. The first name is still understood, and
it is the one that run folders know the target by, so that a run from before keeps its folder."""

Format = Literal["png", "pdf", "svg"]
TestIndex = Annotated[int, Field(ge=0)]


@_checked
class Retrain:
    """How the leave-one-out models are solved."""

    gpus: Annotated[int | None, Field(ge=0, description="processes, one a GPU; 0: one process on the CPU")]
    shard: Annotated[Literal["models", "data"], Field(description="what several processes share out")]
    timeout_minutes: Annotated[Positive, Field(description="wait for a process that does not answer")]
    tolerance: Annotated[Positive, Field(description="‖∇R₋ᵢ‖ that every model is solved to")]
    precision: Annotated[
        Literal["mixed", "float64"], Field(description="mixed: float32 passes where they cannot certify")
    ]
    batch_size: Annotated[int | None, Field(ge=1, description="models together; null: from free memory")]


@_checked
class Plot:
    """How the figure looks."""

    limits: Annotated[float | None, Field(gt=0, allow_inf_nan=False, description="half-width of the axes")]
    titles: Annotated[dict[str, str], Field(description="panel title of each method")]
    # A default, so that folders written before there were styles or formats can still be checked.
    style: Annotated[Literal["default", "paper"], Field(description="look of the scatter")] = "default"
    formats: Annotated[list[Format], Field(min_length=1, description="files of every figure")] = field(
        default_factory=lambda: list[Format](["png", "pdf"])
    )


@_checked
class Compare:
    """What is compared."""

    settings: Annotated[
        list[Annotated[str, Field(min_length=1)]],
        Field(min_length=1, description="a method and KEY=VALUE settings of it, such as: cg tolerance=1e-2"),
    ]


GROUPS: dict[str, type] = {"retrain": Retrain, "plot": Plot, "compare": Compare}
"""The groups that name no implementation."""


@_checked
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
