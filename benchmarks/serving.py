"""HTTP under load: many requests from several clients, about a few pictures.

The server runs as users start it, in a process of its own, with random weights. With `--largest`, requests at the
limits of the server are spread among the others: half of them ask for the most expressions, half are about the largest
picture. Printed are the time per request from the client's side, the errors, and the server's memory.
"""

import argparse
import io
import json
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

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from cmpc_tf2.serving.segmenter import Limits  # noqa: E402

# Sizes of the small model, so that the server's own work shows.
SMALL = {"feature_dim": 10, "fusion_dim": 14, "word_parser_dim": 9, "backbone": {"width": 4, "depths": [1, 2, 2, 1]}}
WORDS = ["man", "woman", "left", "red", "shirt", "dog", "the", "on"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--model", type=Path, help="a .keras file (default: full size, random weights)")
    model.add_argument("--small-model", action="store_true", help="make a small model, which costs next to nothing")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--largest", type=int, default=0, help="requests at the limits, beside the others")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--pictures", type=int, default=20, help="different ones, of 640 x 480 pixels")
    parser.add_argument("--port", type=int, default=7869)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    add_json_option(parser)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sizes = SMALL if arguments.small_model else {}
        model = arguments.model or make_model(Path(folder) / "model.keras", sizes)
        command = [sys.executable, "-m", "cmpc_tf2", "serve", "--api", "--model", model, "--port", arguments.port]
        command += ["--precision", arguments.precision]
        server = subprocess.Popen([str(part) for part in command], cwd=ROOT, stderr=subprocess.DEVNULL)
        try:
            result = load(arguments)
        finally:
            server.terminate()
            server.wait()
    print(
        f"{result['requests']} requests from {arguments.clients} clients in {result['seconds']:.0f} s: "
        f"{result['errors']} errors; p50 {result['p50']:.2f} s, p95 {result['p95']:.2f} s\n"
        f"server's memory in MB: {result['mb_start']:.0f} before the first request, {result['mb_warm']:.0f} after the "
        f"first tenth, {result['mb_end']:.0f} at the end"
    )
    write_json(arguments, result)


def make_model(path: Path, sizes: dict) -> Path:
    """Writes a model in a process of its own, which gives its memory back."""
    code = (
        "import json, sys; from cmpc_tf2.models.cmpc.model import CMPC; from cmpc_tf2.model_files import save_model; "
        "from cmpc_tf2.models.cmpc.config import CMPCConfig; words = sys.argv[2].split(); "
        "config = CMPCConfig(**json.loads(sys.argv[3])); "
        "words = ['<pad>', '<go>', '<eos>', '<unk>', *words]; "
        "words += [f'w{n}' for n in range(config.vocabulary_size - len(words))]; "
        "save_model(CMPC(config, vocabulary=words), sys.argv[1])"
    )
    command = [sys.executable, "-c", code, str(path.resolve()), " ".join(WORDS), json.dumps(sizes)]
    subprocess.run(command, cwd=ROOT, check=True, stderr=subprocess.DEVNULL)
    return path


def load(arguments: argparse.Namespace) -> dict:
    """Waits for the server and asks it."""
    import httpx

    address = f"http://127.0.0.1:{arguments.port}"
    wait_for(address)
    numbers, lock = iter(list(enumerate(requests_of(arguments)))), threading.Lock()
    total = arguments.requests + arguments.largest
    seconds, errors, memory = [], [], {"start": resident_megabytes(address)}

    def client():
        with httpx.Client(timeout=600) as http:
            while True:
                with lock:
                    number, request = next(numbers, (None, None))
                    if number == total // 10:
                        memory["warm"] = resident_megabytes(address)
                if number is None:
                    return
                started = time.perf_counter()
                response = http.post(f"{address}/v1/segment", **request)
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
    memory["end"] = resident_megabytes(address)
    return {
        "requests": len(seconds),
        "errors": len(errors),
        "seconds": time.perf_counter() - started,
        "p50": statistics.median(seconds),
        "p95": statistics.quantiles(seconds, n=20)[-1],
        **{f"mb_{moment}": megabytes for moment, megabytes in memory.items()},
        "cores": os.cpu_count(),
    }


def requests_of(arguments: argparse.Namespace) -> list[dict]:
    """The requests in order; those at the limits are spread evenly."""
    limits = Limits()
    small = [picture(seed, 640, 480) for seed in range(arguments.pictures)]
    at_limits = []
    for seed, expressions in enumerate((limits.expressions, limits.marked_pixels // limits.pixels)):
        pixels = min(limits.pixels, limits.marked_pixels // expressions)
        height = int((pixels / 1.5) ** 0.5)
        at_limits.append((picture(seed, pixels // height, height), expressions))
    rng = np.random.default_rng(0)
    total, requests, largest = arguments.requests + arguments.largest, [], 0
    for number in range(1, total + 1):
        if number * arguments.largest // total > largest:
            content, count = at_limits[largest % 2]
            largest += 1
        else:
            content, count = small[rng.integers(len(small))], 1
        expressions = ["the " + " ".join(rng.choice(WORDS, size=3)) for _ in range(count)]
        requests.append({"files": {"image": content}, "data": {"expressions": expressions}})
    return requests


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


def picture(seed: int, width: int, height: int) -> bytes:
    """A JPEG file of soft random colours."""
    from PIL import Image

    small = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).save(file, "JPEG")
    return file.getvalue()


def resident_megabytes(address: str) -> float:
    """What the server's `/metrics` says."""
    import httpx

    for line in httpx.get(f"{address}/metrics", timeout=600).text.splitlines():
        if line.startswith("process_resident_memory_bytes "):
            return float(line.split()[1]) / 1e6
    raise SystemExit("the server does not tell its memory")


if __name__ == "__main__":
    main()
