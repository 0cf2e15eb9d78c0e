"""The recipes of the originals with Keras' `fit`."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import cmpc_tf2
from cmpc_tf2.data.batches import list_batches
from cmpc_tf2.data.pipeline import training_dataset
from cmpc_tf2.errors import InputError
from cmpc_tf2.fields import FieldError
from cmpc_tf2.model_files import load_model
from cmpc_tf2.systems import SYSTEMS
from cmpc_tf2.training.config import TrainConfig
from cmpc_tf2.training.run import train
from models.test_contract import MASK_NAMES, build, make_inputs
from small import PIECES, WORDS, assert_same_weights, weights_of


@pytest.fixture(scope="module", params=MASK_NAMES)
def batch(request):
    """A new model, and a batch with whatever its recipe adds."""
    model = build(request.param, vocabulary=PIECES if request.param == "maskris" else WORDS)
    inputs, size = make_inputs(model), model.config.image_size
    recipe = SYSTEMS[request.param].load_recipe()
    augment = recipe.augmentation(model)
    if augment is not None:
        rng, count = np.random.default_rng(1), len(inputs["image"])
        added = [augment({name: value[row] for name, value in inputs.items()}, rng) for row in range(count)]
        inputs |= {name: np.stack([sample[name] for sample in added]) for name in added[0]}
    masks = np.zeros((len(inputs["token_ids"]), size, size, 1), "float32")
    masks[:, : size // 2] = 1
    return model, inputs, masks


def test_every_model_is_trained_by_its_own_recipe(batch, eagerly):
    model, inputs, masks = batch
    trainer = cmpc_tf2.make_trainer(model, steps=10)
    assert trainer.recipe == SYSTEMS[model.name].load_recipe()
    before = weights_of(model)
    clean = {name: inputs[name] for name in model.input}
    data = tf.data.Dataset.from_tensors((inputs, masks))
    history = trainer.fit(data, validation_data=(clean, masks), verbose=0).history
    assert history.keys() == {"loss", *trainer.recipe.logged, "overall_iou", "val_overall_iou"}
    changed = {weight.path for weight in model.weights if np.any(np.asarray(weight) != before[weight.path])}
    trained = {variable.path for variable in trainer.trainable_variables}
    assert changed <= trained and len(changed) > 0.9 * len(trained)

    logits = np.asarray(model(clean)["mask_logits"])
    expected = ((logits >= 0) & (masks > 0)).sum() / ((logits >= 0) | (masks > 0)).sum()
    assert history["val_overall_iou"] == [pytest.approx(expected)]
    assert trainer.evaluate(clean, masks, return_dict=True, verbose=0) == {"overall_iou": pytest.approx(expected)}


def test_fit_takes_the_steps_of_the_command(squares, cheap_model, cheap_model_file, tmp_path, eagerly):
    paths = list_batches(squares, "unc", "train")
    settings = {"batch_size": 2, "learning_rate": 0.001, "finetune_backbone": True}
    config = TrainConfig(
        "unc", "train", model=cheap_model.config, start_model=str(cheap_model_file), steps=2, **settings
    )
    before = weights_of(load_model(cheap_model_file))
    train(config, tmp_path, paths, [])

    model = load_model(cheap_model_file)
    trainer = cmpc_tf2.make_trainer(model, **settings)
    checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / "checkpoint.keras")
    trainer.fit(training_dataset(paths, 2, model.preprocessing).take(2), callbacks=[checkpoint], verbose=0)
    found = weights_of(model)
    assert max(np.abs(value - before[path]).max() for path, value in found.items()) > 1e-3
    assert_same_weights(weights_of(load_model(tmp_path / "last.keras")), found, tolerance=1e-6)
    assert_same_weights(found, weights_of(load_model(tmp_path / "checkpoint.keras")), tolerance=0)


@pytest.mark.parametrize("name", ["maskris", "rmi"])
def test_masked_recipes_ask_for_masked_inputs(name, eagerly):
    model = build(name)
    inputs = make_inputs(model)
    masks = np.zeros((4, *model.output["mask_logits"].shape[1:]), "float32")
    trainer = cmpc_tf2.make_trainer(model, recipe="original" if name == "maskris" else "masked")
    with pytest.raises(InputError, match=r"expected masked copies \(masked_token_ids, .*, found image"):
        trainer.fit(inputs, masks, verbose=0)


def test_wrong_settings_and_models_are_refused(small_model):
    with pytest.raises(FieldError, match="expected one of original, masked for cmpc, received 'caris'"):
        cmpc_tf2.make_trainer(small_model, recipe="caris")
    with pytest.raises(InputError, match="expected one that takes pictures or clips and expressions, found "):
        cmpc_tf2.make_trainer(small_model.get_backbone())
