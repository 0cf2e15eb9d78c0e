"""The page in the browser: static files that use the HTTP interface, and examples to try."""

import mimetypes
from pathlib import Path

from fastapi import FastAPI, HTTPException, Response
from fastapi.staticfiles import StaticFiles

from cmpc_tf2.serving.segmenter import Segmenter
from cmpc_tf2.serving.uploads import Example

STATIC = Path(__file__).parent / "static"
# The page runs only its own scripts and loads only from its own server; `blob:` is what it draws itself.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
# Browsers refuse scripts of another type. On Windows the registry may name one.
mimetypes.add_type("text/javascript", ".js")


class PageFiles(StaticFiles):
    """Static files with the headers of the page."""

    def file_response(self, *args, **kwargs) -> Response:
        """The response for a file."""
        response = super().file_response(*args, **kwargs)
        response.headers.update(HEADERS)
        return response


def add_page(app: FastAPI, segmenter: Segmenter, examples: list[Example]):
    """Adds the page at `/`.

    Args:
        app: An application with all its other routes.
        segmenter: Knows the words of the model.
        examples: Inputs to try.
    """
    listed = [
        {
            "file": f"examples/{example.name}",
            "thumbnail": f"examples/{index}.png",
            "expressions": example.expressions,
            "known": [text for text in example.expressions if segmenter.knows(text)],
        }
        for index, example in enumerate(examples)
    ]
    files = {example.name: example.content for example in examples}
    files |= {f"{index}.png": example.thumbnail for index, example in enumerate(examples)}

    @app.get("/examples.json", include_in_schema=False)
    async def list_examples() -> list[dict]:
        return listed

    @app.get("/examples/{name}", include_in_schema=False)
    async def example_file(name: str):
        if name not in files:
            raise HTTPException(404)
        return Response(files[name], media_type=mimetypes.guess_type(name)[0], headers=HEADERS)

    app.mount("/", PageFiles(directory=STATIC, html=True), name="page")
