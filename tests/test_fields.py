"""Configurations refuse what their fields cannot hold, and say which field it is."""

import dataclasses
import json
import math
import sys
import types

import pytest

from cmpc_tf2.backbones.config import DeepLabResNetConfig
from cmpc_tf2.errors import InputError
from cmpc_tf2.fields import from_dict
from cmpc_tf2.models.cmpc.config import CMPCConfig
from cmpc_tf2.training.config import TrainConfig
from cmpc_video_tf2.config import VideoTrainConfig
from small import SMALL

RUN = TrainConfig("unc", "train", model=SMALL).to_dict()
NO_COUNTS = ("32", 32.0, True, None, math.nan, [], {}, 0, -8, 10**9 + 1, 10**400)


@pytest.mark.parametrize("field", ["image_size", "vocabulary_size", "embedding_dim", "fusion_dim", "max_words"])
def test_sizes_are_whole_numbers_within_bounds(field):
    for value in NO_COUNTS:
        with pytest.raises(InputError, match=f"^{field}: expected a (whole number|multiple of 8) from . to "):
            CMPCConfig(**{field: value})


@pytest.mark.parametrize(
    "field, values",
    [
        *((name, NO_COUNTS[:-2]) for name in ("accumulate", "checkpoint_every")),
        *((name, [0, "1", 1.0, True, 2**31]) for name in ("steps", "batch_size", "decay_steps")),
        ("epochs", [0, "1", True, 10**7]),
        ("seed", [-1, True, None, 2**32, 0.0]),
        ("learning_rate", [0, -1, "0.1", True, math.nan, math.inf, 1e300, 10**400]),
        ("finetune_backbone", ["true", 1, None]),
        ("jit_compile", ["", 0]),
        ("dataset", [None, 3, [], "a\0b", "a\nb", "\ud800"]),
        ("vocabulary", [3, True, ["words.txt"]]),
        ("precision", ["int8", 16, None]),
        ("strategy", ["all", []]),
        ("recipe", ["fast", "caris", 3, []]),
        ("model_name", ["fcn", ["cmpc"]]),
        ("model", [[], "", 0, False, [1]]),
    ],
)
def test_fields_of_a_run(field, values):
    for value in values:
        with pytest.raises(InputError) as refusal:
            from_dict(TrainConfig, {**RUN, field: value})
        assert str(refusal.value).startswith(f"{field}: expected ") and ", received " in str(refusal.value)
        assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 250


@pytest.mark.parametrize(
    "change, words",
    [
        ({"colour": 1}, "colour: unknown name; expected some of dataset, split, "),
        ({"a\nb" * 100: 1}, "a\\nba\\n"),
        ({"model": {**RUN["model"], "image_size": 50}}, "model.image_size: expected a multiple of 8 from 8 to 4096"),
        ({"model": {**RUN["model"], "heads": 5}}, "model.heads: unknown name"),
        ({"model": {**RUN["model"], "without": "exchange"}}, "model.without: expected a list of some of"),
        ({"model": {**RUN["model"], "without": [[]]}}, "model.without: expected a list of some of"),
        ({"model": {**RUN["model"], "backbone": None}}, "model.backbone: expected an object of values by name"),
        ({"model": {**RUN["model"], "backbone": {"width": 0.5}}}, "model.backbone.width: expected a whole number"),
        *(
            ({"model": {**RUN["model"], "backbone": {"depths": depths}}}, "model.backbone.depths: expected a list of")
            for depths in (4, "1111", [1, 1, 1], [1, 1, 1, 1.0], [1, 1, 1, 10**9], None)
        ),
    ],
)
def test_names_and_sizes_within_a_run(change, words):
    with pytest.raises(InputError) as refusal:
        from_dict(TrainConfig, {**RUN, **change})
    assert str(refusal.value).startswith(words) and "\n" not in str(refusal.value)


def test_missing_fields_and_other_types_are_reported():
    with pytest.raises(InputError, match=r"^split: missing$"):
        from_dict(TrainConfig, {"dataset": "unc"})
    for data in ([], "text", 3, None):
        with pytest.raises(InputError, match=r"^expected an object of values by name, received "):
            from_dict(TrainConfig, data)


def test_configurations_round_trip():
    for config in (
        TrainConfig("unc", "train", model=SMALL),
        VideoTrainConfig("a2d", "train"),
        SMALL,
        DeepLabResNetConfig(),
    ):
        assert from_dict(type(config), json.loads(json.dumps(config.to_dict()))) == config


def test_postponed_annotations_are_checked_too(monkeypatch):
    module = types.ModuleType("wide")
    monkeypatch.setitem(sys.modules, "wide", module)
    code = """
from __future__ import annotations
import dataclasses
from cmpc_tf2.models.config import ReferringConfig
@dataclasses.dataclass(frozen=True)
class Wide(ReferringConfig):
    image_size: int = 32
    heads: int = 5
    share: float | None = None
"""
    exec(code, module.__dict__)
    assert all(isinstance(field.type, str) for field in dataclasses.fields(module.Wide) if field.name == "heads")
    for wrong in ({"heads": 0}, {"heads": "5"}, {"image_size": 50}, {"image_size": "32"}, {"share": "all"}):
        with pytest.raises(InputError, match=f"^{next(iter(wrong))}: expected "):
            module.Wide(**wrong)
    assert module.Wide(heads=7).heads == 7


def test_what_a_run_leaves_open_is_the_recipes():
    for kind, steps in ((TrainConfig, 700_000), (VideoTrainConfig, 380_000)):
        config = kind("unc", "train").completed()
        assert (config.steps, config.batch_size, config.learning_rate) == (steps, 1, 0.00025)
    config = TrainConfig("unc", "train", steps=9, batch_size=4, learning_rate=0.5, rate_scaling="linear")
    assert config.completed() == config and config.initial_rate == 2


def test_an_earlier_name_of_a_recipe_still_works():
    """Earlier runs on masked inputs say `maskris`."""
    config = from_dict(TrainConfig, {**RUN, "recipe": "maskris"})
    assert config.recipe == "masked" and config == TrainConfig("unc", "train", model=SMALL, recipe="masked")
    # Which recipes a start model has is known when its file is read.
    assert TrainConfig("unc", "train", start_model="model.keras", recipe="caris").recipe == "caris"
