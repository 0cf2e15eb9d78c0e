import argparse
import socket

import pytest

from cmpc_tf2.cli import main
from cmpc_tf2.commands import serve


def test_a_port_in_use_is_reported(small_model_file, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for options in ([], ["--api"]):
            assert main(["serve", "--model", str(small_model_file), "--port", str(port), *options]) == 1
            assert f"127.0.0.1, port {port}: is in use; give another (--port)" in capsys.readouterr().err


def test_on_windows_a_port_is_not_shared(monkeypatch):
    """There SO_REUSEADDR lets a second server listen at the same port, so the command sets another option."""
    asked = []

    class Probe(socket.socket):
        def setsockopt(self, level, option, value):
            asked.append(option)

    monkeypatch.setattr(socket, "socket", Probe)
    monkeypatch.setattr(socket, "SO_EXCLUSIVEADDRUSE", -5, raising=False)
    serve.require_servable(argparse.Namespace(host="127.0.0.1", port=17862))
    assert asked == [-5]


@pytest.mark.parametrize(
    "options, status, words",
    [
        (["--host", "203.0.113.1"], 1, "203.0.113.1, port 7860: cannot be used"),
        (["--model", "none.keras"], 1, "none.keras: no such model file"),
        (["--model", __file__], 1, "expected a .keras file"),
    ],
)
def test_wrong_arguments_get_one_line(options, status, words, small_model_file, capsys):
    port = ["--port", "7860"] if "--host" in options else ["--port", "17861"]
    assert main(["serve", "--model", str(small_model_file), *port, *options]) == status
    assert words in capsys.readouterr().err


def test_missing_packages_are_reported(small_model_file, monkeypatch, capsys):
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["serve", "--model", str(small_model_file)]) == 1
    assert "serve needs fastapi, python_multipart" in (error := capsys.readouterr().err)
    assert "which is not installed: `pip install '.[serve]'`" in error


def test_it_says_what_it_loads_and_where_it_listens(small_model_file, monkeypatch, capsys):
    monkeypatch.setattr("uvicorn.run", lambda *_, **__: None)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert main(["serve", "--model", str(small_model_file), "--api", "--port", str(port)]) == 0
    printed = capsys.readouterr()
    assert f"loading {small_model_file}" in printed.err
    address = f"http://127.0.0.1:{port}"
    assert printed.out == f"{address}/v1/segment (described at {address}/docs; Ctrl-C stops)\n"
