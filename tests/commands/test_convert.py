"""The command `convert`, and the script with the same options."""

import json

import pytest

from cmpc_tf2 import cli
from cmpc_tf2.conversion.names.backbone import backbone_pairs
from cmpc_tf2.conversion.tf1 import convert
from cmpc_tf2.model_files import load_model
from conftest import ROOT
from convert_tf1_ckpt import main


def convert_command(argv):
    return cli.main(["convert", *argv])


@pytest.mark.parametrize(
    "arguments",
    [
        ["--output", "x"],
        ["--checkpoint", "a", "--to-tf1", "--output", "x"],
        ["--to-tf1", "--output", "x"],
        ["--checkpoint", "a", "--model", "b", "--output", "x"],
        ["--to-tf1", "--model", "b", "--output", "x", "--report", "r"],
    ],
)
def test_usage_errors_exit_with_2(arguments, capsys):
    errors = []
    for run in (main, convert_command):
        with pytest.raises(SystemExit) as stopped:
            run(arguments)
        assert stopped.value.code == 2
        errors.append(capsys.readouterr().err.split(": error: ")[1])
    assert errors[0] == errors[1]


def test_the_command_is_the_script(small_model, small_values, write, tmp_path, capsys):
    """Both print and write the same, for a conversion and for an error."""
    prefix = write({pair.tf1: small_values[pair.tf1] for pair in backbone_pairs(small_model.config.backbone)})
    output, back, report = (str(tmp_path / name) for name in ("b.keras", "back", "report.json"))
    results = []
    for run in (main, convert_command):
        statuses = [
            run(["--checkpoint", prefix, "--output", output, "--report", report]),
            run(["--to-tf1", "--model", output, "--output", back]),
            run(["--checkpoint", f"{prefix}.index", "--output", output]),
        ]
        contents = [(tmp_path / name).read_bytes() for name in ("report.json", "back.data-00000-of-00001")]
        results.append([statuses, contents, capsys.readouterr()])
    assert results[0] == results[1]
    assert results[0][0] == [0, 0, 1]


def test_results_as_json(small_model, small_values, write, tmp_path, capsys):
    prefix = write({pair.tf1: small_values[pair.tf1] for pair in backbone_pairs(small_model.config.backbone)})
    output, back, report = (str(tmp_path / name) for name in ("b.keras", "back", "report.json"))
    assert main(["--checkpoint", prefix, "--output", output, "--report", report, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == (written := json.loads((tmp_path / "report.json").read_text()))
    page = (ROOT / "docs" / "commands.md").read_text()
    assert [key for key in written if f"`{key}`" not in page] == []
    assert main(["--to-tf1", "--model", output, "--output", back, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"output": back, "variables": len(written["converted"])}


def test_a_model_without_its_vocabulary_gets_a_note(
    small_model, small_values, small_model_file, write, tmp_path, capsys
):
    """But not a part that has no words."""
    prefix, output = write(small_values), str(tmp_path / "m.keras")
    assert main(["--checkpoint", prefix, "--output", output]) == 0
    assert f"{output}: no vocabulary stored; predict," in capsys.readouterr().err
    assert main(["--checkpoint", prefix, "--output", output, "--vocabulary", str(small_model_file)]) == 0
    assert "vocabulary" not in capsys.readouterr().err
    assert load_model(output).vocabulary == small_model.vocabulary
    backbone = write({pair.tf1: small_values[pair.tf1] for pair in backbone_pairs(small_model.config.backbone)})
    assert main(["--checkpoint", backbone, "--output", output]) == 0
    assert "vocabulary" not in capsys.readouterr().err


def test_outputs_never_replace_inputs_or_each_other(small_values, write, tmp_path, capsys):
    prefix, output = write(small_values), str(tmp_path / "m.keras")
    data = f"{prefix}.data-00000-of-00001"
    for report in (output, f"{prefix}.index", data, str(tmp_path)):
        assert main(["--checkpoint", prefix, "--output", output, "--report", report]) == 1
        assert report in capsys.readouterr().err
        assert sorted(p.name for p in tmp_path.iterdir()) == ["ckpt.data-00000-of-00001", "ckpt.index"]
    convert(prefix, output)
    for bad in (str(tmp_path), ".", ""):
        assert main(["--to-tf1", "--model", output, "--output", bad]) == 1
        assert "expected a prefix" in capsys.readouterr().err
