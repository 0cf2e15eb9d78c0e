"""Serves a model: a page in the browser, or HTTP."""

import argparse
import errno
import importlib.util
import socket

import numpy as np

from cmpc_tf2.commands.options import add_serving_options, read_vocabulary
from cmpc_tf2.errors import InputError

# Packages that serving needs in addition to the requirements, by import name.
PAGE_NEEDS = ("gradio",)
API_NEEDS = ("fastapi", "python_multipart", "prometheus_client", "swagger_ui_bundle", "uvicorn")


def add_parser(commands):
    """Adds the `serve` command."""
    serve = commands.add_parser("serve", help="a page in the browser, or HTTP")
    serve.set_defaults(run=run)
    serve.add_argument("--api", action="store_true", help="HTTP (POST /v1/segment) in place of the page")
    add_serving_options(serve)


def run(arguments: argparse.Namespace):
    """The `serve` command: everything cheap is checked before the model is loaded."""
    require_servable(arguments, API_NEEDS if arguments.api else PAGE_NEEDS)

    from cmpc_tf2.inference.predictor import Predictor
    from cmpc_tf2.model_files import load_for_inference
    from cmpc_tf2.serving.segmenter import Limits, Segmenter

    model = load_for_inference(arguments.model, arguments.precision, arguments.image_size)
    predictor = Predictor(model, read_vocabulary(arguments.vocabulary, model))
    predictor.set_image(np.zeros((64, 64, 3), np.uint8))
    predictor.explain("thing")  # The first answer would take longer.
    segmenter = Segmenter(predictor, predictor.set_image, Limits())
    if not arguments.api:
        from cmpc_tf2.serving.page import PICTURE_INPUT

        serve_page(arguments, segmenter, PICTURE_INPUT)
        return

    import uvicorn

    from cmpc_tf2.serving.api import create_app

    address = f"http://{arguments.host}:{arguments.port}"
    print(f"{address}/v1/segment; described at {address}/docs", flush=True)
    app = create_app(segmenter, arguments.model.name)
    uvicorn.run(app, host=arguments.host, port=arguments.port, log_level="warning")


def serve_page(arguments: argparse.Namespace, segmenter, page_input):
    """Shows the page of a segmenter until it is interrupted.

    Args:
        arguments: `host`, `port` and `model`.
        segmenter: Answers.
        page_input: What visitors give.
    """
    from cmpc_tf2.serving.page import build_page, launch

    has_dcrf = importlib.util.find_spec("pydensecrf") is not None
    page = build_page(segmenter, page_input, arguments.model.name, has_dcrf)
    print(f"http://{arguments.host}:{arguments.port}", flush=True)
    launch(page, segmenter.limits, arguments.host, arguments.port)


def require_servable(arguments: argparse.Namespace, needed: tuple[str, ...]):
    """Checks that what serving needs is installed, and that a server can listen where it is wanted.

    Raises:
        InputError: A package is missing, or the port is in use or not this machine's.
    """
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"serve needs {', '.join(missing)}, which is not installed: `pip install '.[serve]'`")
    host, port = arguments.host, arguments.port
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # On Windows, which has the first, the second would let two servers share the port.
            option = getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)
            probe.setsockopt(socket.SOL_SOCKET, option, 1)
            probe.bind(address)
    except OSError as error:
        reason = "is in use; give another (--port)" if error.errno == errno.EADDRINUSE else f"cannot be used: {error}"
        raise InputError(f"{host}, port {port}: {reason}") from error
