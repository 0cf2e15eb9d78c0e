"""Makes a table of word vectors for a vocabulary out of GloVe text, and a vocabulary out of annotations."""

import argparse
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cmpc_tf2.cli import run_command
from cmpc_tf2.commands.options import CommandParser


def build_parser() -> argparse.ArgumentParser:
    parser = CommandParser(description=__doc__)
    parser.add_argument("--glove", type=Path, metavar="FILE", help="glove.6B.300d.txt, or gzipped")
    parser.add_argument("--vocabulary", type=Path, required=True, metavar="FILE", help="one word per line")
    parser.add_argument("--output", type=Path, metavar="FILE.npy", help="for example data/Gref_emb.npy")
    parser.add_argument(
        "--annotations",
        type=Path,
        metavar="FILE",
        help="your own annotations (docs/own_data.md): write their words to --vocabulary, a new file; "
        "--glove and --output may then be left out",
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    return run_command(_run, build_parser().parse_args(argv))


def _run(arguments: argparse.Namespace):
    from cmpc_tf2.errors import InputError, UsageError
    from cmpc_tf2.files import require_writable, write_text
    from cmpc_tf2.text.embeddings import build_embeddings, load_embeddings, save_embeddings
    from cmpc_tf2.text.vocabulary import Vocabulary

    annotations, path, output = arguments.annotations, arguments.vocabulary, arguments.output
    if bool(arguments.glove) != bool(output) or not (output or annotations):
        raise UsageError("expected --glove and --output for word vectors; without them, --annotations for a vocabulary")
    if output and output.suffix != ".npy":
        raise UsageError(f"{output}: expected a name that ends in .npy")
    if output:
        require_writable(output)
    if annotations and path.exists():
        raise InputError(f"{path}: already exists; models depend on it: give a new name, or leave out --annotations")
    if annotations:
        require_writable(path)
    vocabulary = Vocabulary(_words_of(annotations)) if annotations else Vocabulary.from_file(path)
    if output:
        table, known = build_embeddings(arguments.glove, vocabulary)
        save_embeddings(output, table)
        words, width = load_embeddings(output, table.shape).shape
        print(f"{output}: {words} words, {width} numbers each; {known} ({known / words:.1%}) have a GloVe vector")
    if annotations:
        write_text(path, "\n".join(vocabulary.words) + "\n")
        print(f"{path}: {len(vocabulary)} words")


def _words_of(annotations: Path) -> list[str]:
    from cmpc_tf2.data.own_annotations import read_own_references
    from cmpc_tf2.text.vocabulary import build_vocabulary

    references = read_own_references(annotations, annotations.parent)
    for reference in (reference for reference in references if reference.problem):
        logging.warning("skipped: %s: %s", reference.name, reference.problem)
    usable = (reference for reference in references if not reference.problem)
    return build_vocabulary(expression for reference in usable for expression in reference.expressions)


if __name__ == "__main__":
    sys.exit(main())
