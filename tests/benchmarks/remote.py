"""Pairs read from a local S3 server beside the same pairs on disk: the first time, and from the cache.

    python -m tests.benchmarks.remote SHARDS --rounds 3

The server (moto) is a process of its own on this machine, so the network costs nothing and what remains is the cost of
fetching and keeping files. Times are CPU time of the reading process; wall time of the first read is printed as well.
"""

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import s3fs
import typer

from iris_cli.pairs.open_data import open_shards


def read_all(folder: str) -> tuple[float, float, int]:
    """(CPU s, wall s, pairs) of opening a set and reading each pair once, with checksums."""
    cpu, wall = time.process_time(), time.perf_counter()
    dataset = open_shards(folder)
    for number in range(len(dataset)):
        dataset[number]
    return time.process_time() - cpu, time.perf_counter() - wall, len(dataset)


def main(shards: Path, rounds: int = 3) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
    os.environ |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    log = subprocess.DEVNULL
    server = subprocess.Popen([sys.executable, "-m", "moto.server", "-p", str(port)], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.2)
        bucket = s3fs.S3FileSystem()
        bucket.mkdir("bucket")
        bucket.put(str(shards), "bucket/shards", recursive=True)
        size = sum(file.stat().st_size for file in shards.glob("*.tar"))
        rows: dict[str, list[tuple[float, float, int]]] = {"disk": [], "s3, first time": [], "s3, from the cache": []}
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as cache:
                os.environ["IRIS_CACHE_DIR"] = cache
                rows["disk"].append(read_all(str(shards)))
                rows["s3, first time"].append(read_all("s3://bucket/shards"))
                rows["s3, from the cache"].append(read_all("s3://bucket/shards"))
        print(f"{rows['disk'][0][2]} pairs, {size / 1e6:.0f} MB; medians of {rounds} rounds")
        for name, found in rows.items():
            ratio = statistics.median(cpu / disk for (cpu, *_), (disk, *_) in zip(found, rows["disk"], strict=True))
            cpu, wall = (statistics.median(times) for times in list(zip(*found, strict=True))[:2])
            rate = found[0][2] / cpu
            print(f"{name:<20} {cpu:.2f} s CPU, {wall:.2f} s wall, {rate:.0f} pairs per CPU s, {ratio:.2f} x disk")
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main.__doc__ = __doc__
    typer.run(main)
