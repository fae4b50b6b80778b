"""The players, their losses and turns, the recipes, and what is drawn with a generator."""

import json
from itertools import islice

import pytest
import torch
import torch.nn.functional as F
from conftest import same_weights
from torch import nn

RECIPES = ["plain", "mlp", "dcgan", "conditional", "classic", "sigmoid"]


@pytest.fixture
def batch(loader):
    return next(iter(loader))[0]


def state(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def unchanged(network: nn.Module, before: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def layers(player: nn.Module) -> list[str]:
    """Return the names of a player's layers, without those that only change form or range."""
    names = [type(layer).__name__ for layer in player]
    return [name for name in names if name not in ("Flatten", "Unflatten", "Lambda")]


def sizes(player: nn.Module) -> list[int]:
    """Return how many numbers there are before and after each linear layer."""
    linear = [layer for layer in player if isinstance(layer, nn.Linear)]
    return [linear[0].in_features, *(layer.out_features for layer in linear)]


def real_for(nb, match, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return images as a match plays with them."""
    conditional = match.settings["players"] == "conditional"
    return nb.with_labels(images, labels) if conditional else images


# Players and drawing


def test_the_generator_draws_images_from_minus_one_to_one(nb):
    g = nb.make_generator()
    drawn = g(10 * torch.randn(7, g.latent_size))
    assert drawn.shape == (7, 1, 28, 28)
    assert -1 <= drawn.min() < -0.5 < 0.5 < drawn.max() <= 1


def test_the_discriminator_sees_a_mean_pixel_of_zero_and_gives_logits(nb, mnist):
    torch.manual_seed(0)
    d = nb.make_discriminator()
    assert d[0](mnist[0][:10_000]).mean().item() == pytest.approx(0, abs=0.01)
    assert d(mnist[0][:9]).shape == (9,)
    assert d(mnist[0][:9]).abs().max() < 0.4  # it has no opinion yet


@pytest.mark.parametrize("training", [True, False])
def test_drawing_leaves_the_generator_and_random_numbers_as_they_were(nb, training):
    g = nb.make_generator().train(training)
    before, random = state(g), torch.get_rng_state()
    drawn = nb.draw(g, torch.zeros(5, 100))
    assert (drawn.device.type, drawn.requires_grad) == ("cpu", False)
    with pytest.raises(RuntimeError):
        nb.draw(g, torch.zeros(5, 99))
    assert all(module.training == training for module in g.modules())
    assert unchanged(g, before)
    assert torch.equal(torch.get_rng_state(), random)


def test_a_drawing_does_not_depend_on_what_else_is_in_the_batch(nb):
    torch.manual_seed(0)
    g, latent = nb.make_generator(), torch.randn(2100, 100)
    drawn = nb.draw(g, latent)
    assert torch.allclose(drawn[2050:2060], nb.draw(g, latent[2050:2060]), atol=1e-6)


def test_samples_repeat_with_a_seed_and_follow_the_readers_without(nb):
    g, random = nb.make_generator(), torch.get_rng_state()
    first, second, other = (nb.sample(g, 5, seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    torch.manual_seed(3)
    assert torch.equal(nb.sample(g, 5), first)
    assert not torch.equal(nb.sample(g, 5), first)


# The losses


@pytest.mark.parametrize("n", [7, 3])
def test_the_losses_are_binary_cross_entropies_with_gradients_also_of_a_sure_d(nb, n):
    real = torch.tensor([-100.0, -18.0, -2.0, 0.0, 0.5, 18.0, 100.0], requires_grad=True)
    fake = real.detach().flip(0)[:n].requires_grad_()
    entropy = F.binary_cross_entropy_with_logits
    for found, expected in (
        (
            nb.discriminator_loss(real, fake),
            entropy(real, torch.ones(7)) + entropy(fake, torch.zeros(n)),
        ),
        (nb.generator_loss(fake), entropy(fake, torch.ones(n))),
    ):
        assert found.shape == ()
        torch.testing.assert_close(found, expected)
        ours, theirs = (
            torch.autograd.grad(loss, [real, fake], allow_unused=True, materialize_grads=True)
            for loss in (found, expected)
        )
        torch.testing.assert_close(ours, theirs)


# Turns


@pytest.mark.parametrize("turn", ["turn_of_d", "turn_of_g"])
def test_a_turn_moves_its_own_player_alone_and_leaves_the_other_no_gradient(
    nb, tiny_match, batch, turn
):
    match = tiny_match()
    players = [match.discriminator, match.generator]
    mover, other = players if turn == "turn_of_d" else players[::-1]
    fake = match.generator(torch.randn(10, 20))
    before, theirs = state(mover), state(other)
    loss = nb.turn_of_d(match, batch, fake) if turn == "turn_of_d" else nb.turn_of_g(match, fake)
    assert (loss.ndim, loss.requires_grad) == (0, False)
    assert not unchanged(mover, before)
    assert unchanged(other, theirs)
    assert all(weights.grad is None for weights in other.parameters())
    assert fake.requires_grad


def test_each_turn_has_the_gradient_of_its_own_loss_and_of_no_earlier_turn(nb, batch):
    g = nn.Sequential(nn.Linear(8, 784), nn.Tanh(), nn.Unflatten(1, (1, 28, 28)))
    g.latent_size = 8
    d = nn.Sequential(nn.Flatten(), nn.Linear(784, 1), nn.Flatten(0))
    match = nb.Match(g, d, lr_g=0.0, lr_d=0.0)
    for _ in range(2):
        torch.manual_seed(1)
        losses = nb.play_step(match, batch)
    torch.manual_seed(1)
    fake = g(torch.randn(10, 8))
    loss_d = nb.discriminator_loss(d(batch), d(fake.detach()))
    loss_g = nb.generator_loss(d(fake))
    for player, loss in ((d, loss_d), (g, loss_g)):
        gradients = torch.autograd.grad(loss, [*player.parameters()], retain_graph=True)
        for parameter, gradient in zip(player.parameters(), gradients):
            torch.testing.assert_close(parameter.grad, gradient, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(torch.stack(losses), torch.stack([loss_d, loss_g]).detach())
    assert match.step == 2


@pytest.mark.parametrize("fresh", [False, True])
def test_new_fakes_are_drawn_for_gs_turn_only_where_the_recipe_says_so(
    nb, tiny_match, batch, fresh
):
    match, latents = tiny_match(fresh_fakes=fresh), []
    match.generator.register_forward_pre_hook(lambda _, args: latents.append(args[0]))
    nb.play_step(match, batch)
    assert len(latents) == 1 + fresh
    assert torch.equal(latents[0], latents[-1]) != fresh


def test_a_match_has_an_adam_for_each_player_without_memory_of_gradients(nb):
    match = nb.Match(nb.make_generator(), nb.make_discriminator())
    for optimizer, player, rate in (
        (match.optimizer_g, match.generator, 2e-3),
        (match.optimizer_d, match.discriminator, 1e-3),
    ):
        kept = optimizer.defaults
        assert isinstance(optimizer, torch.optim.Adam)
        assert (kept["lr"], kept["betas"], kept["fused"]) == (rate, (0.0, 0.999), True)
        assert [*map(id, optimizer.param_groups[0]["params"])] == [*map(id, player.parameters())]
    assert match.artist is match.generator
    assert match.step == 0


def test_a_step_reads_no_number_back_from_the_device(nb, tiny_match, batch, monkeypatch):
    """Neither turn, nor R1, nor the average; a GPU would have to be waited for."""
    adam = torch.optim.Adam  # its fused form knows no such device
    monkeypatch.setattr(torch.optim, "Adam", lambda *args, fused, **kw: adam(*args, **kw))
    monkeypatch.setattr(nb, "device", torch.device("meta"))  # has no numbers
    match = tiny_match()
    for _ in range(4):
        losses = nb.play_step(match, batch.to("meta"))
    with pytest.raises((RuntimeError, NotImplementedError)):
        losses[0].item()


# What holds D, the average and the die


def test_holding_d_is_a_step_down_the_mean_squared_slope(nb):
    """Of a linear D the slope is the length of its weights: their gradient is twice they."""
    g, d = nn.Linear(3, 5), nn.Sequential(nn.Linear(5, 1), nn.Flatten(0))
    before, weights, real = state(g), d[0].weight.detach().clone(), torch.randn(6, 5)
    nb.hold_d(nb.Match(g, d, lr_d=0.01), real)
    torch.testing.assert_close(d[0].weight.grad, 2 * weights)
    assert (d[0].weight.abs() < weights.abs()).all()
    assert unchanged(g, before)
    assert not real.requires_grad


@pytest.mark.parametrize(("every", "held"), [(0, []), (4, [4, 8]), (3, [3, 6, 9])])
def test_d_is_held_every_so_many_steps(nb, tiny_match, batch, monkeypatch, every, held):
    match, steps = tiny_match(hold_every=every), []
    monkeypatch.setattr(nb, "hold_d", lambda match, real: steps.append(match.step))
    for _ in range(9):
        nb.play_step(match, batch)
    assert steps == held


@pytest.mark.parametrize("recipe", ["tiny", "conditional"])
def test_the_artist_is_an_average_with_a_short_memory_at_first(nb, tiny_match, loader, recipe):
    tiny_match()
    match = nb.make_match(recipe, average=0.7)
    expected = state(match.artist)
    for real, labels in islice(loader, 9):
        nb.play_step(match, real_for(nb, match, real, labels))
        now = getattr(match.generator, "drawer", match.generator).state_dict()
        share = max(0.7, 9 / (9 + match.step))  # 0.9, 0.82, 0.75, and then 0.7
        for name, value in expected.items():
            expected[name] = value.lerp(now[name], share) if value.is_floating_point() else value
    for name, value in match.artist.state_dict().items():  # counts of batches stay
        torch.testing.assert_close(value, expected[name], atol=1e-6, rtol=1e-5)


def test_the_game_is_the_same_with_and_without_an_average(nb, tiny_match, batch):
    match, averaged = tiny_match(average=0.0), tiny_match(average=0.5)
    for _ in range(5):
        for game in (match, averaged):
            torch.manual_seed(game.step)
            nb.play_step(game, batch)
    assert same_weights(match.generator, averaged.generator)
    assert same_weights(match.discriminator, averaged.discriminator)
    assert match.artist is match.generator
    assert not same_weights(averaged.artist, averaged.generator)


def test_a_die_shows_one_face_beside_the_other_numbers_as_they_are(nb):
    torch.manual_seed(0)
    latent = torch.randn(4000, 50)
    others, face = nb.Die(20)(latent).split([30, 20], dim=1)
    assert torch.equal(others, latent[:, :30])
    assert torch.equal(face, 3.0 * F.one_hot(latent[:, 30:].argmax(1), 20))
    assert (face.sum(0) / 3).min() > 4000 / 20 / 2  # each face comes up


# Recipes


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_match_of_a_recipe_plays_draws_and_has_plain_settings(nb, few, recipe):
    match = nb.make_match(recipe)
    assert json.loads(json.dumps(match.settings)) == match.settings
    real = real_for(nb, match, few[0][:20], few[1][:20])
    before = state(match.generator), state(match.discriminator)
    for _ in range(2):
        assert torch.isfinite(torch.stack(nb.play_step(match, real))).all()
    assert not unchanged(match.generator, before[0])
    assert not unchanged(match.discriminator, before[1])
    drawn = nb.sample(match.artist, 3, seed=0)
    assert drawn.shape == (3, 1, 28, 28)
    assert -1 <= drawn.min() < drawn.max() <= 1


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_game_goes_on_as_if_nobody_had_looked(nb, few, recipe):
    ends = []
    for looks in (0, 2):
        match = nb.make_match(recipe)
        real = real_for(nb, match, few[0][:20], few[1][:20])
        for _ in range(2):
            nb.play_step(match, real)
            for _ in range(looks):
                assert torch.tensor([*nb.look(match, real).values()]).isfinite().all()
        ends.append(match)
    assert same_weights(ends[0].generator, ends[1].generator)
    assert same_weights(ends[0].discriminator, ends[1].discriminator)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_match_repeats_with_its_seed_and_shares_nothing_with_another(nb, recipe):
    first, second, other = (nb.make_match(recipe, seed=seed) for seed in (0, 0, 1))
    assert same_weights(first.generator, second.generator)
    assert same_weights(first.discriminator, second.discriminator)
    assert not same_weights(first.discriminator, other.discriminator)
    players = [player for m in (first, second) for player in (m.generator, m.discriminator)]
    modules = [m for p in players for _, m in p.named_modules(remove_duplicate=False)]
    assert len({id(module) for module in modules}) == len(modules)


def test_settings_may_be_changed_for_one_match_and_no_other(nb):
    changed = nb.make_match("mlp", lr_g=5e-3, beta1=0.5)
    assert changed.optimizer_g.defaults["lr"] == changed.settings["lr_g"] == 5e-3
    assert changed.optimizer_d.defaults["betas"] == (0.5, 0.999)
    changed.settings["epochs"] = 99
    assert nb.make_match("mlp").settings == {"recipe": "mlp"} | nb.RECIPES["mlp"]
    assert nb.RECIPES["mlp"]["epochs"] != 99


@pytest.mark.parametrize(
    ("recipe", "changes", "named"), [("mpl", {}, "'mpl'.*mlp"), ("mlp", {"lr": 1}, "'lr'.*lr_g")]
)
def test_an_unknown_recipe_or_setting_is_named_beside_what_there_is(nb, recipe, changes, named):
    with pytest.raises(ValueError, match=named) as caught:
        nb.make_match(recipe, **changes)
    assert "\n" not in str(caught.value)


def test_classic_has_the_layers_and_settings_that_were_published(nb):
    match, settings = nb.make_match("classic"), nb.RECIPES["classic"]
    assert sizes(match.generator) == [100, 256, 512, 1024, 784]
    assert sizes(match.discriminator) == [784, 1024, 512, 256, 1]
    assert layers(match.generator) == [*["Linear", "LeakyReLU"] * 3, "Linear", "Tanh"]
    assert layers(match.discriminator) == [*["Linear", "LeakyReLU", "Dropout"] * 3, "Linear"]
    assert (settings["epochs"], settings["lr_g"], settings["lr_d"]) == (100, 2e-4, 2e-4)


def test_sigmoid_has_the_layers_and_settings_that_were_published(nb):
    match, settings = nb.make_match("sigmoid"), nb.RECIPES["sigmoid"]
    assert match.generator.latent_size == 128
    assert sizes(match.generator) == [128, 256, 784]
    assert sizes(match.discriminator) == [784, 256, 1]
    assert layers(match.generator) == ["Linear", "ReLU", "Linear", "Sigmoid"]
    assert layers(match.discriminator) == ["Linear", "ReLU", "Linear"]
    assert (settings["batch_size"], settings["epochs"]) == (32, 20)


@pytest.mark.parametrize("recipe", ["classic", "sigmoid"])
def test_a_published_recipe_has_adam_as_it_comes_and_nothing_of_this_pages_own(nb, recipe):
    match, settings = nb.make_match(recipe), nb.RECIPES[recipe]
    for optimizer in (match.optimizer_g, match.optimizer_d):
        assert optimizer.defaults["betas"] == (0.9, 0.999)
    assert settings["fresh_fakes"] is True
    assert not settings["hold_every"]
    assert not settings["average"]
    assert settings["steady_epochs"] >= settings["epochs"]  # its rates stay


def test_the_players_of_sigmoid_have_pixels_from_zero_to_one_inside(nb, batch):
    match, inside = nb.make_match("sigmoid"), []
    for layer in (*match.discriminator, *match.generator):
        if isinstance(layer, nn.Linear) and layer.in_features == 784:
            layer.register_forward_pre_hook(lambda _, args: inside.append(args[0]))
        if isinstance(layer, nn.Sigmoid):
            layer.register_forward_hook(lambda _, args, out: inside.append(out))
    match.discriminator(batch)
    image = match.generator(torch.randn(4, 128))
    torch.testing.assert_close(inside[0], (batch.flatten(1) + 1) / 2)
    torch.testing.assert_close(image.flatten(1), 2 * inside[1] - 1)


def test_dcgan_is_made_of_convolutions_as_the_paper_says(nb):
    match = nb.make_match("dcgan")
    up, down = layers(match.generator), layers(match.discriminator)
    assert (up.count("ConvTranspose2d"), up.count("BatchNorm2d"), up[-1]) == (2, 2, "Tanh")
    assert "ReLU" in up
    assert (down.count("Conv2d"), "LeakyReLU" in down) == (2, True)
    assert not {"ReLU", "BatchNorm2d"} & {*down}
    for layer in (*match.generator, *match.discriminator):
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            assert (layer.kernel_size, layer.stride) == ((4, 4), (2, 2))  # which divides evenly


# Labels


def test_labels_are_ten_more_pixels(nb, few):
    images = nb.with_labels(*few)
    assert (images.shape, images.dtype) == ((600, 794), torch.float32)
    assert torch.equal(images[:, :784], few[0].flatten(1))
    assert torch.equal(images[:, 784:], 2.0 * F.one_hot(few[1]) - 1)


@pytest.fixture
def writer(nb):
    """An artist that draws the face of its die in the first ten pixels, and the rest after it."""
    g = nn.Sequential(nb.Die(10), nn.Linear(30, 784, bias=False), nn.Unflatten(1, (1, 28, 28)))
    nn.init.zeros_(g[1].weight)
    g[1].weight.data[:10, -10:] = torch.eye(10) / 3
    g[1].weight.data[10:30, :20] = torch.eye(20)
    g.latent_size = 30
    return g


@pytest.mark.parametrize("labels", [[0, 10], [-1, 3], [1.0, 2.5]], ids=str)
def test_labels_that_are_no_digits_are_refused(nb, few, writer, labels):
    with pytest.raises(RuntimeError):
        nb.with_labels(few[0][:2], torch.tensor(labels))
    with pytest.raises(RuntimeError):
        nb.ask(writer, torch.tensor(labels))


def test_the_label_beside_a_fake_is_the_face_that_its_die_threw(nb):
    g = nb.make_match("conditional").generator
    latent = torch.randn(50, g.latent_size)
    fake = g(latent)
    assert fake.shape == (50, 794)
    assert torch.equal(fake[:, 784:], 2.0 * F.one_hot(latent[:, -10:].argmax(1), 10) - 1)


def test_asking_gives_another_drawing_of_each_label_and_repeats_with_a_seed(nb, writer):
    labels, random = torch.tensor([3, 3, 0, 9, 5]), torch.get_rng_state()
    drawn, again, other = (nb.ask(writer, labels, seed=seed) for seed in (1, 1, 2))
    assert drawn.shape == (5, 1, 28, 28)
    assert torch.equal(drawn.flatten(1)[:, :10], F.one_hot(labels, 10).float())
    assert not torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn, again)
    assert not torch.equal(drawn, other)
    assert torch.equal(torch.get_rng_state(), random)


def test_a_conditional_game_soon_draws_as_it_is_asked(nb, mnist, judge):
    images, labels = mnist[0][:4000], mnist[1][:4000]
    match = nb.make_match("conditional")
    list(nb.play(match, nb.make_loader(nb.with_labels(images, labels), labels), 5))
    asked = torch.arange(10).repeat(20)
    right = judge(nb.ask(match.artist, asked)).argmax(1) == asked
    assert right.float().mean() > 0.3  # chance is 0.1


# The ring


def test_the_game_on_the_ring_soon_finds_most_of_its_clouds(nb):
    torch.manual_seed(0)
    match = nb.Match(*nb.ring_players())
    for _ in range(500):
        nb.play_step(match, nb.ring_batch())
    fake = nb.draw(match.generator, torch.randn(2000, 16))
    near = (torch.cdist(fake, nb.CENTRES) < 0.2).float().mean(0)
    assert (near > 0.02).sum() >= 6
