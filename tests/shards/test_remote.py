"""Shards on a server: the same numbers as from disk, each file fetched once, and errors that name the address."""

import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from iris_cli.config.train import Noise, TrainConfig
from iris_cli.pairs.open_data import open_shards
from iris_cli.text import url_of
from iris_cli.training.train import train_run
from iris_cli.training.trained_run import open_run
from shards.errors import ShardError
from shards.index import Index
from shards.reader import Reader
from shards.remote import mirror
from tests.training.makers import assert_equal, newest

pytest.importorskip("aiohttp")


class Handler(SimpleHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        Handler.asked.append(self.path)
        super().do_GET()

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def served(tiny_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """The URL of a copy of `tiny_shards`, and the folder that is served."""
    monkeypatch.setenv("IRIS_CACHE_DIR", str(tmp_path / "cache"))
    folder = Path(shutil.copytree(tiny_shards, tmp_path / "www/shards"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path / "www")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Handler.asked.clear()
    yield f"http://127.0.0.1:{server.server_port}/shards", folder
    server.shutdown()


def test_a_reader_fetches_what_it_needs_once(served: tuple[str, Path], tiny_shards: Path, tmp_path: Path) -> None:
    url, _ = served
    index = Index.open(mirror(url, tmp_path / "cache"))
    assert Handler.asked == ["/shards/index.json"]
    reader, local = Reader(index), Reader(Index.open(tiny_shards))
    for number in (0, 1, 0):
        mine, expected = reader.read_new(number), local.read_new(number)
        assert all(np.array_equal(mine[name], expected[name]) for name in expected)
    first = index.shards[0].name
    assert Handler.asked[1:] == [f"/shards/{first}".replace(".tar", ".json"), f"/shards/{first}"]


def test_training_from_a_server_gives_equal_weights(
    served: tuple[str, Path], tiny_shards: Path, tmp_path: Path
) -> None:
    hyper = TrainConfig(epochs=1, batch_size=4, batches_per_update=1, noise=Noise(sigma_K=1.0))
    for name, data in (("remote", served[0]), ("local", str(tiny_shards))):
        train_run(TrainConfig(**{**vars(hyper), "data": (data,)}), tmp_path / name, quiet=True)
    assert_equal(newest(tmp_path / "remote").model, newest(tmp_path / "local").model)
    assert newest(tmp_path / "remote").config["data"] == [served[0]]
    assert len(Handler.asked) == len(set(Handler.asked)) + Handler.asked.count("/shards/index.json") - 1


def test_a_set_that_was_written_again_is_another_folder(served: tuple[str, Path], tmp_path: Path) -> None:
    before = mirror(served[0], tmp_path)
    assert mirror(served[0] + "/", tmp_path) == before
    (served[1] / "index.json").write_bytes((served[1] / "index.json").read_bytes() + b"\n")
    assert mirror(served[0], tmp_path) != before


def test_errors_name_the_address(served: tuple[str, Path], tmp_path: Path, iris: Callable) -> None:
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


def test_words_that_are_addresses() -> None:
    assert url_of("s3://bucket/a b") == url_of(str(Path("s3://bucket/a b"))) == "s3://bucket/a b"
    assert url_of("https:/host/x") == "https://host/x"
    assert [url_of(text) for text in ("/data/x", "data", "c:/x", "s3:", "s3:///x", "a b://c")] == [""] * 6


@pytest.mark.slow
def test_shards_in_a_bucket_give_the_weights_of_shards_on_disk(
    tiny_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """s3:// as of a local server that speaks its protocol."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0)
    s3fs = pytest.importorskip("s3fs")
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "IRIS_CACHE_DIR": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    try:
        bucket = s3fs.S3FileSystem()
        bucket.mkdir("bucket")
        bucket.put(str(tiny_shards), "bucket/shards", recursive=True)
        dataset, local = open_shards("s3://bucket/shards"), open_shards(str(tiny_shards))
        for number in range(0, len(local), 4):
            assert all(torch.equal(*both) for both in zip(dataset[number], local[number], strict=True))
        found = []
        for name, data in (("remote", "s3://bucket/shards"), ("local", str(tiny_shards))):
            monkeypatch.setenv("IRIS_CACHE_DIR", str(tmp_path / name))  # empty: the training itself fetches
            hyper = TrainConfig(epochs=2, batch_size=4, batches_per_update=1, noise=Noise(sigma_K=1.0), data=(data,))
            train_run(hyper, tmp_path / f"run-{name}", quiet=True)
            found.append(open_run(tmp_path / f"run-{name}").checkpoint)
        assert found[0].digest == found[1].digest and found[0].config["data"] == ["s3://bucket/shards"]
        assert found[0].data == found[1].data
    finally:
        server.stop()
