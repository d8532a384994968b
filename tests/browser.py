"""A real browser for the report page: the system's Chromium, driven by Playwright, without a network."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
ARGUMENTS = (
    # Containers run as root, where the sandbox cannot start; the rest keeps it from looking for a network.
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
DESKTOP = {"width": 1200, "height": 900}
PHONE = {"width": 360, "height": 740}


@contextmanager
def launched() -> Iterator[Browser | None]:
    """Headless Chromium; None where there is none."""
    executable = next((found for name in NAMES if (found := shutil.which(name))), None)
    if executable is None:
        yield None
        return
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(ARGUMENTS))
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, path: Path, **options: Any) -> Iterator[Page]:
    """The page from disk, offline. In the end: nothing was fetched, and the console is clean."""
    settings: dict[str, Any] = {"offline": True, "viewport": DESKTOP} | options
    context = browser.new_context(**settings)
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    address = path.resolve().as_uri()
    page.goto(address)
    if options.get("java_script_enabled", True):
        page.wait_for_selector("#figure .points path", state="attached")
    yield page
    assert said == [], said
    assert [url for url in asked if url != address and not url.startswith(("data:", "blob:"))] == []
    context.close()


def keep_screenshot(page: Page, name: str) -> None:
    """Where REPRO_SCREENSHOTS names a folder, a picture of the whole page for people to look at."""
    folder = os.environ.get("REPRO_SCREENSHOTS")
    if folder:
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)
