"""Shapes and dtypes that annotations state are checked at run time in every test."""

import gc
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from jaxtyping import install_import_hook
from matplotlib.figure import Figure
from scipy import linalg  # noqa: F401, which brings the second OpenBLAS
from threadpoolctl import threadpool_limits

if TYPE_CHECKING:
    from playwright.sync_api import Browser

install_import_hook(
    ["diagnosis", "erm", "influence", "parallel", "plots", "report", "retrain", "score"], "beartype.beartype"
)

# A shell starts what runs in the background with SIGINT ignored, and its children inherit that: the signals
# that tests send have to arrive all the same.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

COARSE = 100

# The problems are small: a second thread would cost more in waiting than it gains.
torch.set_num_threads(1)
threadpool_limits(1)


RENDER = Figure.savefig
rendered = True
"""Whether figures show what was drawn: in tests with the mark `figures`; a sixth of all time would be theirs.
Where a fixture of a module draws what a test looks at, the module has the mark."""


def _savefig(figure: Figure, target: Any, **options: Any) -> None:
    """Write the figure, or an empty one of its size and format."""
    RENDER(figure if rendered else Figure(figsize=tuple(figure.get_size_inches())), target, **options)


def pytest_collection_finish() -> None:
    """What is there now stays: to look through it for garbage takes a twentieth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before the fixtures, which draw too."""
    global rendered
    rendered = item.get_closest_marker("figures") is not None


@pytest.fixture(scope="session", autouse=True)
def figures_as_marked() -> Iterator[None]:
    """See `rendered`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", _savefig)
        yield


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """What is written has to survive a kill in these tests, and not the end of the machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session")
def any_browser() -> "Iterator[Browser | None]":
    """One for all tests of a process, since to start it takes seconds; None where there is none."""
    from tests.browser import launched

    with launched() as found:
        yield found


@pytest.fixture
def browser(any_browser: "Browser | None") -> "Browser":
    """A browser, or a skip that says why there is none."""
    from tests.browser import NAMES

    if any_browser is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is on the PATH")
    return any_browser


@pytest.fixture(scope="session", autouse=True)
def dots_per_inch() -> dict[str, Any]:
    """Of each style as it is. In the tests figures are coarser: most of their time is that of the pixels."""
    from plots.style import STYLES

    before = {name: style.settings["figure.dpi"] for name, style in STYLES.items()}
    for style in STYLES.values():
        style.settings["figure.dpi"] = COARSE
    return before


@pytest.fixture(scope="session")
def mnist_root() -> Path:
    """The folder with the real MNIST, or a skip that says why there is none."""
    from erm.data.download import TEST_FILES, TRAIN_FILES

    root = os.environ.get("REPRO_DATA_ROOT")
    if root is None:
        pytest.skip("REPRO_DATA_ROOT is not set, so there is no MNIST to read")
    if not all((Path(root) / "MNIST" / "raw" / name).is_file() for name in (*TRAIN_FILES, *TEST_FILES)):
        pytest.skip(f"REPRO_DATA_ROOT={root} has no MNIST/raw with the four files")
    return Path(root)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of `tests.forged.SETTINGS` that nobody touches; what is forged are copies."""
    from tests.command_line import succeed
    from tests.forged import SETTINGS

    folder = tmp_path_factory.mktemp("finished") / "run"
    succeed("run", *SETTINGS, f"output_dir={folder}")
    return folder


@pytest.fixture
def save(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """Writes arrays as an .npz file whose name has a space."""

    def write(arrays: dict[str, Any]) -> Path:
        path = tmp_path / "my digits.npz"
        np.savez_compressed(path, **arrays)
        return path

    return write
