"""The page in a browser: what a visitor does, and what they see."""

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image

from cmpc_tf2.serving.api import create_app
from cmpc_tf2.serving.page import add_page
from cmpc_tf2.serving.segmenter import Limits, Segmenter

SIZE = (90, 60)


def picture(seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (*SIZE[::-1], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def app_of(predictor, set_pixels, upload, examples):
    segmenter = Segmenter(predictor, set_pixels, Limits())
    app = create_app(segmenter, "small.keras", upload)
    add_page(app, segmenter, examples)
    return app


def opened(browser, address):
    """A tab with the page; `requested` are the addresses it asked for, `complaints` what the browser reports."""
    tab = browser.new_page()
    tab.requested, tab.complaints = [], []
    tab.on("request", lambda request: tab.requested.append(request.url))
    tab.on("console", lambda message: tab.complaints.append(message.text))
    tab.on("pageerror", lambda error: tab.complaints.append(str(error)))
    tab.goto(address)
    tab.wait_for_selector("[data-ready]")
    return tab


def choose(tab, content: bytes, name: str = "picture.png"):
    tab.set_input_files("#file", {"name": name, "mimeType": "", "buffer": content})


def mark(tab, sentence: str):
    """Asks for a sentence; returns its card."""
    tab.fill("#sentence", sentence)
    tab.press("#sentence", "Enter")
    card = tab.locator(".sentence", has=tab.get_by_role("button", name=sentence, exact=True))
    card.wait_for()
    tab.get_by_text("Answered in").wait_for()
    return card


def saved(tab, button) -> bytes:
    with tab.expect_download() as download:
        button.click()
    return Path(download.value.path()).read_bytes()


def saved_mask(tab, card) -> np.ndarray:
    pixels = np.asarray(Image.open(io.BytesIO(saved(tab, card.get_by_text("PNG")))).convert("RGB"))
    assert set(np.unique(pixels)) <= {0, 255}
    return pixels[..., 0] > 0


def canvas(tab) -> np.ndarray:
    tab.wait_for_timeout(100)  # It is drawn before the next frame.
    url = tab.evaluate("document.getElementById('canvas').toDataURL()")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGB")).astype(int)
