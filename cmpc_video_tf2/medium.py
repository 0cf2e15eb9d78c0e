"""What the commands need to know about clips."""

from cmpc_tf2.medium import Medium
from cmpc_tf2.tasks.masks.task import MaskTask
from cmpc_video_tf2.config import CLIP_BACKBONES, VideoTrainConfig
from cmpc_video_tf2.data.datasets import VIDEO_DATASETS

# The mean over these is the average precision of A2D-Sentences.
_THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)

# Clips with one annotated frame.
CLIPS = Medium(
    name="clips",
    datasets=VIDEO_DATASETS,
    train_config=VideoTrainConfig,
    task=MaskTask(_THRESHOLDS, average_precision=True),
    sample="cmpc_video_tf2.data.samples:VideoSample",
    size_options={"backbone_type": tuple(CLIP_BACKBONES)},
)
