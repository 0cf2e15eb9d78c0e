import keras
import numpy as np
from keras import ops


def test_compiled_inference_gives_the_models_logits(small_model, rng):
    """What is compiled in one pass computes the same."""
    from cmpc_tf2.inference.runner import ModelRunner
    from small import subtract_mean

    size, config = small_model.config.image_size, small_model.config
    images = rng.integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    token_ids = rng.integers(1, config.vocabulary_size, (3, config.max_words)).astype(np.int32)
    model = ModelRunner(small_model)
    inputs = {"image": subtract_mean(images), "token_ids": token_ids}
    expected = small_model({name: ops.convert_to_tensor(value) for name, value in inputs.items()})
    found = model.decode(model.encode(images), {"token_ids": token_ids})
    np.testing.assert_allclose(found, np.asarray(expected["mask_logits"])[..., 0], rtol=0, atol=1e-5)


def test_what_moves_masks_most_is_exact_in_every_precision():
    from cmpc_tf2.models.cmpc.model import CMPC
    from cmpc_tf2.precision import computing_in
    from small import SMALL

    with computing_in("bfloat16", weights="bfloat16"):
        decoder = CMPC(SMALL).expression_decoder
    for layer in decoder.layers:
        is_exact = layer.name.startswith(("exchange", "conv_lstm", "score", "upsample"))
        if layer.name.startswith(("mutan", "relation_graph", "fusion")) or is_exact:
            assert layer.compute_dtype == ("float32" if is_exact else "bfloat16"), layer.name
        if is_exact:
            inner = [inner for inner in layer._flatten_layers() if isinstance(inner, keras.layers.Dense)]
            assert all(one.compute_dtype == "float32" for one in inner), layer.name
