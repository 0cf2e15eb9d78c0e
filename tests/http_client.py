"""Requests to the HTTP server, for tests."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator

import httpx
import numpy as np
from PIL import Image

from conftest import PATIENCE
from pictures import file_of

SEGMENT = "/v1/segment"


def picture(seed: int = 0, size=(90, 60)) -> bytes:
    rng = np.random.default_rng(seed)
    return file_of(Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)))


def form(*expressions: str, image: bytes | None = None, **fields) -> dict:
    content = picture() if image is None else image
    return {"files": {"image": ("picture", content)}, "data": {"expressions": [*expressions], **fields}}


def client_of(app) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test", timeout=PATIENCE)


@contextlib.contextmanager
def served(app) -> Iterator[int]:
    """A real server of an application; yields its port."""
    import uvicorn

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join(PATIENCE)


def ask(app, *requests: dict) -> list[httpx.Response]:
    """Posts requests one after the other."""

    async def post():
        async with client_of(app) as client:
            return [await client.post(SEGMENT, **request) for request in requests]

    return asyncio.run(post())
