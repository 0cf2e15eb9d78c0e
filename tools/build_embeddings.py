"""Makes a table of word vectors for a vocabulary out of GloVe text, and a vocabulary out of annotations."""

import argparse
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cmpc_tf2.cli import run_command


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--glove", type=Path, metavar="FILE", help="glove.6B.300d.txt, or gzipped")
    parser.add_argument("--vocabulary", type=Path, required=True, metavar="FILE", help="one word per line")
    parser.add_argument("--output", type=Path, metavar="FILE.npy", help="for example data/Gref_emb.npy")
    parser.add_argument(
        "--annotations",
        type=Path,
        metavar="FILE",
        help="your own annotations (docs/own_data.md): first write their words to --vocabulary, a new file; "
        "--glove and --output may then be left out",
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    return run_command(_run, build_parser().parse_args(argv))


def _run(arguments: argparse.Namespace):
    from cmpc_tf2.errors import UsageError
    from cmpc_tf2.files import require_writable

    with_vectors = arguments.glove is not None or arguments.output is not None
    if (with_vectors or not arguments.annotations) and not (arguments.glove and arguments.output):
        raise UsageError("expected --glove and --output for word vectors; without them, --annotations for a vocabulary")
    if with_vectors:
        if arguments.output.suffix != ".npy":
            raise UsageError(f"{arguments.output}: expected a name that ends in .npy")
        require_writable(arguments.output)
    if arguments.annotations:
        _write_vocabulary(arguments)
    if with_vectors:
        _write_vectors(arguments)


def _write_vocabulary(arguments: argparse.Namespace):
    from cmpc_tf2.data.own_annotations import read_own_references
    from cmpc_tf2.errors import InputError
    from cmpc_tf2.files import require_writable, write_text
    from cmpc_tf2.text.vocabulary import build_vocabulary

    path = arguments.vocabulary
    if path.exists():
        raise InputError(f"{path}: already exists; models depend on it: give a new name, or leave out --annotations")
    require_writable(path)
    references = read_own_references(arguments.annotations, arguments.annotations.parent)
    for reference in (reference for reference in references if reference.problem):
        logging.warning("skipped: %s: %s", reference.name, reference.problem)
    words = build_vocabulary(
        expression for reference in references if not reference.problem for expression in reference.expressions
    )
    write_text(path, "\n".join(words) + "\n")
    print(f"{path}: {len(words)} words")


def _write_vectors(arguments: argparse.Namespace):
    from cmpc_tf2.text.embeddings import build_embeddings, load_embeddings, save_embeddings
    from cmpc_tf2.text.vocabulary import Vocabulary

    vocabulary = Vocabulary.from_file(arguments.vocabulary)
    table, known = build_embeddings(arguments.glove, vocabulary)
    save_embeddings(arguments.output, table)
    words, width = load_embeddings(arguments.output, table.shape).shape
    print(f"{arguments.output}: {words} words, {width} numbers each; {known} ({known / words:.1%}) have a GloVe vector")


if __name__ == "__main__":
    sys.exit(main())
