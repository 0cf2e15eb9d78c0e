"""Headless Chromium, driven by Playwright, for tests of pages."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import PATIENCE

# Chromium as root in a container, which asks no server for anything of its own.
_OPTIONS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
# The file axe.min.js of the npm package axe-core, which is not part of this repository.
_AXE = os.environ.get("CMPC_TEST_AXE")

needs_axe = pytest.mark.skipif(_AXE is None, reason="axe-core is not here (CMPC_TEST_AXE: its axe.min.js)")


@contextlib.contextmanager
def launched() -> Iterator:
    """A browser; skips the test if there is none."""
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium): pages are not tested in a browser")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=_OPTIONS.split(), timeout=1000 * PATIENCE)
        yield browser
        browser.close()


def run_axe(tab) -> tuple[int, list[tuple[str, str]]]:
    """Checks the accessibility of a page.

    Returns:
        How many rules it passes; and the rules that it violates, each with the first element that does.
    """
    tab.evaluate(Path(_AXE).read_text())
    found = tab.evaluate("axe.run()")
    return len(found["passes"]), [(rule["id"], rule["nodes"][0]["html"]) for rule in found["violations"]]
