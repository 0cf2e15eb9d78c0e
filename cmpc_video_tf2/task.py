"""What the commands have to know of clips."""

from cmpc_tf2.task import Task
from cmpc_video_tf2.config import VideoTrainConfig
from cmpc_video_tf2.data.datasets import VIDEO_DATASETS


class VideoTask(Task):
    """Referring segmentation of a frame in a clip."""

    name = "video"
    datasets = VIDEO_DATASETS
    train_config = VideoTrainConfig
    # The mean over these is the average precision of A2D-Sentences.
    thresholds = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
    average_precision = True

    @property
    def sample_type(self) -> type:
        from cmpc_video_tf2.data.samples import VideoSample

        return VideoSample


VIDEOS = VideoTask()
