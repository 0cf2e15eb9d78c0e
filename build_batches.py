"""Turns annotations into `.npz` batches, one referring expression each."""

import argparse
import sys
from pathlib import Path

from cmpc_tf2.cli import run_command


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-d", "--dataset", required=True, help="unc, unc+ or Gref (refcoco, refcoco+, refcocog)")
    parser.add_argument("-t", "--split", required=True, help="train, val, testA, testB")
    parser.add_argument(
        "--data-root", type=Path, default=Path("data"), help="vocabularies, refer/ and coco/ (default: data)"
    )
    parser.add_argument("--refer-root", type=Path, help="REFER's annotations (default: DATA_ROOT/refer)")
    parser.add_argument("--image-root", type=Path, help="image files (default: DATA_ROOT/coco/images/train2014)")
    parser.add_argument("--output-root", type=Path, default=Path("."), help="where DATASET/SPLIT_batch/ is made")
    parser.add_argument("--vocabulary", type=Path, help="vocabulary file (default: the dataset's, in DATA_ROOT)")
    parser.add_argument("--overwrite", action="store_true", help="replace a split that is already there")
    parser.add_argument("--skip-errors", action="store_true", help="exit with 0 even if samples had to be left out")
    return parser


def main(argv: list[str] | None = None) -> int:
    return run_command(_run, build_parser().parse_args(argv))


def _run(arguments: argparse.Namespace) -> int:
    from cmpc_tf2.data.builder import BuildSettings, build_split

    options = dict(vars(arguments))
    skip_errors = options.pop("skip_errors")
    result = build_split(BuildSettings(**options))
    print(f"{result.written} batches written, {len(result.skipped)} samples skipped")
    if result.skipped and not skip_errors:
        print(f"error: {len(result.skipped)} samples skipped; --skip-errors accepts that", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
