"""Weights by rule, with the salt and the exceptions of a folder's `rule.json`."""

import json
import zlib

import numpy as np
import pytest

from original import DEFAULT_RULE, read_rule, weight_by_rule


@pytest.fixture
def rule(tmp_path):
    exceptions = {"tiny": {"head/biases": -6, "neck/biases": {"1": 5, "3": -1.5}}}
    (tmp_path / "rule.json").write_text(json.dumps({"salt": 7, "exceptions": exceptions}))
    return read_rule(tmp_path)


def noise(name: str, shape, salt: int) -> np.ndarray:
    return np.random.RandomState((zlib.crc32(name.encode()) + salt) % 2**32).standard_normal(shape)


@pytest.mark.parametrize(
    "name, expected",
    [
        ("norm/gamma", lambda n: 1 + 0.1 * n),
        ("norm/moving_variance", lambda n: 1 + 0.2 * np.abs(n)),
        ("norm/beta", lambda n: 0.1 * n),
        ("words/Variable", lambda n: 0.4 * n),
        ("conv/weights", lambda n: n * np.sqrt(2 / 6)),
        ("conv/DW", lambda n: n * np.sqrt(1 / 6)),
    ],
)
@pytest.mark.parametrize("salt", [0, 7])
def test_values_follow_the_name_and_the_salt(name, expected, salt):
    found = weight_by_rule(name, (2, 3, 4), salt)
    np.testing.assert_array_equal(found, expected(noise(name, (2, 3, 4), salt)).astype("float32"), strict=True)


def test_the_sum_of_checksum_and_salt_wraps_around():
    name, salt = "head/biases", 2**32 - 1
    expected = np.random.RandomState(zlib.crc32(name.encode()) - 1).standard_normal(4)
    np.testing.assert_array_equal(weight_by_rule(name, (4,), salt), (0.1 * expected).astype("float32"))


def test_exceptions_replace_a_weight_or_single_elements(rule):
    exceptions = rule.exceptions["tiny"]
    np.testing.assert_array_equal(weight_by_rule("head/biases", (3,), rule.salt, exceptions), [-6, -6, -6])
    plain = weight_by_rule("neck/biases", (5,), rule.salt)
    changed = weight_by_rule("neck/biases", (5,), rule.salt, exceptions)
    assert changed[1] == 5 and changed[3] == -1.5
    np.testing.assert_array_equal(changed[[0, 2, 4]], plain[[0, 2, 4]])


def test_a_folder_without_a_rule_follows_the_default(rule, tmp_path):
    assert rule.salt == 7
    (tmp_path / "other").mkdir()
    assert read_rule(tmp_path / "other") is DEFAULT_RULE
