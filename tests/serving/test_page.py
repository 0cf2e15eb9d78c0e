"""The page in a browser: headless Chromium, driven by Playwright."""

import dataclasses
import importlib.util
import pickle
import shutil
import socket

import cv2
import gradio as gr
import numpy as np
import pytest
from cmpc_video_tf2.page import VIDEO_INPUT
from PIL import Image

import cmpc_tf2
from cmpc_tf2.preprocessing.preprocessing import Preprocessing
from cmpc_tf2.serving import page as pages
from cmpc_tf2.serving.segmenter import Limits, Segmenter
from cmpc_tf2.tasks.masks.explanation import Explanation, WordReading
from cmpc_tf2.tasks.masks.prediction import Prediction
from cmpc_video_tf2.config import CMPCVideoConfig
from cmpc_video_tf2.models.cmpc_video import CMPCVideo
from cmpc_video_tf2.predictor import VideoPredictor
from conftest import PATIENCE
from small import SMALL, WORDS
from videos import write_video

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# Chromium as root in a container, which asks no server for anything of its own.
OPTIONS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium): the page is not tested")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=OPTIONS.split(), timeout=1000 * PATIENCE)
        context = browser.new_context()
        context.set_default_timeout(1000 * PATIENCE)
        yield context
        browser.close()


def launched(segmenter, page_input):
    """Shows a page; returns it and its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    page = pages.build_page(segmenter, page_input, "small.keras", has_dcrf=True)
    pages.launch(page, segmenter.limits, "127.0.0.1", port, wait=False)
    return page, f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def address(small_model):
    predictor = cmpc_tf2.Predictor(small_model)
    page, address = launched(Segmenter(predictor, predictor.set_image, Limits()), pages.PICTURE_INPUT)
    yield address
    page.close()


@pytest.fixture
def tab(browser, address):
    tab = browser.new_page()
    tab.set_viewport_size({"width": 1280, "height": 1000})
    tab.requested = []
    tab.on("request", lambda request: tab.requested.append(request.url))
    tab.goto(address)
    tab.wait_for_selector("#mark")
    yield tab
    tab.close()


@pytest.fixture
def picture(tmp_path, rng):
    path = tmp_path / "picture.png"
    Image.fromarray(rng.integers(0, 256, size=(60, 90, 3), dtype=np.uint8)).save(path)
    return path


def test_unknown_stages_are_shown_under_their_own_names():
    prediction = Prediction(np.zeros((8, 8), np.float32), (8, 8), Preprocessing(8))
    explanation = Explanation(prediction, [], {"entities": np.eye(4), "gaze": np.eye(4)})
    maps = pages.heat_maps(np.zeros((8, 8, 3), np.uint8), ["man"], [explanation])
    assert [caption for _, caption in maps] == ["entities perceived: man", "gaze: man", "final: man"]


def test_attention_of_words_is_shown_without_types(small_maskris, picture):
    functions = functions_of(small_maskris, pages.PICTURE_INPUT)
    *_, described, maps = functions["segment"](str(picture), 0.5, "man, man", 0.5, False)
    titles = [f"attention of {word}: man, man" for word in ("[CLS]", "man", ",", "man")]
    assert [caption for _, caption in maps] == [*titles, "final: man, man"]
    assert all(heat.shape == (60, 90, 3) for heat, _ in maps)
    assert described == ""


def functions_of(small_model, page_input) -> dict:
    """The event handlers of the page of a picture model, by name."""
    predictor = cmpc_tf2.Predictor(small_model)
    page = pages.build_page(Segmenter(predictor, predictor.set_image, Limits()), page_input, "small.keras", False)
    return {function.name: function.fn for function in page.fns.values()}


def test_a_click_reads_the_upload_once_and_keeps_little(small_model, picture):
    reads = []
    page_input = dataclasses.replace(
        pages.PICTURE_INPUT, read=lambda *asked: reads.append(asked) or pages.PICTURE_INPUT.read(*asked)
    )
    functions = functions_of(small_model, page_input)
    answer, overlay, masks, _, _ = functions["segment"](str(picture), 0.5, "the man\nred circle", 0.5, False)
    assert len(reads) == 1
    again, _ = functions["draw_again"](answer, 0.5, False)
    np.testing.assert_array_equal(again, overlay)
    assert masks[0][0].shape == (60, 90)
    fitted = 2 * 32 * 32 * 4  # Two maps of the model's size.
    assert len(pickle.dumps(answer)) < fitted + 2000


def test_a_missing_upload_is_reported(small_model, picture):
    functions = functions_of(small_model, pages.PICTURE_INPUT)
    answer, *_ = functions["segment"](str(picture), 0.5, "the man", 0.5, False)
    picture.unlink()
    with pytest.raises(gr.Error, match="no longer here"):
        functions["draw_again"](answer, 0.5, False)


def ask(tab, path, sentences):
    tab.set_input_files("#upload input[type=file]", path)
    tab.wait_for_selector("#upload img, #upload video")
    tab.fill("#sentences textarea", sentences)
    tab.click("#mark")


def shown(tab, selector: str) -> np.ndarray:
    """The pixels of a picture on the page, as the server sent it."""
    source = tab.wait_for_selector(f"{selector} img").get_attribute("src")
    content = tab.request.get(source).body()
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def test_a_picture_and_sentences_give_masks_and_reasons(tab, address, picture, small_model, tmp_path):
    tab.screenshot(path=tmp_path / "before.png")
    ask(tab, picture, "the man\nred circle")
    overlay = shown(tab, "#overlay")
    assert overlay.shape[0] > 60 and overlay.shape[1] == 90  # Captions stand below.
    predictor = cmpc_tf2.Predictor(small_model)
    predictor.set_image(np.asarray(Image.open(picture)))
    np.testing.assert_array_equal(shown(tab, "#masks")[..., 0], predictor.predict("the man").mask * 255)
    words = tab.locator("#words .word b")
    assert words.all_inner_texts() == ["the", "man", "red", "circle"]
    tab.wait_for_function("document.querySelectorAll('#stages img').length == 6")
    captions = " ".join(tab.locator("#stages").all_inner_texts())
    for stage in ("entities perceived", "after relations", "final"):
        assert f"{stage}: the man" in captions and f"{stage}: red circle" in captions
    tab.screenshot(path=tmp_path / "after.png", full_page=True)

    # Another threshold redraws the same answer.
    slider = tab.locator("input[type=range]").last
    before = tab.locator("#overlay img").get_attribute("src")
    slider.fill("0.05")
    slider.dispatch_event("pointerup")
    tab.wait_for_function("before => document.querySelector('#overlay img').src != before", arg=before)
    expected = predictor.predict("the man").probabilities >= 0.05
    np.testing.assert_array_equal(shown(tab, "#masks")[..., 0], expected * 255)

    if importlib.util.find_spec("pydensecrf"):
        before = tab.locator("#overlay img").get_attribute("src")
        tab.get_by_label("Align with edges").check()
        tab.wait_for_function("before => document.querySelector('#overlay img').src != before", arg=before)
        refined = predictor.predict("the man").refined_mask(np.asarray(Image.open(picture)))
        np.testing.assert_array_equal(shown(tab, "#masks")[..., 0], refined * 255)

    tab.set_viewport_size({"width": 390, "height": 844})
    tab.screenshot(path=tmp_path / "phone.png", full_page=True)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390  # Nothing sticks out.
    assert len(list(tmp_path.glob("*.png"))) == 4
    assert all(url.startswith((address, "blob:", "data:")) for url in tab.requested)  # It asks no other server.


@pytest.mark.parametrize(
    "sentences, message",
    [
        ("zebra crossing", "'zebra crossing': the model knows none of its words"),
        ("", "Write what to mark"),
        (".", "has no words"),
        ("man " * 200, "expected at most 500"),
    ],
)
def test_unusable_expressions_are_reported(sentences, message, tab, picture):
    ask(tab, picture, sentences)
    tab.get_by_text(message).first.wait_for()
    ask(tab, picture, "the man")  # And the next one is answered.
    assert shown(tab, "#overlay").shape[1] == 90


def test_a_file_that_is_not_a_picture_is_reported(tab, tmp_path):
    path = tmp_path / "no_picture.png"
    path.write_bytes(b"hello")
    tab.set_input_files("#upload input[type=file]", path)
    tab.get_by_text(
        "not a readable image; expected a whole JPEG, PNG, WebP, TIFF, BMP, GIF or AVIF file"
    ).first.wait_for()


def test_without_a_picture_it_asks_for_one(tab):
    tab.fill("#sentences textarea", "the man")
    tab.click("#mark")
    tab.get_by_text("Choose a picture first.").first.wait_for()


def test_paths_sent_by_a_client_are_not_opened(tab, address, picture):
    """Requests that name a file that was not uploaded are refused."""
    functions = {function["id"]: function for function in tab.request.get(f"{address}/config").json()["dependencies"]}
    clicked = next(number for number, function in functions.items() if len(function["inputs"]) == 5)
    upload = {"path": str(picture), "meta": {"_type": "gradio.FileData"}}
    data = {"data": [upload, 0.5, "the man", 0.5, False], "fn_index": clicked, "session_hash": "x"}
    assert tab.request.post(f"{address}/gradio_api/queue/join", data=data).ok
    events = tab.request.get(f"{address}/gradio_api/queue/data?session_hash=x").text()
    assert "was not uploaded" in events
    assert '"success":false' in events and '"success":true' not in events
    assert not tab.request.get(f"{address}/gradio_api/file={picture}").ok


def test_a_video_and_sentences_give_masks_and_reasons(browser, tmp_path, rng):
    model = CMPCVideo(CMPCVideoConfig(**SMALL.to_dict()), vocabulary=WORDS)
    predictor = VideoPredictor(model)
    page, address = launched(Segmenter(predictor, predictor.set_clip, Limits()), VIDEO_INPUT)
    try:
        tab = browser.new_page()
        tab.goto(address)
        ask(tab, write_video(tmp_path / "clip.mp4", 20), "the man")
        assert shown(tab, "#overlay").shape[1] == 64
        assert shown(tab, "#masks").shape == (48, 64, 3)
        tab.wait_for_function("document.querySelectorAll('#stages img').length == 4")
        assert "action" in tab.locator("#words .legend").inner_text()
        tab.close()
    finally:
        page.close()


def test_words_are_escaped_on_the_page():
    prediction = Prediction(np.zeros((4, 4), np.float32), (4, 4), Preprocessing(4))
    word = WordReading("<img src=x>", False, dict.fromkeys(SMALL.word_types, 0.25))
    described = pages.describe_words([Explanation(prediction, [word], {})])
    assert "<img" not in described and "&lt;img src=x&gt;" in described and "unknown word" in described
