"""The configuration that a finished run was made under, as `repro check` takes it from a run folder.

The folder may be a stranger's, and objects are made of what it says. So nothing in it is believed: it may
name only what this tool ships or the user trusts (`repro/folder/trust.py`), and its values go through the
same schema as those of a command line.
"""

from contextlib import nullcontext
from dataclasses import replace

from erm.data.download import no_downloads
from erm.dataset import Dataset
from repro.configuration.compose import Config
from repro.configuration.defaults import defaults
from repro.configuration.moved import in_present_names
from repro.configuration.validation import MADE_OF, checked
from repro.errors import StageError, UsageError
from repro.folder.paths import RunFolder
from repro.folder.stored_config import StoredConfigError, read_stored_config
from repro.folder.trust import refuse_code_in_disguise, refuse_code_of_others
from repro.printable import printable
from repro.problem import load_dataset

LATER = ("retrain", "plot")
"""Groups that have got keys since run folders were first written."""


def recorded_config(folder: RunFolder) -> Config:
    """The configuration in the folder, checked; nothing was made of it yet.

    Raises:
        UsageError: it names code that is neither this tool's nor trusted, or holds wrong values.
        StageError: it cannot be read.
    """
    refuse_code_of_others(folder.path)
    try:
        values = in_present_names(read_stored_config(folder.config))
        if absent := [group for group in MADE_OF if not isinstance(values.get(group), dict)]:
            raise StoredConfigError(f"it has no {absent[0]}")
        # Keys that there were not yet when it was written are as they are where nobody sets them.
        usual = defaults()
        values |= {group: usual[group] | dict(values.get(group) or {}) for group in LATER}
        # Where the run lay when it was made says nothing about where it lies now.
        sound = checked(values | {"output_dir": None})
    except (StoredConfigError, AttributeError, KeyError, TypeError) as error:
        raise StageError(f"{folder.config} cannot be read: {printable(str(error))}") from error
    except UsageError as error:
        raise UsageError(f"{folder.config}: {error}") from error
    refuse_code_in_disguise(sound, folder.config)
    return Config(values=sound, choices={"influence": "", "model": "", "removals": ""}, overrides=())


def recorded_dataset(config: Config, data_root: str | None) -> Dataset:
    """The examples that the configuration names. What is not there is downloaded only to where the user says.

    Args:
        data_root: where the data lie now, a folder or for data=npz a file; None for where they lay.

    Raises:
        UsageError: they are corrupt, or settings do not fit them.
        StageError: they are not there.
    """
    if data_root is not None:
        place = "path" if "path" in config["data"] else "root"
        config = replace(
            config, values=checked(config.values | {"data": config["data"] | {place: data_root}})
        )
    with no_downloads() if data_root is None else nullcontext():
        try:
            return load_dataset(config)
        except StageError as error:
            raise StageError(f"{error}\n--data-root says where the data lie now") from error
