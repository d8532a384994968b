"""Showing a page to the person at this machine."""

import os
import sys
import webbrowser
from pathlib import Path


def open_in_browser(page: Path) -> bool:
    """Whether it could be opened where somebody sees it."""
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        # What would open here is a text browser, in the terminal that waits for this command.
        return False
    return webbrowser.open(page.resolve().as_uri())
