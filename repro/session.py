"""What the stages of one experiment share: configuration, run folder, examples, risk and θ̂.

What is expensive is made once per process and kept: a stage asks the session, and loads nothing itself.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from omegaconf import OmegaConf

from erm.dataset import Dataset
from erm.risk import EmpiricalRisk
from repro.configuration.compose import Config
from repro.folder.manifest import write_text_result
from repro.folder.naming import run_folder
from repro.folder.opening import open_run_folder, speaks_for_all
from repro.folder.paths import RunFolder
from repro.listener import Listener, Report
from repro.model_file import TrainedModel, load_model
from repro.problem import compute_device, load_dataset, make_risk, test_indices
from retrain.removal import Removal


@dataclass
class _Kept:
    """The examples, the risk over them on every device that asked for it, and the groups chosen of them."""

    dataset: Dataset | None = None
    checksum: str = ""
    risks: dict[torch.device, Any] = field(default_factory=dict)
    groups: dict[str, list[Removal]] = field(default_factory=dict)


@dataclass(frozen=True)
class Session:
    """One configuration at work.

    Args:
        config: composed and checked.
        listener: who follows the work.
    """

    config: Config
    listener: Listener = field(default_factory=Listener)
    _kept: _Kept = field(default_factory=_Kept, repr=False, compare=False)

    @cached_property
    def folder(self) -> RunFolder:
        """The run folder; it need not exist yet."""
        return run_folder(self.config)

    @cached_property
    def device(self) -> torch.device:
        """Where the stages compute."""
        return compute_device(self.config)

    @property
    def dataset(self) -> Dataset:
        """The examples, read once.

        Raises:
            UsageError: they are corrupt, or settings do not fit them.
            StageError: they are not here and cannot be downloaded.
        """
        if self._kept.dataset is None:
            self._kept.dataset = load_dataset(self.config)
        return self._kept.dataset

    @property
    def data_checksum(self) -> str:
        """Of the examples, computed once: on MNIST it reads 400 MB."""
        if not self._kept.checksum:
            self._kept.checksum = self.dataset.checksum
        return self._kept.checksum

    @property
    def risk(self) -> EmpiricalRisk:
        """The empirical risk of the configured model over the training examples, in float64."""
        return self.risk_on(self.device)

    def risk_on(self, device: torch.device) -> EmpiricalRisk:
        """The same on a device of one's own."""
        if device not in self._kept.risks:
            self._kept.risks[device] = make_risk(self.config, self.dataset, device)
        found: EmpiricalRisk = self._kept.risks[device]
        return found

    def model(self, device: torch.device | None = None) -> TrainedModel:
        """θ̂, which must have been trained under this configuration and on these very examples.

        Raises:
            StageError: it was not trained yet, is damaged, or belongs to another configuration or other data.
        """
        return load_model(self.folder, self.config, self.data_checksum, device or self.device)

    def targets(self, model: TrainedModel) -> list[int]:
        """The test points whose loss is explained.

        Raises:
            UsageError: the first misclassified one is asked for and every one is classified correctly.
        """
        risk = self.risk_on(model.theta.device)
        return test_indices(self.config, self.dataset, risk, model.theta)

    def kept_groups(self, name: str, choose: Callable[[], list[Removal]]) -> list[Removal]:
        """Groups that are chosen once, named by all that the choice depends on beside the examples.

        Clustering takes minutes on MNIST, and several stages ask for it.
        """
        if name not in self._kept.groups:
            self._kept.groups[name] = choose()
        return self._kept.groups[name]

    def test_examples(self, targets: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Features (t × features) and labels (t) of test points, on the CPU."""
        x, y = self.dataset.x_test[targets], self.dataset.y_test[targets]
        return torch.from_numpy(x), torch.from_numpy(y)

    def under(self, config: Config) -> "Session":
        """A session of another configuration; what it has in common with this one is not made again."""
        same_data = config["data"] == self.config["data"]
        kept = self._kept if same_data and config["model"] == self.config["model"] else _Kept()
        if same_data:
            kept.dataset, kept.checksum = self._kept.dataset, self._kept.checksum
        return Session(config, self.listener, kept)

    def opened(self, create: bool = False) -> AbstractContextManager[RunFolder]:
        """The run folder, for this command alone until the block ends: see `open_run_folder`."""
        return open_run_folder(self.config, create)

    def remember(self) -> None:
        """Write the configuration into the open run folder: what a command finds that is given the folder."""
        if self.folder.config.exists() and speaks_for_all():
            write_configuration(self.folder, self.config)

    def progress(self, task: str, shown: bool = True) -> AbstractContextManager[Report]:
        """Long work; the block is given what tells the listener, if this process speaks, how far it is."""
        return (self.listener if shown else Listener()).progress(task)

    def command(self, stage: str, *options: str) -> str:
        """The command line that runs a stage under this configuration."""
        return self.config.command(stage, *options)


def write_configuration(folder: RunFolder, config: Config) -> None:
    """Write config.yaml, that of the last command that changed what the folder shows, unless it says this."""
    text = OmegaConf.to_yaml(OmegaConf.create(config.values))
    if not folder.config.exists() or folder.config.read_bytes() != text.encode():
        write_text_result(folder, folder.config, text)
