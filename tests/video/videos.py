"""Video files for the tests."""

import cv2
import numpy as np


def write_video(path, frames):
    codec = cv2.VideoWriter_fourcc(*("MJPG" if path.suffix == ".avi" else "mp4v"))
    writer = cv2.VideoWriter(str(path), codec, 25, (64, 48))
    for number in range(frames):
        writer.write(np.full((48, 64, 3), 8 * number % 250, np.uint8))
    writer.release()
    return path
