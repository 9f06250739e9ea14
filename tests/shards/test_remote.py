"""Shards on a server: the same numbers as from disk, each file fetched once, and errors that name the address."""

import shutil
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from iris_cli.config.train import Noise, TrainConfig
from iris_cli.pairs.open_data import open_shards
from iris_cli.text import url_of
from iris_cli.training.train import train_run
from shards.errors import ShardError
from shards.index import Index
from shards.reader import Reader
from shards.remote import mirror
from tests.training.makers import newest

pytest.importorskip("aiohttp")


class Handler(SimpleHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def do_GET(self):
        Handler.asked.append(self.path)
        super().do_GET()

    def log_message(self, *words):
        pass


@pytest.fixture
def served(tiny_shards, tmp_path, monkeypatch):
    """The URL of a copy of `tiny_shards`, and the folder that is served."""
    monkeypatch.setenv("IRIS_CACHE_DIR", str(tmp_path / "cache"))
    folder = Path(shutil.copytree(tiny_shards, tmp_path / "www/shards"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path / "www")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Handler.asked.clear()
    yield f"http://127.0.0.1:{server.server_port}/shards", folder
    server.shutdown()


def test_a_reader_fetches_what_it_needs_once(served, tiny_shards, tmp_path):
    url, _ = served
    index = Index.open(mirror(url, tmp_path / "cache"))
    assert Handler.asked == ["/shards/index.json"]
    reader, local = Reader(index), Reader(Index.open(tiny_shards))
    for number in (0, 1, 0):
        mine, expected = reader.read_new(number), local.read_new(number)
        assert all(np.array_equal(mine[name], expected[name]) for name in expected)
    first = index.shards[0].name
    assert Handler.asked[1:] == [f"/shards/{first}".replace(".tar", ".json"), f"/shards/{first}"]


@pytest.fixture(params=["http", pytest.param("s3", marks=pytest.mark.slow)])
def remote(request, served, monkeypatch):
    """The URL of `tiny_shards` on a web server, or in a bucket of a local server that speaks the protocol of s3://."""
    if request.param == "http":
        return served[0]
    server, s3fs = pytest.importorskip("moto.server").ThreadedMotoServer(port=0), pytest.importorskip("s3fs")
    server.start()
    request.addfinalizer(server.stop)
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    bucket = s3fs.S3FileSystem()
    bucket.mkdir("bucket")
    bucket.put(str(served[1]), "bucket/shards", recursive=True)
    return "s3://bucket/shards"


def test_training_from_a_server_gives_equal_weights(remote, tiny_shards, tmp_path):
    hyper = TrainConfig(epochs=1, batch_size=4, batches_per_update=1, noise=Noise(sigma_K=1.0))
    for name, data in (("remote", remote), ("local", str(tiny_shards))):
        train_run(replace(hyper, data=(data,)), tmp_path / name, quiet=True)
    there, here = newest(tmp_path / "remote"), newest(tmp_path / "local")
    assert there.digest == here.digest and there.data == here.data and there.config["data"] == [remote]
    assert len(Handler.asked) == len(set(Handler.asked)) + max(0, Handler.asked.count("/shards/index.json") - 1)


def test_a_set_that_was_written_again_is_another_folder(served, tmp_path):
    before = mirror(served[0], tmp_path)
    assert mirror(served[0] + "/", tmp_path) == before
    (served[1] / "index.json").write_bytes((served[1] / "index.json").read_bytes() + b"\n")
    assert mirror(served[0], tmp_path) != before


def test_errors_name_the_address(served, tmp_path, iris):
    url, folder = served
    ran = iris("test", tmp_path, f"{url}-absent")
    with pytest.raises(ShardError, match=f"{url}-absent/index.json does not exist"):
        mirror(f"{url}-absent", tmp_path)
    with pytest.raises(ShardError, match="cannot be read"):
        mirror("http://127.0.0.1:9/shards", tmp_path)
    with pytest.raises(ShardError, match=r"nosuch://bucket/x/index.json cannot be read"):
        mirror("nosuch://bucket/x", tmp_path)
    assert ran.code == 1
    dataset = open_shards(url)
    assert dataset.name == url
    shard = folder / dataset.index.shards[0].name
    damaged = bytearray(shard.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    shard.write_bytes(damaged)
    with pytest.raises(ShardError):
        for number in range(5):
            dataset.reader.read_new(number)


def test_words_that_are_addresses():
    assert url_of("s3://bucket/a b") == url_of(str(Path("s3://bucket/a b"))) == "s3://bucket/a b"
    assert url_of("https:/host/x") == "https://host/x"
    assert [url_of(text) for text in ("/data/x", "data", "c:/x", "s3:", "s3:///x", "a b://c")] == [""] * 6
