"""MNIST comes from the official files, and arrives as shuffled batches from -1 to 1."""

import gzip
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from shutil import copyfile
from threading import Thread

import numpy as np
import pytest
import torch
from torchvision import datasets

FILES = (  # MNIST, as its authors packed it
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


def freeze(*paths) -> None:
    """Take away the right to write."""
    for path in paths:
        path.chmod(path.stat().st_mode & ~0o222)


def refused(nb, root, **kind) -> str:
    """Return the one line with which `load_mnist` says that it can't read `root`."""
    with pytest.raises(RuntimeError) as caught:
        nb.load_mnist(root, **kind)
    assert str(root) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("train", "n"), [(True, 60_000), (False, 10_000)])
def test_images_and_labels_are_those_of_the_official_files(nb, train, n):
    images, labels = nb.load_mnist(train=train)
    assert (images.shape, images.dtype) == ((n, 28, 28), torch.uint8)
    assert (labels.shape, labels.dtype) == ((n,), torch.int64)
    names = FILES[:2] if train else FILES[2:]
    packed = [gzip.decompress((nb.DATA / "MNIST" / "raw" / name).read_bytes()) for name in names]
    assert images.numpy().tobytes() == packed[0][16:]
    assert labels.byte().numpy().tobytes() == packed[1][8:]


@pytest.fixture
def unpacked(nb, mnist, tmp_path):
    """A data folder that holds the four files as torchvision unpacked them, and nothing else."""
    (raw := tmp_path / "data" / "MNIST" / "raw").mkdir(parents=True)
    for name in FILES:
        copyfile(nb.DATA / "MNIST" / "raw" / name[:-3], raw / name[:-3])
    return tmp_path / "data"


def test_the_packed_files_are_enough_and_are_left_as_they_were(nb, mnist, folder):
    raw = folder / "MNIST" / "raw"
    before = {path.name: path.read_bytes() for path in raw.iterdir()}
    assert before.keys() == {*FILES}
    assert torch.equal(nb.load_mnist(folder)[0], mnist[0])
    assert before.items() <= {path.name: path.read_bytes() for path in raw.iterdir()}.items()


def test_unpacked_files_are_enough_where_nothing_may_be_written(nb, mnist, unpacked):
    raw = unpacked / "MNIST" / "raw"
    freeze(*raw.iterdir(), raw, raw.parent, unpacked)
    before = {path.name: path.stat().st_mtime_ns for path in (raw, *raw.iterdir())}
    images, labels = nb.load_mnist(unpacked)
    assert torch.equal(images, mnist[0])
    assert torch.equal(labels, mnist[1])
    assert {path.name: path.stat().st_mtime_ns for path in (raw, *raw.iterdir())} == before


def test_packed_files_where_nothing_may_be_written_are_to_be_unpacked(nb, folder, monkeypatch):
    def read_only(path, mode="r", *args):  # who tests as root may write anywhere
        if "r" not in mode:
            raise PermissionError(13, "Permission denied", str(path))
        return open(path, mode, *args)

    monkeypatch.setattr(datasets.utils, "open", read_only, raising=False)
    sentence = refused(nb, folder)
    assert "unpacked and whole" in sentence
    assert "Permission" in sentence


@pytest.mark.parametrize(
    ("name", "damage"),
    [(name, damage) for name in FILES for damage in ("missing", "flipped")]
    + [(FILES[0], "cut"), (FILES[0], "another")],
)
def test_a_packed_file_that_is_missing_or_damaged_is_named(nb, folder, name, damage):
    path = folder / "MNIST" / "raw" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    contents = {"cut": content[:-100], "flipped": content, "another": b"<html>Not found</html>"}
    path.unlink() if damage == "missing" else path.write_bytes(contents[damage])
    assert name in refused(nb, folder, train=name.startswith("train"))


@pytest.mark.parametrize("left", [0, 6, 1000])
@pytest.mark.parametrize("name", FILES)
def test_an_unpacked_file_that_was_cut_off_is_refused(nb, unpacked, name, left):
    path = unpacked / "MNIST" / "raw" / name[:-3]
    path.write_bytes(path.read_bytes()[:left])
    assert "No MNIST in" in refused(nb, unpacked, train=name.startswith("train"))


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
    assert FILES[1] in refused(nb, tmp_path / "new")


def test_a_set_of_the_same_form_is_read_by_its_name_from_its_own_folder(nb, folder, monkeypatch):
    raw = folder / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name in FILES:
        shape = (7, 28, 28) if "images" in name else (7,)
        head = b"".join(n.to_bytes(4, "big") for n in (0x800 + len(shape), *shape))
        (raw / name[:-3]).write_bytes(head + bytes([5]) * np.prod(shape))
    monkeypatch.setattr(nb, "DATASET", datasets.FashionMNIST)
    images, labels = nb.load_mnist(folder)
    assert images.shape == (7, 28, 28)
    assert images.unique() == labels.unique() == 5


@pytest.mark.parametrize("name", ["FashionMNIST", "KMNIST", "QMNIST", "EMNIST", "CIFAR10", "SVHN"])
def test_a_set_that_is_not_there_is_never_replaced_by_mnist(nb, folder, monkeypatch, name):
    monkeypatch.setattr(nb, "DATASET", getattr(datasets, name))
    assert f"No {name} in" in refused(nb, folder)


class Cifar10:
    """As torchvision gives it: colours last, in numpy's array, and labels in a list."""

    def __init__(self, root, train=True, transform=None, target_transform=None, download=False):
        self.data, self.targets = np.zeros((200, 32, 32, 3), np.uint8), [3] * 200


class Qmnist:
    """As torchvision gives it: eight numbers for each image, the digit and who wrote it."""

    def __init__(self, root, what=None, compat=True, train=True, **kwargs):
        self.data = torch.zeros(200, 28, 28, dtype=torch.uint8)
        self.targets = torch.zeros(200, 8, dtype=torch.int64)


@pytest.mark.parametrize("kind", [Cifar10, Qmnist])
def test_a_set_of_another_form_is_refused_before_a_batch_is_made(nb, tiny, monkeypatch, kind):
    monkeypatch.setattr(nb, "DATASET", kind)
    with pytest.raises((RuntimeError, ValueError)) as caught:
        nb.train(tiny, *nb.load_mnist(), "cpu")
    assert "\n" not in str(caught.value)


def test_a_loader_gives_batches_from_minus_one_to_one(nb, mnist):
    loader = nb.make_loader(mnist[0][:600], mnist[1][:600], 50, "cpu")
    assert isinstance(loader, torch.utils.data.DataLoader)
    real, labels = next(iter(loader))
    assert (real.shape, real.dtype) == ((50, 1, 28, 28), torch.float32)
    assert (real.min(), real.max()) == (-1, 1)
    assert (labels.shape, labels.dtype) == ((50,), torch.int64)


def test_a_batch_is_a_hundred_images_where_nothing_else_is_asked_for(nb, mnist):
    real, labels = next(iter(nb.make_loader(mnist[0][:250], mnist[1][:250])))
    assert len(real) == len(labels) == 100
    assert real.device.type == nb.device.type


def test_an_epoch_has_every_image_once_with_its_label_in_a_new_order(nb):
    images = torch.arange(90, dtype=torch.uint8)[:, None, None].expand(90, 4, 5)
    loader = nb.make_loader(images, torch.arange(90), 10, "cpu")
    first, second = ([torch.cat(parts) for parts in zip(*loader)] for _ in range(2))
    for real, labels in (first, second):
        assert torch.equal((127.5 * (real[:, 0, 0, 0] + 1)).round().long(), labels)
        assert torch.equal(labels.sort().values, torch.arange(90))
        assert not torch.equal(labels, torch.arange(90))
    assert not torch.equal(first[1], second[1])


def test_the_order_follows_the_readers_seed(nb, loader):
    orders = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        orders.append(torch.cat([labels for _, labels in loader]))
    assert torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], orders[2])


def test_an_incomplete_last_batch_is_left_out_and_colours_are_kept(nb):
    images = torch.randint(0, 256, (130, 3, 32, 40), dtype=torch.uint8)
    loader = nb.make_loader(images, torch.zeros(130), 50, "cpu")
    assert [real.shape for real, _ in loader] == [(50, 3, 32, 40)] * 2
    assert len(loader) == 2


def test_the_order_is_made_where_the_images_are(nb, monkeypatch):
    devices = []
    randperm = torch.randperm
    noted = lambda n, device: devices.append(device) or randperm(n, device="cpu")  # noqa: E731
    monkeypatch.setattr(torch, "randperm", noted)
    images = torch.zeros(20, 28, 28, dtype=torch.uint8)
    batches = nb.make_loader(images, torch.zeros(20), 10, "meta").sampler
    assert all(isinstance(batch, torch.Tensor) for batch in batches)
    assert devices == [torch.device("meta")]


@pytest.mark.parametrize(
    ("dtype", "n_labels", "batch_size"),
    [(torch.float32, 40, 10), (torch.int64, 40, 10)]
    + [(torch.uint8, *numbers) for numbers in ((39, 10), (41, 10), (40, 0), (40, -1), (40, 41))],
)
def test_images_that_cannot_make_batches_are_refused(nb, mnist, dtype, n_labels, batch_size):
    with pytest.raises(ValueError, match=f"{batch_size} or more uint8 images, with one label each"):
        nb.make_loader(mnist[0][:40].to(dtype), mnist[1][:n_labels], batch_size, "cpu")
