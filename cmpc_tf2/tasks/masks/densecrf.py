"""DenseCRF, the original's post-processing (`-c`)."""

import numpy as np

from cmpc_tf2.errors import InputError

ITERATIONS = 5


def load_densecrf():
    """The `pydensecrf.densecrf` module, which `pydensecrf2` provides.

    Raises:
        InputError: It is not installed.
    """
    try:
        from pydensecrf import densecrf
    except ImportError as error:
        raise InputError(
            "-c needs DenseCRF, which is not installed: `pip install pydensecrf2` (with a C++ compiler; "
            "docs/installation.md says how on Python 3.13)"
        ) from error
    return densecrf


def refine_mask(probabilities: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Aligns a mask with the edges of the picture.

    Two labels; unary energy `-log` of their probabilities; a Gaussian kernel (sxy 3, weight 3) and a bilateral one
    (sxy 20, srgb 3, weight 10); 5 iterations.

    Source: `test` in `trainval_model.py` of CMPC-Refseg.

    Differs from TF1: a probability of exactly 0 or 1 is moved to the nearest float32 that gives a finite energy, where
    the original gets an infinite one. Finite energies are not touched. Tested by `tests/inference/test_densecrf.py`.

    Args:
        probabilities: float32 `(h, w)` in [0, 1], of the foreground.
        image: uint8 RGB `(h, w, 3)`.

    Returns:
        bool `(h, w)`.

    Raises:
        InputError: pydensecrf is not installed.
    """
    densecrf = load_densecrf()
    height, width = probabilities.shape
    foreground = np.asarray(probabilities, np.float32)
    background = np.maximum(1 - foreground, np.float32(2**-24))
    foreground = np.maximum(foreground, np.finfo(np.float32).smallest_subnormal)
    unary = -np.log(np.stack([background, foreground])).reshape(2, -1)

    crf = densecrf.DenseCRF2D(width, height, 2)
    crf.setUnaryEnergy(np.ascontiguousarray(unary))
    crf.addPairwiseGaussian(sxy=3, compat=3)
    # Copied: it takes no read-only array.
    crf.addPairwiseBilateral(sxy=20, srgb=3, rgbim=np.array(image, order="C"), compat=10)
    return np.argmax(crf.inference(ITERATIONS), axis=0).reshape(height, width).astype(bool)
