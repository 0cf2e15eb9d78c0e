"""Serving by HTTP, with its bad inputs and under load."""

import asyncio
import base64
import io
import socket
import struct
import threading
import time
import zlib

import httpx
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

import cmpc_tf2
from cmpc_tf2.cli import main
from cmpc_tf2.serving.api import create_app
from cmpc_tf2.serving.segmenter import Limits, Segmenter
from conftest import PATIENCE

SEGMENT = "/v1/segment"


def file_of(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def picture(seed: int = 0, size=(90, 60)) -> bytes:
    rng = np.random.default_rng(seed)
    return file_of(Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)))


def form(*expressions: str, image: bytes | None = None, **fields) -> dict:
    content = picture() if image is None else image
    return {"files": {"image": ("picture", content)}, "data": {"expressions": [*expressions], **fields}}


@pytest.fixture(scope="module")
def predictor(small_model):
    return cmpc_tf2.Predictor(small_model)


@pytest.fixture
def segmenter(predictor):
    return Segmenter(predictor, predictor.set_image, Limits(file_bytes=50_000))


@pytest.fixture
def app(segmenter):
    return create_app(segmenter, "small.keras")


def client_of(app) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test", timeout=PATIENCE)


def ask(app, *requests: dict) -> list[httpx.Response]:
    """Posts requests one after the other."""

    async def post():
        async with client_of(app) as client:
            return [await client.post(SEGMENT, **request) for request in requests]

    return asyncio.run(post())


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
        if segment["area"]:
            assert segment["score"] == pytest.approx(expected.probabilities[expected.mask].mean(), abs=1e-5)
        assert [word["word"] for word in segment["words"]] == expression.split()
        assert sum(segment["words"][0]["types"].values()) == pytest.approx(1, abs=1e-5)
    mask = np.asarray(Image.open(io.BytesIO(base64.b64decode(pngs.json()["segments"][0]["mask"]))))
    np.testing.assert_array_equal(mask, reference.predict("the man").probabilities >= 0.3)


def test_pages_beside_it(app):
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


def png_head(width: int, height: int) -> bytes:
    """The beginning of a PNG file, which says how large it is."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    return start + struct.pack(">I", 1000) + b"IDAT"


NOISE = np.random.default_rng(1).integers(0, 256, (40, 40, 3), dtype=np.uint8)
BAD = {
    "not an image": (form("man", image=b"hello"), 422, "expected JPEG, PNG, WEBP, BMP, found none of them"),
    "an empty file": (form("man", image=b""), 422, "found none of them"),
    "a truncated JPEG": (
        form("man", image=file_of(Image.fromarray(NOISE), "JPEG")[:-200]), 422, "image: damaged or cut off"
    ),
    "one pixel": (form("man", image=picture(size=(1, 1))), 422, "sides of at least 8 pixels, found 1 x 1"),
    "900 million pixels": (form("man", image=png_head(30_000, 30_000)), 413, "expected at most 40000000 pixels"),
    "100 million pixels": (
        form("man", image=file_of(Image.new("1", (10_000, 10_000)))), 413,
        "expected at most 40000000 pixels, found 10000 x 10000"
    ),
    "an animated GIF": (
        form("man", image=file_of(Image.new("L", (20, 20)), "GIF", save_all=True,
             append_images=[Image.new("L", (20, 20), 255)])), 422, "is animated; send one frame"
    ),
    "a CMYK JPEG": (form("man", image=file_of(Image.new("CMYK", (20, 20)), "JPEG")), 422, "convert it to RGB"),
    "too many bytes": (form("man", image=bytes(60_000)), 413, "expected at most 50000 bytes, found 60000"),
    "far too many bytes": (form("man", image=bytes(1_000_000)), 413, "expected at most 150000 bytes in a request"),
    "an empty expression": (form(""), 422, ""),
    "white space": (form("  "), 422, "has no words"),
    "a full stop": (form("."), 422, "has no words"),
    "10,000 characters": (form("man " * 2500), 422, "has 10000 characters; expected at most 500"),
    "unknown words": (form("zebra crossing"), 422, "'zebra crossing': the model knows none of its words"),
    "an emoji": (form("\U0001f436"), 422, "knows none of its words"),
    "another script": (form("собака"), 422, "knows none of its words"),
    "NUL bytes": (form("man\x00"), 422, "characters that cannot be shown"),
    "one bad expression among good ones": (form("man", "zebra"), 422, "'zebra'"),
    "too many expressions": (form(*["man"] * 17), 422, "expected at most 16 expressions, found 17"),
    "no expression": (form(), 422, "Field required"),
    "an impossible threshold": (form("man", threshold=2), 422, "less than or equal to 1"),
    "an unknown format": (form("man", mask_format="gif"), 422, "'rle' or 'png'"),
    "no image": ({"data": {"expressions": ["man"]}}, 422, "Field required"),
    "no form": ({"content": b"hello", "headers": {"content-type": "multipart/form-data; boundary=x"}}, 400, ""),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gets_a_reason_and_the_next_request_is_served(name, app):
    request, status, words = BAD[name]
    bad, good = ask(app, request, form("man"))
    assert bad.status_code == status, bad.text
    assert words in bad.text and bad.json()["detail"]
    assert good.status_code == 200


def test_a_picture_is_encoded_once(predictor, app, monkeypatch):
    calls = []
    encode = predictor._model.encode
    monkeypatch.setattr(predictor._model, "encode", lambda pixels: calls.append(1) or encode(pixels))
    ask(app, form("man"), form("red circle"), form("man", image=picture(1)), form("blue"))
    assert len(calls) == 2


def test_few_pictures_stay_encoded(segmenter, app):
    ask(app, *(form("man", image=picture(seed)) for seed in range(segmenter.limits.encodings + 2)))
    assert len(segmenter._encodings) == segmenter.limits.encodings


class Held:
    """A model that waits until it is told to go on."""

    def __init__(self, predictor):
        self._predictor = predictor
        self.started, self.go_on = threading.Event(), threading.Event()

    def set_image(self, pixels: np.ndarray):
        self.started.set()
        assert self.go_on.wait(PATIENCE)
        self._predictor.set_image(pixels)


def test_more_requests_than_the_queue_holds(predictor):
    """One is worked on, 16 wait, the others are told to come again."""
    held = Held(predictor)
    app = create_app(Segmenter(predictor, held.set_image, Limits()), "small.keras")

    async def post():
        async with client_of(app) as client:
            requests = [asyncio.create_task(client.post(SEGMENT, **form("man"))) for _ in range(50)]
            while sum(request.done() for request in requests) < 33:
                await asyncio.sleep(0.01)
            held.go_on.set()
            return await asyncio.gather(*requests), await client.post(SEGMENT, **form("man"))

    responses, next_one = asyncio.run(post())
    statuses = [response.status_code for response in responses]
    assert statuses.count(200) == 17 and statuses.count(429) == 33
    refused = responses[statuses.index(429)]
    assert "16 requests are waiting already" in refused.text and refused.headers["retry-after"]
    assert next_one.status_code == 200


@pytest.fixture
def server(predictor):
    """A real server, whose model is held; gives its port, segmenter and model."""
    import uvicorn

    held = Held(predictor)
    segmenter = Segmenter(predictor, held.set_image, Limits())
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(create_app(segmenter, "small.keras"), log_level="warning")
        running = uvicorn.Server(config)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        yield listening.getsockname()[1], segmenter, held
        held.go_on.set()
        running.should_exit = True
        thread.join(PATIENCE)


def test_clients_that_hang_up_give_their_place_back(server):
    port, segmenter, held = server
    address = f"http://127.0.0.1:{port}{SEGMENT}"
    request = httpx.Request("POST", address, **form("man", image=picture(5)))
    content = request.read()
    head = f"POST {SEGMENT} HTTP/1.1\r\nHost: test\r\nContent-Length: {len(content)}\r\n"
    head += f"Content-Type: {request.headers['content-type']}\r\n\r\n"

    def connect(sent: bytes) -> socket.socket:
        deadline = time.monotonic() + PATIENCE
        while True:  # The server may be starting.
            try:
                connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
                connection.sendall(sent)
                return connection
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.05)

    def until(count: int):
        deadline = time.monotonic() + PATIENCE
        while segmenter.admitted != count:
            assert time.monotonic() < deadline, segmenter.admitted
            time.sleep(0.02)

    connect(head.encode() + content[: len(content) // 2]).close()  # In the middle of the upload.
    first = connect(head.encode() + content)
    assert held.started.wait(PATIENCE)
    waiting = [connect(head.encode() + content) for _ in range(5)]
    until(6)
    for connection in waiting:
        connection.close()
    until(1)  # Only the one that is worked on is left.
    held.go_on.set()
    assert first.recv(20).startswith(b"HTTP/1.1 200")
    first.close()
    assert httpx.post(address, timeout=PATIENCE, **form("man")).status_code == 200


def test_a_port_in_use_is_named(small_model_file, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for options in ([], ["--api"]):
            assert main(["serve", "--model", str(small_model_file), "--port", str(port), *options]) == 1
            assert f"127.0.0.1, port {port}: is in use; give another (--port)" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options, status, words",
    [
        (["--port", "0"], 2, "--port: expected 1 to 65535, received 0"),
        (["--host", "203.0.113.1"], 1, "203.0.113.1, port 7860: cannot be used"),
        (["--model", "none.keras"], 1, "none.keras: no such model file"),
        (["--model", __file__], 1, "expected a .keras file"),
    ],
)
def test_wrong_arguments_get_one_line(options, status, words, small_model_file, capsys):
    port = ["--port", "7860"] if "--host" in options else ["--port", "17861"]
    assert main(["serve", "--model", str(small_model_file), *port, *options]) == status
    assert words in capsys.readouterr().err


def test_what_is_not_installed_is_named(small_model_file, monkeypatch, capsys):
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["serve", "--model", str(small_model_file)]) == 1
    assert "serve needs gradio, which is not installed: `pip install '.[serve]'`" in capsys.readouterr().err
