import keras
import numpy as np
import pytest

from cmpc_tf2.backbones.config import SWIN_PRESETS, SwinConfig
from cmpc_tf2.backbones.swin import DROP_PATH, SwinBlock, SwinTransformer, WindowAttention
from cmpc_tf2.backbones.windows import (
    join_windows,
    relative_position_index,
    resize_bias_table,
    shift_mask,
    split_windows,
)
from cmpc_tf2.conversion.names.swin import swin_pairs
from cmpc_tf2.fields import FieldError
from maskris_original import read_golden

SMALL = SwinConfig(width=8, depths=(1, 2, 1, 1), heads=(2, 4, 2, 4), window=3)


@pytest.fixture(scope="module")
def backbone():
    keras.utils.set_random_seed(3)
    return SwinTransformer(SMALL, image_size=(40, 56), name="backbone")


@pytest.fixture
def image(rng):
    return rng.normal(size=(2, 40, 56, 3)).astype("float32")


def test_presets_are_those_of_the_builder():
    assert SWIN_PRESETS["base"] == SwinConfig(128, (2, 2, 18, 2), (4, 8, 16, 32), 7)
    assert {name: config.channels("f3") for name, config in SWIN_PRESETS.items()} == {
        "tiny": 768,
        "small": 768,
        "base": 1024,
        "large": 1536,
    }


def test_levels_have_strides_of_4_to_32(backbone, image):
    taps = backbone(image)
    assert {name: tap.shape[1:3] for name, tap in taps.items()} == SMALL.grids(40, 56)
    assert {name: tap.shape[3] for name, tap in taps.items()} == {
        level: SMALL.channels(level) for level in SMALL.levels
    }
    assert SMALL.grids(40, 56) == {"f0": (10, 14), "f1": (5, 7), "f2": (3, 4), "f3": (2, 2)}
    assert SwinConfig().grids(448, 448) == {"f0": (112, 112), "f1": (56, 56), "f2": (28, 28), "f3": (14, 14)}


def test_names_are_those_of_the_checkpoints(backbone):
    pairs = swin_pairs(SMALL)
    assert sorted(pair.keras for pair in pairs) == sorted(variable.path for variable in backbone.weights)
    names = {pair.torch for pair in pairs}
    assert {"patch_embed.proj.weight", "layers.1.blocks.1.attn.qkv.bias", "layers.2.downsample.norm.weight"} <= names
    assert backbone.finetuned_variables() == backbone.trainable_variables


def test_saving_and_loading(backbone, image, tmp_path):
    backbone.save(tmp_path / "swin.keras")
    loaded = keras.models.load_model(tmp_path / "swin.keras")
    assert loaded.config == SMALL
    for level, tap in backbone(image).items():
        np.testing.assert_array_equal(loaded(image)[level], tap)


def test_the_stream_is_not_normalised(backbone, image):
    """The norms of the levels are not part of what the next stage sees."""
    norm = backbone.get_layer("norm0")
    before = {level: np.asarray(tap) for level, tap in backbone(image).items()}
    saved = norm.get_weights()
    norm.set_weights([2 * value for value in saved])
    after = backbone(image)
    norm.set_weights(saved)
    assert not np.allclose(after["f0"], before["f0"])
    np.testing.assert_array_equal(after["f1"], before["f1"])


def test_relative_positions_are_query_minus_key():
    index = relative_position_index(3)
    cells = [(row, column) for row in range(3) for column in range(3)]
    for query, (row, column) in enumerate(cells):
        for key, (other_row, other_column) in enumerate(cells):
            assert index[query, key] == (row - other_row + 2) * 5 + (column - other_column + 2)


def test_windows_are_cut_row_by_row_and_joined(rng):
    x = rng.normal(size=(2, 6, 9, 4)).astype("float32")
    windows = np.asarray(split_windows(x, 3))
    np.testing.assert_array_equal(windows[1, 4], x[1, 3:, 3:6].reshape(9, 4))
    np.testing.assert_array_equal(join_windows(windows, 3, 6, 9), x)


@pytest.mark.parametrize("height, width", [(6, 9), (5, 8), (3, 3), (2, 3)])
def test_shift_mask_separates_opposite_borders_by_minus_100(height, width):
    """Cells that were not neighbours before the map was rolled; also where the map is no larger than one window."""
    side, shift = 3, 1
    found = shift_mask(height, width, side, shift)
    rows, columns = -(-height // side) * side, -(-width // side) * side
    # After rolling, cell (y, x) holds what was at (y + 1, x + 1): the last row and column came from the other border.
    wrapped = np.stack(
        np.meshgrid(np.arange(rows) >= rows - shift, np.arange(columns) >= columns - shift, indexing="ij")
    )
    wrapped = np.asarray(split_windows(np.moveaxis(wrapped, 0, -1)[None].astype("int32"), side))[0]
    differs = (wrapped[:, :, None] != wrapped[:, None]).any(-1)
    np.testing.assert_array_equal(found[:, 0], np.where(differs, np.float32(-100), 0))
    assert found.dtype == np.float32 and differs[-1].any()


def plain_attention(attention: WindowAttention, query: float, key: float):
    """Makes all queries `query` and the keys `key` times the cells; values and outputs are not projected."""
    channels = attention.proj.kernel.shape[0]
    identity, zero = np.eye(channels), np.zeros(channels)
    attention.qkv.kernel.assign(np.concatenate([0 * identity, key * identity, identity], axis=1))
    attention.qkv.bias.assign(np.concatenate([zero + query, zero, zero]))
    attention.proj.kernel.assign(identity)
    attention.relative_position_bias_table.assign(np.zeros(attention.relative_position_bias_table.shape))


def test_a_masked_cell_can_still_be_attended_to():
    """With -100 instead of minus infinity, a score that is larger by more than 100 wins."""
    cells, mask = np.zeros((1, 1, 9, 16), "float32"), np.zeros((1, 1, 9, 9), "float32")
    attention = WindowAttention(heads=4, window=3)
    attention(cells)
    plain_attention(attention, query=10.0, key=10.0)
    cells[0, 0, 4] = 1.0  # Its score is 10 * 10 * 4 / sqrt(4) = 200 in every head; that of the others is 0.
    mask[..., 4] = -100.0
    np.testing.assert_allclose(attention(cells, mask), np.ones_like(cells), atol=1e-6)
    mask[..., 4] = -300.0
    np.testing.assert_allclose(attention(cells, mask), np.zeros_like(cells), atol=1e-6)


def test_padding_is_not_masked():
    """A map of 2 x 2 cells in a window of 3 x 3: attention is the mean over nine cells, of which five are zero."""
    x = np.random.default_rng(0).normal(size=(1, 2, 2, 16)).astype("float32")
    block = SwinBlock(heads=4, window=3, is_shifted=False, drop_path=0.0)
    block(x)
    plain_attention(block.attn, query=0.0, key=0.0)
    block.norm1.gamma.assign(np.zeros(16))
    block.norm1.beta.assign(np.ones(16))
    block.mlp.fc2.kernel.assign(np.zeros((64, 16)))
    np.testing.assert_allclose(block(x), x + 4 / 9, atol=1e-6)


def test_drop_path_leaves_out_whole_branches_of_samples(backbone):
    rates = [backbone.get_layer(f"layers.{stage}.blocks.{index}").drop_path.rate for stage, index in BLOCKS]
    np.testing.assert_allclose(rates, np.linspace(0, DROP_PATH, 5))
    drop_path = backbone.get_layer("layers.3.blocks.0").drop_path
    x = np.ones((4000, 2, 3, 5), "float32")
    dropped = np.asarray(drop_path(x, training=True)).reshape(4000, -1)
    np.testing.assert_array_equal(dropped, dropped[:, :1] * np.ones((1, 30)))
    assert set(np.unique(dropped)) == {0, np.float32(1 / 0.7)}
    assert (dropped[:, 0] == 0).mean() == pytest.approx(0.3, abs=0.03)
    np.testing.assert_array_equal(drop_path(x, training=False), x)


def test_drop_path_is_on_both_branches(monkeypatch, rng):
    x = rng.normal(size=(1, 4, 5, 8)).astype("float32")
    block = SwinBlock(heads=2, window=3, is_shifted=True, drop_path=0.5)
    assert not np.allclose(block(x), x)
    monkeypatch.setattr(keras.layers.Dropout, "call", lambda self, x, training=False: 0 * x)
    np.testing.assert_array_equal(block(x), x)


BLOCKS = [(stage, index) for stage, depth in enumerate(SMALL.depths) for index in range(depth)]


def test_bias_tables_of_another_window(parity):
    golden = read_golden("extras")
    found = resize_bias_table(golden["bias/source"], 12)
    parity.within("Swin: resized bias table", found, golden["bias/window12"], 1e-5)
    np.testing.assert_array_equal(resize_bias_table(golden["bias/source"], 7), golden["bias/source"])


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"depths": (2, 2, 2)}, "depths: expected a list of four"),
        ({"heads": (3, 4, 2, 0)}, "heads: expected a list of four"),
        ({"heads": (3, 4, 2, 4)}, "heads: expected a divisor of 8, the channels of f0; received 3"),
    ],
)
def test_sizes_are_checked(changes, message):
    with pytest.raises(FieldError, match=message):
        SwinConfig(**{**SMALL.to_dict(), **changes})
