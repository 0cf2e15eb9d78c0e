"""The page in a browser: files, errors, waiting, small screens, accessibility."""

import base64
import io
import re

import httpx
import numpy as np
import pytest
from PIL import Image

from browsing import needs_axe, run_axe
from cmpc_tf2.serving.page import STATIC
from cmpc_tf2.serving.uploads import PICTURE_UPLOAD, Example
from cmpc_video_tf2.config import CMPCVideoConfig
from cmpc_video_tf2.models.cmpc_video import CMPCVideo
from cmpc_video_tf2.predictor import VideoPredictor
from cmpc_video_tf2.uploads import video_upload
from http_client import served
from page_driver import SIZE, app_of, canvas, choose, mark, opened, picture, saved_mask
from pictures import file_of, several
from small import SMALL, WORDS
from videos import write_video


@pytest.mark.parametrize(
    "sentence, message",
    [
        ("zebra crossing", "'zebra crossing': the model knows none of the words; try other words"),
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
    tab.locator("#file-error", has_text="picture.png is not a picture that can be read. Choose a JPEG").wait_for()
    tab.click("#mark")
    tab.locator("#file-error", has_text="picture.png is not a picture that can be read. Choose a JPEG").wait_for()


@pytest.mark.parametrize(
    "content, name, message",
    [
        (b"hello", "notes.txt", "notes.txt is not a picture that can be read. Choose a JPEG, PNG, WebP, TIFF"),
        (several("GIF"), "moving.gif", "moving.gif: is animated"),  # Browsers show it.
    ],
)
def test_a_file_that_cannot_be_used_changes_nothing(content, name, message, tab):
    choose(tab, file_of(picture()))
    mark(tab, "the man")
    marked = canvas(tab)
    choose(tab, content, name)
    tab.locator("#file-error", has_text=message).wait_for()
    assert tab.locator("#file-name").inner_text() == "picture.png"
    np.testing.assert_array_equal(canvas(tab), marked)
    mark(tab, "red circle")
    assert tab.locator(".chip").all_inner_texts() == ["the man", "red circle"]
    assert tab.locator("#file-error").inner_text() == ""
    choose(tab, file_of(picture(1)), "other.png")
    tab.locator("#file-name", has_text="other.png").wait_for()
    assert tab.locator(".chip").count() == 0 and (canvas(tab) != marked).any()


def test_a_sentence_for_a_file_that_cannot_be_used_is_kept(tab):
    choose(tab, file_of(picture()))
    tab.get_by_text("Picture ready. Enter a sentence.").wait_for()
    waiting = []
    tab.route("**/v1/encode", lambda route: waiting.append(route))
    with tab.expect_request("**/v1/encode"):
        choose(tab, b"hello", "notes.txt")
    tab.fill("#sentence", "the man")
    tab.click("#mark")
    tab.wait_for_timeout(100)
    waiting[0].continue_()
    tab.locator("#file-error", has_text="notes.txt is not a picture").wait_for()
    assert tab.locator("#sentence").input_value() == "the man" and tab.locator(".chip").count() == 0
    mark(tab, "the man")


def test_the_model_says_what_it_knows(tab):
    assert tab.locator("#sentence").get_attribute("placeholder") == "the square"  # Of the examples.
    tab.get_by_text("This model knows 8 words").click()
    assert tab.locator("#words p").inner_text() == "blue, circle, left, man, of, red, square, the"


def test_controls_are_large_enough_for_fingers(browser, address):
    context = browser.browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    tab = opened(context, address)
    for name in ("#drop", "#choose"):
        assert tab.locator(name).inner_text() == "Choose a picture"
    choose(tab, file_of(picture()))
    mark(tab, "the man")
    tab.get_by_text("Settings").click()
    controls = tab.locator("button:visible, .button, summary:visible, input:visible:not(.hidden-input), header a")
    assert controls.count() > 15
    small = [control.inner_text() for control in controls.all() if min(sizes_of(control)) < 40]
    assert small == []
    context.close()


def sizes_of(control) -> tuple[float, float]:
    box = control.bounding_box()
    return box["width"], box["height"]


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


def test_the_interface_is_described_and_can_be_tried(browser, address):
    tab = browser.new_page()
    tab.goto(f"{address}/docs")
    tab.locator("#operations-default-segment_v1_segment_post").click()
    tab.get_by_role("button", name="Try it out").click()
    upload = {"name": "picture.png", "mimeType": "image/png", "buffer": file_of(picture())}
    tab.locator("input[type=file]").set_input_files(upload)
    for number, sentence in enumerate(["the man", "red circle"]):
        tab.get_by_role("button", name="Add string item").click()
        tab.locator(".json-schema-array input").nth(number).fill(sentence)
    with tab.expect_response("**/v1/segment") as response:
        tab.get_by_role("button", name="Execute").click()
    assert [found["expression"] for found in response.value.json()["segments"]] == ["the man", "red circle"]
    tab.close()


@needs_axe
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
            for title in ("Settings", "What is this?", "This model knows"):
                tab.get_by_text(title).click()
            tab.locator(".chip").first.click()
        if state == "heat map":
            tab.get_by_text("after relations").first.click()
            tab.get_by_text("after relations: the man").wait_for()
        passes, violations = run_axe(tab)
        assert passes > 10
        findings += [(state, *violation) for violation in violations]
    assert findings == []


def test_a_video_is_marked_at_a_moment(browser, tmp_path):
    model = CMPCVideo(CMPCVideoConfig(**SMALL.to_dict()), vocabulary=WORDS)
    predictor = VideoPredictor(model)
    path = write_video(tmp_path / "clip.mp4", 20)
    examples = [Example(path.name, path.read_bytes(), file_of(picture()), ["red circle"])]
    with served(app_of(predictor, predictor.set_clip, video_upload(), examples)) as port:
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
    for upload in (PICTURE_UPLOAD, video_upload()):
        examples = upload.draw_examples()
        assert len(examples) == 3 and all(example.expressions for example in examples)
        assert all(Image.open(io.BytesIO(example.thumbnail)).format == "PNG" for example in examples)
