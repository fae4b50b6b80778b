"""Every choice of a run is in a `Config`, and a bad one is refused in one sentence."""

import dataclasses
import json

import pytest

BAD = [
    ("batch_size", 0),
    ("batch_size", 2.5),
    ("epochs", -1),
    ("latent_dim", 0),
    ("log_every", 0),
    ("lr_g", -1e-4),
    ("lr_d", float("nan")),
    ("lr_d", float("inf")),
    ("lr_g", "fast"),
    ("betas", (0.5,)),
    ("betas", (0.5, 1.0)),
    ("dropout", 1.0),
    ("dropout", None),
    ("averaging", 1.5),
    ("smoothing", -0.1),
    ("generator_widths", (128, 0)),
    ("discriminator_widths", ()),
    ("generator_widths", 128),
    ("activation", "swish"),
    ("output", "softmax"),
    ("seed", -1),
    ("recipe", "../elsewhere"),
    ("recipe", ""),
    ("recipe", "a/b"),
    ("batch_norm", "yes"),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_bad_value_is_refused_in_one_sentence_that_names_it(nb, name, value):
    with pytest.raises(ValueError, match=f"Config.{name} is ") as caught:
        dataclasses.replace(nb.Config(), **{name: value})
    assert "\n" not in str(caught.value)


def test_a_config_survives_json(nb):
    for config in nb.RECIPES.values():
        assert nb.Config(**json.loads(json.dumps(dataclasses.asdict(config)))) == config


def test_a_config_is_frozen(nb):
    with pytest.raises(dataclasses.FrozenInstanceError):
        nb.Config().epochs = 3


def test_an_unknown_recipe_lists_the_known_ones(nb):
    with pytest.raises(ValueError, match="no 'gan'; the known ones are mlp, classic, sigmoid"):
        nb.RECIPES["gan"]


def test_a_recipe_is_filed_under_its_own_name(nb):
    assert {name: config.recipe for name, config in nb.RECIPES.items()} == {
        name: name for name in nb.RECIPES
    }
