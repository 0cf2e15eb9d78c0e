"""The page: a picture and sentences in, masks and explanations out."""

import dataclasses
import html
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import gradio as gr
import numpy as np

from cmpc_tf2.errors import InputError
from cmpc_tf2.serving.segmenter import Limits, Segmenter, read_picture
from cmpc_tf2.tasks.masks.drawing import color_of, draw_masks
from cmpc_tf2.tasks.masks.explanation import Explanation, WordReading
from cmpc_tf2.tasks.masks.prediction import Prediction
from cmpc_tf2.text.word_types import WordType

WORD_COLORS = {
    WordType.ENTITY: "#0072b2",
    WordType.ATTRIBUTE: "#d55e00",
    WordType.RELATION: "#007a59",
    WordType.ACTION: "#a3487f",
    WordType.UNNECESSARY: "#6b6b6b",
}
STAGE_TITLES = {"entities": "entities perceived", "relations": "after relations", "actions": "after actions"}
# Longer side of the heat maps, in pixels.
HEAT_SIDE = 512
# Results and uploads are deleted when they are this old, in seconds.
KEPT = 3600
# Visitors whose last answer is kept for the slider, up to 7 MB each.
KEPT_ANSWERS = 100
# Fonts of the reader's own machine: the page asks no other server for anything.
THEME = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])
STYLE = """
.word { display: inline-block; margin: 0 .6em .6em 0; text-align: center; vertical-align: top; }
.word b { display: block; padding: .1em .4em; border-radius: .3em; color: white; }
.word small { display: block; }
.bar { display: flex; height: .35em; margin-top: .2em; border-radius: .2em; overflow: hidden; }
.legend span { display: inline-block; margin-right: 1em; }
"""


def without_decoding(component: gr.components.Component) -> gr.components.Component:
    """Keeps Gradio from decoding uploads: the component gives the file's path, unread."""
    component.preprocess = lambda payload: payload and payload.path
    return component


@dataclasses.dataclass(frozen=True)
class PageInput:
    """The input of a page.

    Attributes:
        name: Its name on the page.
        upload: Makes the component that takes it; `without_decoding`.
        read: Path, moment and limits to the pixels for the predictor.
        shown: From these the picture that is marked, uint8 RGB `(h, w, 3)`.
        has_moments: Ask for a moment, from 0 (the beginning) to 1 (the end).
    """

    name: str
    upload: Callable[..., gr.components.Component]
    read: Callable[[Path, float, Limits], np.ndarray]
    shown: Callable[[np.ndarray], np.ndarray]
    has_moments: bool


PICTURE_INPUT = PageInput(
    name="picture",
    upload=lambda **options: without_decoding(gr.Image(sources=["upload", "clipboard"], **options)),
    read=lambda path, moment, limits: read_picture(path.read_bytes(), limits),
    shown=lambda pixels: pixels,
    has_moments=False,
)


@dataclasses.dataclass(frozen=True, eq=False)
class Answer:
    """The part of an answer that is kept, to draw it with another threshold: small, without full-size maps.

    Attributes:
        path: The upload.
        moment: Position in a video, 0 to 1.
        expressions: The expressions.
        predictions: One for each.
    """

    path: str
    moment: float
    expressions: list[str]
    predictions: list[Prediction]


class PageActions:
    """Answers to what visitors of the page do.

    Args:
        segmenter: Does the work.
        page_input: What visitors give.
    """

    def __init__(self, segmenter: Segmenter, page_input: PageInput):
        self._segmenter = segmenter
        self._page_input = page_input

    def encode(self, path: str | None, moment: float):
        """Encodes an upload while the sentence is being written."""
        if path:
            self._submit(lambda: self._segmenter.encode(self._read(path, moment)))

    def segment(self, path: str | None, moment: float, text: str, threshold: float, dcrf: bool):
        """The answer, the picture with the masks, the masks, the words and the stages of the reasoning."""
        expressions = [line.strip() for line in text.splitlines() if line.strip()]
        if not path:
            raise _error(f"Choose a {self._page_input.name} first.")
        if not expressions:
            raise _error("Write what to mark, for example: the man in white.")

        def work():
            pixels = self._read(path, moment)
            explanations = list(self._segmenter.explain(pixels, expressions))
            picture = self._page_input.shown(pixels)
            answer = Answer(path, moment, expressions, [explanation.prediction for explanation in explanations])
            drawn = draw_answer(picture, answer, threshold, dcrf)
            return answer, *drawn, describe_words(explanations), heat_maps(picture, expressions, explanations)

        return self._submit(work, expressions)

    def draw_again(self, answer: Answer | None, threshold: float, dcrf: bool):
        """Masks for another threshold; the model does not run again."""
        if answer is None:
            return None, None

        def work():
            picture = self._page_input.shown(self._read(answer.path, answer.moment))
            return draw_answer(picture, answer, threshold, dcrf)

        return self._submit(work)

    def _read(self, path: str, moment: float) -> np.ndarray:
        return self._page_input.read(Path(path), moment, self._segmenter.limits)

    def _submit(self, work: Callable, expressions: Sequence[str] = ()):
        """The result of a piece of work; its errors are shown on the page."""
        try:
            return self._segmenter.submit(work, expressions).result()
        except InputError as error:
            raise _error(str(error)) from error
        except FileNotFoundError as error:
            raise _error("What was uploaded is no longer here; choose it again.") from error


def build_page(segmenter: Segmenter, page_input: PageInput, model_name: str, has_dcrf: bool) -> gr.Blocks:
    """The page.

    Args:
        segmenter: Answers.
        page_input: What visitors give.
        model_name: Shown in the head.
        has_dcrf: Offer DenseCRF.
    """
    limits, actions = segmenter.limits, PageActions(segmenter, page_input)
    with gr.Blocks(title="CMPC", delete_cache=(KEPT, KEPT), analytics_enabled=False) as page:
        gr.Markdown(f"# Mark what a sentence means\nCMPC, model `{html.escape(model_name)}`")
        answer = gr.State(time_to_live=KEPT)
        with gr.Row():
            with gr.Column():
                path = page_input.upload(label=page_input.name.capitalize(), height=320, elem_id="upload")
                moment = gr.Slider(0, 1, 0.5, label="Moment", visible=page_input.has_moments, elem_id="moment")
                text = gr.Textbox(
                    label="Sentences, one in a line",
                    placeholder="the man in white holding a frisbee",
                    lines=2,
                    max_lines=limits.expressions,
                    max_length=limits.expressions * limits.characters,
                    elem_id="sentences",
                )
                button = gr.Button("Mark", variant="primary", elem_id="mark")
                threshold = gr.Slider(0.05, 0.95, 0.5, step=0.05, label="Probability from which a pixel is marked")
                dcrf = gr.Checkbox(label="Align with edges (DenseCRF, in place of the threshold)", visible=has_dcrf)
            with gr.Column():
                overlay = gr.Image(label="Marked", format="png", elem_id="overlay", buttons=["download", "fullscreen"])
                words = gr.HTML(elem_id="words")
        stages = _gallery(
            "Reasoning: at each stage, similarity to what is marked in the end; for each word, its attention", "stages"
        )
        masks = _gallery("Masks", "masks", format="png", buttons=["download", "fullscreen"])
        path.upload(actions.encode, [path, moment], None, show_progress="hidden")
        moment.release(actions.encode, [path, moment], None, show_progress="hidden")
        asked = [path, moment, text, threshold, dcrf]
        button.click(actions.segment, asked, [answer, overlay, masks, words, stages], show_progress_on=overlay)
        for control in (threshold.release, dcrf.change):
            control(actions.draw_again, [answer, threshold, dcrf], [overlay, masks], show_progress_on=overlay)
    return page.queue(max_size=limits.waiting, default_concurrency_limit=1, api_open=False)


def _gallery(label: str, name: str, **options) -> gr.Gallery:
    shape = {"columns": 3, "fit_columns": False, "object_fit": "contain", "height": "auto"}
    return gr.Gallery(label=label, elem_id=name, **shape, **options)


def launch(page: gr.Blocks, limits: Limits, host: str, port: int, wait: bool = True):
    """Serves the page until it is interrupted; without `wait`, until it is closed (`page.close()`)."""
    logging.getLogger("httpx").setLevel(logging.WARNING)  # Gradio asks its own server whether it is there.
    page.launch(
        server_name=host,
        server_port=port,
        prevent_thread_lock=not wait,
        share=False,
        quiet=True,
        show_error=True,
        max_file_size=limits.file_bytes,
        state_session_capacity=KEPT_ANSWERS,
        footer_links=[],
        theme=THEME,
        css=STYLE,
    )


def draw_answer(picture: np.ndarray, answer: Answer, threshold: float, dcrf: bool):
    """The picture with the masks drawn in, and each mask with its sentence."""
    masks = [one.refined_mask(picture) if dcrf else one.mask_from(threshold) for one in answer.predictions]
    shown = [(mask.astype(np.uint8) * 255, text) for mask, text in zip(masks, answer.expressions, strict=True)]
    return draw_masks(picture, masks, answer.expressions), shown


def describe_words(explanations: list[Explanation]) -> str:
    """The words as coloured HTML: what each of them does, how strongly, and how many the model reads if not all."""
    if not any(explanation.words or explanation.truncation for explanation in explanations):
        return ""
    types = list(explanations[0].words[0].probabilities) if explanations[0].words else []
    legend = "".join(f'<span style="color:{WORD_COLORS[one]}">&#9632; {one.value}</span>' for one in types)
    sentences = []
    for index, explanation in enumerate(explanations):
        red, green, blue = color_of(index)
        words = "".join(map(_describe_word, explanation.words)) + (explanation.truncation or "")
        sentences.append(f'<p style="border-left:.4em solid rgb({red},{green},{blue});padding-left:.5em">{words}</p>')
    return f'<p class="legend">{legend}</p>{"".join(sentences)}'


def _describe_word(word: WordReading) -> str:
    """A word in the colour of its likeliest type, above a bar with the shares of all types."""
    shares = word.probabilities
    main = max(shares, key=shares.get)
    texts = {one: f"{one.value} {share:.0%}" for one, share in shares.items()}
    bar = (f'<i style="width:{100 * share:.1f}%;background:{WORD_COLORS[one]}"></i>' for one, share in shares.items())
    return (
        f'<span class="word" title="{", ".join(texts.values())}">'
        f'<b style="background:{WORD_COLORS[main]}">{html.escape(word.word)}</b><span class="bar">{"".join(bar)}</span>'
        f"<small>{texts[main] if word.is_known else 'unknown word'}</small></span>"
    )


def heat_maps(
    picture: np.ndarray, expressions: list[str], explanations: list[Explanation]
) -> list[tuple[np.ndarray, str]]:
    """The maps of each explanation over the picture, of at most `HEAT_SIDE` pixels a side, and their titles."""
    import cv2

    scale = min(1, HEAT_SIDE / max(picture.shape[:2]))
    height, width = (max(1, round(side * scale)) for side in picture.shape[:2])
    grey = cv2.cvtColor(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    maps = []
    for expression, explanation in zip(expressions, explanations, strict=True):
        prediction = dataclasses.replace(explanation.prediction, size=(height, width))
        small = dataclasses.replace(explanation, prediction=prediction)
        heats = [(STAGE_TITLES.get(stage, stage), small.heat_map(stage)) for stage in small.similarity]
        heats += [(f"attention of {word}", small.heat_map(weights)) for word, weights in small.attention]
        heats.append(("final", prediction.probabilities))
        maps += [(_heat(grey, heat), f"{title}: {expression}") for title, heat in heats]
    return maps


def _heat(grey: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """A heat map over its picture: uint8 RGB."""
    from matplotlib import colormaps

    colors = colormaps["inferno"](heat)[..., :3]
    return (0.35 * grey[..., None] + 0.65 * 255 * colors).astype(np.uint8)


def _error(message: str) -> gr.Error:
    return gr.Error(message, title="Not marked", print_exception=False)
