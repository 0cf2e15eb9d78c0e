"""`fields.jsonl`: facts about the samples of a split."""

import pytest

from cmpc_tf2.data.sample_fields import FIELDS_FILE, read_fields, write_fields
from cmpc_tf2.errors import InputError


def test_what_was_written_is_read(tmp_path):
    fields = [{"ref_id": 1, "place": "Zürich"}, {}, {"ref_id": 2}]
    write_fields(tmp_path, fields)
    assert read_fields(tmp_path, 3) == fields


def test_without_fields_there_is_no_file(tmp_path):
    write_fields(tmp_path, [{}, {}])
    assert not list(tmp_path.iterdir())
    assert read_fields(tmp_path, 2) == [{}, {}]


@pytest.mark.parametrize(
    "content, words",
    [
        ("{}\n", "expected 2 lines, one for each sample, found 1"),
        ("{}\n[1]\n", "row 2: expected an object for the row, found a list"),
        ('{"a": 1\n{}\n', "row 1: not readable JSON.*"),
    ],
)
def test_files_that_do_not_fit_the_split(content, words, tmp_path):
    (tmp_path / FIELDS_FILE).write_text(content)
    with pytest.raises(InputError, match=f"{FIELDS_FILE}.*{words}; build the split again"):
        read_fields(tmp_path, 2)
