"""The page: a picture and sentences in, masks and how the model came to them out."""

import dataclasses
import html
import logging
from collections.abc import Callable
from pathlib import Path

import gradio as gr
import numpy as np

from cmpc_tf2.config import WordType
from cmpc_tf2.overlays import color_of, draw_masks
from cmpc_tf2.predictor import Explanation
from cmpc_tf2.serving.segmenter import Limits, RequestError, Segmenter, read_picture

WORD_COLORS = {
    WordType.ENTITY: "#0072b2",
    WordType.ATTRIBUTE: "#d55e00",
    WordType.RELATION: "#007a59",
    WordType.ACTION: "#a3487f",
    WordType.UNNECESSARY: "#6b6b6b",
}
# Longer side of the heat maps, in pixels.
HEAT_SIDE = 512
# Results and uploads are deleted when they are this old, in seconds.
KEPT = 3600
# Fonts of the reader's own machine: the page asks no other server for anything.
THEME = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])
STYLE = """
.word { display: inline-block; margin: 0 .6em .6em 0; text-align: center; vertical-align: top; }
.word b { display: block; padding: .1em .4em; border-radius: .3em; color: white; }
.word small { display: block; }
.bar { display: flex; height: .35em; margin-top: .2em; border-radius: .2em; overflow: hidden; }
.legend span { display: inline-block; margin-right: 1em; }
"""


def read_by_us(component: gr.components.Component) -> gr.components.Component:
    """Keeps Gradio from decoding what is uploaded: a component gives the file's path, unread."""
    component.preprocess = lambda payload: payload and payload.path
    return component


@dataclasses.dataclass(frozen=True)
class Medium:
    """What a page takes.

    Attributes:
        name: What it is called.
        upload: Makes the component that takes it; `read_by_us`.
        read: Path, moment and limits to the pixels that the predictor looks at.
        still: From these the picture that is marked, uint8 RGB `(h, w, 3)`.
        has_moments: Ask for a moment, from 0 (the beginning) to 1 (the end).
    """

    name: str
    upload: Callable[..., gr.components.Component]
    read: Callable[[Path, float, Limits], np.ndarray]
    still: Callable[[np.ndarray], np.ndarray]
    has_moments: bool


PICTURES = Medium(
    name="picture",
    upload=lambda **options: read_by_us(gr.Image(sources=["upload", "clipboard"], **options)),
    read=lambda path, moment, limits: read_picture(path.read_bytes(), limits),
    still=lambda pixels: pixels,
    has_moments=False,
)


@dataclasses.dataclass(frozen=True, eq=False)
class Answer:
    """What was found for one upload.

    Attributes:
        path: The upload.
        moment: Where in a video.
        expressions: What was asked for.
        explanations: One for each.
    """

    path: str
    moment: float
    expressions: list[str]
    explanations: list[Explanation]


def build_page(segmenter: Segmenter, medium: Medium, model_name: str, has_dcrf: bool) -> gr.Blocks:
    """The page.

    Args:
        segmenter: Answers.
        medium: What it is about.
        model_name: Shown in the head.
        has_dcrf: Offer DenseCRF.
    """
    limits = segmenter.limits

    def read(path: str, moment: float) -> np.ndarray:
        return medium.read(Path(path), moment, limits)

    def look(path: str | None, moment: float):
        """Encodes what was uploaded while the sentence is being written."""
        if path:
            _said(lambda: segmenter.submit(lambda: read(path, moment), []).result())

    def segment(path: str | None, moment: float, text: str, threshold: float, dcrf: bool):
        expressions = [line.strip() for line in text.splitlines() if line.strip()]
        if not path:
            raise _error(f"Choose a {medium.name} first.")
        if not expressions:
            raise _error("Write what to mark, for example: the man in white.")
        explanations = _said(lambda: segmenter.submit(lambda: read(path, moment), expressions).result())
        answer = Answer(path, moment, expressions, explanations)
        return answer, *draw(answer, threshold, dcrf), describe_words(answer), heat_maps(answer)

    def draw(answer: Answer | None, threshold: float, dcrf: bool):
        """Masks for a threshold; nothing is computed anew."""
        if answer is None:
            return None, None
        picture = medium.still(_said(lambda: read(answer.path, answer.moment)))
        predictions = [explanation.prediction for explanation in answer.explanations]
        masks = [one.refined_mask(picture) if dcrf else one.probabilities >= threshold for one in predictions]
        shown = [(mask.astype(np.uint8) * 255, text) for mask, text in zip(masks, answer.expressions, strict=True)]
        return draw_masks(picture, masks, answer.expressions), shown

    def heat_maps(answer: Answer) -> list[tuple[np.ndarray, str]]:
        picture = medium.still(read(answer.path, answer.moment))
        return [
            (_heat(picture, heat), f"{stage}: {expression}")
            for expression, explanation in zip(answer.expressions, answer.explanations, strict=True)
            for stage, heat in _stages(explanation).items()
        ]

    with gr.Blocks(title="CMPC", delete_cache=(KEPT, KEPT), analytics_enabled=False) as page:
        gr.Markdown(f"# Mark what a sentence means\nCMPC, model `{html.escape(model_name)}`")
        answer = gr.State(time_to_live=KEPT)
        with gr.Row():
            with gr.Column():
                path = medium.upload(label=medium.name.capitalize(), height=320, elem_id="upload")
                moment = gr.Slider(0, 1, 0.5, label="Moment", visible=medium.has_moments, elem_id="moment")
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
        stages = gr.Gallery(
            label="Reasoning: how alike each place is, at each stage, to what is marked in the end",
            columns=3,
            fit_columns=False,
            object_fit="contain",
            height="auto",
            elem_id="stages",
        )
        masks = gr.Gallery(
            label="Masks",
            format="png",
            columns=3,
            fit_columns=False,
            object_fit="contain",
            height="auto",
            buttons=["download", "fullscreen"],
            elem_id="masks",
        )
        path.upload(look, [path, moment], None, show_progress="hidden")
        moment.release(look, [path, moment], None, show_progress="hidden")
        asked = [path, moment, text, threshold, dcrf]
        button.click(segment, asked, [answer, overlay, masks, words, stages], show_progress_on=overlay)
        for control in (threshold.release, dcrf.change):
            control(draw, [answer, threshold, dcrf], [overlay, masks], show_progress_on=overlay)
    return page.queue(max_size=limits.waiting, default_concurrency_limit=1, api_open=False)


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
        footer_links=[],
        theme=THEME,
        css=STYLE,
    )


def describe_words(answer: Answer) -> str:
    """The words as coloured HTML: what each of them does, and how strongly."""
    if not answer.explanations[0].words:
        return ""
    types = list(answer.explanations[0].words[0].probabilities)
    legend = "".join(f'<span style="color:{WORD_COLORS[one]}">&#9632; {one.value}</span>' for one in types)
    sentences = []
    for index, explanation in enumerate(answer.explanations):
        red, green, blue = color_of(index)
        words = "".join(
            f'<span class="word" title="{_shares(word.probabilities)}">'
            f'<b style="background:{WORD_COLORS[max(word.probabilities, key=word.probabilities.get)]}">'
            f"{html.escape(word.word)}</b>{_bar(word.probabilities)}"
            f"<small>{_main_share(word.probabilities) if word.is_known else 'unknown word'}</small></span>"
            for word in explanation.words
        )
        sentences.append(f'<p style="border-left:.4em solid rgb({red},{green},{blue});padding-left:.5em">{words}</p>')
    return f'<p class="legend">{legend}</p>{"".join(sentences)}'


def _main_share(probabilities: dict[WordType, float]) -> str:
    main = max(probabilities, key=probabilities.get)
    return f"{main.value} {probabilities[main]:.0%}"


def _shares(probabilities: dict[WordType, float]) -> str:
    return ", ".join(f"{word_type.value} {share:.0%}" for word_type, share in probabilities.items())


def _bar(probabilities: dict[WordType, float]) -> str:
    parts = "".join(
        f'<i style="width:{100 * share:.1f}%;background:{WORD_COLORS[word_type]}"></i>'
        for word_type, share in probabilities.items()
    )
    return f'<span class="bar">{parts}</span>'


def _stages(explanation: Explanation) -> dict[str, np.ndarray]:
    titles = {"entities": "entities perceived", "relations": "after relations", "actions": "after actions"}
    found = {titles.get(stage, stage): explanation.heat_map(stage) for stage in explanation.likeness}
    return {**found, "final": explanation.prediction.probabilities}


def _heat(picture: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """A heat map over its picture, small: uint8 RGB."""
    import cv2
    from matplotlib import colormaps

    scale = min(1, HEAT_SIDE / max(heat.shape))
    size = tuple(max(1, round(side * scale)) for side in heat.shape[::-1])
    grey = cv2.cvtColor(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    colors = colormaps["inferno"](cv2.resize(heat, size, interpolation=cv2.INTER_AREA))[..., :3]
    return (0.35 * grey[..., None] + 0.65 * 255 * colors).astype(np.uint8)


def _said(work: Callable):
    """The result of a piece of work; what cannot be done is said on the page."""
    try:
        return work()
    except RequestError as error:
        raise _error(str(error)) from error
    except FileNotFoundError as error:
        raise _error("What was uploaded is no longer here; choose it again.") from error


def _error(message: str) -> gr.Error:
    return gr.Error(message, title="Not marked", print_exception=False)
