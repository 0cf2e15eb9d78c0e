"""The page in a browser: sentences, masks and heat maps."""

import io
import json

import httpx
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

import cmpc_tf2
from cmpc_tf2.serving.uploads import PICTURE_UPLOAD
from cmpc_tf2.tasks.drawing import COLORS
from cogrounding_original import TINY
from cogrounding_tf2.models.sl_att import SLAtt
from cogrounding_tf2.predictor import BoxPredictor
from http_client import form, served
from page_driver import SIZE, app_of, canvas, choose, mark, opened, picture, saved, saved_mask
from pictures import file_of

GROUNDING_WORDS = ["<pad>", "<go>", "<eos>", "<unk>", "red", "circle", *(f"word{number}" for number in range(31))]


def test_sentences_give_masks_and_files(tab, reference):
    choose(tab, file_of(picture()))
    plain = canvas(tab)
    card = mark(tab, "the man")
    mark(tab, "red circle")
    assert plain.shape == (533, 800, 3)  # Enlarged.
    assert (canvas(tab) != plain).any()
    expected = reference.predict("the man")
    np.testing.assert_array_equal(saved_mask(tab, card), expected.mask)
    assert card.locator("h3").all_inner_texts() == ["Word types", "Heat maps"]
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
    with tab.expect_download() as download:
        tab.get_by_text("Save the picture").click()
    assert download.value.suggested_filename == "picture_marked.png"


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
    expected = [
        "Mark",
        "This model knows 8 words",
        "Settings",
        "the man",
        "PNG: save the mask of “the man”",
        "Remove “the man”",
    ]
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
        assert tab.locator("#sentence").get_attribute("placeholder") == "the man in white"
        assert tab.locator("#words").is_hidden()
        tab.close()


def test_boxes_are_outlines(browser):
    predictor = BoxPredictor(SLAtt(TINY, vocabulary=GROUNDING_WORDS, name="sl_att"))
    with served(app_of(predictor, predictor.set_image, PICTURE_UPLOAD, [])) as port:
        address = f"http://127.0.0.1:{port}"
        asked = form("red circle", mask_format="probabilities")
        content = httpx.post(f"{address}/v1/segment", **asked, timeout=60).json()
        segment = content["segments"][0]
        segment |= {"bbox": [20.4, 10, 40, 30], "score": 0.25}
        tab = opened(browser, address)
        tab.route("**/v1/segment", lambda route: route.fulfill(json=content))
        choose(tab, file_of(picture()))
        tab.get_by_text("Picture ready").wait_for()
        before = canvas(tab)
        card = mark(tab, "red circle")
        assert card.locator(".share").inner_text() == "x 20 to 60, y 10 to 40, score 0.25"
        assert tab.locator("#settings").is_hidden() and card.get_by_text("PNG").count() == 0
        assert json.loads(saved(tab, tab.get_by_text("Save the boxes")))["segments"][0]["bbox"] == segment["bbox"]

        changed, scale = (canvas(tab) != before).any(axis=-1), before.shape[1] / SIZE[0]
        rows, columns = (np.flatnonzero(changed.any(axis=axis)) for axis in (1, 0))
        drawn = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        np.testing.assert_allclose(drawn, np.array([20.4, 10, 60.4, 40]) * scale, atol=1)
        assert not changed[drawn[1] + 5 : drawn[3] - 5, drawn[0] + 5 : drawn[2] - 5].any()

        phrases = card.locator(".phrases li")
        assert [text.split()[0] for text in phrases.all_inner_texts()] == ["subject", "location"]
        assert phrases.first.locator("mark").all_inner_texts() == ["red", "circle"]
        percent = f"{100 * segment['phrases'][0]['words'][1]['weight']:.0f} %"
        assert phrases.first.locator("mark").nth(1).get_attribute("title") == percent
        tab.close()


def test_objects_to_choose_from_are_listed(tab, address):
    content = httpx.post(f"{address}/v1/segment", **form("the man", mask_format="probabilities"), timeout=60).json()
    parts = {"subject": 0.25, "location": 0.125}
    objects = [
        {"bbox": [1, 2, 3, 4], "label": f"person {number}", "score": 0.375, "parts": parts} for number in range(7)
    ]
    content["segments"][0] |= {"candidates": objects, "phrases": [{"aspect": "subject", "share": 0.5, "words": []}]}
    tab.route("**/v1/segment", lambda route: route.fulfill(json=content))
    choose(tab, file_of(picture()))
    card = mark(tab, "the man")
    listed = card.locator(".objects li")
    assert listed.count() == 5 and listed.first.inner_text() == "person 0 0.38 subject 0.25, location 0.13"
    assert listed.first.get_attribute("title") == "x 1 to 4, y 2 to 6"
    assert card.locator(".phrases li").inner_text().strip() == "subject 50 %"


def test_words_are_typed_only_where_the_model_decides(tab, address):
    """And what the server sends is text, not HTML."""
    content = httpx.post(f"{address}/v1/segment", **form("the man", mask_format="probabilities"), timeout=60).json()
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
