"""Makes a table of word vectors for a vocabulary out of GloVe text."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cmpc_tf2.cli import run_command


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--glove", type=Path, required=True, metavar="FILE", help="glove.6B.300d.txt, or gzipped")
    parser.add_argument("--vocabulary", type=Path, required=True, metavar="FILE", help="one word per line")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.npy", help="for example data/Gref_emb.npy")
    return parser


def main(argv: list[str] | None = None) -> int:
    return run_command(_run, build_parser().parse_args(argv))


def _run(arguments: argparse.Namespace):
    from cmpc_tf2.errors import UsageError
    from cmpc_tf2.files import require_writable
    from cmpc_tf2.text.embeddings import build_embeddings, load_embeddings, save_embeddings
    from cmpc_tf2.text.vocabulary import Vocabulary

    if arguments.output.suffix != ".npy":
        raise UsageError(f"{arguments.output}: expected a name that ends in .npy")
    require_writable(arguments.output)
    vocabulary = Vocabulary.from_file(arguments.vocabulary)
    table, known = build_embeddings(arguments.glove, vocabulary)
    save_embeddings(arguments.output, table)
    words, width = load_embeddings(arguments.output, table.shape).shape
    print(f"{arguments.output}: {words} words, {width} numbers each; {known} ({known / words:.1%}) have a GloVe vector")


if __name__ == "__main__":
    sys.exit(main())
