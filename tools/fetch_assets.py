"""Downloads the vocabularies and ReferIt's query files from public repositories, each checked by its sha256."""

import argparse
import dataclasses
import hashlib
import http.client
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cmpc_tf2.cli import run_command
from cmpc_tf2.commands.options import CommandParser
from cmpc_tf2.errors import InputError

GITHUB = "https://raw.githubusercontent.com"
CMPC_DATA = f"{GITHUB}/spyflying/CMPC-Refseg/094639b8bf00cc169ea7b49cdf9c87fdfc70d963/data"
# Google's own vocabulary is part of an archive with weights. This is a copy of it, by its sha256.
BERT = f"{GITHUB}/akorshun/pytorch_transformers_ner/d78a39c5fedc5cfc35bf9197ade7eec952509fb7/bert-base-uncased"
TIMEOUT_SECONDS = 60


@dataclasses.dataclass(frozen=True)
class Asset:
    """A file to fetch.

    Attributes:
        name: Its name here, and on a mirror.
        url: Its address.
        bytes: Its size.
        sha256: Its checksum.
    """

    name: str
    url: str
    bytes: int
    sha256: str


def _cmpc(name: str, size: int, sha256: str) -> Asset:
    """A file of the original repository of CMPC."""
    return Asset(name, f"{CMPC_DATA}/{name}", size, sha256)


ASSETS = (
    _cmpc("vocabulary_Gref.txt", 89844, "396e06de2907e6bd9fb131af98dd796a53602e9852ceac3c03d1afe9fbd00533"),
    _cmpc("vocabulary_referit.txt", 65896, "937e1422fa991ee49a4c891981ccba6983e53031b809b8a596841e2b9c445c48"),
    _cmpc("referit_query_trainval.json", 1912162, "6dd3ce1e90c0885ae70f76e08e3f741bd6565937ccffb5a30efad284fc3949a3"),
    _cmpc("referit_query_test.json", 1917386, "8ede8ab6f4853c5402aa7a1cedf8323f6c317d94085f765684db65f51857e464"),
    Asset(
        "bert-base-uncased-vocab.txt",
        f"{BERT}/vocab.txt",
        231508,
        "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    ),
)


def fetch(asset: Asset, folder: Path, base_url: str | None = None) -> str:
    """Downloads a file, or resumes a download that was cut off.

    Proxies are taken from the environment (`https_proxy`, `no_proxy`).

    Args:
        asset: The file to fetch.
        folder: An existing folder for it.
        base_url: Address of a mirror, with a `/` at the end; None for the file's own.

    Returns:
        `there already` or `fetched`.

    Raises:
        InputError: The server cannot be reached, or what it sent is not the file. A file that is here already is never
            replaced by a bad one.
    """
    target, partial = folder / asset.name, folder / f".{asset.name}.part"
    if target.is_file():
        if _sha256(target) == asset.sha256:
            return "there already"
        raise InputError(f"{target}: is another file than expected (sha256); move it away and run this again")
    url = base_url + asset.name if base_url else asset.url
    try:
        _download(url, partial, asset.bytes)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise InputError(
            f"{url}: cannot be fetched: {reason}; run this again to go on, or download it by other means and put it "
            f"at {target}"
        ) from error
    if _sha256(partial) != asset.sha256:
        partial.unlink()
        raise InputError(f"{url}: sent another file than expected (sha256); download it by other means to {target}")
    os.replace(partial, target)
    return "fetched"


def _download(url: str, partial: Path, size: int):
    done = partial.stat().st_size if partial.exists() else 0
    if done >= size:
        partial.unlink()
        done = 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    opener = urllib.request.build_opener()  # Reads the proxies from the environment.
    with opener.open(request, timeout=TIMEOUT_SECONDS) as response:
        goes_on = response.status == http.client.PARTIAL_CONTENT
        with partial.open("ab" if goes_on else "wb") as file:
            while block := response.read(1 << 16):
                file.write(block)
            if file.tell() < size:
                raise ConnectionError(f"the connection ended after {file.tell()} of {size} bytes")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def build_parser() -> argparse.ArgumentParser:
    parser = CommandParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("data"), metavar="DIR", help="where to (default: data)")
    parser.add_argument("--base-url", metavar="URL", help="a mirror, with all files in one folder")
    return parser


def main(argv: list[str] | None = None) -> int:
    return run_command(_run, build_parser().parse_args(argv))


def _run(arguments: argparse.Namespace) -> int:
    os.makedirs(arguments.output, exist_ok=True)
    failures = 0
    for asset in ASSETS:
        try:
            print(f"{arguments.output / asset.name}: {fetch(asset, arguments.output, arguments.base_url)}")
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            failures += 1
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
