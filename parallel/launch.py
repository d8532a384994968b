"""Start one process per GPU (or, without GPUs, as many on the CPU) with torch's own elastic launcher."""

import logging
import signal
import tempfile
import uuid

import torch
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch


class NotEnoughGPUsError(ValueError):
    """More GPUs were asked for than this machine has, though it has some."""


class RankFailedError(RuntimeError):
    """A process of the run ended with an error, and the launcher ended the others."""


def num_processes(gpus: int | None, device: str) -> tuple[int, str | None]:
    """How many processes `gpus` means here, and a line of warning where that is not what it says.

    Args:
        gpus: GPUs asked for; None for one GPU if there is any, else the CPU; 0 for one process on the CPU.
        device: "auto", "cpu" or "cuda".

    Raises:
        NotEnoughGPUsError: there are GPUs, but fewer than asked for.
    """
    present = torch.cuda.device_count() if device != "cpu" and torch.cuda.is_available() else 0
    if gpus is None or gpus == 0:
        return 1, None
    if present == 0:
        plural = "process" if gpus == 1 else "processes"
        return gpus, f"no GPU here: running {gpus} {plural} on the CPU instead (gloo)"
    if gpus > present:
        raise NotEnoughGPUsError(
            f"--gpus {gpus}: this machine has {present} GPU{'s' if present > 1 else ''}; "
            f"ask for at most {present}, or for 0 to run on the CPU"
        )
    return gpus, None


def launch(command: list[str], processes: int) -> None:
    """Run a command in so many processes of one group and wait for them.

    Args:
        command: a program's path and its arguments.
        processes: how many; each becomes a rank by `process_group`.

    Raises:
        RankFailedError: a process failed; what the others had finished is kept.
    """
    with tempfile.TemporaryDirectory(prefix="repro-") as log_folder:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=processes,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            max_restarts=0,
            # Output goes to the terminal; without a folder of its own the launcher leaves one behind.
            logs_specs=DefaultLogsSpecs(log_dir=log_folder),
        )
        _launch(config, command, processes)


def _launch(config: LaunchConfig, command: list[str], processes: int) -> None:
    before = signal.getsignal(signal.SIGTERM)
    # A process that is ended is reported by what is raised below, not by the launcher's own log.
    logging.disable(logging.WARNING)
    try:
        elastic_launch(config, command[0])(*command[1:])
    except SignalException as error:
        # The launcher has taken the signals over, and ended the processes.
        if error.sigval == signal.SIGINT:
            raise KeyboardInterrupt from error
        signal.signal(signal.SIGTERM, before)
        signal.raise_signal(signal.SIGTERM)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        raise RankFailedError(
            f"process {rank} of {processes} ended with exit code {failure.exitcode}, and the others were "
            "ended. Finished batches are kept: the same command does only the rest"
        ) from error
    finally:
        logging.disable(logging.NOTSET)
