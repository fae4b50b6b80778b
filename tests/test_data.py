"""MNIST comes from the committed files, is checked, and arrives as batches in the right range."""

import gzip
from dataclasses import replace

import pytest
import torch
from conftest import FILES


def test_the_training_set_has_sixty_thousand_labelled_images(mnist):
    images, labels = mnist
    assert images.shape == (60_000, 28, 28)
    assert images.dtype == torch.uint8
    assert labels.shape == (60_000,)
    assert labels.dtype == torch.int64
    assert labels.unique().tolist() == list(range(10))


def test_the_images_are_those_in_the_committed_file(mnist, folder):
    packed = gzip.decompress((folder / "MNIST/raw/train-images-idx3-ubyte.gz").read_bytes())
    assert mnist[0].numpy().tobytes() == packed[16:]


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named_when_it_cannot_be_downloaded(nb, folder, name):
    file = folder / "MNIST" / "raw" / name
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(RuntimeError, match=f"missing or damaged: {name}") as caught:
        nb.load_mnist(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named_when_it_cannot_be_downloaded(nb, folder, name):
    (folder / "MNIST" / "raw" / name).unlink()
    with pytest.raises(RuntimeError, match=f"missing or damaged: {name}"):
        nb.load_mnist(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_short_while_unpacking_is_unpacked_again(nb, folder, mnist, name):
    nb.load_mnist(folder)
    file = folder / "MNIST" / "raw" / name.removesuffix(".gz")
    file.write_bytes(file.read_bytes()[:1000])
    images, labels = nb.load_mnist(folder)
    assert torch.equal(images, mnist[0])
    assert torch.equal(labels, mnist[1])


def test_a_loader_yields_batches_in_the_range_of_the_generator(nb, mnist, tiny, cpu):
    for output, low in (("tanh", -1), ("sigmoid", 0)):
        config = replace(tiny, output=output)
        real, labels = next(iter(nb.make_loader(*mnist, config, cpu)))
        assert real.shape == (50, 1, 28, 28)
        assert real.dtype == torch.float32
        assert (real.min(), real.max()) == (low, 1)
        assert labels.shape == (50,)


def test_a_loader_is_a_torch_dataloader_and_leaves_out_the_incomplete_batch(nb, mnist, tiny, cpu):
    loader = nb.make_loader(mnist[0][:130], mnist[1][:130], tiny, cpu)
    assert isinstance(loader, torch.utils.data.DataLoader)
    assert len(list(loader)) == len(loader) == 2


def test_images_keep_their_labels_when_shuffled(nb, mnist, tiny, cpu):
    images, labels = mnist[0][:50], mnist[1][:50]
    real, drawn = next(iter(nb.make_loader(images, labels, tiny, cpu)))
    known = {image.numpy().tobytes(): label for image, label in zip(images, labels.tolist())}
    pixels = ((real[:, 0] + 1) * 127.5).round().byte()
    assert [known[image.numpy().tobytes()] for image in pixels] == drawn.tolist()
    assert not torch.equal(pixels, images)  # and they were shuffled


def test_too_few_images_for_a_batch_are_refused(nb, mnist, tiny, cpu):
    with pytest.raises(ValueError, match="49 images don't fill a batch of 50"):
        nb.make_loader(mnist[0][:49], mnist[1][:49], tiny, cpu)
