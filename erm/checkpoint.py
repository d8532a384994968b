"""Where a fit keeps its state, so that it goes on there when it was interrupted."""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

State = dict[str, Tensor]


@runtime_checkable
class Checkpoint(Protocol):
    """A place for one state."""

    def load(self) -> State | None:
        """The state that was saved last; None where there is none."""
        ...

    def save(self, state: State) -> None: ...


def is_sound(state: State, start: Float[Tensor, " p"]) -> bool:
    """Whether a state is such as a fit to a local minimum leaves: a file may be anybody's."""
    expected = {"theta": start.shape, "anchor": start.shape, "passes": (), "low": (), "radius": ()}
    return (
        {"theta", "passes", "low", "trace"} <= state.keys()
        and all(part.shape == expected[name] for name, part in state.items() if name in expected)
        and (state["trace"].ndim, state["trace"].shape[-1]) == (2, 2)
        and all(bool(part.isfinite().all()) for part in state.values())
    )
