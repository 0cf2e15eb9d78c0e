import numpy as np

from cmpc_tf2.text.text_encoder import TextEncoder


def test_more_padding_changes_no_word():
    encoder = TextEncoder(9, 4, 6)
    short, is_word, _ = encoder(np.array([[0, 3, 5, 7]]))
    long, *_ = encoder(np.array([[0, 0, 0, 0, 3, 5, 7]]))
    np.testing.assert_allclose(long[:, -3:], short[:, -3:], atol=1e-6)
    assert not np.asarray(short)[0, 0].any()
    np.testing.assert_array_equal(is_word, [[False, True, True, True]])


def test_pads_alone_count_as_words_without_features():
    words, is_word, _ = TextEncoder(9, 4, 6)(np.zeros((1, 3), "int32"))
    assert not np.asarray(words).any()
    assert np.asarray(is_word).all()
