"""The page in a browser: headless Chromium, driven by Playwright."""

import base64
import io
import json
import os
import re
import shutil
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

import cmpc_tf2
from cmpc_tf2.serving.api import create_app
from cmpc_tf2.serving.page import STATIC, add_page
from cmpc_tf2.serving.segmenter import Limits, Segmenter
from cmpc_tf2.serving.uploads import PICTURE_UPLOAD, Example
from cmpc_tf2.tasks.masks.drawing import COLORS
from cmpc_video_tf2.config import CMPCVideoConfig
from cmpc_video_tf2.models.cmpc_video import CMPCVideo
from cmpc_video_tf2.predictor import VideoPredictor
from cmpc_video_tf2.uploads import VIDEO_UPLOAD
from conftest import PATIENCE
from http_client import form, served
from pictures import file_of
from small import SMALL, WORDS
from videos import write_video

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# Chromium as root in a container, which asks no server for anything of its own.
OPTIONS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
# The file axe.min.js of axe-core, which is not part of this repository.
AXE = os.environ.get("CMPC_TEST_AXE")
SIZE = (90, 60)


def picture(seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (*SIZE[::-1], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def app_of(predictor, set_pixels, upload, examples):
    app = create_app(Segmenter(predictor, set_pixels, Limits()), "small.keras", upload)
    add_page(app, examples)
    return app


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium): the page is not tested")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=OPTIONS.split(), timeout=1000 * PATIENCE)
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        context.set_default_timeout(1000 * PATIENCE)
        yield context
        browser.close()


@pytest.fixture(scope="module")
def predictor(small_model):
    return cmpc_tf2.Predictor(small_model)


@pytest.fixture(scope="module")
def app(predictor):
    content = file_of(picture(1))
    examples = [Example("example.png", content, content, ["the square", "blue circle"])]
    return app_of(predictor, predictor.set_image, PICTURE_UPLOAD, examples)


@pytest.fixture(scope="module")
def address(app):
    with served(app) as port:
        yield f"http://127.0.0.1:{port}"


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


@pytest.fixture
def tab(browser, address):
    tab = opened(browser, address)
    yield tab
    tab.close()
    complaints = [text for text in tab.complaints if "server responded with a status of" not in text]
    assert not complaints
    assert all(url.startswith((address, "blob:")) for url in tab.requested)  # It asks no other server.


@pytest.fixture
def reference(predictor):
    """The predictor, after `set_image` of `picture()`."""
    predictor.set_image(np.asarray(picture()))
    return predictor


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


def test_sentences_give_masks_and_files(tab, reference):
    choose(tab, file_of(picture()))
    plain = canvas(tab)
    card = mark(tab, "the man")
    mark(tab, "red circle")
    assert plain.shape == (533, 800, 3)  # Enlarged.
    assert (canvas(tab) != plain).any()
    expected = reference.predict("the man")
    np.testing.assert_array_equal(saved_mask(tab, card), expected.mask)
    assert card.locator(".word b").all_inner_texts() == ["the", "man"]

    asked = len(tab.requested)
    tab.get_by_text("Settings").click()
    tab.fill("#threshold", "0.25")
    np.testing.assert_array_equal(saved_mask(tab, card), expected.probabilities >= 0.25)
    assert len([url for url in tab.requested[asked:] if "/v1/" in url]) == 0  # The model does not run again.

    answer = json.loads(saved(tab, tab.get_by_text("Save the masks")))
    assert [segment["expression"] for segment in answer["segments"]] == ["the man", "red circle"]
    np.testing.assert_array_equal(coco.decode(answer["segments"][0]["mask"]), expected.probabilities >= 0.25)
    overlay = np.asarray(Image.open(io.BytesIO(saved(tab, tab.get_by_text("Save the picture")))).convert("RGB"))
    np.testing.assert_array_equal(overlay, canvas(tab))


def test_densecrf_replaces_the_threshold(tab, reference):
    pytest.importorskip("pydensecrf")
    choose(tab, file_of(picture()))
    card = mark(tab, "the man")
    tab.get_by_text("Settings").click()
    tab.check("#dcrf")
    tab.wait_for_selector("#threshold:disabled")
    pixels, expected = np.asarray(picture()), reference.predict("the man")
    np.testing.assert_array_equal(saved_mask(tab, card), expected.refined_mask(pixels))
    np.testing.assert_array_equal(saved_mask(tab, mark(tab, "man")), reference.predict("man").refined_mask(pixels))
    tab.uncheck("#dcrf")
    tab.wait_for_selector("#threshold:enabled")
    np.testing.assert_array_equal(saved_mask(tab, card), expected.mask)


def test_a_sentence_is_switched_shown_alone_and_removed(tab):
    choose(tab, file_of(picture()))
    plain = canvas(tab)
    mark(tab, "the man")
    first = canvas(tab)
    mark(tab, "red circle")
    both = canvas(tab)
    chip, other = tab.get_by_role("button", name="the man", exact=True), tab.get_by_role("button", name="red circle")
    assert (first != plain).any() and (both != first).any()
    chip.hover()
    np.testing.assert_array_equal(canvas(tab), first)
    tab.mouse.move(5, 5)
    np.testing.assert_array_equal(canvas(tab), both)
    other.first.click()
    tab.mouse.move(5, 5)
    assert other.first.get_attribute("aria-pressed") == "false"
    np.testing.assert_array_equal(canvas(tab), first)
    tab.get_by_label("Remove “the man”").click()
    np.testing.assert_array_equal(canvas(tab), plain)
    assert tab.locator(".sentence").count() == 1


def test_it_works_with_the_keyboard(tab):
    choose(tab, file_of(picture()))
    mark(tab, "the man")
    marked = canvas(tab)
    reached = []
    for _ in range(20):
        tab.keyboard.press("Tab")
        reached.append(
            tab.evaluate("document.activeElement.getAttribute('aria-label') || document.activeElement.innerText")
        )
        if reached[-1] == "the man":
            assert tab.evaluate("getComputedStyle(document.activeElement).outlineWidth") == "3px"
            tab.keyboard.press("Space")
            assert (canvas(tab) != marked).any()
        if reached[-1] == "probability":
            tab.keyboard.press("Enter")
            tab.get_by_text("probability: the man").wait_for()
            break
    expected = ["Mark", "Settings", "the man", "PNG: save the mask of “the man”", "Remove “the man”"]
    assert reached == [*expected, "entities perceived", "after relations", "probability"]


def test_heat_maps_take_the_place_of_the_masks(tab):
    choose(tab, file_of(picture()))
    card = mark(tab, "the man")
    marked = canvas(tab)
    button = card.get_by_text("after relations")
    button.click()
    tab.get_by_text("after relations: the man").wait_for()
    assert button.get_attribute("aria-pressed") == "true"
    assert tab.locator("#canvas").get_attribute("aria-label").endswith("heat map, after relations: the man")
    assert (canvas(tab) != marked).any()
    button.click()
    np.testing.assert_array_equal(canvas(tab), marked)


def test_attention_of_words_is_shown(browser, small_maskris):
    predictor = cmpc_tf2.Predictor(small_maskris)
    with served(app_of(predictor, predictor.set_image, PICTURE_UPLOAD, [])) as port:
        tab = opened(browser, f"http://127.0.0.1:{port}")
        choose(tab, file_of(picture()))
        card = mark(tab, "man with a frisbee")
        buttons = ["whole sentence", "man", "with", "a", "frisbee", "probability"]
        assert card.locator(".heats button").all_inner_texts() == buttons
        card.get_by_text("frisbee", exact=True).click()
        tab.get_by_text("attention of “frisbee”: man with a frisbee").wait_for()
        assert tab.locator("#model").inner_text() == "small.keras, a MaskRIS model"
        tab.close()


def test_words_are_typed_only_where_the_model_decides(tab, address):
    """And what the server sends is text, not HTML."""
    content = httpx.post(f"{address}/v1/segment", **form("the man", mask_format="probabilities")).json()
    shares = {"entity": 0.28, "attribute": 0.26, "relation": 0.24, "unnecessary": 0.22}
    content["segments"][0]["words"] = [
        {"word": "the", "known": True, "types": shares},
        {"word": "<img src=x>", "known": False, "types": shares | {"entity": 0.9}},
    ]
    tab.route("**/v1/segment", lambda route: route.fulfill(json=content))
    choose(tab, file_of(picture()))
    card = mark(tab, "the man")
    assert card.locator("small").all_inner_texts() == ["undecided", "unknown word, entity 90 %"]
    assert card.locator(".word").nth(1).locator("b").inner_text() == "<img src=x>"
    assert card.locator(".bar .entity").count() == 1 and card.locator("img").count() == 0


def test_masks_that_overlap_alternate_in_stripes(tab):
    drawn = tab.evaluate(
        """async () => {
            const { colorOf, drawMasks, maskOf } = await import("/pixels.js");
            const image = new ImageData(60, 60);
            const half = Uint8Array.from({ length: 3600 }, (_, pixel) => (pixel % 60 < 30 ? 255 : 0));
            const masks = [maskOf(half, 0.5), maskOf(new Uint8Array(3600).fill(128), 0.5)];
            drawMasks(image, masks.map((mask, index) => ({ mask, color: colorOf(index) })));
            const colors = Array.from({ length: 8 }, (_, index) => colorOf(index));
            return { pixels: [...image.data], colors };
        }"""
    )
    colors = [tuple(int(color[start : start + 2], 16) for start in (1, 3, 5)) for color in drawn["colors"]]
    assert colors == [*COLORS, COLORS[0]]  # As in the drawings of `predict`.
    pixels = np.array(drawn["pixels"]).reshape(60, 60, 4)[..., :3]
    fills = [tuple(np.round(0.45 * np.array(color)).astype(int)) for color in colors[:2]]
    found = {tuple(map(int, pixel)) for pixel in pixels[:, :26].reshape(-1, 3)}
    assert found == set(fills)  # Both, without an edge.
    assert {tuple(map(int, pixel)) for pixel in pixels[:, 30:].reshape(-1, 3)} == {fills[1]}
    assert tuple(pixels[30, 29]) == colors[0]


@pytest.mark.parametrize(
    "sentence, message",
    [
        ("zebra crossing", "'zebra crossing': the model knows none of its words"),
        ("", "Write what to mark"),
        (".", "has no words"),
    ],
)
def test_errors_of_a_sentence_are_shown_next_to_it(sentence, message, tab):
    choose(tab, file_of(picture()))
    tab.fill("#sentence", sentence)
    tab.click("#mark")
    tab.locator("#sentence-error", has_text=message).wait_for()
    assert tab.locator("#sentence").get_attribute("aria-invalid") == "true"
    mark(tab, "the man")  # And the next one is answered.
    assert tab.locator("#sentence-error").inner_text() == ""


def test_errors_of_a_file_are_shown_next_to_it(tab):
    tab.fill("#sentence", "the man")
    tab.click("#mark")
    tab.locator("#file-error", has_text="Choose a picture first.").wait_for()
    choose(tab, b"hello")
    tab.locator("#file-error", has_text="not a readable image; expected a whole JPEG").wait_for()
    tab.click("#mark")
    tab.locator("#file-error", has_text="not a readable image; expected a whole JPEG").wait_for()


def test_a_busy_server_is_reported(tab):
    tab.route("**/v1/segment", lambda route: route.fulfill(status=429, json={"detail": "16 requests are waiting"}))
    choose(tab, file_of(picture()))
    tab.fill("#sentence", "the man")
    tab.click("#mark")
    tab.locator("#form-error", has_text="16 requests are waiting").wait_for()


def test_waiting_is_announced_and_does_not_block(tab):
    waiting = []
    tab.route("**/v1/segment", lambda route: waiting.append(route))
    choose(tab, file_of(picture()))
    tab.fill("#sentence", "the man")
    tab.click("#mark")
    tab.get_by_role("status").get_by_text("Marking").wait_for()
    assert tab.locator(".spinner").is_visible()
    tab.fill("#sentence", "red circle")
    with tab.expect_request("**/v1/segment"):
        tab.press("#sentence", "Enter")
    tab.wait_for_timeout(100)
    for route in waiting:
        route.continue_()
    tab.get_by_text(re.compile(r"Answered in \d+\.\d s")).wait_for()
    tab.locator(".chip").nth(1).wait_for()
    assert sorted(tab.locator(".chip").all_inner_texts()) == ["red circle", "the man"]


def test_examples_are_answered_at_a_click(tab):
    tab.locator("#examples").get_by_text("blue circle").click()
    tab.get_by_text("Answered in").wait_for()
    assert tab.locator(".chip").all_inner_texts() == ["blue circle"]
    tab.locator(".thumbnail").click()
    tab.locator(".chip", has_text="the square").wait_for()
    assert tab.locator("#file-name").inner_text() == "example.png"


@pytest.mark.parametrize("event", ["paste", "drop"])
def test_pictures_can_be_pasted_and_dropped(event, tab):
    tab.evaluate(
        """([event, content]) => {
            const transfer = new DataTransfer();
            const bytes = Uint8Array.from(atob(content), (character) => character.charCodeAt(0));
            transfer.items.add(new File([bytes], "given.png", { type: "image/png" }));
            const options = { bubbles: true, clipboardData: transfer, dataTransfer: transfer };
            document.body.dispatchEvent(
                event == "paste" ? new ClipboardEvent("paste", options) : new DragEvent("drop", options)
            );
        }""",
        [event, base64.b64encode(file_of(picture())).decode()],
    )
    tab.get_by_text("given.png").wait_for()
    mark(tab, "the man")


def test_formats_that_browsers_do_not_show(tab):
    smooth = picture().resize((3, 2)).resize(SIZE, Image.Resampling.BICUBIC)
    choose(tab, file_of(smooth, "TIFF"), "picture.tiff")
    tab.wait_for_selector("#canvas")
    difference = np.abs(canvas(tab) - np.asarray(smooth.resize((800, 533), Image.Resampling.BICUBIC)).astype(int))
    assert difference.mean() < 5  # It was sent as JPEG.
    mark(tab, "the man")


def test_the_answer_is_visible_on_a_phone(browser, address):
    tab = opened(browser, address)
    tab.set_viewport_size({"width": 390, "height": 844})
    choose(tab, file_of(picture()))
    card = mark(tab, "the man")
    for element in (tab.locator("#canvas"), tab.locator("#mark"), card.locator(".chip")):
        box = element.bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= 844
    tab.mouse.wheel(0, 5000)
    assert tab.locator("#canvas").bounding_box()["y"] >= 0  # It stays there for the heat maps.
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390  # Nothing sticks out.
    tab.close()


@pytest.mark.skipif(AXE is None, reason="axe-core is not here (CMPC_TEST_AXE: its axe.min.js)")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_accessible(scheme, tab):
    tab.emulate_media(color_scheme=scheme)
    findings = []
    for state in ("empty", "error", "marked", "heat map"):
        if state == "error":
            tab.click("#mark")
            tab.get_by_text("Choose a picture first.").wait_for()
        if state == "marked":
            choose(tab, file_of(picture()))
            mark(tab, "the man")
            mark(tab, "the zebra circle")
            tab.get_by_text("Settings").click()
            tab.locator(".chip").first.click()
        if state == "heat map":
            tab.get_by_text("after relations").first.click()
            tab.get_by_text("after relations: the man").wait_for()
        tab.evaluate(Path(AXE).read_text())
        result = tab.evaluate("axe.run()")
        assert len(result["passes"]) > 10
        findings += [(state, found["id"], found["nodes"][0]["html"]) for found in result["violations"]]
    assert findings == []


def test_a_video_is_marked_at_a_moment(browser, tmp_path):
    model = CMPCVideo(CMPCVideoConfig(**SMALL.to_dict()), vocabulary=WORDS)
    predictor = VideoPredictor(model)
    path = write_video(tmp_path / "clip.mp4", 20)
    examples = [Example(path.name, path.read_bytes(), file_of(picture()), ["red circle"])]
    with served(app_of(predictor, predictor.set_clip, VIDEO_UPLOAD, examples)) as port:
        tab = opened(browser, f"http://127.0.0.1:{port}")
        choose(tab, path.read_bytes(), "clip.mp4")
        assert saved_mask(tab, mark(tab, "the man")).shape == (48, 64)
        middle = canvas(tab)
        assert "after actions" in tab.locator(".heats button").all_inner_texts()
        with tab.expect_response("**/v1/segment") as response:
            tab.fill("#moment", "0.9")
            tab.fill("#moment", "1")  # Before the first is answered.
            tab.get_by_text("Answered in").wait_for()
        assert response.value.ok
        tab.wait_for_selector(".sentence")  # The same sentence, about another frame.
        assert tab.locator("#moment-value").inner_text() == "100 %"
        assert (canvas(tab) != middle).any()
        choose(tab, b"hello", "clip.mp4")
        tab.locator("#file-error", has_text="expected an mp4 or avi file").wait_for()
        tab.locator("#examples").get_by_text("red circle").click()
        tab.get_by_text("Answered in").wait_for()
        assert tab.locator(".chip").all_inner_texts() == ["red circle"]
        tab.close()


def test_the_page_may_run_only_its_own_scripts(address):
    responses = [httpx.get(f"{address}/{name}") for name in [*(path.name for path in STATIC.iterdir()), ""]]
    for response in responses:
        assert response.status_code == 200
        policy = response.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';") and "unsafe" not in policy
        assert response.headers["x-content-type-options"] == "nosniff"
    assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=|https?:", responses[-1].text)


def test_examples_are_drawn():
    for upload in (PICTURE_UPLOAD, VIDEO_UPLOAD):
        examples = upload.draw_examples()
        assert len(examples) == 3 and all(example.expressions for example in examples)
        assert all(Image.open(io.BytesIO(example.thumbnail)).format == "PNG" for example in examples)
