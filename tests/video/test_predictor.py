import keras
import numpy as np

from cmpc_tf2.text.word_types import WordType
from cmpc_video_tf2.config import CMPCVideoConfig
from cmpc_video_tf2.models.cmpc_video import CMPCVideo
from cmpc_video_tf2.predictor import VideoPredictor
from small import SMALL, WORDS


def test_words_of_clips_may_be_actions(rng):
    keras.utils.set_random_seed(0)
    model = CMPCVideo(CMPCVideoConfig(**SMALL.to_dict()), vocabulary=WORDS)
    predictor = VideoPredictor(model)
    predictor.set_clip(rng.integers(0, 256, size=(16, 40, 60, 3), dtype=np.uint8))
    explanation = predictor.explain("the man")
    assert WordType.ACTION in explanation.words[0].probabilities
    assert list(explanation.similarity) == [*model.stages]
    assert explanation.heat_map("actions").shape == (40, 60)
