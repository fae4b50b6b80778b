"""MNIST comes from the official files, is checked, and arrives as batches in the right range."""

import gzip
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
import torch

FILES = (  # MNIST, as its authors packed it
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


@pytest.mark.parametrize(("train", "n"), [(True, 60_000), (False, 10_000)])
def test_images_and_labels_are_those_of_the_official_files(nb, train, n):
    images, labels = nb.load_mnist(train=train)
    assert (images.shape, images.dtype) == ((n, 28, 28), torch.uint8)
    assert (labels.shape, labels.dtype) == ((n,), torch.int64)
    names = FILES[:2] if train else FILES[2:]
    packed = [gzip.decompress((nb.DATA / "MNIST" / "raw" / name).read_bytes()) for name in names]
    assert images.numpy().tobytes() == packed[0][16:]
    assert labels.byte().numpy().tobytes() == packed[1][8:]


def test_the_packed_files_are_enough_and_nothing_is_written_beside_them(nb, folder):
    raw = folder / "MNIST" / "raw"
    for path in (*raw.iterdir(), raw):
        path.chmod(path.stat().st_mode & ~0o222)
    before = {path.name: path.stat().st_mtime_ns for path in (raw, *raw.iterdir())}
    nb.load_mnist(folder)
    assert before.keys() == {"raw", *FILES}
    assert {path.name: path.stat().st_mtime_ns for path in (raw, *raw.iterdir())} == before


@pytest.mark.parametrize("damage", ["missing", "cut", "flipped", "another"])
@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_missing_or_damaged_is_named(nb, folder, name, damage):
    path = folder / "MNIST" / "raw" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    contents = {"cut": content[:-100], "flipped": content, "another": b"<html>Not found</html>"}
    path.unlink() if damage == "missing" else path.write_bytes(contents[damage])
    with pytest.raises(RuntimeError, match=f"No {name} .*refused.*{path.parent}") as caught:
        nb.load_mnist(folder, train=name.startswith("train"))
    assert "\n" not in str(caught.value)


@pytest.fixture
def mirror(folder, monkeypatch, nb):
    """A local server in place of MNIST's; yields the folder whose files it serves."""
    serve = partial(SimpleHTTPRequestHandler, directory=folder / "MNIST" / "raw")
    with ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))  # how often it looks up
        thread.start()
        monkeypatch.setattr(nb.DATASET, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        yield folder / "MNIST" / "raw"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("damage", [False, True])
def test_what_is_missing_or_damaged_is_downloaded(nb, mirror, mnist, tmp_path, damage):
    if damage:
        (raw := tmp_path / "new" / "MNIST" / "raw").mkdir(parents=True)
        (raw / FILES[0]).write_bytes(b"half of it")
    images, labels = nb.load_mnist(tmp_path / "new")
    assert torch.equal(images, mnist[0])
    assert torch.equal(labels, mnist[1])


def test_a_download_that_is_not_the_official_file_is_refused(nb, mirror, tmp_path):
    (mirror / FILES[1]).write_bytes(gzip.compress(b"something else"))
    with pytest.raises(RuntimeError, match=f"No {FILES[1]}"):
        nb.load_mnist(tmp_path / "new")


@pytest.mark.parametrize(("players", "low"), [("mlp", -1), ("first", 0)])
def test_batches_come_in_the_range_of_the_generators_pixels(nb, mnist, tiny, cpu, players, low):
    loader = nb.make_loader(*mnist, replace(tiny, players=players), cpu)
    assert isinstance(loader, torch.utils.data.DataLoader)
    real, labels = next(iter(loader))
    assert (real.shape, real.dtype) == ((10, 1, 28, 28), torch.float32)
    assert (real.min(), real.max()) == (low, 1)
    assert (labels.shape, labels.dtype) == ((10,), torch.int64)


def test_an_epoch_has_every_image_once_with_its_label_in_a_new_order(nb):
    images = torch.arange(90, dtype=torch.uint8)[:, None, None].expand(90, 4, 5)
    batches = nb.Batches(images, torch.arange(90), batch_size=10, low=0.0)
    first, second = ([torch.cat(parts) for parts in zip(*batches)] for _ in range(2))
    for real, labels in (first, second):
        assert torch.equal((255 * real[:, 0, 0, 0]).round().long(), labels)
        assert torch.equal(labels.sort().values, torch.arange(90))
        assert not torch.equal(labels, torch.arange(90))
    assert not torch.equal(first[1], second[1])


def test_an_incomplete_last_batch_is_left_out_and_colours_are_kept(nb):
    images = torch.randint(0, 256, (130, 3, 32, 40), dtype=torch.uint8)
    batches = nb.Batches(images, torch.zeros(130), batch_size=50)
    assert [real.shape for real, _ in batches] == [(50, 3, 32, 40)] * 2
    assert len(batches) == len(torch.utils.data.DataLoader(batches, batch_size=None)) == 2


@pytest.mark.parametrize(
    ("dtype", "n_labels", "batch_size"),
    [(torch.float32, 40, 10), (torch.int64, 40, 10)]
    + [(torch.uint8, *numbers) for numbers in ((39, 10), (41, 10), (40, 0), (40, -1), (40, 41))],
)
def test_images_that_cannot_make_batches_are_refused(nb, mnist, dtype, n_labels, batch_size):
    with pytest.raises(ValueError, match="uint8 images, 0 to 255, a label each, to fill a batch"):
        nb.Batches(mnist[0][:40].to(dtype), mnist[1][:n_labels], batch_size)
