"""Uploaded videos: the clip around a moment, and those that are refused."""

import asyncio

import numpy as np
import pytest
from pycocotools import mask as coco

from cmpc_tf2.serving.api import create_app
from cmpc_tf2.serving.segmenter import Limits, RequestError, Segmenter
from cmpc_video_tf2.config import CMPCVideoConfig
from cmpc_video_tf2.data.clips import VideoFile
from cmpc_video_tf2.models.cmpc_video import CMPCVideo
from cmpc_video_tf2.predictor import VideoPredictor
from cmpc_video_tf2.uploads import MOST_FRAMES, read_clip, video_upload
from http_client import SEGMENT, client_of
from small import SMALL, WORDS
from videos import write_video


def test_clips_are_centred_on_the_chosen_moment(tmp_path, monkeypatch):
    path = write_video(tmp_path / "clip.avi", 30)
    frames = list(VideoFile(path).frames())
    decoded = []
    monkeypatch.setattr(VideoFile, "frames", lambda video, decode=VideoFile.frames: decoded.append(1) or decode(video))
    for moment, first, last in ((0, 0, 7), (1, 21, 29), (0.5, 6, 21)):
        clip = read_clip(path, moment, Limits())
        assert clip.shape == (16, 48, 64, 3)
        np.testing.assert_array_equal(clip[[0, -1]], [frames[first], frames[last]])
    assert len(decoded) == 3  # Once for each.
    for wrong in (-1.0, 7.0, 60.0, np.nan):
        monkeypatch.setattr(VideoFile, "stated_last", wrong)
        np.testing.assert_array_equal(read_clip(path, 0.5, Limits()), clip)


def test_videos_that_cannot_be_used_are_reported(tmp_path, monkeypatch):
    path = write_video(tmp_path / "clip.mp4", 3)
    for limits, words in ((Limits(file_bytes=100), "at most 100 bytes"), (Limits(pixels=100), "found 64 x 48")):
        with pytest.raises(RequestError, match=words):
            read_clip(path, 0, limits)
    frames = [np.zeros((48, 64, 3), np.uint8), np.zeros((48, 32, 3), np.uint8)]
    with monkeypatch.context() as patch, pytest.raises(RequestError, match="different sizes"):
        patch.setattr(VideoFile, "frames", lambda _: iter(frames))
        read_clip(path, 0, Limits())
    playlist = tmp_path / "playlist.mp4"
    playlist.write_bytes(b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n")
    with pytest.raises(RequestError, match="expected an mp4 or avi file"):
        read_clip(playlist, 0, Limits())
    playlist.write_bytes(path.read_bytes()[:60])
    with pytest.raises(RequestError, match="cannot be decoded, or is cut off"):
        read_clip(playlist, 0, Limits())
    with pytest.raises(RequestError, match=f"at most {MOST_FRAMES} frames"):
        read_clip(write_video(tmp_path / "long.avi", MOST_FRAMES + 1), 0, Limits())


@pytest.mark.usefixtures("eagerly")
def test_videos_are_segmented_over_http(tmp_path):
    predictor = VideoPredictor(CMPCVideo(CMPCVideoConfig(**SMALL.to_dict()), vocabulary=WORDS))
    app = create_app(Segmenter(predictor, predictor.set_clip, Limits()), "small.keras", video_upload())
    path = write_video(tmp_path / "clip.mp4", 20)
    requests = [
        {"files": {"video": content}, "data": {"expressions": ["the man"], "moment": moment}}
        for content, moment in ((path.read_bytes(), 1), (b"hello", 1), (path.read_bytes(), 2))
    ]

    async def post():
        async with client_of(app) as client:
            return [await client.post(SEGMENT, **request) for request in requests], await client.get("/v1/model")

    (marked, broken, beyond), model = asyncio.run(post())
    predictor.set_clip(read_clip(path, 1, Limits()))
    (segment,) = marked.json()["segments"]
    np.testing.assert_array_equal(coco.decode(segment["mask"]).astype(bool), predictor.predict("the man").mask)
    assert (broken.status_code, broken.json()["field"]) == (422, "video")
    assert (beyond.status_code, beyond.json()["field"]) == (422, "moment")
    assert model.json()["medium"] == "clips"
