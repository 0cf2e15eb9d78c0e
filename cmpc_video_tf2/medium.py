"""What the commands need to know about clips."""

from cmpc_tf2.medium import Medium
from cmpc_tf2.tasks.masks.task import MaskTask
from cmpc_video_tf2.config import VideoTrainConfig
from cmpc_video_tf2.data.datasets import VIDEO_DATASETS


class Clips(Medium):
    """Clips with one annotated frame."""

    name = "clips"
    datasets = VIDEO_DATASETS
    train_config = VideoTrainConfig
    # The mean over these is the average precision of A2D-Sentences.
    task = MaskTask((0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95), average_precision=True)

    @property
    def sample_type(self) -> type:
        from cmpc_video_tf2.data.samples import VideoSample

        return VideoSample


CLIPS = Clips()
