"""Pictures as detectors see them: scaled, with the aspect ratio kept and no border."""

import numpy as np

from cmpc_tf2.preprocessing.preprocessing import Preprocessing

# Caffe's mean of ImageNet as Fast R-CNN has it, in the order blue, green, red.
DETECTOR_MEAN = (102.9801, 115.9465, 122.7717)


# What happens to the pixels before they are scaled.
DETECTOR_PREPROCESSING = Preprocessing(600, resizing="none", channels="bgr", mean=DETECTOR_MEAN)


def scale_picture(
    image: np.ndarray, shorter_side: int, longer_side: int, preprocessing: Preprocessing = DETECTOR_PREPROCESSING
) -> tuple[np.ndarray, float]:
    """A picture as a detector sees it: normalized, then scaled.

    The shorter side becomes `shorter_side` pixels long, unless the longer side would have more than `longer_side`
    pixels. Then that one has as many.

    Source: `lib/model/test.py` of lichengunc/mask-faster-rcnn (commit 45e2818). OpenCV's bilinear interpolation without
    anti-aliasing. Neighbours are `1 / scale` pixels apart, not the ratio of the rounded sizes.

    Differs from the original: a side never becomes shorter than one pixel, where the original fails.

    Args:
        image: uint8 RGB `(h, w, 3)`.
        shorter_side: In pixels.
        longer_side: In pixels.
        preprocessing: Normalizes the pixels.

    Returns:
        float32 `(rows, columns, 3)`, BGR minus mean by default, and the scale.
    """
    import cv2

    shorter, longer = sorted(image.shape[:2])
    scale = shorter_side / shorter
    if round(scale * longer) > longer_side:
        scale = longer_side / longer
    pixels = preprocessing.normalize(image)
    rows, columns = (round(side * scale) for side in image.shape[:2])
    size = None if rows and columns else (max(1, columns), max(1, rows))
    return cv2.resize(pixels, size, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR), scale
