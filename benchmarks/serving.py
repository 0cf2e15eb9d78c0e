"""HTTP under load: many requests from several clients, each about a picture of its own or of a few that come again.

The server runs as users start it, in a process of its own, with a model of full size and random weights. Printed are
the time per request from the client's side, the errors, and the server's memory after warming up and at the end.
"""

import argparse
import io
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from measuring import add_json_option, write_json

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

WORDS = ["man", "woman", "left", "red", "shirt", "dog", "the", "on"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="a .keras file (default: full size, random weights)")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--pictures", type=int, default=20, help="different ones, of 640 x 480 pixels")
    parser.add_argument("--port", type=int, default=7869)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    add_json_option(parser)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = arguments.model or make_model(Path(folder) / "full.keras")
        command = [sys.executable, "-m", "cmpc_tf2", "serve", "--api", "--model", model, "--port", arguments.port]
        command += ["--precision", arguments.precision]
        root = Path(__file__).resolve().parents[1]
        server = subprocess.Popen([str(part) for part in command], cwd=root, stderr=subprocess.DEVNULL)
        try:
            result = load(arguments)
        finally:
            server.terminate()
            server.wait()
    print(
        f"{result['requests']} requests from {arguments.clients} clients in {result['seconds']:.0f} s: "
        f"{result['errors']} errors; p50 {result['p50']:.2f} s, p95 {result['p95']:.2f} s\n"
        f"server's memory: {result['mb_warm']:.0f} MB after the first tenth, {result['mb_end']:.0f} MB at the end"
    )
    write_json(arguments, result)


def make_model(path: Path) -> Path:
    """Writes a model in a process of its own, which gives its memory back."""
    code = (
        "import sys; from cmpc_tf2.models.cmpc import CMPC; from cmpc_tf2.checkpoints import save_model; "
        "from cmpc_tf2.config import ModelConfig; words = sys.argv[2].split(); config = ModelConfig(); "
        "words = ['<pad>', '<go>', '<eos>', '<unk>', *words]; "
        "words += [f'w{n}' for n in range(config.vocabulary_size - len(words))]; "
        "save_model(CMPC(config, vocabulary=words), sys.argv[1])"
    )
    root = Path(__file__).resolve().parents[1]
    subprocess.run(
        [sys.executable, "-c", code, path.resolve(), " ".join(WORDS)], cwd=root, check=True, stderr=subprocess.DEVNULL
    )
    return path


def load(arguments: argparse.Namespace) -> dict:
    """Waits for the server and asks it."""
    import httpx

    address = f"http://127.0.0.1:{arguments.port}"
    wait_for(address)
    pictures = [picture(seed) for seed in range(arguments.pictures)]
    numbers, lock = iter(range(arguments.requests)), threading.Lock()
    seconds, errors, memory = [], [], {}

    def client():
        with httpx.Client(timeout=600) as http:
            while True:
                with lock:
                    number = next(numbers, None)
                    if number == arguments.requests // 10:
                        memory["warm"] = resident_megabytes(http, address)
                if number is None:
                    return
                rng = np.random.default_rng(number)
                expression = "the " + " ".join(rng.choice(WORDS, size=3))
                content = pictures[rng.integers(len(pictures))]
                started = time.perf_counter()
                response = http.post(
                    f"{address}/v1/segment", files={"image": content}, data={"expressions": [expression]}
                )
                with lock:
                    seconds.append(time.perf_counter() - started)
                    if response.status_code != 200:
                        errors.append(response.text)

    started = time.perf_counter()
    clients = [threading.Thread(target=client) for _ in range(arguments.clients)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    with httpx.Client() as http:
        memory["end"] = resident_megabytes(http, address)
    return {
        "requests": len(seconds),
        "errors": len(errors),
        "seconds": time.perf_counter() - started,
        "p50": statistics.median(seconds),
        "p95": statistics.quantiles(seconds, n=20)[-1],
        "mb_warm": memory["warm"],
        "mb_end": memory["end"],
        "cores": os.cpu_count(),
    }


def wait_for(address: str):
    """Returns once the server answers."""
    import httpx

    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{address}/healthz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.5)
    raise SystemExit(f"{address} did not answer within 5 minutes")


def picture(seed: int) -> bytes:
    """A JPEG file of soft random colours."""
    from PIL import Image

    small = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(small).resize((640, 480), Image.Resampling.BICUBIC).save(file, "JPEG")
    return file.getvalue()


def resident_megabytes(http, address: str) -> float:
    """What the server's `/metrics` says."""
    for line in http.get(f"{address}/metrics").text.splitlines():
        if line.startswith("process_resident_memory_bytes "):
            return float(line.split()[1]) / 1e6
    raise SystemExit("the server does not tell its memory")


if __name__ == "__main__":
    main()
