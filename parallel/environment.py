"""Whether this process is one of several that were launched together, by the environment; without torch."""

import os


def launched() -> bool:
    """Whether torchrun, or this program's own launcher, has started this process as one of several."""
    return "TORCHELASTIC_RUN_ID" in os.environ or {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= set(os.environ)


def first_of_launched() -> bool:
    """Whether this is the first of the launched processes; known before they have met."""
    return os.environ.get("RANK", "0") == "0"
