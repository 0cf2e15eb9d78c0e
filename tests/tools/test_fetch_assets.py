"""Against a server on this machine."""

import hashlib
import http.server
import re
import threading

import pytest

import fetch_assets
from fetch_assets import ASSETS, Asset

CONTENT = bytes(range(256)) * 1000


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `good.txt`, with the faults that are set on the server."""

    def do_GET(self):
        self.server.requests.append(self.headers.get("Range"))
        if not self.path.endswith("/good.txt"):
            self.send_error(404)
            return
        start = 0
        if self.headers.get("Range") and self.server.knows_ranges:
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
        body = self.server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.cut_after])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.content, server.cut_after, server.knows_ranges, server.requests = CONTENT, None, True, []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def fetch(server, tmp_path, monkeypatch):
    address = f"http://127.0.0.1:{server.server_port}/elsewhere/good.txt"
    asset = Asset("good.txt", address, len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setattr(fetch_assets, "ASSETS", (asset,))
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    def fetch(port=server.server_port):
        base_url = f"http://127.0.0.1:{port}/data/"
        return fetch_assets.main(["--output", str(tmp_path / "data"), "--base-url", base_url])

    return fetch


def test_fetches_once(fetch, server, tmp_path, capsys):
    assert fetch() == fetch() == 0
    assert (tmp_path / "data" / "good.txt").read_bytes() == CONTENT
    assert server.requests == [None]
    assert capsys.readouterr().out.splitlines() == [
        f"{tmp_path}/data/good.txt: fetched",
        f"{tmp_path}/data/good.txt: there already",
    ]
    assert len(list((tmp_path / "data").iterdir())) == 1


def test_each_file_has_its_own_address_without_a_mirror(fetch, tmp_path):
    assert fetch_assets.main(["--output", str(tmp_path / "data")]) == 0
    assert (tmp_path / "data" / "good.txt").read_bytes() == CONTENT


def test_addresses_are_pinned_to_commits():
    for asset in ASSETS:
        assert re.search("^https://raw.githubusercontent.com/[^/]+/[^/]+/[0-9a-f]{40}/", asset.url), asset.name


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_resumes_an_interrupted_download(knows_ranges, fetch, server, tmp_path, capsys):
    server.cut_after, server.knows_ranges = 100_000, knows_ranges
    assert fetch() == 1
    assert "run this again to go on, or download it by other means and put it at" in capsys.readouterr().err
    assert not (tmp_path / "data" / "good.txt").exists()
    server.cut_after = None
    assert fetch() == 0
    assert server.requests == [None, "bytes=100000-"]
    assert (tmp_path / "data" / "good.txt").read_bytes() == CONTENT


def test_another_file_is_refused(fetch, server, tmp_path, capsys):
    server.content = CONTENT[::-1]
    assert fetch() == 1
    assert "sent another file than expected (sha256)" in capsys.readouterr().err
    assert not list((tmp_path / "data").iterdir())


def test_an_existing_file_is_not_replaced(fetch, server, tmp_path, capsys):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "good.txt").write_text("mine")
    assert fetch() == 1
    assert "is another file than expected (sha256); move it away" in capsys.readouterr().err
    assert (tmp_path / "data" / "good.txt").read_text() == "mine" and not server.requests


def test_no_server_and_no_such_file(fetch, server, monkeypatch, capsys):
    assert fetch(port=1) == 1
    assert "http://127.0.0.1:1/data/good.txt: cannot be fetched" in capsys.readouterr().err
    monkeypatch.setattr(fetch_assets, "ASSETS", (Asset("bad.txt", "http://127.0.0.1:1/bad.txt", 1, "0"),))
    assert fetch() == 1
    assert "bad.txt: cannot be fetched: Not Found" in capsys.readouterr().err


def test_proxies_of_the_environment_are_used(fetch, server, monkeypatch, tmp_path):
    """The server stands in for a proxy: it is asked for an address that does not exist."""
    monkeypatch.delenv("no_proxy")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
    output = ["--output", str(tmp_path / "data")]
    assert fetch_assets.main([*output, "--base-url", "http://nowhere.invalid/data/"]) == 0
    assert (tmp_path / "data" / "good.txt").read_bytes() == CONTENT


def test_checksums_are_those_of_the_real_files(shared_data):
    folders = {"vocabulary": "vocab", "referit": "referit", "bert-base-uncased-vocab.txt": "vocab"}
    for asset in ASSETS:
        content = (shared_data / folders[asset.name.split("_")[0]] / asset.name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (asset.bytes, asset.sha256)
