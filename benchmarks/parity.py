"""How close results are to the original's: runs the tests that compare, and prints the largest difference of each.


Rows with * need real pictures, sentences and vocabularies, which are not part of this repository; without them their
tests are skipped and the rows left out.
"""

import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1] / "tests"
FILES = (
    "models/test_cmpc.py",
    "test_training_golden.py",
    "video/test_cmpc_video.py",
    "models/test_ancestors.py",
    "data/test_text.py",
    "data/test_builder.py",
    "test_evaluate.py",
    "tools/test_convert_tf1_ckpt.py",
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
    collector = Collector()
    arguments = ["-q", "-m", "", "-p", "no:cacheprovider", *(str(TESTS / file) for file in FILES)]
    status = pytest.main(arguments, plugins=[collector])
    print("\n| what | required | measured |\n|---|---|---|")
    for (what, required), values in collector.rows.items():
        is_count = all(isinstance(value, int) for value in values)
        measured = str(sum(values)) if is_count else f"{max(values):.2g}"
        print(f"| {what} | {required} | {measured} |")
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
