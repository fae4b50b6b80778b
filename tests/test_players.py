"""The two networks, the losses, one step of the game, and what is drawn with a generator."""

import io
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from conftest import same_weights
from matplotlib.axes import Axes
from PIL import Image
from torch import nn
from torchmetrics.functional.classification import binary_auroc

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")  # matplotlib's


@pytest.fixture
def game(nb, tiny, cpu):
    return nb.Game(tiny, cpu)


@pytest.fixture
def batch(loader):
    return next(iter(loader))


@pytest.fixture
def artist(nb, tiny):
    """A conditional generator."""
    return nb.Game(replace(tiny, players="conditional"), "cpu").generator


def weights(network: nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in network.parameters()]


def changed(network: nn.Module, before: list[torch.Tensor]) -> list[bool]:
    return [not torch.equal(p, q) for p, q in zip(network.parameters(), before)]


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 33, 40)], ids=str)
def test_all_players_draw_images_score_them_and_learn(nb, tiny, shape):
    for players in nb.PLAYERS:
        game = nb.Game(replace(tiny, players=players, shape=shape), "cpu")
        before_g, before_d = weights(game.generator), weights(game.discriminator)
        low, labels = game.generator.low, torch.arange(10)
        fake = game.generator(100 * game.generator.latent(10), labels)
        assert fake.shape == (10, *shape)
        assert low <= fake.min() < fake.max() <= 1
        assert low == (0 if players == "first" else -1)
        assert game.discriminator(fake, labels).shape == (10,)
        real = torch.rand_like(fake) * (1 - low) + low
        assert torch.isfinite(nb.play_step(game, real, labels)).all()
        assert any(changed(game.generator, before_g)), players
        assert any(changed(game.discriminator, before_d)), players


@pytest.mark.parametrize(
    ("name", "sizes_g", "sizes_d", "rate"),
    [
        ("classic", [100, 256, 512, 1024, 784], [784, 1024, 512, 256, 1], 2e-4),
        ("sigmoid", [128, 256, 784], [784, 256, 1], 1e-3),
    ],
)
def test_a_baseline_is_as_it_was_published(nb, cpu, name, sizes_g, sizes_d, rate):
    game = nb.Game(nb.RECIPES[name], cpu)
    for player, sizes in ((game.generator, sizes_g), (game.discriminator, sizes_d)):
        linear = [m for m in player.modules() if isinstance(m, nn.Linear)]
        assert [(m.in_features, m.out_features) for m in linear] == [*pairwise(sizes)]
        assert not [m for m in player.modules() if "Norm" in type(m).__name__]
    for optimizer in (game.optimizer_g, game.optimizer_d):
        assert optimizer.defaults["lr"] == rate
        assert optimizer.defaults["betas"] == (0.9, 0.999)


def test_the_losses_are_binary_cross_entropies(nb):
    real, fake = 5 * torch.randn(2, 100)
    cross_entropy = F.binary_cross_entropy_with_logits
    ones, zeros = torch.ones(100), torch.zeros(100)
    expected = cross_entropy(real, ones) + cross_entropy(fake, zeros)
    assert torch.allclose(nb.discriminator_loss(real, fake), expected)
    assert torch.allclose(nb.generator_loss(fake), cross_entropy(fake, ones))
    assert torch.allclose(nb.saturating_loss(fake), -cross_entropy(fake, zeros))


@pytest.mark.parametrize(
    ("logit", "saturating", "other"), [(-20.0, 0, -1), (0.0, -0.5, -0.5), (20.0, -1, 0)]
)
def test_of_a_sure_discriminator_the_saturating_loss_learns_nothing(nb, logit, saturating, other):
    for loss, slope in ((nb.saturating_loss, saturating), (nb.generator_loss, other)):
        (found,) = torch.autograd.grad(loss(x := torch.tensor([logit], requires_grad=True)), x)
        assert found.item() == pytest.approx(slope, abs=1e-6)


@pytest.mark.parametrize(
    ("detach", "loss"),
    [(True, "generator_loss"), (True, "saturating_loss"), (False, "generator_loss")],
)
def test_a_step_gives_each_player_the_gradient_of_its_own_loss(nb, tiny, batch, detach, loss):
    """Of a forgotten detach, the generator has that of the discriminator's loss as well."""
    config = replace(tiny, players="ring", lr_g=0.0, lr_d=0.0)  # plain players that stand still
    game, loss = nb.Game(config, "cpu"), getattr(nb, loss)
    g, d = game.generator, game.discriminator
    torch.manual_seed(1)
    fake = g(g.latent(10))
    logits_real, logits_fake = d(batch[0]), d(fake)
    loss_d = nb.discriminator_loss(logits_real, logits_fake)
    loss_g = loss(logits_fake)
    gradients_d = torch.autograd.grad(loss_d, [*d.parameters()], retain_graph=True)
    gradients_g = torch.autograd.grad(loss_g + (0 if detach else loss_d), [*g.parameters()])

    torch.manual_seed(1)
    figures = nb.play_step(game, *batch, detach=detach, loss=loss)
    for player, gradients in ((g, gradients_g), (d, gradients_d)):
        for parameter, gradient in zip(player.parameters(), gradients):
            assert torch.allclose(parameter.grad, gradient, atol=1e-6)
            assert parameter.requires_grad
    scores = torch.cat([logits_real, logits_fake]).sigmoid().detach()
    auc = binary_auroc(scores, torch.tensor([1] * 10 + [0] * 10))
    expected = torch.stack([loss_d, loss_g, scores[:10].mean(), scores[10:].mean(), auc])
    assert torch.allclose(figures, expected, atol=1e-6)
    assert figures.shape == (len(nb.FIGURES),)
    assert not figures.requires_grad


@pytest.mark.parametrize(
    ("still", "moving", "figure"),
    [("generator", "discriminator", 0), ("discriminator", "generator", 1)],
)
def test_a_player_that_trains_alone_moves_alone_and_learns(nb, tiny, batch, still, moving, figure):
    game = nb.Game(replace(tiny, **{f"lr_{still[0]}": 0.0}), "cpu")
    before_still, before_moving = (weights(getattr(game, name)) for name in (still, moving))
    losses = [nb.play_step(game, *batch)[figure].item() for _ in range(40)]
    assert not any(changed(getattr(game, still), before_still))
    assert all(changed(getattr(game, moving), before_moving))
    assert losses[-1] < 0.9 * losses[0]


def test_a_step_reads_no_number_back_from_the_device(nb, game, batch, monkeypatch):
    reads = []
    for name in ("item", "tolist", "cpu", "numpy", "__float__", "__int__", "__bool__"):
        read = getattr(torch.Tensor, name)
        noted = lambda tensor, read=read: reads.append(read) or read(tensor)  # noqa: E731
        monkeypatch.setattr(torch.Tensor, name, noted)
    figures = nb.play_step(game, *batch)
    assert not reads
    figures.tolist()
    assert reads  # so one would have been seen


@pytest.mark.parametrize("players", ["mlp", "conv", "conditional"])
def test_spectral_normalisation_keeps_every_layer_from_stretching(nb, tiny, loader, players):
    game = nb.Game(replace(tiny, players=players), "cpu")
    for _, batch in zip(range(20), loader):
        nb.play_step(game, *batch)
    for layer in game.discriminator.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            largest = torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item()
            assert largest == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("random", [None, torch.Generator()])
def test_a_die_shows_one_face_beside_normal_numbers(nb, random):
    generator = nb.DieGenerator(latent_dim=50)
    normal, die = generator.latent(4000, random).split([30, 20], dim=1)
    assert torch.equal(die.sort(dim=1).values, torch.tensor([0.0] * 19 + [3.0]).expand(4000, 20))
    assert (die.sum(0) / 3).min() > 4000 / 20 / 2  # each face comes up
    assert normal.mean().item() == pytest.approx(0, abs=0.02)
    assert normal.std().item() == pytest.approx(1, abs=0.02)
    generator.faces = 0
    assert generator.latent(100, random).eq(0).sum() == 0


@pytest.mark.parametrize("averaging", [0.4, 0.0])
def test_the_average_is_a_moving_average_with_a_short_memory_at_first(
    nb, tiny, loader, cpu, averaging
):
    game = nb.Game(replace(tiny, averaging=averaging), cpu)
    expected = {name: value.clone() for name, value in game.average.state_dict().items()}
    for step, batch in zip(range(1, 9), loader):
        nb.play_step(game, *batch)
        keep = min(averaging, (1 + step) / (10 + step))  # 2/11, 3/12, ... until it reaches 0.4
        for name, now in game.generator.state_dict().items():
            mean = keep * expected[name] + (1 - keep) * now
            expected[name] = mean if now.is_floating_point() else now
    assert any("running_mean" in name for name in expected)
    for name, value in game.average.state_dict().items():
        assert torch.allclose(value, expected[name], atol=1e-6), name
    assert same_weights(game.average, game.generator) == (averaging == 0)
    assert not game.average.training


def test_a_conditional_discriminator_sees_the_label(nb):
    discriminator = nb.ConditionalDiscriminator((1, 28, 28), (32,)).eval()
    images, three = torch.rand(4, 1, 28, 28), torch.full((4,), 3)
    assert not torch.equal(discriminator(images, three), discriminator(images, three + 4))


def test_a_mixture_of_one_digit_draws_that_digit_and_others_lie_between(nb, artist):
    latent, pure = artist.latent(4), torch.eye(10)
    three, nine = (nb.draw(artist, latent, torch.full((4,), digit)) for digit in (3, 9))
    assert torch.allclose(nb.draw(artist, latent, pure[3].expand(4, 10)), three, atol=1e-6)
    between = nb.draw(artist, latent, pure[3].lerp(pure[9], 0.5).expand(4, 10))
    assert min((between - end).abs().max() for end in (three, nine)) > 1e-3


@pytest.mark.parametrize("training", [True, False])
def test_drawing_leaves_the_generator_as_it_was(nb, training):
    generator = nb.Generator().train(training)
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    assert not nb.draw(generator, generator.latent(5)).requires_grad
    assert generator.training == training
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())


@pytest.mark.parametrize("players", ["mlp", "first", "conditional"])
def test_samples_are_between_zero_and_one_and_repeat_with_a_seed(nb, tiny, players):
    generator = nb.Game(replace(tiny, players=players), "cpu").generator
    images = nb.sample(generator, 5, seed=3)
    assert (images.shape, images.dtype) == ((5, 1, 28, 28), torch.float32)
    assert 0 <= images.min() < 0.5 < images.max() <= 1
    assert torch.equal(images, nb.sample(generator, 5, seed=3))
    assert not torch.equal(images, nb.sample(generator, 5, seed=4))
    assert not torch.equal(nb.sample(generator, 5), nb.sample(generator, 5))


@pytest.mark.parametrize(
    ("labels", "same_as"), [(None, [*range(10), 0, 1]), (3, [3] * 12), (torch.tensor(3), [3] * 12)]
)
def test_a_conditional_generator_draws_what_it_is_asked_for(nb, artist, labels, same_as):
    asked = nb.sample(artist, 12, labels=labels, seed=0)
    assert torch.equal(asked, nb.sample(artist, 12, labels=same_as, seed=0))
    assert not torch.equal(asked, nb.sample(artist, 12, labels=8, seed=0))


@pytest.mark.parametrize(
    ("labels", "reason"),
    [(labels, "whole numbers from 0 to 9") for labels in ([0.9, 3.7], 10, -1, [0, 10])]
    + [([1, 2, 3], "size"), ("3", "invalid data type")],
    ids=str,
)
def test_labels_that_cannot_be_drawn_are_refused(nb, artist, labels, reason):
    with pytest.raises((ValueError, RuntimeError, TypeError), match=reason) as caught:
        nb.sample(artist, 2, labels=labels)
    assert "\n" not in str(caught.value)


def test_an_unconditional_generator_refuses_labels(nb):
    with pytest.raises(ValueError, match="for a conditional generator"):
        nb.sample(nb.DieGenerator(), 2, labels=[1, 2])


def test_a_walk_begins_and_ends_at_its_ends_and_keeps_its_distance(nb):
    ends = 5 * F.normalize(torch.randn(2, 100, generator=torch.Generator().manual_seed(0)))
    walk = nb.slerp(*ends, 9)
    assert walk.shape == (9, 100)
    assert torch.allclose(walk[[0, -1]], ends, atol=1e-5)
    assert torch.allclose(walk.norm(dim=1), torch.tensor(5.0), atol=1e-4)
    strides = walk.diff(dim=0).norm(dim=1)
    assert torch.allclose(strides, strides.mean(), atol=1e-4)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("dim", [1, 2])
def test_a_walk_to_the_same_or_the_opposite_point_is_finite(nb, dim, sign):
    start = torch.tensor([0.6, 0.8])[:dim]
    walk = nb.slerp(start, sign * start, 5)
    assert torch.allclose(walk[[0, -1]], torch.stack([start, sign * start]), atol=1e-3)
    assert walk.norm(dim=1).max() <= 1.001


def test_a_film_shows_every_picture_for_the_time_that_was_asked_for(nb):
    frames = [Image.new("L", (8, 8), color=shade) for shade in (0, 80, 160)]
    film = Image.open(io.BytesIO(nb.make_gif(frames, 200)))
    seen = []
    for k in range(film.n_frames):
        film.seek(k)
        seen.append((film.convert("L").getpixel((4, 4)), film.info["duration"]))
    assert seen == [(0, 200), (80, 200), (160, 200)]


def test_points_of_the_ring_lie_on_the_clouds_that_they_are_said_to_be_from(nb):
    points, clouds = nb.ring_batch(4000)
    distance, nearest = torch.cdist(points, nb.CENTRES).min(1)
    assert torch.equal(nearest, clouds)
    assert distance.max() < 0.15
    assert clouds.bincount(minlength=8).min() > 400


@pytest.fixture
def ring(nb):
    return nb.Game(nb.RING, "cpu")


def test_the_ring_has_each_score_at_its_place_and_arrows_to_where_it_rises(nb, ring, monkeypatch):
    drawn = {}
    for name in ("quiver", "pcolormesh"):
        plot = getattr(Axes, name)
        noted = lambda *a, n=name, p=plot, **k: drawn.update({n: a[1:]}) or p(*a, **k)  # noqa: E731
        monkeypatch.setattr(Axes, name, noted)
    assert min(nb.draw_ring(ring).size) > 200
    x, y, scores = drawn["pcolormesh"]
    corner = torch.tensor([[x[-1], y[0]]])  # right, at the bottom
    assert scores[0, -1].item() == pytest.approx(ring.discriminator(corner).sigmoid().item())
    places, arrows = (torch.stack([*pair], dim=1) for pair in zip(*[iter(drawn["quiver"])] * 2))
    assert torch.allclose(arrows.norm(dim=1), torch.ones(500), atol=1e-3)
    ahead, behind = (ring.discriminator(places + step * arrows) for step in (0.01, -0.01))
    assert (ahead > behind).float().mean() > 0.98  # all but where it bends


def test_a_button_moves_the_player_that_it_names_and_the_last_begins_again(nb, ring):
    start = nb.Game(nb.RING, "cpu")
    moved = []
    for button in nb.ring_controls(ring).children[0].children[1:]:
        button.click()
        players = (ring.generator, start.generator), (ring.discriminator, start.discriminator)
        moved.append((button.description, *(not same_weights(*pair) for pair in players)))
    assert moved == [("step D", False, True), ("step G", True, True), ("reset", False, False)]


def test_the_ring_plays_as_many_turns_of_d_for_each_of_g_as_are_asked_for(nb, ring):
    row, *_, turns, picture = nb.ring_controls(ring).children
    turns.value, before, seen = 3, weights(ring.generator), picture.value
    for tick in (1, 2, 3):
        assert not any(changed(ring.generator, before))
        row.children[0].value = tick
    assert any(changed(ring.generator, before))
    assert picture.value != seen
