"""The data sets of boxes: pictures in REFER's layout, and clips."""

from cmpc_tf2.data.datasets import DATASETS, Layout
from cmpc_video_tf2.data.datasets import MOVING_SHAPES, SLIDING_SHAPES, VideoDataset

PICTURE_DATASETS = tuple(dataset for dataset in DATASETS if dataset.layout is Layout.REFER)
# Data sets of which the authors' lists exist.
LISTED = ("unc", "unc+")

# The lists are `VID/VID_video_level_<split>.pth` below the data root.
VID = VideoDataset("vid", (), ("train", "test"), "VID", vocabulary="VID/corpus.pth")
CLIP_DATASETS = (VID, MOVING_SHAPES, SLIDING_SHAPES)
BOX_DATASETS = (*PICTURE_DATASETS, *CLIP_DATASETS)
