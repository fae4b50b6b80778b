"""The two networks, the losses, one step of the game, and what is drawn with a generator."""

import types
from dataclasses import replace
from itertools import islice, pairwise

import matplotlib.pyplot as plt
import pytest
import torch
import torch.nn.functional as F
from conftest import same_weights
from matplotlib.axes import Axes
from torch import nn
from torchmetrics.functional.classification import binary_auroc

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")  # matplotlib's


@pytest.fixture
def match(nb, tiny):
    return nb.make_match(tiny)


@pytest.fixture
def plain(nb):
    """A match of small players that have no normalisation, and stand still."""
    players = nb.Generator(widths=(32,), batch_norm=False), nb.Discriminator(widths=(32,))
    return nb.Match(*players, lr_g=0.0, lr_d=0.0)


@pytest.fixture
def batch(loader):
    return next(iter(loader))


@pytest.fixture
def artist(nb, tiny):
    """A conditional generator."""
    return nb.make_match(replace(tiny, conditional=True)).generator


def weights(network: nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in network.parameters()]


def changed(network: nn.Module, before: list[torch.Tensor]) -> list[bool]:
    return [not torch.equal(p, q) for p, q in zip(network.parameters(), before)]


def all_modules(network: nn.Module) -> list[nn.Module]:
    """Return the modules of a network, one that stands at two places twice."""
    return [module for _, module in network.named_modules(remove_duplicate=False)]


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 33, 40)], ids=str)
@pytest.mark.parametrize("kind", ["mlp", "conv", "classic", "sigmoid", "conditional"])
def test_all_players_draw_images_score_them_and_learn(nb, tiny, kind, shape):
    conditional = kind == "conditional"
    players = "mlp" if conditional else kind
    assert players in nb.PLAYERS
    config = replace(tiny, players=players, conditional=conditional, shape=shape)
    match = nb.make_match(config)
    before_g, before_d = weights(match.generator), weights(match.discriminator)
    labels = torch.arange(10)
    fake = match.generator(100 * match.generator.latent(10))
    assert fake.shape == (10, *shape)
    assert -1 <= fake.min() < fake.max() <= 1
    assert match.discriminator(nb.seen(match, fake, labels)).shape == (10,)
    real = 2 * torch.rand_like(fake) - 1
    assert torch.isfinite(torch.stack(nb.play_step(match, real, labels))).all()
    assert any(changed(match.generator, before_g))
    assert any(changed(match.discriminator, before_d))


@pytest.mark.parametrize("name", ["mlp", "classic", "sigmoid", "dcgan", "conditional"])
def test_no_module_stands_at_two_places(nb, name):
    first, second = (nb.make_match(nb.RECIPES[name]) for _ in range(2))
    players = [first.generator, first.discriminator, second.generator, second.discriminator]
    players += [match.average for match in (first, second) if match.average]
    modules = [module for player in players for module in all_modules(player)]
    assert len({id(module) for module in modules}) == len(modules)


@pytest.mark.parametrize("name", ["mlp", "classic", "dcgan"])
def test_eval_of_one_player_changes_no_other(nb, name):
    first, second = (nb.make_match(nb.RECIPES[name]) for _ in range(2))
    first.generator.eval()
    others = first.discriminator, second.generator, second.discriminator
    assert all(module.training for player in others for module in player.modules())
    first.discriminator.eval()
    assert all(module.training for player in others[1:] for module in player.modules())


@pytest.mark.parametrize(
    ("name", "sizes_g", "sizes_d", "rate"),
    [
        ("classic", [100, 256, 512, 1024, 784], [784, 1024, 512, 256, 1], 2e-4),
        ("sigmoid", [100, 256, 784], [784, 256, 1], 1e-3),
    ],
)
def test_a_baseline_is_as_it_was_published(nb, name, sizes_g, sizes_d, rate):
    match = nb.make_match(nb.RECIPES[name])
    for player, sizes in ((match.generator, sizes_g), (match.discriminator, sizes_d)):
        linear = [m for m in player.modules() if isinstance(m, nn.Linear)]
        assert [(m.in_features, m.out_features) for m in linear] == [*pairwise(sizes)]
        assert not [m for m in player.modules() if "Norm" in type(m).__name__]
    for optimizer in (match.optimizer_g, match.optimizer_d):
        assert optimizer.defaults["lr"] == rate
        assert tuple(optimizer.defaults["betas"]) == (0.9, 0.999)
    assert not match.average


def test_the_first_players_see_images_from_zero_to_one(nb, batch):
    discriminator = nb.make_match(nb.RECIPES["sigmoid"]).discriminator
    expected = discriminator.layers((batch[0] + 1) / 2)
    assert torch.allclose(discriminator(batch[0]), expected)


def test_the_losses_are_binary_cross_entropies(nb):
    real, fake = 5 * torch.randn(2, 100)
    cross_entropy = F.binary_cross_entropy_with_logits
    ones, zeros = torch.ones(100), torch.zeros(100)
    expected = cross_entropy(real, ones) + cross_entropy(fake, zeros)
    assert torch.allclose(nb.discriminator_loss(real, fake), expected)
    assert torch.allclose(nb.generator_loss(fake), cross_entropy(fake, ones))


@pytest.mark.parametrize(("logit", "slope"), [(-20.0, -1), (0.0, -0.5), (20.0, 0)])
def test_of_a_sure_discriminator_the_generator_still_learns(nb, logit, slope):
    x = torch.tensor([logit], requires_grad=True)
    (found,) = torch.autograd.grad(nb.generator_loss(x), x)
    assert found.item() == pytest.approx(slope, abs=1e-6)


@pytest.mark.parametrize(("step", "detached"), [("play_step", 1), ("step_without_detach", 0)])
def test_a_step_gives_each_player_the_gradient_of_its_own_loss(nb, plain, batch, step, detached):
    """Of a forgotten detach, the generator has that of the discriminator's loss as well."""
    g, d = plain.generator, plain.discriminator
    torch.manual_seed(1)
    fake = g(g.latent(10))
    logits_real, logits_fake = d(batch[0]), d(fake)
    loss_d = nb.discriminator_loss(logits_real, logits_fake)
    loss_g = nb.generator_loss(logits_fake)
    lost = loss_g if detached else loss_g + loss_d
    gradients_g = torch.autograd.grad(lost, [*g.parameters()], retain_graph=True)
    gradients_d = torch.autograd.grad(loss_d, [*d.parameters()])

    torch.manual_seed(1)
    losses = getattr(nb, step)(plain, *batch)
    for parameter, gradient in zip(g.parameters(), gradients_g):
        assert torch.allclose(parameter.grad, gradient, atol=1e-6)
    for parameter, gradient in zip(d.parameters(), gradients_d):
        assert not detached or torch.allclose(parameter.grad, gradient, atol=1e-6)
    assert torch.allclose(torch.stack(losses), torch.stack([loss_d, loss_g]), atol=1e-6)
    assert all(loss.ndim == 0 and not loss.requires_grad for loss in losses)
    assert plain.step == 1


def test_the_turn_of_g_moves_after_that_of_d_and_by_the_same_fakes(nb, tiny, batch):
    first, second = (nb.Match(nb.Generator(), nb.Discriminator()) for _ in range(2))
    for name in ("generator", "discriminator"):
        getattr(second, name).load_state_dict(getattr(first, name).state_dict())
    torch.manual_seed(1)
    nb.play_step(first, batch[0])
    torch.manual_seed(1)
    fake = second.generator(second.generator.latent(10))
    nb.turn_of_d(second, batch[0], fake)
    nb.turn_of_g(second, fake)
    assert same_weights(first.generator, second.generator)
    assert same_weights(first.discriminator, second.discriminator)


@pytest.mark.parametrize(
    ("still", "moving", "loss"),
    [("generator", "discriminator", 0), ("discriminator", "generator", 1)],
)
def test_a_player_that_trains_alone_moves_alone_and_learns(nb, tiny, batch, still, moving, loss):
    match = nb.make_match(replace(tiny, **{f"lr_{still[0]}": 0.0, f"lr_{moving[0]}": 2e-4}))
    before_still, before_moving = (weights(getattr(match, name)) for name in (still, moving))
    losses = [nb.play_step(match, *batch)[loss].item() for _ in range(40)]
    assert not any(changed(getattr(match, still), before_still))
    assert all(changed(getattr(match, moving), before_moving))
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("betas", [(0, 0.999), [0.5, 0.9], (0.0, 0)])
def test_betas_may_be_whole_numbers_and_lists(nb, batch, betas):
    match = nb.Match(nb.Generator(), nb.Discriminator(), betas=betas)
    assert torch.isfinite(torch.stack(nb.play_step(match, batch[0]))).all()
    assert [*match.optimizer_g.defaults["betas"]] == [*betas]


@pytest.mark.parametrize("conditional", [False, True])
def test_a_step_reads_no_number_back_from_the_device(nb, tiny, batch, monkeypatch, conditional):
    """Neither the two turns nor the average; a GPU would have to be waited for."""
    adam = torch.optim.Adam  # its fused form knows no such device
    monkeypatch.setattr(torch.optim, "Adam", lambda *args, fused: adam(*args))
    match = nb.make_match(replace(tiny, conditional=conditional), "meta")  # has no numbers
    for _ in range(2):
        losses = nb.play_step(match, *(part.to("meta") for part in batch))
    assert match.average
    with pytest.raises((RuntimeError, NotImplementedError)):
        losses[0].item()


@pytest.mark.parametrize("choice", [{}, {"players": "conv"}, {"conditional": True}], ids=str)
def test_spectral_normalisation_keeps_every_layer_from_stretching(nb, tiny, loader, choice):
    match = nb.make_match(replace(tiny, **choice))
    for batch in islice(loader, 20):
        nb.play_step(match, *batch)
    for _ in range(20):  # the estimate runs a little behind
        match.discriminator(nb.seen(match, *batch))
    layers = [m for m in match.discriminator.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    assert len(layers) >= 3
    for layer in layers:
        largest = torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item()
        assert largest == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("random", [None, torch.Generator()])
def test_a_die_shows_one_face_beside_normal_numbers(nb, random):
    normal, die = nb.DieGenerator(20, latent_dim=50).latent(4000, random).split([30, 20], dim=1)
    assert torch.equal(die.sort(dim=1).values, torch.tensor([0.0] * 19 + [3.0]).expand(4000, 20))
    assert (die.sum(0) / 3).min() > 4000 / 20 / 2  # each face comes up
    assert normal.mean().item() == pytest.approx(0, abs=0.02)
    assert normal.std().item() == pytest.approx(1, abs=0.02)


def test_without_faces_all_of_the_latent_is_normal(nb):
    assert nb.DieGenerator(0).latent(100).eq(0).sum() == 0


def test_the_average_is_a_moving_average_with_a_short_memory_at_first(nb, tiny, loader):
    match, states = nb.make_match(replace(tiny, averaging=0.4)), []
    for batch in islice(loader, 9):
        nb.play_step(match, *batch)
        state = match.generator.state_dict()
        states.append({k: v.clone() for k, v in state.items() if v.is_floating_point()})
    expected = states[0]
    for step, now in enumerate(states[1:], 1):
        keep = min(0.4, (1 + step) / (10 + step))  # 2/11, 3/12, ... until it reaches 0.4
        expected = {name: keep * expected[name] + (1 - keep) * now[name] for name in now}
    found = nb.artist(match)
    assert any("running_mean" in name for name in expected)
    for name, value in expected.items():
        assert torch.allclose(found.state_dict()[name], value, atol=1e-6), name
    assert not same_weights(found, match.generator)
    assert not found.training


def test_without_an_average_samples_are_the_generators_own(nb, tiny):
    match = nb.make_match(replace(tiny, averaging=0.0))
    assert nb.artist(match) is match.generator


def test_the_average_counts_each_step_once(nb, match, loader):
    for batch in islice(loader, 3):
        nb.play_step(match, *batch)
    assert match.average.n_averaged == match.step == 3


def test_a_conditional_discriminator_sees_the_label(nb, tiny):
    match = nb.make_match(replace(tiny, conditional=True))
    match.discriminator.eval()
    images, three = torch.rand(4, 1, 28, 28), torch.full((4,), 3)
    logits = [match.discriminator(nb.seen(match, images, labels)) for labels in (three, three + 4)]
    assert not torch.equal(*logits)


def test_d_is_shown_nothing_but_images_where_labels_are_not_asked_for(nb, match, batch):
    assert nb.seen(match, *batch) is batch[0]


def test_a_conditional_game_draws_fakes_of_the_labels_of_its_batch(nb, tiny, batch, monkeypatch):
    match = nb.make_match(replace(tiny, conditional=True))
    shown, latents = [], []
    match.generator.register_forward_pre_hook(lambda _, args: latents.extend(args))
    turn = nb.turn_of_d
    noted = lambda match, *sets: shown.extend(sets) or turn(match, *sets)  # noqa: E731
    monkeypatch.setattr(nb, "turn_of_d", noted)
    nb.play_step(match, *batch)
    ends = [some[:, -10:].detach() for some in shown]
    assert torch.equal(ends[0], F.one_hot(batch[1], 10).float())
    assert torch.equal(*ends)
    assert torch.equal(latents[0][:, -10:], 3 * ends[0])


class Fixed(torch.nn.Module):
    """A generator of fakes whose logits are known."""

    conditional = False

    def __init__(self, logits: list[float]) -> None:
        super().__init__()
        self.logits = torch.nn.Parameter(torch.tensor(logits)[:, None])

    def latent(self, n: int, random=None, labels=None) -> torch.Tensor:
        return self.logits.detach()

    def forward(self, latent: torch.Tensor) -> torch.Tensor:
        return latent


def fixed_match(logits: list[float]) -> types.SimpleNamespace:
    """Return a match whose images are the logits that D gives them."""
    discriminator = torch.nn.Flatten(0)
    return types.SimpleNamespace(generator=Fixed(logits), discriminator=discriminator, step=0)


def test_looking_gives_the_mean_scores_and_the_auc_of_another_library(nb):
    logits_real, logits_fake = torch.randn(2, 10)
    found = nb.look(fixed_match(logits_fake.tolist()), logits_real[:, None])
    assert found["score/real"] == pytest.approx(logits_real.sigmoid().mean().item())
    assert found["score/fake"] == pytest.approx(logits_fake.sigmoid().mean().item())
    scores = torch.cat([logits_real, logits_fake]).sigmoid()
    auc = binary_auroc(scores, torch.tensor([1] * 10 + [0] * 10)).item()
    assert found["score/auc"] == pytest.approx(auc, abs=1e-6)
    assert found["slope"] == pytest.approx(1)


@pytest.mark.parametrize(("fake", "auc"), [([1.0] * 4, 0.5), ([1.0, 1.0, 0.0, 0.0], 0.75)])
def test_a_tie_counts_one_half_in_the_auc(nb, fake, auc):
    assert nb.look(fixed_match(fake), torch.ones(4, 1))["score/auc"] == pytest.approx(auc)


@pytest.mark.parametrize("choice", [{}, {"players": "classic"}, {"conditional": True}], ids=str)
def test_a_game_goes_on_as_if_nobody_had_looked(nb, tiny, batch, choice):
    ends = []
    for looks in (0, 3):
        torch.manual_seed(0)
        match = nb.make_match(replace(tiny, **choice))
        for _ in range(2):
            nb.play_step(match, *batch)
            for _ in range(looks):
                nb.look(match, *batch)
        ends.append(match)
    for player in ("generator", "discriminator"):
        assert same_weights(*(getattr(match, player) for match in ends))
    assert all(weight.grad is None for weight in nb.artist(ends[1]).parameters())


@pytest.mark.parametrize("training", [True, False])
def test_drawing_leaves_the_generator_as_it_was(nb, training):
    generator = nb.Generator().train(training)
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    assert not nb.draw(generator, generator.latent(5)).requires_grad
    assert generator.training == training
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())


@pytest.mark.parametrize("choice", [{}, {"players": "sigmoid"}, {"conditional": True}], ids=str)
def test_samples_are_between_zero_and_one_and_repeat_with_a_seed(nb, tiny, choice):
    generator = nb.make_match(replace(tiny, **choice)).generator
    images = nb.sample(generator, 5, seed=3)
    assert (images.shape, images.dtype) == ((5, 1, 28, 28), torch.float32)
    assert 0 <= images.min() < 0.5 < images.max() <= 1
    assert torch.equal(images, nb.sample(generator, 5, seed=3))
    assert not torch.equal(images, nb.sample(generator, 5, seed=4))
    assert not torch.equal(nb.sample(generator, 5), nb.sample(generator, 5))


def test_samples_without_a_seed_follow_that_of_the_reader(nb, match):
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(nb.sample(match.generator, 3))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_samples_with_a_seed_leave_random_numbers_alone(nb, match):
    before = torch.get_rng_state()
    nb.sample(match.generator, 3, seed=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_loading_a_generator_leaves_random_numbers_alone(nb, run):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    nb.load_generator(run.directory)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("labels", "same_as"), [(None, [*range(10), 0, 1]), (3, [3] * 12), (torch.tensor(3), [3] * 12)]
)
def test_a_conditional_generator_draws_what_it_is_asked_for(nb, artist, labels, same_as):
    asked = nb.sample(artist, 12, labels=labels, seed=0)
    assert torch.equal(asked, nb.sample(artist, 12, labels=same_as, seed=0))
    assert not torch.equal(asked, nb.sample(artist, 12, labels=8, seed=0))


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ([0.9, 3.7], "index tensor"),
        (10, "smaller than num_classes"),
        (-1, "non-negative"),
        ([0, 10], "smaller than num_classes"),
        ([1, 2, 3], "size"),
        ("3", "invalid data type"),
    ],
    ids=str,
)
def test_labels_that_cannot_be_drawn_are_refused(nb, artist, labels, reason):
    with pytest.raises((ValueError, RuntimeError, TypeError), match=reason) as caught:
        nb.sample(artist, 2, labels=labels)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["Generator", "DieGenerator"])
def test_an_unconditional_generator_refuses_labels(nb, name):
    with pytest.raises(ValueError, match="Only a conditional generator"):
        nb.sample(getattr(nb, name)(), 2, labels=[1, 2])


def test_a_walk_begins_and_ends_at_its_ends_and_keeps_its_distance(nb):
    ends = 5 * F.normalize(torch.randn(2, 100, generator=torch.Generator().manual_seed(0)))
    walk = nb.walk(*ends, 9, faces=0)
    assert walk.shape == (9, 100)
    assert torch.allclose(walk[[0, -1]], ends, atol=1e-5)
    assert torch.allclose(walk.norm(dim=1), torch.tensor(5.0), atol=1e-4)
    strides = walk.diff(dim=0).norm(dim=1)
    assert torch.allclose(strides, strides.mean(), atol=1e-4)


def test_a_walk_holds_the_face_of_its_start(nb):
    torch.manual_seed(0)
    start, end = nb.DieGenerator(20).latent(2)
    walk = nb.walk(start, end, 9)
    assert not torch.equal(start[-20:], end[-20:])
    assert torch.equal(walk[:, -20:], start[-20:].expand(9, 20))
    assert torch.allclose(walk[-1, :-20], end[:-20], atol=1e-5)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("dim", [1, 2])
def test_a_walk_to_the_same_or_the_opposite_point_is_finite(nb, dim, sign):
    start = torch.tensor([0.6, 0.8])[:dim]
    walk = nb.walk(start, sign * start, 5, faces=0)
    assert torch.allclose(walk[[0, -1]], torch.stack([start, sign * start]), atol=1e-3)
    assert walk.norm(dim=1).max() <= 1.001


def test_points_of_the_ring_lie_at_all_eight_clouds(nb):
    distance, nearest = torch.cdist(nb.ring_batch(4000), nb.CENTRES).min(1)
    assert distance.max() < 0.15
    assert nearest.bincount(minlength=8).min() > 400


@pytest.fixture
def ring(nb):
    torch.manual_seed(0)
    return nb.ring_match()


def test_the_ring_has_each_score_at_its_place_and_arrows_to_where_it_rises(nb, ring, monkeypatch):
    drawn = {}
    for name in ("quiver", "pcolormesh"):
        plot = getattr(Axes, name)
        noted = lambda *a, n=name, p=plot, **k: drawn.update({n: a[1:]}) or p(*a, **k)  # noqa: E731
        monkeypatch.setattr(Axes, name, noted)
    figure, axis = plt.subplots()
    nb.draw_ring(ring, axis, "a title")
    assert axis.get_title() == "a title"
    plt.close(figure)
    x, y, scores = drawn["pcolormesh"]
    corner = torch.tensor([[x[-1], y[0]]])  # right, at the bottom
    assert scores[0, -1].item() == pytest.approx(ring.discriminator(corner).sigmoid().item())
    places, arrows = (torch.stack([*pair], dim=1) for pair in zip(*[iter(drawn["quiver"])] * 2))
    assert len(places) == 150
    ways = 0.001 * F.normalize(arrows)
    ahead, behind = (ring.discriminator(places + way) for way in (ways, -ways))
    assert (ahead > behind).float().mean() > 0.98  # all but where it bends


def test_the_friction_of_the_ring_pulls_at_ds_slope(nb, ring):
    slopes = []
    for weight in (0.0, 10.0):
        torch.manual_seed(0)
        match = nb.ring_match()
        for _ in range(40):
            fake = match.generator(match.generator.latent(256))
            nb.calm_turn_of_d(match, nb.ring_batch(), fake, weight)
        slopes.append(nb.look(match, nb.ring_batch())["slope"])
    assert slopes[1] < 0.5 * slopes[0]


def test_without_friction_a_calm_turn_is_the_turn_of_d(nb):
    players = []
    for turn in (nb.turn_of_d, lambda *args: nb.calm_turn_of_d(*args, 0.0)):
        torch.manual_seed(0)
        match = nb.ring_match()
        turn(match, nb.ring_batch(), match.generator(match.generator.latent(256)))
        players.append(match.discriminator.state_dict())
    torch.testing.assert_close(*players)


@pytest.fixture
def hands(nb, cells):
    """The ring to play by hand, and a list of the turns that it plays, as (name, lr_d, penalty)."""
    turns, module = [], types.ModuleType("hands")
    vars(module).update(vars(nb))
    g, d = nb.turn_of_g, nb.calm_turn_of_d
    rate = lambda match: match.optimizer_d.param_groups[0]["lr"]  # noqa: E731
    module.turn_of_g = lambda m, *a: turns.append(("G", rate(m), m)) or g(m, *a)
    module.calm_turn_of_d = lambda m, *a: turns.append(("D", rate(m), m, a[-1])) or d(m, *a)
    (source,) = [cell["source"] for cell in cells if cell["id"] == "ring-hands"]
    exec(source, vars(module))
    row, lr_d, weight, picture = module.ring_controls().children
    return turns, row.children, lr_d, weight, picture


def test_a_button_plays_the_turn_that_it_names(hands):
    turns, (_, step_d, step_g, _), *_ = hands
    assert not turns
    step_d.click()
    step_g.click()
    assert [turn[0] for turn in turns] == ["D", "G"]
    assert turns[0][2] is turns[1][2]


def test_reset_begins_a_new_match(hands):
    turns, (_, step_d, _, reset), *_ = hands
    step_d.click()
    reset.click()
    step_d.click()
    assert turns[0][2] is not turns[1][2]


def test_the_ring_plays_both_turns_at_each_tick_and_shows_them(hands):
    turns, (play, *_), _, _, picture = hands
    seen = bytes(picture.value)
    play.value = 1
    assert [turn[0] for turn in turns] == ["D", "G"]
    assert bytes(picture.value).startswith(b"\x89PNG")
    assert picture.value != seen


def test_the_sliders_set_ds_rate_and_its_friction(hands):
    turns, (_, step_d, *_), lr_d, weight, _ = hands
    lr_d.value, weight.value = 1e-4, 0.3
    step_d.click()
    assert turns[0][1] == pytest.approx(1e-4)
    assert turns[0][3] == pytest.approx(0.3)


def clouds_found(nb, lr_d: float, weight: float, seed: int) -> int:
    """Return how many of the ring's clouds have fakes on them, counted as section 11 does."""
    torch.manual_seed(seed)
    match = nb.ring_match(lr_d)
    for _ in range(1000):
        fake = match.generator(match.generator.latent(256))
        nb.calm_turn_of_d(match, nb.ring_batch(), fake, weight)
        nb.turn_of_g(match, fake)
    near = torch.cdist(match.generator(match.generator.latent(4000)), nb.CENTRES) < 0.1
    return int((near.float().mean(0) >= 0.02).sum())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_on_the_ring_a_penalty_finds_the_clouds_that_a_slow_discriminator_leaves(nb, seed):
    assert clouds_found(nb, 1e-3, 0.1, seed) >= 7
    assert clouds_found(nb, 3e-5, 0.0, seed) <= 2
