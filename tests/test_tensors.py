"""Arrays as tensors."""

import numpy as np
import pytest

from cmpc_tf2.tensors import copied


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int32", "bfloat16"])
@pytest.mark.parametrize("shape", [(), (0, 3), (7,), (3, 5, 2)])
def test_a_tensor_has_the_values_and_the_type_of_its_array(shape, dtype, rng):
    value = np.asarray(rng.normal(size=shape) * 9).astype(np.dtype(dtype))
    tensor = copied(value)
    assert tensor.dtype == dtype and tensor.shape == shape
    np.testing.assert_array_equal(tensor.numpy(), value)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_tensor_does_not_change_with_its_array(dtype):
    value = np.arange(1000, dtype=dtype)
    tensor, expected = copied(value), value.copy()
    value[:] = -1
    np.testing.assert_array_equal(tensor.numpy(), expected)


def test_views_and_read_only_arrays():
    value = np.arange(24, dtype="float32").reshape(4, 6)
    value.flags.writeable = False
    np.testing.assert_array_equal(copied(value.T[1::2]).numpy(), value.T[1::2])
