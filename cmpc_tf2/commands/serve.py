"""Serves a model: a page in the browser, and HTTP."""

import argparse
import errno
import importlib.util
import logging
import socket

import numpy as np

from cmpc_tf2.commands.options import add_serving_options, read_vocabulary
from cmpc_tf2.errors import InputError

logger = logging.getLogger(__name__)

# Packages that serving needs in addition to the requirements, by import name.
NEEDS = ("fastapi", "python_multipart", "prometheus_client", "swagger_ui_bundle", "uvicorn")


def add_parser(commands):
    """Adds the `serve` command."""
    command = commands.add_parser("serve", help="a page in the browser, and HTTP")
    command.set_defaults(run=run)
    add_serving_options(command)


def run(arguments: argparse.Namespace):
    """The `serve` command: everything cheap is checked before the model is loaded."""
    require_servable(arguments)
    logger.info("loading %s", arguments.model)

    from cmpc_tf2.inference.predictor import Predictor
    from cmpc_tf2.model_files import load_for_inference
    from cmpc_tf2.serving.segmenter import Limits, Segmenter
    from cmpc_tf2.serving.uploads import PICTURE_UPLOAD

    model = load_for_inference(arguments.model, arguments.precision, arguments.image_size)
    predictor = Predictor(model, read_vocabulary(arguments.vocabulary, model))
    predictor.set_image(np.zeros((64, 64, 3), np.uint8))
    predictor.explain("thing")  # The first answer would take longer.
    serve(arguments, Segmenter(predictor, predictor.set_image, Limits()), PICTURE_UPLOAD)


def serve(arguments: argparse.Namespace, segmenter, upload):
    """Serves a segmenter until it is interrupted.

    Args:
        arguments: `host`, `port`, `model` and `api`.
        segmenter: Answers.
        upload: The input of its model.
    """
    import uvicorn

    from cmpc_tf2.serving.api import create_app
    from cmpc_tf2.serving.page import add_page

    app = create_app(segmenter, arguments.model.name, upload)
    address = f"http://{arguments.host}:{arguments.port}"
    if arguments.api:
        print(f"{address}/v1/segment (described at {address}/docs; Ctrl-C stops)", flush=True)
    else:
        add_page(app, segmenter, upload.draw_examples())
        print(f"{address} (HTTP described at {address}/docs; Ctrl-C stops)", flush=True)
    uvicorn.run(app, host=arguments.host, port=arguments.port, log_level="warning")


def require_servable(arguments: argparse.Namespace):
    """Checks that what serving needs is installed, and that a server can listen where it is wanted.

    Raises:
        InputError: A package is missing, or the port is in use or not this machine's.
    """
    missing = [name for name in NEEDS if importlib.util.find_spec(name) is None]
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
