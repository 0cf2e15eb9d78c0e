"""HTTP: `POST /v1/segment`, `/healthz`, `/metrics`, and pages that describe them."""

import asyncio
import time
from typing import Annotated, Literal

import prometheus_client
import swagger_ui_bundle
from fastapi import FastAPI, Form, HTTPException, Request, Response, UploadFile
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel

import cmpc_tf2
from cmpc_tf2.serving.segmenter import RequestError, Segmenter, read_picture
from cmpc_tf2.tasks.masks.http import Segments, make_segment

TITLE = "Referring segmentation"
# How often a waiting request looks whether its client is still there, in seconds.
DISCONNECT_CHECK_SECONDS = 0.25
# Bytes of a request in addition to the picture.
FORM_BYTES = 100_000


class Refusal(BaseModel):
    """Why a request is not served."""

    detail: str


def create_app(segmenter: Segmenter, model_name: str) -> FastAPI:
    """The application.

    Args:
        segmenter: A segmenter of pictures.
        model_name: Name of the model, for `/healthz`.
    """
    app = FastAPI(title=TITLE, version=cmpc_tf2.__version__, docs_url=None, redoc_url=None)
    measure = Measurements(segmenter)
    app.add_middleware(Gate, segmenter=segmenter, measure=measure)
    app.mount("/swagger", StaticFiles(directory=swagger_ui_bundle.swagger_ui_path), name="swagger")

    @app.exception_handler(RequestError)
    async def refuse(_: Request, error: RequestError):
        return _refusal(error)

    @app.post("/v1/segment", responses={status: {"model": Refusal} for status in (413, 422, 429)})
    async def segment(
        request: Request,
        image: UploadFile,
        expressions: Annotated[list[str], Form(description="one field for each expression")],
        mask_format: Annotated[Literal["rle", "png"], Form(description="COCO run lengths, or PNG in base64")] = "rle",
        threshold: Annotated[float, Form(ge=0, le=1, description="probability from which a pixel counts")] = 0.5,
    ) -> Segments:
        """Marks what expressions refer to in a picture."""

        def work() -> Segments:
            # Large uploads lie on the disk until it is their turn.
            pixels = read_picture(image.file.read(), segmenter.limits)
            explanations = zip(expressions, segmenter.explain(pixels, expressions), strict=True)
            segments = [make_segment(text, explanation, mask_format, threshold) for text, explanation in explanations]
            return Segments(height=pixels.shape[0], width=pixels.shape[1], segments=segments)

        future = segmenter.submit(work, expressions)
        waiting = asyncio.wrap_future(future)
        while not (await asyncio.wait([waiting], timeout=DISCONNECT_CHECK_SECONDS))[0]:
            if await request.is_disconnected():
                waiting.cancel()
                return Response(status_code=499)
        return waiting.result()

    _add_information(app, measure, model_name)
    return app


def _add_information(app: FastAPI, measure: "Measurements", model_name: str):
    """Adds the routes that take no picture."""

    @app.head("/healthz", include_in_schema=False)
    @app.get("/healthz")
    async def health() -> dict[str, str]:
        return {"status": "ok", "model": model_name}

    @app.head("/metrics", include_in_schema=False)
    @app.get("/metrics", response_class=Response)
    async def metrics():
        """For Prometheus."""
        return Response(prometheus_client.generate_latest(measure.registry), media_type="text/plain; version=0.0.4")

    @app.head("/docs", include_in_schema=False)
    @app.get("/docs", include_in_schema=False)
    async def docs():
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title=TITLE,
            swagger_js_url="/swagger/swagger-ui-bundle.js",
            swagger_css_url="/swagger/swagger-ui.css",
            swagger_favicon_url="/swagger/favicon-32x32.png",
        )


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
    """ASGI middleware in front of the requests to segment.

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
        if scope["type"] != "http" or scope["path"] != "/v1/segment":
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
            await _refusal(error)(scope, receive, send_counted)
            return
        try:
            await self._app(scope, receive_limited, send_counted)
        except Exception:
            if not is_counted:
                count(500)  # The answer of the server around this.
            raise


def _refusal(error: RequestError) -> JSONResponse:
    headers = {"Retry-After": "5"} if error.status == 429 else None
    return JSONResponse({"detail": str(error)}, error.status, headers)
