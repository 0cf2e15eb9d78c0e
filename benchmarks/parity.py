"""How close results are to the original's: runs the tests that compare, and prints the largest difference of each.

Rows with * need real pictures, sentences and vocabularies, which are not part of this repository; without them their
tests are skipped and the rows left out.
"""

import argparse
import sys
from pathlib import Path

import pytest
from measuring import add_json_option, write_json

TESTS = Path(__file__).resolve().parents[1] / "tests"
FILES = (
    "models/test_cmpc.py",
    "training/test_original_steps.py",
    "video/test_cmpc_video.py",
    "backbones/test_i3d.py",
    "video/test_cmpc_video_i3d.py",
    "models/test_ancestors.py",
    "text/test_vocabulary.py",
    "data/test_builder.py",
    "commands/test_evaluate.py",
    "conversion/test_tf1.py",
)


class Collector:
    """Gathers what tests note through the fixture `parity`."""

    def __init__(self):
        self.rows: dict[tuple[str, str], list] = {}

    def pytest_collection_modifyitems(self, config, items):
        kept = [item for item in items if "parity" in item.fixturenames]
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept

    def pytest_runtest_logreport(self, report):
        if report.when == "call":
            for name, (what, required, measured) in report.user_properties:
                assert name == "parity"
                self.rows.setdefault((what, required), []).append(measured)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_json_option(parser)
    arguments = parser.parse_args()
    collector = Collector()
    options = ["-q", "-m", "", "-p", "no:cacheprovider", *(str(TESTS / file) for file in FILES)]
    status = pytest.main(options, plugins=[collector])
    figures = {}
    print("\n| what | required | measured |\n|---|---|---|")
    for (what, required), values in collector.rows.items():
        is_count = all(isinstance(value, int) for value in values)
        figures[what] = sum(values) if is_count else max(values)
        print(f"| {what} | {required} | {figures[what]:{'' if is_count else '.2g'}} |")
    write_json(arguments, figures)
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
