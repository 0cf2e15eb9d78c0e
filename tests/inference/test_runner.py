import numpy as np
from keras import ops


def test_compiled_inference_gives_the_models_logits(small_model, rng):
    """Compiled chains of elementwise operations give the same numbers."""
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
