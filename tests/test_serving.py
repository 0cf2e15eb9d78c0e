"""Serving by HTTP, with its bad inputs and under load."""

import argparse
import asyncio
import base64
import io
import socket
import struct
import threading
import time
import tracemalloc
import zlib

import httpx
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

import cmpc_tf2
from cmpc_tf2.cli import main
from cmpc_tf2.commands import serve
from cmpc_tf2.serving.api import create_app
from cmpc_tf2.serving.segmenter import Limits, RequestError, Segmenter, read_picture
from cmpc_tf2.tasks.masks import http
from conftest import PATIENCE
from pictures import DAMAGED_METADATA, HEIGHT, NOISE, WIDTH, avif_with_damaged_pixels, file_of, several

SEGMENT = "/v1/segment"


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


@pytest.mark.parametrize("name", DAMAGED_METADATA)
def test_pictures_with_damaged_metadata_are_read(name):
    content, is_turned = DAMAGED_METADATA[name]
    assert read_picture(content, Limits()).shape == ((WIDTH, HEIGHT, 3) if is_turned else (HEIGHT, WIDTH, 3))


def test_a_picture_that_takes_too_much_memory_is_refused(monkeypatch):
    def fail(*_):
        raise MemoryError

    content = file_of(Image.new("L", (20, 20)))
    monkeypatch.setattr(Image.Image, "convert", fail)
    with pytest.raises(RequestError, match=r"image: .* more memory than there is") as raised:
        read_picture(content, Limits())
    assert raised.value.status == 422


def test_whatever_predict_takes_is_taken(app):
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


def test_a_picture_is_encoded_once(predictor, app, monkeypatch):
    calls = []
    encode = predictor._runner.encode
    monkeypatch.setattr(predictor._runner, "encode", lambda pixels: calls.append(1) or encode(pixels))
    ask(app, form("man"), form("red circle"), form("man", image=picture(1)), form("blue"))
    assert len(calls) == 2


def test_few_pictures_stay_encoded(segmenter, app):
    ask(app, *(form("man", image=picture(seed)) for seed in range(segmenter.limits.encodings + 2)))
    assert len(segmenter._encodings) == segmenter.limits.encodings


def test_one_map_at_a_time_takes_memory(app):
    """16 float32 maps of the picture's size would be 64 MB; the picture itself, in float32, is 12 MB."""
    image = file_of(Image.new("RGB", (1000, 1000)))
    ask(app, form("the man"))
    tracemalloc.start()
    for mask_format in ("rle", "png"):
        (answer,) = ask(app, form(*["the man"] * 16, image=image, mask_format=mask_format))
        assert answer.status_code == 200
    assert tracemalloc.get_traced_memory()[1] < 40e6
    tracemalloc.stop()


def test_the_place_is_given_back_when_the_answer_is_built(segmenter, app, monkeypatch):
    admitted = []
    encode = http._run_lengths
    monkeypatch.setattr(http, "_run_lengths", lambda mask: admitted.append(segmenter.admitted) or encode(mask))
    ask(app, form("the man", "red circle"))
    assert admitted == [1, 1] and segmenter.admitted == 0


def test_pixels_times_expressions_are_limited(predictor):
    limits = Limits(marked_pixels=2 * 90 * 60)
    app = create_app(Segmenter(predictor, predictor.set_image, limits), "small.keras")
    largest, above = ask(app, form("the man", "man"), form("the man", "man", "red circle"))
    assert largest.status_code == 200 and above.status_code == 413
    assert "at most 10800 pixels over all expressions, found 90 x 60 for each of 3; send fewer" in above.text


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


def test_a_full_queue_refuses_before_it_reads(predictor):
    segmenter = Segmenter(predictor, predictor.set_image, Limits())
    app = create_app(segmenter, "small.keras")
    segmenter._admitted = 17
    sent = []

    async def receive():
        raise AssertionError("the request was read")

    async def send(message):
        sent.append(message)

    headers = [(b"content-type", b"multipart/form-data; boundary=x")]
    scope = {"type": "http", "method": "POST", "path": SEGMENT, "headers": headers, "query_string": b""}
    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 429 and (b"retry-after", b"5") in sent[0]["headers"]
    assert b"16 requests are waiting already" in sent[1]["body"]


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


def test_on_windows_a_port_is_not_shared(monkeypatch):
    """There SO_REUSEADDR lets a second server listen at the same port, so another option is asked for."""
    asked = []

    class Probe(socket.socket):
        def setsockopt(self, level, option, value):
            asked.append(option)

    monkeypatch.setattr(socket, "socket", Probe)
    monkeypatch.setattr(socket, "SO_EXCLUSIVEADDRUSE", -5, raising=False)
    serve.require_servable(argparse.Namespace(host="127.0.0.1", port=17862), ())
    assert asked == [-5]


@pytest.mark.parametrize(
    "options, status, words",
    [
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
