"""Networks as risks: their derivatives against differences, L2 on some parameters, and which are refused."""

import itertools
import math
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, relu

from erm.autograd import AutogradRisk
from erm.data.digits import load_digits
from erm.first_layer import first_linear
from erm.models import cnn, network
from erm.networks import SoftmaxRegression, one_hidden_layer, paper_cnn, weights_of
from tests.problems import digits_risk
from tests.random_risks import assert_close, mlp, mlp_problem, normal, softmax_problem

CPU = torch.device("cpu")


def masked_risk(batch_size: int = 4) -> AutogradRisk:
    problem = mlp_problem()
    module = mlp()
    return AutogradRisk(
        module=module, x=problem.x, y=problem.y, l2=0.3, batch_size=batch_size, regularised=weights_of(module)
    )


def penalty(risk: AutogradRisk, theta: Tensor) -> Tensor:
    """Written out: of the weights 4×3 and 3×4, not of the 4 biases between and the 3 behind them."""
    return risk.l2 / 2 * (theta[:12].square().sum() + theta[16:28].square().sum())


def test_l2_is_on_the_weights_alone_in_value_losses_and_gradient() -> None:
    risk, problem = masked_risk(), mlp_problem()
    theta = problem.parameters().requires_grad_()
    losses = problem.cross_entropies(theta, problem.x, problem.y) + penalty(risk, theta)
    (gradient,) = torch.autograd.grad(losses.mean(), theta)
    theta = theta.detach()
    assert_close(risk.value(theta), losses.mean().detach())
    assert_close(risk.per_example_losses(theta), losses.detach())
    assert_close(risk.gradient(theta), gradient)


def test_the_masked_gradient_and_hessian_are_the_differences_of_value_and_gradient() -> None:
    risk = masked_risk()
    theta, step = mlp_problem().parameters(), 1e-5
    units = step * torch.eye(len(theta), dtype=torch.float64)
    slopes = [(risk.value(theta + e) - risk.value(theta - e)) / (2 * step) for e in units]
    assert_close(risk.gradient(theta), torch.stack(slopes), tolerance=1e-8)
    rows = torch.stack([(risk.gradient(theta + e) - risk.gradient(theta - e)) / (2 * step) for e in units])
    assert_close(risk.curvature(theta).matrix(), rows, tolerance=1e-8)


def test_masked_products_batches_and_dots_follow_the_matrix() -> None:
    risk = masked_risk()
    theta, v = mlp_problem().parameters(), mlp_problem().vectors(20)
    curvature = risk.curvature(theta)
    hessian = curvature.matrix()
    assert_close(curvature.product(v), v @ hessian)
    rows = torch.tensor([[0, 3, 5], [7, 7, 2]])
    own = torch.stack(
        [risk.subset(r).curvature(theta).matrix() @ u for r, u in zip(rows, v[:2], strict=True)]
    )
    assert_close(curvature.batch_product(rows, v[:2]), own)
    single = torch.stack([risk.subset(torch.tensor([i])).gradient(theta) for i in range(risk.num_examples)])
    assert_close(risk.per_example_gradient_dots(theta, v[:2]), v[:2] @ single.T)
    assert sorted(set(risk.decay.tolist())) == [0.0, 0.3]
    assert risk.to(torch.float32).decay.dtype == torch.float32
    # With parameters that L2 is not on, no eigenvalue bound follows from it.
    assert not curvature.convex


def test_a_name_that_is_no_parameter_is_refused() -> None:
    problem = mlp_problem()
    with pytest.raises(ValueError, match=r"no parameter weight, only 0\.weight, 0\.bias"):
        AutogradRisk(module=mlp(), x=problem.x, y=problem.y, l2=0.1, regularised=("weight",))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("sizes", [(3, 3), (3, 5, 3), (3, 5, 4, 3)])
def test_the_matrix_by_the_first_layer_is_that_of_products_with_unit_vectors(
    sizes: tuple[int, ...], bias: bool
) -> None:
    problem = softmax_problem()
    parts: list[nn.Module] = []
    for inside, outside in itertools.pairwise(sizes):
        parts += [nn.Linear(inside, outside, bias=bias), nn.Softplus()]
    module = nn.Sequential(*parts[:-1])
    assert first_linear(module) is module[0]
    risk = AutogradRisk(module=module, x=problem.x, y=problem.y, l2=0.1, batch_size=4)
    other = AutogradRisk(
        module=module, x=problem.x, y=problem.y, l2=0.1, batch_size=4, hvp_mode="double_backward"
    )
    theta = normal(risk.num_parameters, seed=7)
    matrix = risk.curvature(theta).matrix()
    assert other.first_layer(theta) is None
    assert_close(matrix, other.curvature(theta).matrix())
    assert matrix.equal(matrix.T)
    v = normal(20, risk.num_parameters, seed=8)
    assert_close(risk.curvature(theta).product(v), v @ matrix)


def test_a_layer_that_is_used_twice_is_not_taken_for_the_first() -> None:
    layer = nn.Linear(3, 3)
    tied = nn.Sequential(layer, nn.Tanh(), layer)
    assert first_linear(tied) is None
    hooked = mlp()
    hooked[0].register_forward_hook(lambda module, given, output: 2 * output)
    assert first_linear(hooked) is None
    problem = softmax_problem()
    for module in (tied, hooked):
        risk = AutogradRisk(module=module, x=problem.x, y=problem.y, l2=0.1)
        theta = normal(risk.num_parameters, seed=7)
        rows = [
            (risk.gradient(theta + e) - risk.gradient(theta - e)) / 2e-5
            for e in 1e-5 * torch.eye(len(theta), dtype=torch.float64)
        ]
        assert_close(risk.curvature(theta).matrix(), torch.stack(rows), tolerance=1e-8)


def test_softmax_regression_as_a_linear_layer_has_the_hessian_of_the_closed_form() -> None:
    softmax = digits_risk(200)
    module = nn.Sequential(nn.Linear(64, 10, bias=False))
    risk = AutogradRisk(module=module, x=softmax.x, y=softmax.y, l2=softmax.l2)
    theta = 0.1 * normal(640, seed=3)
    assert_close(risk.curvature(theta).matrix(), softmax.curvature(theta).matrix())
    v = normal(3, 640, seed=4)
    assert_close(risk.curvature(theta).product(v), softmax.curvature(theta).product(v))


def test_the_papers_cnn_has_its_number_of_parameters_and_its_decay() -> None:
    module = paper_cnn(784, 10, seed=0)
    assert sum(parameter.numel() for parameter in module.parameters()) == 2616
    assert all(not parameter.any() for parameter in module.parameters() if parameter.ndim == 1)
    for name in weights_of(module):
        weight = module.get_parameter(name).detach()
        assert float(weight.abs().max()) <= 4 / math.sqrt(weight[0].numel())
    x, y = normal(3, 784, seed=2).sigmoid(), torch.tensor([0, 1, 9])
    risk = AutogradRisk(module=module, x=x, y=y, l2=0.001, regularised=weights_of(module))
    # Biases: 8 for each of five convolutions, 10 and 10.
    assert int((risk.decay == 0).sum()) == 60
    theta, step = risk.initial_parameters(), 1e-5
    v = normal(1, 2616, seed=1)
    image = (risk.gradient(theta + step * v[0]) - risk.gradient(theta - step * v[0])) / (2 * step)
    assert_close(risk.curvature(theta).product(v)[0], image, tolerance=1e-6)


def test_a_seed_is_where_training_starts() -> None:
    dataset = load_digits(num_train=20)
    settings = {"hidden": 3, "activation": "gelu", "l2": 0.1, "dtype": torch.float64, "device": CPU}
    starts = [network(dataset, seed=seed, **settings).initial_parameters() for seed in (0, 0, 1)]  # type: ignore[arg-type]
    assert starts[0].equal(starts[1])
    assert not starts[0].equal(starts[2])
    with pytest.raises(ValueError, match="square images of at least 21×21 pixels, and there are 64 features"):
        cnn(dataset, l2=0.001, seed=0, dtype=torch.float64, device=CPU)


class Kinked(nn.Module):
    """ReLU by a function, so that no layer has its name."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(relu(x))  # type: ignore[no-any-return]


class Random(nn.Module):
    """Dropout that does not look at `self.training`."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return dropout(self.inner(x), 0.5)


class Mixing(nn.Module):
    """Takes the mean over the rows away."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x - x.mean(0))  # type: ignore[no-any-return]


def layered(*between: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), *between, nn.Linear(4, 3))


REFUSED: list[tuple[Callable[[], nn.Module], str]] = [
    (lambda: layered(nn.ReLU()), "uses ReLU, which is not twice differentiable.*nn.Tanh"),
    (lambda: layered(nn.LeakyReLU()), "LeakyReLU"),
    (lambda: layered(nn.PReLU()), "PReLU"),
    (lambda: layered(nn.ReLU6()), "ReLU6"),
    (lambda: layered(nn.ELU()), "ELU"),
    (lambda: layered(nn.Hardswish()), "Hardswish"),
    (Kinked, "Kinked uses ReLU"),
    (Random, "answers differently each time"),
    (Mixing, "answers a row differently when another row is beside it"),
    (lambda: layered(nn.BatchNorm1d(4)), "BatchNorm1d: its buffer 1.running_mean.*nn.LayerNorm"),
    (lambda: nn.Linear(3, 2), "gives 2 logits, but there is a label 2"),
    (lambda: nn.Sequential(nn.Tanh()), "has no parameters"),
    (lambda: nn.Sequential(nn.Linear(3, 4), nn.Flatten(0)), r"expected \(2, classes\)"),
]


@pytest.mark.parametrize(("module", "said"), REFUSED, ids=[said[:25] for _, said in REFUSED])
def test_what_influence_cannot_be_computed_of_is_refused(module: Callable[[], nn.Module], said: str) -> None:
    problem = softmax_problem()
    with pytest.raises(ValueError, match=said):
        AutogradRisk(module=module(), x=problem.x, y=problem.y, l2=0.1)


@pytest.mark.parametrize(
    "between", [nn.Tanh, nn.Softplus, nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid, lambda: nn.LayerNorm(4)]
)
def test_what_is_smooth_is_taken_without_a_word(between: Callable[[], nn.Module]) -> None:
    problem = softmax_problem()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        AutogradRisk(module=layered(between()), x=problem.x, y=problem.y, l2=0.1)
        AutogradRisk(module=SoftmaxRegression(3, 3, bias=True), x=problem.x, y=problem.y, l2=0.1)


def test_what_may_be_meant_is_taken_with_a_warning_or_in_evaluation_mode() -> None:
    problem = softmax_problem()
    pooled = nn.Sequential(nn.Linear(3, 6), nn.Unflatten(1, (3, 2)), nn.MaxPool1d(2), nn.Flatten())
    with pytest.warns(UserWarning, match="max pooling: where that switches"):
        AutogradRisk(module=pooled, x=problem.x, y=problem.y, l2=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frozen = layered(nn.BatchNorm1d(4), nn.Dropout(0.5)).eval()
        AutogradRisk(module=frozen, x=problem.x, y=problem.y, l2=0.1)


def test_the_start_of_the_network_is_torchs_own() -> None:
    torch.manual_seed(5)
    module = one_hidden_layer(3, 2, hidden=4, activation="softplus", seed=9)
    drawn = torch.rand(1)
    torch.manual_seed(5)
    # Nobody else's random numbers are used up.
    assert torch.rand(1).equal(drawn)
    torch.manual_seed(9)
    assert module.get_parameter("0.weight").equal(nn.Linear(3, 4).weight)
