"""Running a stage here, in processes of its own, or as a rank of a launched run."""

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

import torch

from parallel.children import end_with_parent, starting_processes
from parallel.collectives import RankTimeoutError
from parallel.environment import launched
from parallel.group import Group, process_group, rank_device, share_threads
from parallel.launch import NotEnoughGPUsError, RankFailedError, launch, num_processes
from repro.configuration.compose import Config
from repro.errors import StageError, UsageError
from repro.notices import warn
from repro.problem import compute_device
from repro.program import program

T = TypeVar("T")


def run_in_ranks(config: Config, arguments: list[str], work: Callable[[Group, torch.device], T]) -> T | None:
    """Do the work in as many processes as `retrain.gpus` asks for; under torchrun, as one of its ranks.

    Args:
        config: names device, number of processes and their patience.
        arguments: the command line that a process of its own is started with.
        work: called with the group that this process is in, and the device of this rank.

    Returns:
        What the work returns here; None where processes of their own have done it.

    Raises:
        StageError: a process failed, or did not answer.
        UsageError: more GPUs were asked for than there are.
    """
    if launched():
        return _as_rank(config, work)
    try:
        processes, warning = num_processes(config["retrain"]["gpus"], config["device"])
    except NotEnoughGPUsError as error:
        raise UsageError(str(error)) from error
    if warning:
        warn(warning)
    if processes == 1:
        return _as_rank(config, work)
    try:
        with starting_processes():
            launch([program(), *arguments], processes)
    except RankFailedError as error:
        raise StageError(str(error)) from error
    return None


def _as_rank(config: Config, work: Callable[[Group, torch.device], T]) -> T | None:
    end_with_parent()
    device = compute_device(config)
    if config["retrain"]["gpus"] == 0:
        device = torch.device("cpu")
    device = rank_device(device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    share_threads()
    try:
        with process_group(device, timedelta(minutes=config["retrain"]["timeout_minutes"])) as group:
            return work(group, device)
    except RankTimeoutError as error:
        raise StageError(str(error)) from error
