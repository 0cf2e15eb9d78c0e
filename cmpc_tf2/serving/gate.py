"""Limits and metrics of the requests that need the model."""

import time

import prometheus_client
from fastapi import HTTPException
from fastapi.responses import JSONResponse

from cmpc_tf2.serving.segmenter import RequestError, Segmenter

# Requests that wait in the queue.
SEGMENT, ENCODE = "/v1/segment", "/v1/encode"
# Bytes of a request in addition to the picture.
FORM_BYTES = 100_000


class Measurements:
    """The metrics of `/metrics`.

    Args:
        segmenter: The segmenter whose queue is measured.
    """

    def __init__(self, segmenter: Segmenter):
        self.registry = prometheus_client.CollectorRegistry()
        prometheus_client.ProcessCollector(registry=self.registry)
        self._requests = prometheus_client.Counter(
            "cmpc_requests", "Requests by HTTP status", ["status"], registry=self.registry
        )
        self._seconds = prometheus_client.Histogram(
            "cmpc_request_seconds",
            "From arrival to answer of requests that were served",
            buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100),
            registry=self.registry,
        )
        admitted = prometheus_client.Gauge(
            "cmpc_requests_admitted", "Requests that wait or are worked on", registry=self.registry
        )
        admitted.set_function(lambda: segmenter.admitted)

    def count(self, status: int, seconds: float):
        """Counts an answered request."""
        self._requests.labels(status).inc()
        if status == 200:
            self._seconds.observe(seconds)


class Gate:
    """ASGI middleware in front of the requests that wait in the queue.

    It refuses them unread while the queue is full, and as soon as a body is above the limit, whatever its headers say.
    It counts what is answered.

    Args:
        app: The application.
        segmenter: Has the queue and the limits. It checks again for a place after the request has been read.
        measure: Counts the requests.
    """

    def __init__(self, app, segmenter: Segmenter, measure: Measurements):
        self._app = app
        self._segmenter = segmenter
        self._limit = segmenter.limits.file_bytes + FORM_BYTES
        self._measure = measure

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http" or scope["path"] not in (SEGMENT, ENCODE):
            await self._app(scope, receive, send)
            return
        started, received, is_counted = time.perf_counter(), 0, False

        async def receive_limited():
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._limit:
                raise HTTPException(413, f"expected at most {self._limit} bytes in a request")
            return message

        def count(status: int):
            nonlocal is_counted
            is_counted = True
            self._measure.count(status, time.perf_counter() - started)

        async def send_counted(message):
            if message["type"] == "http.response.start":
                count(message["status"])
            await send(message)

        try:
            self._segmenter.require_place()
        except RequestError as error:
            await refusal(error)(scope, receive, send_counted)
            return
        try:
            await self._app(scope, receive_limited, send_counted)
        except Exception:
            if not is_counted:
                count(500)  # The answer of the server around this.
            raise


def refusal(error: RequestError) -> JSONResponse:
    """The answer to a request that is not served."""
    headers = {"Retry-After": "5"} if error.status == 429 else None
    return JSONResponse({"detail": str(error), "field": error.field}, error.status, headers)
