"""The two networks, the losses, and one step of the game."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn


@pytest.fixture
def game(nb, tiny, cpu):
    return nb.Game(tiny, cpu)


@pytest.fixture
def batch(loader):
    return next(iter(loader))


def weights(network: nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in network.parameters()]


def changed(network: nn.Module, before: list[torch.Tensor]) -> list[bool]:
    return [not torch.equal(p, q) for p, q in zip(network.parameters(), before)]


def test_a_generator_turns_latents_into_images_between_minus_one_and_one(nb, tiny):
    fake = nb.Generator(tiny)(torch.randn(7, tiny.latent_dim) * 100)
    assert fake.shape == (7, 1, 28, 28)
    assert fake.min() >= -1
    assert fake.max() <= 1


def test_a_discriminator_turns_images_into_one_logit_each(nb, tiny, batch):
    assert nb.Discriminator(tiny)(batch[0]).shape == (50,)


def test_the_widths_of_the_networks_are_those_of_the_config(nb):
    config = nb.RECIPES["classic"]
    for network, widths in (
        (nb.Generator(config), [100, 256, 512, 1024, 784]),
        (nb.Discriminator(config), [784, 1024, 512, 256, 1]),
    ):
        layers = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
        assert [layers[0].in_features, *(layer.out_features for layer in layers)] == widths
        leaky = [layer for layer in network.modules() if isinstance(layer, nn.LeakyReLU)]
        assert {layer.negative_slope for layer in leaky} == {0.2}


def test_the_discriminator_drops_units_in_training_only(nb, tiny, batch):
    discriminator = nb.Discriminator(replace(tiny, dropout=0.5))
    assert not torch.equal(discriminator(batch[0]), discriminator(batch[0]))
    discriminator.eval()
    assert torch.equal(discriminator(batch[0]), discriminator(batch[0]))


def test_sampling_gives_floats_between_zero_and_one_and_repeats_with_a_seed(nb, tiny):
    generator = nb.Generator(tiny)
    images = nb.sample(generator, 5, seed=3)
    assert images.shape == (5, 1, 28, 28)
    assert images.dtype == torch.float32
    assert images.min() >= 0
    assert images.max() <= 1
    assert torch.equal(images, nb.sample(generator, 5, seed=3))
    assert not torch.equal(images, nb.sample(generator, 5, seed=4))
    assert generator.training  # as it was


def test_an_unconditional_generator_refuses_labels(nb, tiny):
    with pytest.raises(ValueError, match="can't be told which digit"):
        nb.sample(nb.Generator(tiny), 2, labels=[1, 2])


def test_the_losses_of_a_coin_flip_are_those_of_the_theory(nb):
    undecided = torch.zeros(10)
    assert nb.discriminator_loss(undecided, undecided).item() == pytest.approx(2 * math.log(2))
    assert nb.generator_loss(undecided).item() == pytest.approx(math.log(2))


def test_the_losses_equal_the_logarithms_of_the_equations(nb):
    logits_real, logits_fake = torch.randn(10), torch.randn(10)
    d_real, d_fake = logits_real.sigmoid(), logits_fake.sigmoid()
    value = d_real.log().mean() + (1 - d_fake).log().mean()
    assert nb.discriminator_loss(logits_real, logits_fake).item() == pytest.approx(-value.item())
    assert nb.generator_loss(logits_fake).item() == pytest.approx(-d_fake.log().mean().item())


def test_smoothing_lowers_the_target_of_real_images_only(nb):
    sure, low = torch.full((10,), 20.0), torch.full((10,), -20.0)
    assert nb.discriminator_loss(sure, low).item() == pytest.approx(0, abs=1e-6)
    assert nb.discriminator_loss(sure, low, smoothing=0.1).item() == pytest.approx(2, rel=1e-3)
    assert nb.generator_loss(sure).item() == pytest.approx(0, abs=1e-6)


def test_a_step_changes_both_players_and_reports_four_numbers(nb, game, batch):
    before_g, before_d = weights(game.generator), weights(game.discriminator)
    result = nb.play_step(game, *batch)
    assert result.shape == (4,)
    assert not result.requires_grad
    assert all(changed(game.generator, before_g))
    assert all(changed(game.discriminator, before_d))


@pytest.mark.parametrize(
    ("optimizer", "still", "moving"),
    [
        ("optimizer_g", "generator", "discriminator"),
        ("optimizer_d", "discriminator", "generator"),
    ],
)
def test_a_turn_moves_only_the_player_whose_turn_it_is(nb, game, batch, optimizer, still, moving):
    for group in getattr(game, optimizer).param_groups:
        group["lr"] = 0.0  # one optimiser does nothing: whoever still moves was moved by the other
    before_still, before_moving = (weights(getattr(game, name)) for name in (still, moving))
    nb.play_step(game, *batch)
    assert not any(changed(getattr(game, still), before_still))
    assert all(changed(getattr(game, moving), before_moving))


def test_the_generators_turn_leaves_no_gradient_in_the_discriminator(nb, game, batch):
    nb.play_step(game, *batch)
    from_its_own_turn = [parameter.grad.clone() for parameter in game.discriminator.parameters()]
    latent = game.latent(50)
    game.discriminator.requires_grad_(False)
    nb.generator_loss(game.discriminator(game.generator(latent))).backward()
    game.discriminator.requires_grad_(True)
    for parameter, gradient in zip(game.discriminator.parameters(), from_its_own_turn):
        assert torch.equal(parameter.grad, gradient)


def test_a_discriminator_that_trains_alone_lowers_its_loss(nb, game, batch):
    for group in game.optimizer_g.param_groups:
        group["lr"] = 0.0
    losses = [nb.play_step(game, *batch)[0].item() for _ in range(20)]
    assert losses[-1] < 0.5 * losses[0]


def test_a_generator_that_trains_alone_lowers_its_loss(nb, game, batch):
    for group in game.optimizer_d.param_groups:
        group["lr"] = 0.0
    losses = [nb.play_step(game, *batch)[1].item() for _ in range(60)]
    assert losses[-1] < 0.9 * losses[0]


def test_the_average_lags_behind_the_generator(nb, tiny, cpu, batch):
    game = nb.Game(replace(tiny, averaging=0.9), cpu)
    before = weights(game.generator)
    nb.play_step(game, *batch)
    for start, average, now in zip(before, game.average.parameters(), game.generator.parameters()):
        assert torch.allclose(average, 0.9 * start + 0.1 * now, atol=1e-6)


def test_without_averaging_the_average_is_the_generator(nb, tiny, cpu, batch):
    game = nb.Game(replace(tiny, averaging=0.0), cpu)
    nb.play_step(game, *batch)
    assert not any(changed(game.average, weights(game.generator)))


def test_unknown_players_are_refused_with_the_known_ones(nb, tiny, cpu):
    with pytest.raises(ValueError, match="no players 'cnn', only mlp, conv, conditional, ring"):
        nb.Game(replace(tiny, players="cnn"), cpu)


@pytest.fixture
def artist(nb, tiny):
    return nb.PLAYERS["conditional"][0](tiny)


def test_a_conditional_generator_draws_all_digits_in_turn_unless_told(nb, artist):
    in_turn = nb.sample(artist, 12, labels=[k % 10 for k in range(12)], seed=0)
    assert torch.equal(nb.sample(artist, 12, seed=0), in_turn)
    assert not torch.equal(nb.sample(artist, 12, labels=[3] * 12, seed=0), in_turn)


@pytest.mark.parametrize("labels", [[0, 10], [-1, 3], [1], [1, 2, 3]])
def test_labels_that_cannot_be_drawn_are_refused(nb, artist, labels):
    with pytest.raises(ValueError, match="labels must be 2 whole numbers from 0 to 9"):
        nb.sample(artist, 2, labels=labels)


@pytest.mark.parametrize("name", ["mlp", "classic", "sigmoid", "dcgan", "conditional"])
def test_one_step_plays_every_recipe(nb, mnist, cpu, name):
    config = nb.RECIPES[name]
    game = nb.Game(config, cpu)
    real, labels = next(iter(nb.make_loader(mnist[0][:200], mnist[1][:200], config, cpu)))
    before = weights(game.generator), weights(game.discriminator)
    result = nb.play_step(game, real, labels)
    assert torch.isfinite(result).all()
    assert any(changed(game.generator, before[0]))
    assert any(changed(game.discriminator, before[1]))
    fake = nb.sample(game.average, 3, seed=0)
    assert fake.shape == (3, 1, 28, 28)


def test_the_textbook_recipe_has_the_textbooks_settings(nb, cpu):
    config = nb.RECIPES["classic"]
    game = nb.Game(config, cpu)
    for optimizer in (game.optimizer_g, game.optimizer_d):
        assert optimizer.defaults["lr"] == 2e-4
        assert optimizer.defaults["betas"] == (0.9, 0.999)
    dropouts = [m.p for m in game.discriminator.modules() if isinstance(m, nn.Dropout)]
    assert dropouts == [0.3, 0.3, 0.3]
    assert not any(isinstance(m, nn.BatchNorm1d) for m in game.generator.modules())
    assert (config.batch_size, config.epochs, config.sample_every) == (100, 100, 10)


def test_the_default_players_have_as_many_weights_as_their_layers_say(nb):
    config = nb.Config()
    sizes = {
        nb.Generator: [100, 128, 256, 512, 784],
        nb.Discriminator: [784, 512, 256, 128, 1],
    }
    for player, widths in sizes.items():
        linear = sum((a + 1) * b for a, b in pairwise(widths))
        norm = 2 * sum(config.generator_widths) if player is nb.Generator else 0
        found = sum(weight.numel() for weight in player(config).parameters())
        assert found == linear + norm
