"""The bounded queue in front of the model, and clients that disconnect."""

import asyncio
import socket
import threading
import time

import httpx
import numpy as np
import pytest

from cmpc_tf2.serving.api import create_app
from cmpc_tf2.serving.segmenter import Limits, Segmenter
from cmpc_tf2.tasks.masks import http
from conftest import PATIENCE
from http_client import SEGMENT, ask, client_of, form, picture, served


def test_a_request_stays_in_the_queue_until_its_answer_is_built(segmenter, app, monkeypatch):
    admitted = []
    encode = http.encode_run_lengths
    monkeypatch.setattr(http, "encode_run_lengths", lambda mask: admitted.append(segmenter.admitted) or encode(mask))
    ask(app, form("the man", "red circle"))
    assert admitted == [1, 1] and segmenter.admitted == 0


def test_a_full_queue_refuses_a_request_unread(predictor):
    segmenter = Segmenter(predictor, predictor.set_image, Limits(waiting=1))
    app = create_app(segmenter, "small.keras")
    release, sent = threading.Event(), []
    works = [segmenter.submit(lambda: release.wait(PATIENCE)) for _ in range(2)]

    async def receive():
        raise AssertionError("the request was read")

    async def send(message):
        sent.append(message)

    headers = [(b"content-type", b"multipart/form-data; boundary=x")]
    scope = {"type": "http", "method": "POST", "path": SEGMENT, "headers": headers, "query_string": b""}
    asyncio.run(app(scope, receive, send))
    release.set()
    assert sent[0]["status"] == 429 and (b"retry-after", b"5") in sent[0]["headers"]
    assert b"1 requests are waiting already" in sent[1]["body"]
    assert all(work.result() for work in works)


class Held:
    """A model that waits until it is released."""

    def __init__(self, predictor):
        self._predictor = predictor
        self.started, self.release = threading.Event(), threading.Event()

    def set_image(self, pixels: np.ndarray):
        self.started.set()
        assert self.release.wait(PATIENCE)
        self._predictor.set_image(pixels)


def test_more_requests_than_the_queue_holds(predictor):
    """One is in progress, 16 wait, and the others get status 429."""
    held = Held(predictor)
    app = create_app(Segmenter(predictor, held.set_image, Limits()), "small.keras")

    async def post():
        async with client_of(app) as client:
            requests = [asyncio.create_task(client.post(SEGMENT, **form("man"))) for _ in range(50)]
            while sum(request.done() for request in requests) < 33:
                await asyncio.sleep(0.01)
            held.release.set()
            return await asyncio.gather(*requests), await client.post(SEGMENT, **form("man"))

    responses, next_one = asyncio.run(post())
    statuses = [response.status_code for response in responses]
    assert statuses.count(200) == 17 and statuses.count(429) == 33
    refused = responses[statuses.index(429)]
    assert "16 requests are waiting already" in refused.text and refused.headers["retry-after"]
    assert next_one.status_code == 200


@pytest.fixture
def server(predictor):
    """A real server with a `Held` model; gives its port, segmenter and model."""
    held = Held(predictor)
    segmenter = Segmenter(predictor, held.set_image, Limits())
    with served(create_app(segmenter, "small.keras")) as port:
        yield port, segmenter, held
        held.release.set()


def test_a_disconnected_client_leaves_the_queue(server):
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
    until(1)  # Only the one in progress is left.
    held.release.set()
    assert first.recv(20).startswith(b"HTTP/1.1 200")
    first.close()
    assert httpx.post(address, timeout=PATIENCE, **form("man")).status_code == 200
