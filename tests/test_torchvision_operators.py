"""`import torchvision` works beside any torch, and no fault of its own is hidden."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from erm.data.torchvision_operators import declare_missing_operators

DECLARE = "from erm.data.torchvision_operators import declare_missing_operators as declare\ndeclare()\n"


def run_python(script: str, search_path: Path | None = None) -> list[str]:
    """Lines that the script prints; `search_path` comes before every installed package."""
    folders = [str(search_path)] if search_path else []
    folders += filter(None, [os.environ.get("PYTHONPATH")])
    result = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def test_declaring_the_operators_is_what_makes_torchvision_importable() -> None:
    attempt = "try:\n    import torchvision\nexcept RuntimeError as error:\n    print(error)\n"
    # Twice, because each loader declares before its own import.
    *failure, success = run_python(
        attempt + DECLARE + "declare()\nfrom torchvision.datasets import MNIST\nprint(MNIST.__name__)"
    )
    assert success == "MNIST"
    if not failure:
        pytest.skip("torchvision here can be imported as it is, so the fault cannot be shown")
    assert failure == ["operator torchvision::nms does not exist"]


def write_stand_in(root: Path, source: str) -> None:
    """A package named torchvision, with an empty submodule `extension`, that runs the given source."""
    package = root / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(source)
    (package / "extension.py").touch()


def test_a_healthy_torchvision_keeps_its_own_operators(tmp_path: Path) -> None:
    # Defining a name that exists already raises, as it would when a compiled extension is loaded.
    write_stand_in(
        tmp_path,
        "import torch\n"
        "torch.library.define('torchvision::nms', '(Tensor x) -> Tensor')\n"
        "torch.library.impl('torchvision::nms', 'cpu', lambda x: x + 1)\n",
    )
    script = DECLARE + (
        "import torch, torchvision\n"
        "print(torch.ops.torchvision.nms(torch.ones(1)).item(), hasattr(torch.ops.torchvision, 'qnms'))"
    )
    assert run_python(script, tmp_path) == ["2.0 False"]


def test_the_failed_import_leaves_nothing_behind_that_breaks_the_next(tmp_path: Path) -> None:
    # As torchvision 0.21 does it: the submodule is imported by name and then reached through the package.
    write_stand_in(
        tmp_path,
        "from .extension import __name__ as _\n"
        "import torch, torchvision.extension\n"
        "torchvision.extension.__name__\n"
        "torch.library.register_fake('torchvision::nms', lambda dets, scores, iou_threshold: dets)\n"
        "torch.library.register_fake('torchvision::qnms', lambda dets, scores, iou_threshold: dets)\n",
    )
    script = DECLARE + "import torchvision\nprint(torchvision.extension.__name__)"
    assert run_python(script, tmp_path) == ["torchvision.extension"]


def test_another_fault_of_torchvision_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_stand_in(tmp_path, "raise RuntimeError('different CUDA major versions')")
    monkeypatch.syspath_prepend(tmp_path)
    for module in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(RuntimeError, match="different CUDA major versions"):
        declare_missing_operators()
