"""Every choice of a run is in a `Config`, which is written down and read back as it was."""

import json
from dataclasses import FrozenInstanceError, asdict, replace

import numpy as np
import pytest
import torch

NAN, BATCH = float("nan"), "or more uint8 images, with one label each"


def train(nb, config):
    """Train `config` on a hundred images of its shape."""
    images = torch.randint(0, 256, (100, *config.shape), dtype=torch.uint8)
    return nb.train(config, images, torch.arange(100) % 10, "cpu")


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ({"batch_size": 0}, BATCH),
        ({"batch_size": -1}, BATCH),
        ({"batch_size": 2.5}, "positive integer"),
        ({"batch_size": 101}, BATCH),
        ({"generator_widths": 128}, "must be an iterable, not int"),
        ({"discriminator_widths": (64, -1)}, "negative dimension -1"),
        ({"lr_g": -1e-4}, "Invalid learning rate: -0.0001"),
        ({"lr_d": NAN}, "Invalid learning rate: nan"),
        ({"betas": 0.5}, "not iterable"),
        ({"betas": (1.5, 0.9)}, "Invalid beta parameter at index 0: 1.5"),
        ({"players": "cnn"}, "cnn"),
        ({"heads": 2}, "unexpected keyword argument 'heads'"),
    ],
    ids=str,
)
def test_a_bad_choice_is_refused_before_anything_is_written(nb, runs, tiny, choice, reason):
    with pytest.raises((ValueError, TypeError, KeyError, RuntimeError), match=reason) as caught:
        train(nb, replace(tiny, **choice))
    assert "\n" not in str(caught.value)
    assert not runs.exists()


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")  # a picture's
@pytest.mark.parametrize(
    "choice",
    [
        {"batch_size": 1},  # says batch normalisation
        {"latent_dim": 0},
        {"generator_widths": (0,)},
        {"faces": 101},
        {"faces": -1},
        {"mean": NAN},
        {"averaging": NAN},
    ],
    ids=str,
)
def test_a_choice_that_cannot_be_played_never_ends_as_a_run(nb, runs, tiny, choice):
    with pytest.raises((ValueError, RuntimeError, IndexError, FloatingPointError)) as caught:
        train(nb, replace(tiny, **choice))
    assert "\n" not in str(caught.value)


def test_images_of_another_shape_than_the_configs_are_refused(nb, runs, tiny, few):
    with pytest.raises(ValueError, match=r"images are \(1, 28, 28\), and shape is \(3, 32, 40\)"):
        nb.train(replace(tiny, shape=(3, 32, 40)), *few, "cpu")
    assert not runs.exists()


NUMPYS = {
    "lr_g": np.float64(1e-4),
    "batch_size": np.int64(50),
    "averaging": np.float32(0.5),
    "seed": np.int64(3),
    "betas": (np.float64(0.5), np.float32(0.9)),
    "generator_widths": (np.int64(32), np.int32(64)),
    "discriminator_widths": np.array([64, 32]),
}


@pytest.mark.parametrize(
    "choice",
    [
        NUMPYS,
        {"latent_dim": 64},
        {"faces": 0},
        {"faces": 0, "latent_dim": 1},
        {"betas": (0, 0.999)},
        {"betas": [0.5, 0.9]},
        {"generator_widths": ()},
        {"players": "classic", "batch_size": 1},  # there is no batch normalisation to mind
        {"players": "conv", "generator_widths": (8, 4, 4), "shape": (1, 29, 31)},
        {"players": "conv", "generator_widths": (8, 4, 4), "shape": (3, 32, 40)},
        {"shape": (3, 32, 40)},
        {"conditional": True, "shape": (3, 32, 40)},
    ],
    ids=lambda choice: "numbers of numpy" if choice is NUMPYS else str(choice),
)
def test_a_good_choice_is_trained_and_kept(nb, runs, tiny, choice):
    config = replace(tiny, epochs=1, **choice)
    run = train(nb, config)
    loaded = nb.load_generator(run.directory)
    assert nb.sample(loaded, 2).shape == (2, *choice.get("shape", (1, 28, 28)))
    kept = nb.Config(**json.loads((run.directory / "config.json").read_text())["config"])
    assert replace(kept, mean=None, classes=None) == config


def test_a_config_is_frozen(nb):
    with pytest.raises(FrozenInstanceError):
        nb.Config().epochs = 3


def test_a_config_read_back_from_its_json_is_equal_to_it(nb):
    for config in (*nb.RECIPES.values(), replace(nb.Config(), mean=0.25, classes=3, betas=(0, 1))):
        assert nb.Config(**json.loads(json.dumps(asdict(config)))) == config


@pytest.mark.parametrize("name", NUMPYS)
def test_numbers_of_numpy_become_pythons_so_that_json_can_hold_them(nb, name):
    config = nb.Config(**{name: NUMPYS[name]})
    assert nb.Config(**json.loads(json.dumps(asdict(config)))) == config
    assert np.allclose(getattr(config, name), NUMPYS[name])


def test_a_recipe_is_filed_under_its_own_name_and_mlp_is_the_default(nb):
    assert [config.recipe for config in nb.RECIPES.values()] == [*nb.RECIPES]
    assert nb.RECIPES["mlp"] == nb.Config()


def test_the_mean_pixel_is_that_of_the_data_and_is_kept(nb, runs, tiny, few):
    paper = 255 - few[0]  # dark ink on white
    run = nb.train(replace(tiny, epochs=1), paper, few[1], "cpu")
    mean = (paper / 127.5 - 1).mean().item()
    assert run.match.discriminator.mean == pytest.approx(mean, abs=1e-4)
    kept = json.loads((run.directory / "config.json").read_text())["config"]
    assert kept["mean"] == run.match.discriminator.mean


def test_a_mean_that_was_chosen_is_not_replaced(nb, runs, tiny, few):
    run = nb.train(replace(tiny, epochs=1, mean=0), *few, "cpu")
    assert run.match.discriminator.mean == 0


def test_without_data_the_mean_is_that_of_mnist(nb, mnist):
    found = nb.make_match(nb.Config()).discriminator.mean
    assert found == pytest.approx((mnist[0] / 127.5 - 1).mean().item(), abs=1e-4)


def test_three_kinds_of_labels_make_a_generator_of_three_classes(nb, runs, tiny, few):
    few = few[0][few[1] < 3][:100], few[1][few[1] < 3][:100]
    run = nb.train(replace(tiny, epochs=1, conditional=True), *few, "cpu")
    assert json.loads((run.directory / "config.json").read_text())["config"]["classes"] == 3
    generator = nb.load_generator(run.directory)
    assert generator.latent(50)[:, -3:].sum(1).eq(3).all()
    assert torch.equal(
        nb.sample(generator, 7, seed=0), nb.sample(generator, 7, labels=[0, 1, 2] * 2 + [0], seed=0)
    )
    with pytest.raises(RuntimeError, match="smaller than num_classes"):
        nb.sample(generator, 2, labels=3)
