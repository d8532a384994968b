"""Which retrainer takes a risk: proven certificates where there is one minimiser, local ones elsewhere."""

from jaxtyping import Float
from torch import Tensor

from erm.autograd import AutogradRisk
from erm.networks import SoftmaxRegression
from erm.risk import EmpiricalRisk
from erm.softmax import SoftmaxRisk
from parallel.group import ALONE, Group
from retrain.certified_softmax import CertifiedSoftmax
from retrain.continued import ContinuedTraining, Training
from retrain.hessian_factor import refuse_too_large
from retrain.local_retrainer import LocallyCertified
from retrain.quadratic import QuadraticMinima
from retrain.retrainer import NoRetrainerError, Retrainer
from retrain.settings import RetrainSettings
from retrain.weights import WeightCache

USUAL = RetrainSettings()


def check_retrainable(risk: object, settings: RetrainSettings = USUAL) -> EmpiricalRisk:
    """The risk, if its models can be solved; or trained on, or expanded, where the settings say so.

    Raises:
        NoRetrainerError: there is a better form of it, it is too large, or it is no risk.
    """
    if settings.damping is not None and isinstance(risk, EmpiricalRisk):
        return _check_expandable(risk, settings)
    if settings.steps is not None and isinstance(risk, EmpiricalRisk):
        return risk
    if isinstance(risk, SoftmaxRisk):
        return risk
    if isinstance(risk, AutogradRisk) and isinstance(risk.module, SoftmaxRegression):
        raise NoRetrainerError(
            "leave-one-out models of softmax regression are solved in closed form. Use model=logistic"
        )
    if not isinstance(risk, EmpiricalRisk):
        raise NoRetrainerError("leave-one-out models are solved of an EmpiricalRisk. Use model=logistic")
    refuse_too_large(risk.num_parameters)
    return risk


def _check_expandable(risk: EmpiricalRisk, settings: RetrainSettings) -> EmpiricalRisk:
    """A risk whose quadratic around θ̃ can be minimised with these settings."""
    others = {
        "retrain.steps=null": settings.steps is None,
        "retrain.l2_scaling=mean": settings.l2_scaling == "mean",
        "retrain.shard=models": settings.shard == "models",
    }
    if wrong := [name for name, as_it_must_be in others.items() if not as_it_must_be]:
        raise NoRetrainerError(
            f"retrain.damping is of the quadratic around θ̃, which has a closed form. Use {' '.join(wrong)}, "
            "or retrain.damping=null"
        )
    refuse_too_large(risk.num_parameters)
    return risk


def is_judgeable(risk: object, settings: RetrainSettings = USUAL) -> bool:
    """Whether its models can be had, and solved ones certified, with or without a condition.

    Models that are trained on, or of a quadratic, lean on no L2.
    """
    try:
        found = check_retrainable(risk, settings)
        return found.l2 > 0 or settings.steps is not None or settings.damping is not None
    except NoRetrainerError:
        return False


def retrainer_for(
    risk: object,
    theta: Float[Tensor, " p"],
    cache: WeightCache,
    settings: RetrainSettings,
    group: Group = ALONE,
    training: Training | None = None,
) -> Retrainer:
    """The retrainer of a risk. Arguments as of `CertifiedSoftmax`, and:

    Args:
        training: that has made θ̂, where it is one that can go on.

    Raises:
        NoRetrainerError: there is none for this model, or not with these settings.
    """
    found = check_retrainable(risk, settings)
    if settings.damping is not None:
        return QuadraticMinima(risk=found, theta=theta, cache=cache, settings=settings, group=group)
    if settings.steps is not None:
        if training is None:
            raise NoRetrainerError(
                "retrain.steps trains on from θ̂, and its training has left no state to go on from. Use "
                "fit=adam, or retrain.steps=null"
            )
        return ContinuedTraining(
            risk=found, theta=theta, cache=cache, settings=settings, group=group, training=training
        )
    if isinstance(found, SoftmaxRisk):
        return CertifiedSoftmax(risk=found, theta=theta, cache=cache, settings=settings, group=group)
    if settings.l2_scaling == "sum":
        raise NoRetrainerError(
            "retrain.l2_scaling=sum is for softmax regression. Use retrain.l2_scaling=mean"
        )
    if settings.shard == "data":
        raise NoRetrainerError("retrain.shard=data is for softmax regression. Use retrain.shard=models")
    return LocallyCertified(risk=found, theta=theta, cache=cache, settings=settings, group=group)
