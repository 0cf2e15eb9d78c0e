"""One model for many clients: limits of their requests, and a bounded queue."""

import collections
import dataclasses
import hashlib
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from cmpc_tf2.errors import InputError
from cmpc_tf2.inference.predictor import Encoded, ExpressionPredictor
from cmpc_tf2.tasks.masks.explanation import Explanation
from cmpc_tf2.text.tokenizers import WordTokenizer

Result = TypeVar("Result")

# Vocabularies of up to so many words are listed.
FEW_WORDS = 100


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits of requests.

    Attributes:
        file_bytes: Size of an upload.
        pixels: Size of a picture, checked before it is decoded.
        shortest_side: Least side of a picture, in pixels.
        expressions: Expressions in one request.
        marked_pixels: Pixels in one request: those of its picture, once for each expression.
        characters: Length of an expression.
        waiting: Requests that wait while another is worked on.
        encoding_bytes: Size of the pictures or clips that stay encoded, in case another expression comes: at full size
            CMPC's have 96 MB a picture, 500 MB a clip. The last one stays in any case.
    """

    file_bytes: int = 20_000_000
    pixels: int = 40_000_000
    shortest_side: int = 8
    expressions: int = 16
    marked_pixels: int = 100_000_000
    characters: int = 500
    waiting: int = 16
    encoding_bytes: int = 1_000_000_000


class RequestError(InputError):
    """A request that is not served.

    Attributes:
        status: Its HTTP status.
        field: The field of the form that is the reason, if it is one.
    """

    def __init__(self, status: int, message: str, field: str | None = None):
        super().__init__(message)
        self.status = status
        self.field = field


class Segmenter:
    """Works for clients, one request after the other.

    Args:
        predictor: A predictor for pictures or clips.
        set_pixels: Its `set_image` or `set_clip`.
        limits: Limits of requests.

    Attributes:
        limits: The limits.
        model_title: The model in words.
        gives_masks: Whether the answers are masks, which DenseCRF can refine.
        admitted: Requests that wait or are worked on.
    """

    def __init__(self, predictor: ExpressionPredictor, set_pixels: Callable[[np.ndarray], None], limits: Limits):
        self.limits = limits
        self.model_title = predictor.model_title
        self.gives_masks = predictor.gives_masks
        self._predictor = predictor
        self._set_pixels = set_pixels
        self._encodings: collections.OrderedDict[bytes, Encoded] = collections.OrderedDict()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._lock = threading.Lock()
        self.admitted = 0

    @property
    def few_words(self) -> list[str] | None:
        """All words that the model knows, in order; None if they are many, or if its tokens are pieces of words."""
        tokenizer = self._predictor.tokenizer
        if not isinstance(tokenizer, WordTokenizer):
            return None
        words = sorted(word for word in tokenizer.vocabulary.ids if re.fullmatch(r"\w.*", word))
        return words if len(words) <= FEW_WORDS else None

    def knows(self, expression: str) -> bool:
        """Whether the model knows all words of an expression."""
        tokenizer = self._predictor.tokenizer
        return all(map(tokenizer.is_known, tokenizer.split(expression)))

    def submit(self, work: Callable[[], Result], expressions: Sequence[str] = ()) -> Future[Result]:
        """Puts a request into the queue. What waits there can be cancelled.

        Args:
            work: Builds the whole answer when it is the request's turn: it decodes the pixels and calls `explain`. No
                other request takes up memory meanwhile, and the place in the queue is free only afterwards.
            expressions: The expressions that it will explain; checked immediately.

        Raises:
            RequestError: An expression cannot be used, or too many requests are waiting. The future fails with what
                `work` raises.
        """
        self._check_expressions(expressions)
        with self._lock:
            self.require_place()
            self.admitted += 1
        future = self._executor.submit(work)
        future.add_done_callback(self._release)
        return future

    def require_place(self):
        """Checks that one more request may wait.

        Raises:
            RequestError: Too many are waiting.
        """
        if self.admitted > self.limits.waiting:
            raise RequestError(429, f"{self.limits.waiting} requests are waiting already; try again in a while")

    def _release(self, _):
        with self._lock:
            self.admitted -= 1

    def explain(self, pixels: np.ndarray, expressions: list[str]) -> Iterator[Explanation]:
        """Explains expressions, one at a time; to be called by work that was submitted.

        Args:
            pixels: As `set_pixels` takes them.
            expressions: Those that were submitted.

        Raises:
            RequestError: They ask for too many pixels.
        """
        height, width = pixels.shape[-3:-1]
        if height * width * len(expressions) > self.limits.marked_pixels:
            raise RequestError(
                413,
                f"expected at most {self.limits.marked_pixels} pixels over all expressions, found {width} x {height} "
                f"for each of {len(expressions)}; send fewer expressions at a time, or a smaller picture",
                "expressions",
            )
        self.encode(pixels)
        return map(self._predictor.explain, expressions)

    def encode(self, pixels: np.ndarray):
        """Encodes pixels for expressions that may follow, unless they are still encoded; as `explain`."""
        digest = hashlib.sha256(repr(pixels.shape).encode())
        digest.update(np.ascontiguousarray(pixels))
        key = digest.digest()
        if key in self._encodings:
            self._predictor.encoded = self._encodings[key]
        else:
            self._set_pixels(pixels)
            self._encodings[key] = self._predictor.encoded
        self._encodings.move_to_end(key)
        total = sum(encoded.size_in_bytes for encoded in self._encodings.values())
        while total > self.limits.encoding_bytes and len(self._encodings) > 1:
            _, forgotten = self._encodings.popitem(last=False)
            total -= forgotten.size_in_bytes

    def _check_expressions(self, expressions: Sequence[str]):
        if len(expressions) > self.limits.expressions:
            raise _bad_expression(f"expected at most {self.limits.expressions} expressions, found {len(expressions)}")
        for expression in expressions:
            if len(expression) > self.limits.characters:
                most = self.limits.characters
                raise _bad_expression(f"an expression has {len(expression)} characters; expected at most {most}")
            if not expression.isprintable():
                raise _bad_expression(f"expression {expression!r}: holds characters that cannot be shown")
            try:
                tokens = self._predictor.tokenizer.split(expression)
            except InputError as error:
                raise _bad_expression(str(error)) from error
            if not any(map(self._predictor.tokenizer.is_known, tokens)):
                raise _bad_expression(f"expression {expression!r}: the model knows none of the words; try other words")


def _bad_expression(message: str) -> RequestError:
    return RequestError(422, message, "expressions")
