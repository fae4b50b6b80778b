"""The two networks, the losses, and one step of the game."""

import io
import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from ipywidgets import IntSlider
from PIL import Image
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


def test_both_players_leak_a_fifth_of_a_negative_number(nb, tiny):
    for network in (nb.Generator(tiny), nb.Discriminator(tiny)):
        leaky = [layer for layer in network.modules() if isinstance(layer, nn.LeakyReLU)]
        assert {layer.negative_slope for layer in leaky} == {0.2}


def test_a_score_is_the_logits_probability_without_dropout_and_training_goes_on(nb, tiny, batch):
    discriminator = nb.Discriminator(replace(tiny, dropout=0.5))
    scores = nb.score(discriminator, batch[0])
    assert discriminator.training
    assert not scores.requires_grad
    assert torch.equal(scores, discriminator.eval()(batch[0]).sigmoid())


def test_a_game_as_a_network_judges_what_its_generator_draws(nb, game, batch):
    game.eval()
    latent = game.latent(50)
    expected = game.discriminator(game.generator(latent, batch[1]), batch[1])
    assert torch.equal(game(latent, batch[1]), expected)


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
    with pytest.raises(ValueError, match="'cnn'; the known ones are mlp, conv, conditional, ring"):
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


# What the authors of each recipe publish: layer sizes, settings of both optimisers, training.
PUBLISHED = {
    "mlp": {
        "generator": [100, 128, 256, 512, 784],
        "discriminator": [784, 512, 256, 128, 1],
        "adam": (1e-3, (0.0, 0.999)),
        "training": (100, 12),  # batch size, epochs
    },
    "classic": {
        "generator": [100, 256, 512, 1024, 784],
        "discriminator": [784, 1024, 512, 256, 1],
        "adam": (2e-4, (0.9, 0.999)),
        "training": (100, 100),
    },
    "sigmoid": {
        "generator": [128, 256, 784],
        "discriminator": [784, 256, 1],
        "adam": (1e-3, (0.9, 0.999)),
        "training": (32, 20),
    },
    "conditional": {
        "generator": [110, 128, 256, 512, 784],  # a latent of 100 and a label of 10 numbers
        "discriminator": [794, 512, 256, 128, 1],
        "adam": (1e-3, (0.0, 0.999)),
        "training": (100, 12),
    },
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_recipes_figures_are_the_published_ones(nb, cpu, name):
    game, published = nb.Game(nb.RECIPES[name], cpu), PUBLISHED[name]
    for player in ("generator", "discriminator"):
        layers = [m for m in getattr(game, player).modules() if isinstance(m, nn.Linear)]
        sizes = [layers[0].in_features, *(layer.out_features for layer in layers)]
        assert sizes == published[player]
    for optimizer in (game.optimizer_g, game.optimizer_d):
        assert isinstance(optimizer, torch.optim.Adam)
        assert (optimizer.defaults["lr"], optimizer.defaults["betas"]) == published["adam"]
    assert (game.config.batch_size, game.config.epochs) == published["training"]


def kinds(network: nn.Module) -> set[type]:
    """Return which kinds of layer a network is made of, nn.Linear and containers aside."""
    leaves = {type(m) for m in network.modules() if not list(m.children())}
    return leaves - {nn.Linear, nn.Flatten, nn.Unflatten, nn.Embedding}


def test_classic_players_are_made_of_the_published_layers(nb, cpu):
    game = nb.Game(nb.RECIPES["classic"], cpu)
    assert kinds(game.generator) == {nn.LeakyReLU, nn.Tanh}
    assert kinds(game.discriminator) == {nn.LeakyReLU, nb.FastDropout}
    assert [m.p for m in game.discriminator.modules() if isinstance(m, nn.Dropout)] == [0.3] * 3
    assert (game.config.sample_every, game.config.averaging, game.config.smoothing) == (10, 0, 0)


def test_sigmoid_players_have_relu_and_pixels_from_zero_to_one(nb, cpu):
    game = nb.Game(nb.RECIPES["sigmoid"], cpu)
    assert kinds(game.generator) == {nn.ReLU, nn.Sigmoid}
    assert kinds(game.discriminator) == {nn.ReLU}
    assert game.generator.pixel_range == (0.0, 1.0)
    assert game.generator(game.latent(4)).min() >= 0


def test_dcgan_players_are_made_of_the_published_layers(nb, cpu):
    game = nb.Game(nb.RECIPES["dcgan"], cpu)
    assert kinds(game.generator) == {nn.ConvTranspose2d, nn.BatchNorm2d, nn.ReLU, nn.Tanh}
    assert kinds(game.discriminator) == {nn.Conv2d, nn.LeakyReLU}
    strides = [m.stride for m in game.discriminator.modules() if isinstance(m, nn.Conv2d)]
    assert strides == [(2, 2), (2, 2)]


def test_both_conditional_players_see_the_label(nb, cpu):
    game = nb.Game(nb.RECIPES["conditional"], cpu)
    game.generator.eval(), game.discriminator.eval()
    latent, three, seven = game.latent(4), torch.full((4,), 3), torch.full((4,), 7)
    fake = game.generator(latent, three)
    assert not torch.equal(fake, game.generator(latent, seven))
    assert not torch.equal(game.discriminator(fake, three), game.discriminator(fake, seven))


def test_a_mixture_of_one_digit_draws_that_digit_and_others_lie_between(nb, artist):
    latent, pure = torch.randn(4, 100), torch.eye(10)
    three, nine = (nb.draw(artist, latent, torch.full((4,), digit)) for digit in (3, 9))
    assert torch.allclose(nb.draw(artist, latent, pure[3].expand(4, 10)), three, atol=1e-5)
    between = nb.draw(artist, latent, pure[3].lerp(pure[9], 0.5).expand(4, 10))
    assert not torch.allclose(between, three, atol=1e-5)
    assert not torch.allclose(between, nine, atol=1e-5)


def test_only_a_generator_that_can_be_asked_for_digits_gets_a_slider_for_them(nb, tiny, artist):
    def sliders(generator: nn.Module) -> list[str]:
        box = nb.explore(generator, torch.randn(5, tiny.latent_dim))
        return [part.description for part in box.children if isinstance(part, IntSlider)]

    assert sliders(nb.Generator(tiny)) == ["latent"]
    assert sliders(artist) == ["latent", "digit"]


def test_a_film_has_a_frame_for_every_picture_and_the_times_that_were_asked_for(nb):
    frames = [Image.new("L", (8, 8), color=shade) for shade in (0, 80, 160)]
    film = Image.open(io.BytesIO(nb.make_gif(frames, [300, 300, 2000])))
    assert film.n_frames == 3
    film.seek(2)
    assert film.info["duration"] == 2000


def test_dropout_keeps_its_share_and_the_mean(nb):
    dropout, ones = nb.FastDropout(0.3), torch.ones(1000, 1001)
    out = dropout(ones)
    assert out.unique().tolist() == pytest.approx([0, 1 / 0.7])
    assert (out > 0).float().mean().item() == pytest.approx(0.7, abs=0.003)
    assert (out > 0).float().mean(0).std().item() == pytest.approx(
        (0.3 * 0.7 / 1000) ** 0.5, rel=0.1
    )
    assert torch.equal(dropout.eval()(ones), ones)


def test_dropout_draws_a_new_mask_each_time_and_the_same_from_the_same_seed(nb):
    dropout, ones, masks = nb.FastDropout(0.5), torch.ones(50, 50), []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        masks.append(dropout(ones))
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])
    assert not torch.equal(masks[2], dropout(ones))


def test_dropout_stops_the_gradient_of_what_it_dropped(nb):
    x = torch.ones(100, requires_grad=True)
    out = nb.FastDropout(0.5)(x)
    out.sum().backward()
    assert torch.equal(x.grad, out.detach())


def test_on_other_devices_dropout_is_the_librarys(nb):
    assert nb.FastDropout(0.5)(torch.ones(3, 4, device="meta")).device.type == "meta"


def test_products_in_16_bits_change_a_step_only_slightly(nb, tiny, cpu, batch, monkeypatch):
    results = []
    for short in (False, True):
        monkeypatch.setattr(nb, "has_fast_bfloat16", lambda device, short=short: short)
        game = nb.Game(replace(tiny, dropout=0.0), cpu)
        results.append(nb.play_step(game, *batch))
        assert {weight.dtype for weight in weights(game.generator)} == {torch.float32}
    assert not torch.equal(*results)
    assert torch.allclose(*results, atol=0.01)


def test_a_device_without_16_bit_numbers_is_no_error(nb, cpu, monkeypatch):
    def refuse(*args, **kwargs):
        raise TypeError("BFloat16 is not supported here")

    monkeypatch.setattr(torch, "ones", refuse)
    assert nb.has_fast_bfloat16.__wrapped__(cpu) is False


def test_trying_16_bit_products_gives_an_answer_and_keeps_it(nb, cpu):
    assert nb.has_fast_bfloat16(cpu) in (True, False)
    assert nb.has_fast_bfloat16.cache_info().currsize == 1


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
