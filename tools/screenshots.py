"""Makes the screenshots of docs/serving.md: the page of `serve` with an answer, on a desktop and on a phone.

Needs playwright, Chromium and a model of the data set `shapes`, for example that of `python -m cmpc_tf2 demo`.
"""

import argparse
import io
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Width and height in pixels, and the button that is pressed for a heat map.
SCREENS = {"desktop": (1280, 800, None), "phone": (390, 844, "after relations")}
SECONDS = 300


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="a .keras file that was trained on shapes")
    parser.add_argument("--output", type=Path, default=ROOT / "docs", metavar="DIR", help="(default: docs)")
    return parser


def main():
    arguments = build_parser().parse_args()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "cmpc_tf2", "serve", "--model", arguments.model.resolve(), "--port", port]
    server = subprocess.Popen([str(part) for part in command], cwd=ROOT)
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(server, address)
        for name, screen in SCREENS.items():
            path = arguments.output / f"page_{name}.webp"
            path.write_bytes(take(address, *screen))
            print(f"{path}: {path.stat().st_size / 1000:.0f} kB")
    finally:
        server.terminate()
        server.wait()


def wait_for(server: subprocess.Popen, address: str):
    """Returns once the server answers."""
    deadline = time.monotonic() + SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"{address}/healthz").close()
            return
        except OSError:
            time.sleep(0.5)
    raise SystemExit("the server did not start")


def take(address: str, width: int, height: int, heat: str | None) -> bytes:
    """A screenshot of the page with the answer for the first example, as a WebP file."""
    from PIL import Image
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page(viewport={"width": width, "height": height})
        tab.set_default_timeout(1000 * SECONDS)
        tab.goto(address)
        tab.locator(".thumbnail").first.click()
        tab.get_by_text("Answered in").wait_for()
        if heat:
            tab.get_by_role("button", name=heat).first.click()
        tab.wait_for_timeout(500)
        file = io.BytesIO()
        Image.open(io.BytesIO(tab.screenshot())).save(file, "WEBP", quality=80, method=6)
        browser.close()
    return file.getvalue()


if __name__ == "__main__":
    main()
