"""`shapes`, the embedded data set: pictures of coloured shapes and what one can say of them, drawn from a seed.

It needs what CMPC is about: entities ("circle"), attributes ("small striped red") and relations to another object
("left of the blue square"). It is written in REFER's layout, so that it goes through the same reader as RefCOCO.

Ground truth is unambiguous by construction. An attribute expression fits exactly one shape, and none of its attributes
can be left out. A relation expression has a first half that fits several shapes and an anchor that fits exactly one;
one of the candidates lies on the right side of the anchor, the others clearly on the opposite side.
"""

import dataclasses
import itertools
import json
import logging
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cmpc_tf2.data.segmentations import coco_box, rasterize
from cmpc_tf2.files import write_bytes, write_text
from cmpc_tf2.text.vocabulary import PAD, UNKNOWN

logger = logging.getLogger(__name__)

IMAGES = 2000
SEED = 0
# Shares of the images. testA asks for attributes alone, testB for relations; train and val for both.
SPLIT_SHARES = {"train": 0.8, "val": 0.08, "testA": 0.06, "testB": 0.06}

COLORS = {
    "red": (205, 45, 40),
    "green": (50, 150, 60),
    "blue": (45, 80, 200),
    "yellow": (225, 200, 50),
    "purple": (130, 60, 160),
    "white": (240, 240, 240),
}
# By kind: corners, their distances from the centre by turns (1 is the radius), and the angle of the first one.
OUTLINES = {
    "circle": (48, (1.0,), 0.0),
    "square": (4, (1.0,), np.pi / 4),
    "triangle": (3, (1.0,), -np.pi / 2),
    "star": (10, (1.0, 0.45), -np.pi / 2),
}
KINDS = tuple(OUTLINES)
SIZES = {"small": (16, 22), "large": (34, 44)}  # Radius in pixels, from and to.
TEXTURES = ("plain", "striped", "dotted")
# Axis, and the sign of target minus anchor along it.
RELATIONS = {"left of": (0, -1), "right of": (0, 1), "above": (1, -1), "below": (1, 1)}
# Pixels between the centres along the axis of a relation; what lies closer is neither one nor the other.
RELATION_MARGIN = 20
SHAPES_PER_IMAGE = (3, 6)
REFERENCES_PER_IMAGE = 3

_FILLERS = ("the", "that", "is")


@dataclasses.dataclass(frozen=True)
class Shape:
    """One object of a scene: what it is, where its centre lies in pixels, and by how much it is turned, in radians."""

    kind: str
    color: str
    size: str
    texture: str
    x: float
    y: float
    radius: float
    turn: float = 0.0

    def outline(self) -> list[float]:
        """Its outline as COCO has polygons: x and y of the corners in pixels, one after the other."""
        corners, radii, start = OUTLINES[self.kind]
        angles = start + self.turn + 2 * np.pi * np.arange(corners) / corners
        radii = self.radius * np.resize(radii, corners)
        corners = np.stack([self.x + radii * np.cos(angles), self.y + radii * np.sin(angles)], axis=1)
        return np.round(corners, 2).ravel().tolist()


@dataclasses.dataclass(frozen=True)
class Description:
    """A noun phrase: a kind with attributes, and possibly a relation to another object.

    Attributes:
        kind: A kind of shape.
        attributes: Pairs of an attribute's name (`size`, `texture`, `color`) and its value.
        relation: A key of `RELATIONS`.
        anchor: The other object; it must fit exactly one shape.
    """

    kind: str
    attributes: tuple[tuple[str, str], ...]
    relation: str | None = None
    anchor: "Description | None" = None

    def candidates(self, scene: list[Shape]) -> list[Shape]:
        """The shapes that the noun and its attributes fit, whatever the relation."""
        wanted = (("kind", self.kind), *self.attributes)
        return [shape for shape in scene if all(getattr(shape, name) == value for name, value in wanted)]

    def referents(self, scene: list[Shape]) -> list[Shape]:
        """The shapes that are meant. A candidate too close to call counts, so that it makes the phrase ambiguous."""
        candidates = self.candidates(scene)
        if self.relation is None:
            return candidates
        (anchor,) = self.anchor.referents(scene)
        axis, sign = RELATIONS[self.relation]

        def offset(shape):
            return sign * ((shape.x, shape.y)[axis] - (anchor.x, anchor.y)[axis])

        return [shape for shape in candidates if shape is not anchor and offset(shape) > -RELATION_MARGIN]

    def noun_phrase(self) -> str:
        """`small striped red circle`."""
        return " ".join([value for _, value in self.attributes] + [self.kind])


def draw_scene(rng: np.random.Generator, height: int, width: int) -> list[Shape]:
    """Shapes that do not touch, out of few colours, kinds and textures, so that they are easily mistaken."""
    kinds = rng.choice(KINDS, size=2, replace=False)
    colors = rng.choice(list(COLORS), size=3, replace=False)
    textures = rng.choice(TEXTURES, size=2, replace=False)
    scene: list[Shape] = []
    for _ in range(rng.integers(SHAPES_PER_IMAGE[0], SHAPES_PER_IMAGE[1] + 1)):
        size = str(rng.choice(list(SIZES)))
        radius = rng.uniform(*SIZES[size])
        look = {"kind": str(rng.choice(kinds)), "color": str(rng.choice(colors)), "texture": str(rng.choice(textures))}
        for _ in range(50):
            x, y = rng.uniform(radius + 2, width - radius - 2), rng.uniform(radius + 2, height - radius - 2)
            if all(np.hypot(x - other.x, y - other.y) > radius + other.radius + 4 for other in scene):
                scene.append(Shape(size=size, x=x, y=y, radius=radius, **look))
                break
    return scene


def attribute_descriptions(shape: Shape, scene: list[Shape]) -> list[Description]:
    """Every way to tell a shape by its attributes alone in which no attribute can be left out."""
    names = ("size", "texture", "color")
    found: list[Description] = []
    for count in range(len(names) + 1):
        for chosen in itertools.combinations(names, count):
            attributes = tuple((name, getattr(shape, name)) for name in chosen)
            description = Description(shape.kind, attributes)
            is_minimal = not any(set(shorter.attributes) <= set(attributes) for shorter in found)
            if is_minimal and len(description.referents(scene)) == 1:
                found.append(description)
    return found


def relation_descriptions(shape: Shape, scene: list[Shape], anchors: dict[Shape, list[Description]]):
    """Ways to tell a shape only by where it lies relative to another one.

    Args:
        shape: The shape.
        scene: All shapes.
        anchors: For each shape, ways to tell it by its attributes (`attribute_descriptions`).

    Returns:
        A list of descriptions.
    """
    halves = [
        Description(shape.kind, attributes)
        for attributes in ((), (("color", shape.color),), (("size", shape.size),), (("texture", shape.texture),))
    ]
    halves = [half for half in halves if len(half.candidates(scene)) > 1]
    found = []
    for anchor_shape, tellings in anchors.items():
        for half, anchor in itertools.product(halves, tellings[:2]):
            if anchor_shape in half.candidates(scene):
                continue
            for relation, (axis, sign) in RELATIONS.items():
                description = dataclasses.replace(half, relation=relation, anchor=anchor)
                offset = sign * ((shape.x, shape.y)[axis] - (anchor_shape.x, anchor_shape.y)[axis])
                if offset > RELATION_MARGIN and description.referents(scene) == [shape]:
                    found.append(description)
    return found


def phrase(description: Description, rng: np.random.Generator) -> str:
    """A sentence for a description, with or without the words that add nothing."""
    article = "the " if rng.random() < 0.5 else ""
    if description.relation is None:
        return f"{article}{description.noun_phrase()}"
    link = " that is " if rng.random() < 0.3 else " "
    return f"{article}{description.noun_phrase()}{link}{description.relation} the {description.anchor.noun_phrase()}"


def vocabulary() -> list[str]:
    """All words of the expressions, after the four special ones of the other vocabularies."""
    words = {word for relation in RELATIONS for word in relation.split()}
    words |= {*COLORS, *KINDS, *SIZES, *TEXTURES, *_FILLERS}
    return [PAD, "<go>", "<eos>", UNKNOWN, *sorted(words)]


def paint(scene: list[Shape], height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """The picture of a scene on a soft grey gradient: uint8 RGB `(height, width, 3)`.

    Shapes are painted with the rasteriser that ground truth is drawn with: to the pixel the same.
    """
    y, x = np.ogrid[:height, :width]
    slope = rng.uniform(-25, 25, size=2)
    background = rng.uniform(90, 130) + slope[0] * x / width + slope[1] * y / height
    image = np.repeat(background.astype(np.uint8)[..., None], 3, axis=2)
    patterns = {"striped": (x + y) % 10 < 4, "dotted": ((x % 9) - 4) ** 2 + ((y % 9) - 4) ** 2 < 7}
    for shape in scene:
        mask = rasterize([shape.outline()], height, width)
        color = np.array(COLORS[shape.color])
        image[mask] = color
        if shape.texture != "plain":
            image[mask & patterns[shape.texture]] = color // 3
    return image


@dataclasses.dataclass(frozen=True)
class ShapesPicture:
    """One picture of the data set: its scene, and the described shapes with their expressions."""

    image_id: int
    height: int
    width: int
    scene: list[Shape]
    references: list[tuple[Shape, list[tuple[Description, str]]]]
    pixels: np.ndarray


def compose(image_id: int, split: str, seed: int) -> ShapesPicture:
    """Draws one picture. It depends on the seed and its number alone."""
    rng = np.random.default_rng([seed, image_id])
    wants_attributes, wants_relations = split != "testB", split != "testA"
    while True:
        height, width = (int(side) for side in rng.choice([240, 280, 320], size=2))
        scene = draw_scene(rng, height, width)
        by_attributes = {shape: attribute_descriptions(shape, scene) for shape in scene}
        references = []
        for index in rng.permutation(len(scene)):
            shape = scene[index]
            found = by_attributes[shape] if wants_attributes else []
            related = relation_descriptions(shape, scene, by_attributes) if wants_relations else []
            chosen = [options[rng.integers(len(options))] for options in (found, related) if options]
            if chosen:
                references.append((shape, [(description, phrase(description, rng)) for description in chosen]))
        if references:
            pixels = paint(scene, height, width, rng)
            return ShapesPicture(image_id, height, width, scene, references[:REFERENCES_PER_IMAGE], pixels)


def splits_of(images: int) -> Iterator[tuple[int, str]]:
    """Number and split of every image; every split has at least one."""
    return enumerate(split for split, share in SPLIT_SHARES.items() for _ in range(max(1, round(share * images))))


def write_shapes(data_root: str | os.PathLike, images: int = IMAGES, seed: int = SEED):
    """Draws the data set below the data root, in REFER's layout.

    Writes `shapes/images/shapes_<6 digits>.png`, `refer/shapes/instances.json`, `refer/shapes/objects.json` (all
    objects; those without an expression have ids below 0), `vocabulary_shapes.txt`, and last
    `refer/shapes/refs(shapes).p`: where that is, the data set is complete.

    Args:
        data_root: The data root.
        images: How many pictures, over all splits.
        seed: Another seed gives other pictures; the same one gives the same bytes.
    """
    import cv2

    data_root = Path(data_root)
    logger.info("drawing %d pictures of shapes below %s", images, data_root)
    picture_folder, refer_folder = data_root / "shapes" / "images", data_root / "refer" / "shapes"
    os.makedirs(picture_folder, exist_ok=True)
    os.makedirs(refer_folder, exist_ok=True)
    refs, annotations, objects, infos, sentence_ids = [], [], [], [], itertools.count()
    for image_id, split in splits_of(images):
        picture = compose(image_id, split, seed)
        name = f"shapes_{image_id:06d}.png"
        _, encoded = cv2.imencode(".png", picture.pixels[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
        write_bytes(picture_folder / name, encoded.tobytes())  # Another command may be reading it.
        infos.append({"id": image_id, "file_name": name, "height": picture.height, "width": picture.width})
        numbers = {shape: len(refs) + number for number, (shape, _) in enumerate(picture.references)}
        for shape in picture.scene:
            ids = {"id": numbers.get(shape, -1 - len(objects)), "image_id": image_id}
            box = coco_box(rasterize([shape.outline()], picture.height, picture.width))
            more = {"category_id": 1 + KINDS.index(shape.kind), "bbox": box, "segmentation": [shape.outline()]}
            objects.append({**ids, **more})
        for shape, expressions in picture.references:
            ids = {"ref_id": len(refs), "ann_id": len(annotations), "image_id": image_id}
            annotations.append({"id": len(annotations), "image_id": image_id, "segmentation": [shape.outline()]})
            sentences = [
                {"sent_id": next(sentence_ids), "sent": text, "tokens": text.split()} for _, text in expressions
            ]
            refs.append({**ids, "split": split, "sentences": sentences})
    write_text(data_root / "vocabulary_shapes.txt", "\n".join(vocabulary()) + "\n")
    categories = [{"id": number, "name": kind} for number, kind in enumerate(KINDS, start=1)]
    write_text(refer_folder / "objects.json", json.dumps({"annotations": objects, "categories": categories}))
    write_text(refer_folder / "instances.json", json.dumps({"images": infos, "annotations": annotations}))
    write_bytes(refer_folder / "refs(shapes).p", pickle.dumps(refs, protocol=2))
