"""The video data sets: their names, and where their files lie."""

import dataclasses
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class VideoDataset:
    """The locations of a data set's annotations and videos, as its authors ship them.

    Attributes:
        name: Its name on the command line and in the batches' path.
        aliases: Other names that are understood.
        splits: Names of its splits.
        folder: Its folder below the data root.
        vocabulary: Vocabulary file, below the data root.
    """

    name: str
    aliases: tuple[str, ...]
    splits: tuple[str, ...]
    folder: str
    vocabulary: str = "vocabulary_Gref.txt"


# Named as the original names its batches.
A2D = VideoDataset("a2d_sent_new", ("a2d", "a2d_sentences"), ("train", "test"), "a2d_sentences")
JHMDB = VideoDataset("jhmdb_sent", ("jhmdb", "jhmdb_sentences"), ("test",), "jhmdb_sentences")
# On disk as A2D-Sentences.
MOVING_SHAPES = VideoDataset(
    "moving_shapes", (), ("train", "test"), "moving_shapes", vocabulary="vocabulary_moving_shapes.txt"
)
SLIDING_SHAPES = VideoDataset(
    "sliding_shapes", (), ("train", "test"), "sliding_shapes", vocabulary="vocabulary_sliding_shapes.txt"
)
VIDEO_DATASETS = (A2D, JHMDB, MOVING_SHAPES, SLIDING_SHAPES)


@dataclasses.dataclass(frozen=True)
class A2DFiles:
    """The files of A2D-Sentences, and of what is laid out like it.

    Attributes:
        queries: The sentences.
        splits: Which video belongs to which split.
        masks: A folder of `.h5` files for each video.
        frames: Where a video is looked for: a folder of pictures, or a file.
    """

    queries: Path
    splits: Path
    masks: Path
    frames: tuple[Path, ...]

    @classmethod
    def below(cls, root: Path, image_root: Path | None = None) -> "A2DFiles":
        """The usual places below a folder; `image_root` holds the videos, if they are elsewhere."""
        release = root / "Release"
        frames = (image_root,) if image_root else (release / "frames", release / "clips320H")
        return cls(
            root / "a2d_annotation.txt", release / "videoset.csv", root / "a2d_annotation_with_instances", frames
        )


@dataclasses.dataclass(frozen=True)
class JHMDBFiles:
    """The files of J-HMDB-Sentences, whose videos lie in a folder for each action.

    Attributes:
        queries: The sentences.
        masks: `<action>/<video>/puppet_mask.mat`.
        frames: `<action>/<video>/` with pictures, or `<action>/<video>.avi`.
        chosen: A list of the frames to test on; it need not be there.
    """

    queries: Path
    masks: Path
    frames: tuple[Path, ...]
    chosen: Path

    @classmethod
    def below(cls, root: Path, image_root: Path | None = None) -> "JHMDBFiles":
        """As `A2DFiles.below`."""
        frames = (image_root,) if image_root else (root / "Rename_Images", root / "ReCompress_Videos")
        chosen = root / "jhmdb_sentences_samples_metadata.json"
        return cls(root / "jhmdb_annotation.txt", root / "puppet_mask", frames, chosen)
