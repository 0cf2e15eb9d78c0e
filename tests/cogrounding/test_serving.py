"""Boxes over HTTP."""

import io

import numpy as np
import pytest
from PIL import Image

from cmpc_tf2.serving.api import create_app
from cmpc_tf2.serving.segmenter import Limits, Segmenter
from cogrounding_original import TINY, TINY_CLIPS
from cogrounding_tf2.models.cg_sl_att import CGSLAtt
from cogrounding_tf2.models.sl_att import SLAtt
from cogrounding_tf2.predictor import BoxPredictor, ClipBoxPredictor
from http_client import ask, form, picture

WORDS = ["<pad>", "<go>", "<eos>", "<unk>", "red", "circle", *(f"word{number}" for number in range(31))]


@pytest.fixture(scope="module")
def predictor():
    return BoxPredictor(SLAtt(TINY, vocabulary=WORDS, name="sl_att"))


def test_an_answer_has_the_box(predictor):
    app = create_app(Segmenter(predictor, predictor.set_image, Limits()), "sl_att.keras")
    answer, refused = ask(app, form("the red circle"), form("red", dcrf="true"))
    (segment,) = answer.json()["segments"]
    predictor.set_image(np.asarray(Image.open(io.BytesIO(picture()))))
    expected = predictor.predict("the red circle")
    assert segment["bbox"] == pytest.approx(expected.bbox) and segment["score"] == pytest.approx(expected.score)
    assert segment["area"] == expected.mask.sum() and segment["unknown_words"] == ["the"]
    assert [one["stage"] for one in segment["stages"]] == ["subject", "location", "objectness"]
    assert refused.status_code == 422 and refused.json()["detail"] == "dcrf: the model gives boxes; leave it out"


def test_a_clip_needs_as_many_frames_as_the_model_reads():
    predictor = ClipBoxPredictor(CGSLAtt(TINY_CLIPS, vocabulary=WORDS, name="cg_sl_att"))
    predictor.set_clip(np.zeros((5, 40, 50, 3), np.uint8))
    found = predictor.predict("red circle")
    assert found.size == (40, 50) and (found.box >= 0).all() and (found.box <= [50, 40, 50, 40]).all()
    with pytest.raises(ValueError, match="clip: expected 5 frames of uint8"):
        predictor.set_clip(np.zeros((16, 40, 50, 3), np.uint8))
