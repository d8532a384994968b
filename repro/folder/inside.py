"""What lies in a run folder stays in it: no link and no name leads a command to a file elsewhere."""

import os
import stat
from pathlib import Path, PurePosixPath, PureWindowsPath

from repro.errors import UsageError
from repro.printable import printable


def refuse_what_leads_out(folder: Path) -> None:
    """Refuse a folder that holds a link out of it, or what is no regular file: a pipe, a device.

    The folder itself may be reached by a link: that is the user's.

    Raises:
        UsageError: naming the first such file.
    """
    home = os.path.realpath(folder)
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            try:
                mode = path.lstat().st_mode
            except FileNotFoundError:
                # Another command has removed or renamed it meanwhile.
                continue
            if stat.S_ISLNK(mode) and not Path(os.path.realpath(path)).is_relative_to(home):
                raise UsageError(
                    f"{printable(str(path))} is a link that leads out of the run folder, to "
                    f"{printable(os.path.realpath(path))}; nothing was read or written there. Put what it "
                    "leads to in its place, or link the whole folder instead"
                )
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
                raise UsageError(f"{printable(str(path))} is no regular file; remove it from the run folder")


def is_inside(name: str) -> bool:
    """Whether a name, as a file of the run folder records it, can only be that of a file in the folder."""
    windows = PureWindowsPath(name)
    return (
        name.isprintable()
        and bool(PurePosixPath(name).parts)
        and not PurePosixPath(name).is_absolute()
        and not windows.anchor
        and ".." not in windows.parts
    )
