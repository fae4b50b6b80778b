"""Every choice of a run is in a `Config`; a bad one is refused before anything is written."""

import json
from dataclasses import FrozenInstanceError, asdict, replace

import numpy as np
import pytest
import torch

NAN, SIZES = float("nan"), "sizes, batch_size and epochs from 1 up"


def train(nb, config, device):
    """Train `config` on a hundred images of its shape."""
    images = torch.randint(0, 256, (100, *config.shape), dtype=torch.uint8)
    loader = nb.make_loader(images, torch.arange(100) % 10, config, device)
    return nb.train(config, loader, device)


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ({"batch_size": 0}, SIZES),
        ({"batch_size": -1}, SIZES),
        ({"batch_size": 2.5}, SIZES),
        ({"batch_size": 101}, "to fill a batch"),
        ({"batch_size": 1}, "more than 1 value per channel"),  # says batch normalisation
        ({"epochs": 0}, SIZES),
        ({"latent_dim": 0}, SIZES),
        ({"generator_widths": (0,)}, SIZES),
        ({"generator_widths": ()}, SIZES),
        ({"generator_widths": (np.int64(32),)}, SIZES),  # could be written, and not read again
        ({"generator_widths": 128}, "must be an iterable, not int"),
        ({"discriminator_widths": (64, -1)}, SIZES),
        ({"lr_g": -1e-4}, "Invalid learning rate: -0.0001"),
        ({"lr_d": NAN}, "Invalid learning rate: nan"),
        ({"betas": 0.5}, "two betas"),
        ({"betas": (0.5, 0.9, 0.99)}, "two betas"),
        ({"betas": (np.float64(0.5), 0.9)}, "two betas"),  # could be written, and not read again
        ({"betas": (1.5, 0.9)}, "Invalid beta parameter at index 0: 1.5"),
        ({"faces": 101}, "faces from 0 to latent_dim"),
        ({"faces": -1}, "faces from 0 to latent_dim"),
        ({"averaging": 1.0}, "averaging from 0 to less than 1"),
        ({"averaging": -0.1}, "averaging from 0 to less than 1"),
        ({"averaging": NAN}, "averaging from 0 to less than 1"),
        ({"recipe": "../x"}, "a recipe named with letters"),
        ({"recipe": ""}, "a recipe named with letters"),
        ({"players": "cnn"}, "cnn"),
        ({"heads": 2}, "unexpected keyword argument 'heads'"),
    ],
    ids=str,
)
def test_a_bad_choice_is_refused_before_anything_is_written(nb, runs, tiny, cpu, choice, reason):
    with pytest.raises((ValueError, TypeError, KeyError), match=reason) as caught:
        train(nb, replace(tiny, **choice), cpu)
    assert "\n" not in str(caught.value)
    assert not runs.exists()


@pytest.mark.parametrize(
    "choice",
    [
        {"lr_g": np.float64(1e-4), "batch_size": np.int64(50), "averaging": np.float32(0.5)},
        {"latent_dim": 64},
        {"faces": 0},
        {"players": "textbook", "batch_size": 1},  # there is no batch normalisation to mind
        {"players": "conv", "generator_widths": (8, 4, 4), "shape": (1, 29, 31)},
        {"players": "conv", "generator_widths": (8, 4, 4), "shape": (3, 32, 40)},
        {"shape": (3, 32, 40)},
    ],
    ids=str,
)
def test_a_good_choice_is_trained_and_kept(nb, runs, tiny, choice):
    run = train(nb, replace(tiny, epochs=1, **choice), "cpu")
    loaded = nb.load_generator(run.directory)
    assert nb.sample(loaded, 2).shape == (2, *choice.get("shape", (1, 28, 28)))
    facts = json.loads((run.directory / "config.json").read_text())
    assert facts["config"] == json.loads(json.dumps(asdict(run.game.config)))


def test_a_config_is_frozen(nb):
    with pytest.raises(FrozenInstanceError):
        nb.Config().epochs = 3


def test_a_recipe_is_filed_under_its_own_name_and_mlp_is_the_default(nb):
    assert [config.recipe for config in nb.RECIPES.values()] == [*nb.RECIPES]
    assert nb.RECIPES["mlp"] == nb.Config()
