"""HTTP: `/v1/segment`, `/v1/encode`, `/v1/model`, `/healthz`, `/metrics`, and pages that describe them."""

import asyncio
import base64
import importlib.util
from concurrent.futures import Future
from typing import Annotated, Literal

import numpy as np
import prometheus_client
import swagger_ui_bundle
from fastapi import Depends, FastAPI, Form, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel

import cmpc_tf2
from cmpc_tf2.data.image_files import encode_image
from cmpc_tf2.serving.forms import describe, explain_invalid, require_known_fields
from cmpc_tf2.serving.gate import ENCODE, SEGMENT, Gate, Measurements, refusal
from cmpc_tf2.serving.segmenter import Limits, RequestError, Segmenter
from cmpc_tf2.serving.uploads import PICTURE_UPLOAD, ReadPixels, Upload
from cmpc_tf2.tasks.masks.http import MASK_FORMATS, Segments, make_segment

TITLE = "Referring segmentation"
# How often a waiting request looks whether its client is still there, in seconds.
DISCONNECT_CHECK_SECONDS = 0.25
# Longest side of the picture in the answer of `/v1/encode`, in pixels.
PREVIEW_SIDE = 1600


class Refusal(BaseModel):
    """Why a request is not served, and the field of the form that is the reason, if it is one."""

    detail: str
    field: str | None = None


class EncodedPicture(BaseModel):
    """A picture or the marked frame of a clip: its size, and a JPEG file in base64 of at most 1600 pixels a side."""

    height: int
    width: int
    picture: str


class ModelInformation(BaseModel):
    """The model, what its answers are, all words that it knows if they are at most 100, and the limits of requests."""

    name: str
    title: str
    medium: Literal["pictures", "clips"]
    output: Literal["masks", "boxes"]
    has_dcrf: bool
    words: list[str] | None
    limits: Limits


def create_app(segmenter: Segmenter, model_name: str, upload: Upload = PICTURE_UPLOAD) -> FastAPI:
    """The application.

    Args:
        segmenter: Does the work.
        model_name: Name of the model file.
        upload: The input of the model.
    """
    app = FastAPI(title=TITLE, version=cmpc_tf2.__version__, docs_url=None, redoc_url=None)
    measure = Measurements(segmenter)
    app.add_middleware(Gate, segmenter=segmenter, measure=measure)

    @app.exception_handler(RequestError)
    async def refuse(_: Request, error: RequestError):
        return refusal(error)

    @app.exception_handler(RequestValidationError)
    async def refuse_invalid(request: Request, error: RequestValidationError):
        return refusal(explain_invalid(request, error))

    information = ModelInformation(
        name=model_name,
        title=segmenter.model_title,
        medium=upload.medium,
        output="masks" if segmenter.gives_masks else "boxes",
        has_dcrf=segmenter.gives_masks and importlib.util.find_spec("pydensecrf") is not None,
        words=segmenter.few_words,
        limits=segmenter.limits,
    )
    _add_requests(app, segmenter, upload, information.has_dcrf)
    _add_information(app, measure, information)
    describe(app)
    return app


def _add_requests(app: FastAPI, segmenter: Segmenter, upload: Upload, has_dcrf: bool):
    """Adds the routes that wait in the queue."""
    Pixels = Annotated[ReadPixels, Depends(upload.receive)]
    options = {
        "responses": {status: {"model": Refusal} for status in (413, 422, 429)},
        "dependencies": [Depends(require_known_fields)],
    }

    @app.post(SEGMENT, **options)
    async def segment(
        request: Request,
        read_pixels: Pixels,
        expressions: Annotated[list[str], Form(description="one field for each expression")],
        mask_format: Annotated[
            Literal[MASK_FORMATS],
            Form(description="COCO run lengths, PNG in base64, or probabilities as greyscale PNG in base64"),
        ] = "rle",
        threshold: Annotated[float, Form(ge=0, le=1, description="probability from which a pixel counts")] = 0.5,
        dcrf: Annotated[bool, Form(description="masks aligned with edges by DenseCRF, without a threshold")] = False,
    ) -> Segments:
        """Marks what expressions refer to."""
        if dcrf and not has_dcrf:
            reason = "DenseCRF is not installed on this server" if segmenter.gives_masks else "the model gives boxes"
            raise RequestError(422, f"dcrf: {reason}; leave it out", "dcrf")
        if dcrf and mask_format == "probabilities":
            raise RequestError(422, "dcrf: gives no probabilities; expected the mask format rle or png", "dcrf")

        def work() -> Segments:
            pixels = read_pixels(segmenter.limits)
            explanations = zip(expressions, segmenter.explain(pixels, expressions), strict=True)
            picture = upload.picture_of(pixels)
            segments = [
                make_segment(text, explanation, mask_format, threshold, picture if dcrf else None)
                for text, explanation in explanations
            ]
            return Segments(height=picture.shape[0], width=picture.shape[1], segments=segments)

        return await _answer(request, segmenter.submit(work, expressions))

    @app.post(ENCODE, **options)
    async def encode(request: Request, read_pixels: Pixels) -> EncodedPicture:
        """Encodes the input ahead of its expressions, so that `/v1/segment` answers sooner."""

        def work() -> EncodedPicture:
            pixels = read_pixels(segmenter.limits)
            segmenter.encode(pixels)
            return _encoded_picture(upload.picture_of(pixels))

        return await _answer(request, segmenter.submit(work))


async def _answer(request: Request, future: Future):
    """The result of submitted work. If the client disconnects, the work is taken out of the queue."""
    waiting = asyncio.wrap_future(future)
    while not (await asyncio.wait([waiting], timeout=DISCONNECT_CHECK_SECONDS))[0]:
        if await request.is_disconnected():
            waiting.cancel()
            return Response(status_code=499)
    return waiting.result()


def _encoded_picture(picture: np.ndarray) -> EncodedPicture:
    import cv2

    height, width = picture.shape[:2]
    scale = min(1, PREVIEW_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    preview = encode_image(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), "JPEG")
    return EncodedPicture(height=height, width=width, picture=base64.b64encode(preview).decode("ascii"))


def _add_information(app: FastAPI, measure: Measurements, information: ModelInformation):
    """Adds the routes that do not need the model."""

    def route(path: str, **options):
        """A route for GET and HEAD."""

        def add(function):
            app.head(path, include_in_schema=False)(function)
            return app.get(path, **options)(function)

        return add

    @route("/v1/model")
    async def model() -> ModelInformation:
        """The model, and the limits of requests."""
        return information

    @route("/healthz")
    async def health() -> dict[str, str]:
        return {"status": "ok", "model": information.name}

    @route("/metrics", response_class=Response)
    async def metrics():
        """For Prometheus."""
        return Response(prometheus_client.generate_latest(measure.registry), media_type="text/plain; version=0.0.4")

    @route("/docs", include_in_schema=False)
    async def docs():
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title=app.title,
            swagger_js_url="/swagger/swagger-ui-bundle.js",
            swagger_css_url="/swagger/swagger-ui.css",
            swagger_favicon_url="/swagger/favicon-32x32.png",
        )

    app.mount("/swagger", StaticFiles(directory=swagger_ui_bundle.swagger_ui_path), name="swagger")
