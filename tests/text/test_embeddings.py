import numpy as np
import pytest

from cmpc_tf2.errors import InputError
from cmpc_tf2.text.embeddings import load_embeddings


def test_tables_are_checked_for_their_shape(tmp_path):
    """Tables of the original's authors can be read directly."""
    path = tmp_path / "Gref_emb.npy"
    with pytest.raises(InputError, match="no such word vectors; make them with"):
        load_embeddings(path, (5, 3))
    np.save(path, np.zeros((5, 3), np.float64))
    assert load_embeddings(path, (5, 3)).dtype == np.float32
    for wrong in (np.zeros((4, 3), np.float32), np.zeros((5, 3), int), np.zeros(5)):
        np.save(path, wrong)
        with pytest.raises(InputError, match=r"expected floats of shape \(5, 3\), found"):
            load_embeddings(path, (5, 3))
    for odd in (np.nan, np.inf, 1e39):
        np.save(path, np.array([[0, 0], [0, odd]]))
        with pytest.raises(InputError, match=r"emb.npy: expected finite numbers, found others in row 1"):
            load_embeddings(path, (2, 2))
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(InputError, match=r"not a readable \.npy file"):
        load_embeddings(path, (5, 3))
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"not a readable \.npy file"):
        load_embeddings(path, (5, 3))
