"""MNIST comes from the official files, in [-1, 1], and arrives as shuffled whole batches."""

import gzip
import math
import shutil

import pytest
import torch
from conftest import ROOT
from torchvision import datasets

PACKED = ROOT / "data" / "MNIST" / "raw"


@pytest.fixture
def raw(nb, tmp_path, monkeypatch):
    """A folder of this test's own, with the four official files as they were packed."""
    monkeypatch.setattr(nb, "DATA_DIR", str(tmp_path))
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    for packed in PACKED.glob("*.gz"):
        shutil.copyfile(packed, tmp_path / "MNIST" / "raw" / packed.name)
    return tmp_path / "MNIST" / "raw"


@pytest.mark.parametrize(("name", "n"), [("train", 60_000), ("t10k", 10_000)])
def test_images_and_labels_are_those_of_the_official_files(nb, name, n):
    images, labels = nb.load_mnist(train=name == "train")
    assert (images.shape, images.dtype) == ((n, 1, 28, 28), torch.float32)
    assert (images.min(), images.max()) == (-1, 1)
    assert (labels.shape, labels.dtype) == ((n,), torch.int64)
    pixels = gzip.decompress((PACKED / f"{name}-images-idx3-ubyte.gz").read_bytes())[16:]
    digits = gzip.decompress((PACKED / f"{name}-labels-idx1-ubyte.gz").read_bytes())[8:]
    assert ((images + 1) * 127.5).round().byte().numpy().tobytes() == pixels
    assert labels.byte().numpy().tobytes() == digits


@pytest.mark.parametrize("content", [None, b"<html>Not found</html>"], ids=["missing", "another"])
def test_a_file_that_is_not_the_official_one_is_named_and_not_read(nb, raw, content):
    path = raw / "train-labels-idx1-ubyte.gz"
    path.write_bytes(content) if content else path.unlink()
    with pytest.raises(RuntimeError, match=path.name):  # there is no network
        nb.load_mnist()


@pytest.mark.parametrize("name", ["FashionMNIST", "KMNIST", "QMNIST", "CIFAR10"])
def test_a_set_that_is_not_there_is_never_replaced_by_mnist(nb, raw, monkeypatch, name):
    monkeypatch.setattr(nb, "DATASET", getattr(datasets, name))
    with pytest.raises((RuntimeError, OSError)):
        nb.load_mnist()


def test_a_set_of_the_same_form_is_read_from_its_own_folder(nb, raw, monkeypatch):
    folder = raw.parent.parent / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    for packed in PACKED.glob("*.gz"):
        shape = (7, 28, 28) if "images" in packed.name else (7,)
        head = b"".join(n.to_bytes(4, "big") for n in (0x800 + len(shape), *shape))
        (folder / packed.stem).write_bytes(head + bytes([5]) * math.prod(shape))
    monkeypatch.setattr(nb, "DATASET", datasets.FashionMNIST)
    images, labels = nb.load_mnist()
    assert torch.allclose(images, torch.full((7, 1, 28, 28), 5 / 127.5 - 1))
    assert labels.tolist() == [5] * 7


def test_a_batch_is_a_hundred_images_where_nothing_else_is_asked_for(nb, few):
    real, labels = next(iter(nb.make_loader(*few)))
    assert (real.shape, real.dtype) == ((100, 1, 28, 28), torch.float32)
    assert (labels.shape, labels.dtype) == ((100,), torch.int64)
    assert real.device.type == labels.device.type == nb.device.type


def test_an_epoch_has_every_image_once_with_its_label_in_a_new_order(nb):
    images = torch.arange(90.0)[:, None, None, None].expand(90, 1, 4, 5)
    loader = nb.make_loader(images, torch.arange(90), 10)
    first, second = ([torch.cat(parts).cpu() for parts in zip(*loader)] for _ in range(2))
    for real, labels in (first, second):
        assert torch.equal(real, images[labels])
        assert torch.equal(labels.sort().values, torch.arange(90))
        assert not torch.equal(labels, torch.arange(90))
    assert not torch.equal(first[1], second[1])


def test_the_order_follows_the_readers_seed(loader):
    orders = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        orders.append(torch.cat([labels for _, labels in loader]))
    assert torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], orders[2])


def test_an_incomplete_last_batch_is_left_out_and_colours_are_kept(nb):
    loader = nb.make_loader(torch.rand(130, 3, 32, 40), torch.zeros(130), 50)
    assert [real.shape for real, _ in loader] == [(50, 3, 32, 40)] * len(loader)
    assert len(loader) == 2


@pytest.mark.parametrize("batch_size", [0, -1, 601])
def test_a_batch_that_can_not_be_made_is_refused_in_a_sentence(nb, few, batch_size):
    with pytest.raises(ValueError, match=f"600 images make no batch of {batch_size}"):
        nb.make_loader(*few, batch_size)


def test_images_without_a_label_each_are_refused(nb, few):
    with pytest.raises(AssertionError, match=r"[Ss]ize mismatch"):
        nb.make_loader(few[0], few[1][:599], 10)


def test_a_picture_shows_minus_one_as_black_and_one_as_white(nb):
    images = torch.tensor([-1.0, 0.0, 1.0, 7.0])[:, None, None, None].repeat(1, 1, 28, 28)
    before = images.clone()
    assert nb.grid(images, 4)[0, 16, [16, 46, 76, 106]].tolist() == [0, 0.5, 1, 1]
    assert torch.equal(images, before)
