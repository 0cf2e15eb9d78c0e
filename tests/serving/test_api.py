"""Serving by HTTP, with its bad inputs and under load."""

import asyncio
import base64
import io
import json
import re
import struct
import zlib

import httpx
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

import cmpc_tf2
from cmpc_tf2.serving.api import create_app
from cmpc_tf2.serving.segmenter import Limits, Segmenter
from http_client import SEGMENT, ask, client_of, form, picture
from pictures import HEIGHT, NOISE, WIDTH, avif_with_damaged_pixels, file_of, several


def test_masks_are_the_predictors(app, small_model):
    lengths, pngs = ask(app, form("the man", "red circle"), form("the man", mask_format="png", threshold=0.3))
    reference = cmpc_tf2.Predictor(small_model)
    reference.set_image(np.asarray(Image.open(io.BytesIO(picture()))))
    answer = lengths.json()
    assert (answer["height"], answer["width"]) == (60, 90)
    for segment, expression in zip(answer["segments"], ("the man", "red circle"), strict=True):
        expected = reference.predict(expression)
        assert segment["expression"] == expression
        np.testing.assert_array_equal(coco.decode(segment["mask"]).astype(bool), expected.mask)
        assert segment["area"] == expected.mask.sum()
        assert segment["bbox"] == coco.toBbox(segment["mask"]).tolist()
        if segment["area"]:
            assert segment["score"] == pytest.approx(expected.probabilities[expected.mask].mean(), abs=1e-5)
        assert [word["word"] for word in segment["words"]] == expression.split()
        assert segment["truncation"] is None
        assert sum(segment["words"][0]["types"].values()) == pytest.approx(1, abs=1e-5)
        assert segment["attention"] == []
    mask = decode(pngs.json()["segments"][0]["mask"])
    np.testing.assert_array_equal(mask, reference.predict("the man").probabilities >= 0.3)


def test_attention_is_a_picture_for_each_word(small_maskris):
    """Of the cells of the finest grid of the decoder, white where the word looks most."""
    predictor = cmpc_tf2.Predictor(small_maskris)
    app = create_app(Segmenter(predictor, predictor.set_image, Limits()), "maskris.keras")
    (answer,) = ask(app, form("man with a frisbee"))
    (segment,) = answer.json()["segments"]
    assert segment["words"] == [] and 0 < segment["score"] < 1
    predictor.set_image(np.asarray(Image.open(io.BytesIO(picture()))))
    expected = predictor.explain("man with a frisbee").attention
    assert [found["word"] for found in segment["attention"]] == ["[CLS]", "man", "with", "a", "frisbee"]
    for found, (_, weights) in zip(segment["attention"], expected, strict=True):
        pixels = decode(found["map"])
        assert pixels.dtype == np.uint8 and pixels.max() == 255
        np.testing.assert_allclose(pixels, weights / weights.max() * 255, atol=0.51)


def test_truncation_is_part_of_the_answer(app):
    (answer,) = ask(app, form("red " * 30))
    assert answer.json()["segments"][0]["truncation"] == "only the first 20 of its 30 words count"


def decode(content: str) -> np.ndarray:
    """The pixels of a file in base64."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))


def test_probabilities_give_the_mask_of_any_threshold(app, small_model):
    (answer,) = ask(app, form("the man", mask_format="probabilities"))
    reference = cmpc_tf2.Predictor(small_model)
    reference.set_image(np.asarray(Image.open(io.BytesIO(picture()))))
    probabilities = reference.predict("the man").probabilities
    levels = decode(answer.json()["segments"][0]["mask"])
    assert levels.dtype == np.uint8
    for step in (77, 128, 140):
        np.testing.assert_array_equal(levels >= step, probabilities >= step / 256)


def test_stages_and_unknown_words(app, small_model):
    """A map of a stage has at most 128 pixels a side."""
    image = picture(size=(150, 100))
    (answer,) = ask(app, form("the zebra man", image=image))
    (segment,) = answer.json()["segments"]
    assert segment["unknown_words"] == ["zebra"]
    assert [word["known"] for word in segment["words"]] == [True, False, True]
    assert [found["stage"] for found in segment["stages"]] == ["entities", "relations"]
    reference = cmpc_tf2.Predictor(small_model)
    reference.set_image(np.asarray(Image.open(io.BytesIO(image))))
    explanation = reference.explain("the zebra man")
    for found in segment["stages"]:
        levels = decode(found["map"])
        assert levels.shape == (85, 128) and (levels.min(), levels.max()) == (0, 255)
        whole = explanation.heat_map(found["stage"])
        centre = whole[49:51, 74:76].mean()
        assert levels[42:44, 63:65].mean() / 255 == pytest.approx(centre, abs=0.05)


def test_densecrf_replaces_the_threshold(app, small_model):
    pytest.importorskip("pydensecrf")
    answer, refused = ask(app, form("the man", dcrf=True), form("man", dcrf=True, mask_format="probabilities"))
    reference = cmpc_tf2.Predictor(small_model)
    pixels = np.asarray(Image.open(io.BytesIO(picture())))
    reference.set_image(pixels)
    expected = reference.predict("the man").refined_mask(pixels)
    np.testing.assert_array_equal(coco.decode(answer.json()["segments"][0]["mask"]).astype(bool), expected)
    assert refused.status_code == 422 and refused.json()["field"] == "dcrf"


def test_without_densecrf_it_is_refused(segmenter, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    app = create_app(segmenter, "small.keras")
    (refused,) = ask(app, form("man", dcrf=True))
    assert refused.status_code == 422 and "DenseCRF is not installed" in refused.text


def test_a_picture_is_encoded_ahead(predictor):
    encoded = []

    def set_image(pixels):
        encoded.append(pixels)
        predictor.set_image(pixels)

    app = create_app(Segmenter(predictor, set_image, Limits()), "small.keras")
    image = picture(size=(1700, 850))

    async def post():
        async with client_of(app) as client:
            first = await client.post("/v1/encode", files={"image": ("picture", image)})
            return first, await client.post(SEGMENT, **form("man", image=image))

    first, second = asyncio.run(post())
    assert second.status_code == 200 and len(encoded) == 1
    assert (first.json()["height"], first.json()["width"]) == (850, 1700)
    assert decode(first.json()["picture"]).shape == (800, 1600, 3)


def test_the_model_is_described(app):
    async def get():
        async with client_of(app) as client:
            return await client.get("/v1/model")

    found = asyncio.run(get()).json()
    assert found["limits"]["file_bytes"] == 50_000 and found["limits"]["expressions"] == 16
    assert (found["name"], found["title"], found["medium"]) == ("small.keras", "a CMPC model", "pictures")
    assert found["words"] == ["blue", "circle", "left", "man", "of", "red", "square", "the"]


def test_many_words_and_pieces_of_words_are_not_listed(predictor, small_maskris, monkeypatch):
    pieces = cmpc_tf2.Predictor(small_maskris)
    assert Segmenter(pieces, pieces.set_image, Limits()).few_words is None
    segmenter = Segmenter(predictor, predictor.set_image, Limits())
    assert segmenter.knows("the red circle") and not segmenter.knows("the zebra")
    monkeypatch.setattr("cmpc_tf2.serving.segmenter.FEW_WORDS", 7)
    assert segmenter.few_words is None


def test_health_metrics_and_documentation(app):
    async def get():
        async with client_of(app) as client:
            await client.post(SEGMENT, **form("the man"))
            await client.post(SEGMENT, **form("zebra"))
            return [await client.get(path) for path in ("/healthz", "/metrics", "/docs", "/openapi.json")]

    health, metrics, docs, description = asyncio.run(get())
    assert health.json() == {"status": "ok", "model": "small.keras"}
    assert 'cmpc_requests_total{status="200"} 1.0' in metrics.text
    assert 'cmpc_requests_total{status="422"} 1.0' in metrics.text
    assert "cmpc_requests_admitted 0.0" in metrics.text and "process_resident_memory_bytes" in metrics.text
    assert "/swagger/swagger-ui-bundle.js" in docs.text and "cdn" not in docs.text
    assert {"200", "413", "422", "429"} <= set(description.json()["paths"][SEGMENT]["post"]["responses"])


def test_the_specification_is_one_that_its_page_reads(app):
    """The bundled Swagger UI reads OpenAPI 3.0, which has no null type and no tuples."""

    async def get():
        async with client_of(app) as client:
            return (await client.get("/openapi.json")).json()

    found = asyncio.run(get())
    assert found["openapi"] == "3.0.3"
    assert not re.search(r'"null"|prefixItems|contentMediaType', json.dumps(found))
    schemas = found["components"]["schemas"]
    assert schemas["Body_segment_v1_segment_post"]["properties"]["image"]["format"] == "binary"
    assert schemas["Refusal"]["properties"]["field"] == {"type": "string", "nullable": True, "title": "Field"}
    assert schemas["RunLengths"]["properties"]["size"]["items"] == {"type": "integer"}


def png_head(width: int, height: int) -> bytes:
    """The beginning of a PNG file, which says how large it is."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    return start + struct.pack(">I", 1000) + b"IDAT"


BAD = {
    "not an image": (form("man", image=b"hello"), 422, "image: not a readable image; expected a whole JPEG, PNG,"),
    "an empty file": (form("man", image=b""), 422, "image: not a readable image"),
    "a truncated JPEG": (form("man", image=file_of(NOISE, "JPEG")[:-200]), 422, "image: damaged or cut off"),
    "a damaged AVIF": (form("man", image=avif_with_damaged_pixels()), 422, "image: damaged or cut off"),
    "32-bit values": (
        form("man", image=file_of(Image.new("I", (20, 20)), "TIFF")), 422, "expected unsigned values of 8 or 16 bits"
    ),
    "one pixel": (form("man", image=picture(size=(1, 1))), 422, "sides of at least 8 pixels, found 1 x 1"),
    "900 million pixels": (form("man", image=png_head(30_000, 30_000)), 413, "expected at most 40000000 pixels"),
    "100 million pixels": (
        form("man", image=file_of(Image.new("1", (10_000, 10_000)))), 413,
        "expected at most 40000000 pixels, found 10000 x 10000"
    ),
    "an animated GIF": (form("man", image=several("GIF")), 422, "is animated; save one frame"),
    "too many bytes": (form("man", image=bytes(60_000)), 413, "expected at most 50000 bytes, found 60000"),
    "far too many bytes": (form("man", image=bytes(1_000_000)), 413, "expected at most 150000 bytes in a request"),
    "an empty expression": (form(""), 422, ""),
    "white space": (form("  "), 422, "has no words"),
    "a full stop": (form("."), 422, "has no words"),
    "10,000 characters": (form("man " * 2500), 422, "has 10000 characters; expected at most 500"),
    "unknown words": (form("zebra crossing"), 422, "knows none of the words; try other words"),
    "an emoji": (form("\U0001f436"), 422, "knows none of the words"),
    "another script": (form("собака"), 422, "knows none of the words"),
    "NUL bytes": (form("man\x00"), 422, "characters that cannot be shown"),
    "one bad expression among good ones": (form("man", "zebra"), 422, "'zebra'"),
    "too many expressions": (form(*["man"] * 17), 422, "expected at most 16 expressions, found 17"),
    "no expression": (form(), 422, "expressions: missing; expected text, in one field for each"),
    "an impossible threshold": (form("man", threshold=2), 422, "threshold: expected a number from 0 to 1, found '2'"),
    "an unknown format": (form("man", mask_format="gif"), 422, "expected rle, png or probabilities, found 'gif'"),
    "no truth value": (form("man", dcrf="some"), 422, "dcrf: expected true or false, found 'some'"),
    "no image": ({"data": {"expressions": ["man"]}}, 422, "image: missing; expected a file"),
    "the name of an image": ({"data": {"expressions": ["man"], "image": "photo.jpg"}}, 422, "a file, found text (curl"),
    "a file of expressions": (
        {"files": {"image": ("picture", picture()), "expressions": ("text", b"man")}}, 422,
        "expressions: expected text, in one field for each, found a file"
    ),
    "JSON": ({"json": {"expressions": ["man"]}}, 422, "image: missing"),
    "an unknown field": (
        form("man", tresh=0.3), 422, "tresh: no such field; expected expressions, mask_format, threshold, dcrf, image"
    ),
    "another name": ({**form(), "data": {"expression": "man"}}, 422, "expression: no such field; expected expressions"),
    "two images": (
        {"files": [("image", ("picture", picture()))] * 2, "data": {"expressions": ["man"]}}, 422,
        "image: expected one, found 2"
    ),
    "no form": ({"content": b"hello", "headers": {"content-type": "multipart/form-data; boundary=x"}}, 400, ""),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gets_a_reason_and_the_next_request_is_served(name, app):
    request, status, words = BAD[name]
    bad, good = ask(app, request, form("man"))
    assert bad.status_code == status, bad.text
    assert words in bad.text and bad.json()["detail"]
    assert good.status_code == 200


def test_refusals_name_the_field(app):
    fields = {
        "not an image": "image",
        "900 million pixels": "image",
        "unknown words": "expressions",
        "no expression": "expressions",
        "a file of expressions": "expressions",
        "an impossible threshold": "threshold",
        "an unknown field": "tresh",
        "two images": "image",
    }
    responses = ask(app, *(BAD[name][0] for name in fields))
    assert [response.json()["field"] for response in responses] == list(fields.values())


def test_accepted_picture_formats(app):
    """A camera's JPEG with a preview, colours for print, 16 bits, a TIFF file, a panorama."""
    pictures = {
        (HEIGHT, WIDTH): [
            several("MPO"),
            file_of(NOISE.convert("CMYK"), "JPEG"),
            file_of(NOISE.convert("I;16")),
            file_of(NOISE, "TIFF"),
        ],
        (20, 40_000): [file_of(Image.new("RGB", (40_000, 20)))],
        (40_000, 20): [file_of(Image.new("RGB", (20, 40_000)))],
    }
    for size, files in pictures.items():
        for response in ask(app, *(form("man", image=file, mask_format="png") for file in files)):
            assert response.status_code == 200, response.text
            assert (response.json()["height"], response.json()["width"]) == size


def test_failures_are_counted(predictor, app, monkeypatch):
    def fail(_):
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(predictor, "explain", fail)

    async def post():
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.post(SEGMENT, **form("the man")), await client.get("/metrics")

    response, metrics = asyncio.run(post())
    assert response.status_code == 500
    assert 'cmpc_requests_total{status="500"} 1.0' in metrics.text


def test_pages_answer_to_head(app):
    async def head():
        async with client_of(app) as client:
            return [await client.head(path) for path in ("/healthz", "/metrics", "/docs", "/openapi.json")]

    assert [response.status_code for response in asyncio.run(head())] == [200] * 4
