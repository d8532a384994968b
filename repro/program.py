"""The installed script of this program: what ranks and the runs of a sweep are started through.

Never a module by Python's `-m`: that would import from the working folder first, which is a stranger's when a
command is given in one.
"""

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from repro.errors import StageError

NAME = "repro"


def program() -> str:
    """The path of the script that belongs to this Python; else the one on the PATH.

    Raises:
        StageError: it is not installed.
    """
    folders = (str(Path(sys.executable).parent), sysconfig.get_path("scripts"))
    found = shutil.which(NAME, path=os.pathsep.join(folders)) or shutil.which(NAME)
    if found is None:
        raise StageError(
            f"the script {NAME}, which starts further processes, is neither in {folders[0]} nor on the PATH. "
            "Install this package, as with `pip install -c constraints.txt -e .`"
        )
    return str(Path(found).absolute())
