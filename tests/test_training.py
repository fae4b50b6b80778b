"""`train` writes a whole run directory, repeats itself, stops in good order, and resumes."""

import ast
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import run_child, same_run, same_weights
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

LOGGED = [50, 60, 110, 120]  # steps of two epochs of sixty: every fiftieth, and the last


def read_events(directory) -> EventAccumulator:
    return EventAccumulator(str(directory), size_guidance={"images": 0}).Reload()


def steps(events: list) -> list[int]:
    return [event.step for event in events]


class Accident:
    """A loader to whose batches from the n-th on something happens."""

    def __init__(self, loader, n: int, happen) -> None:
        self.loader, self.dataset, self.happen = loader, loader.dataset, happen
        self.left = n  # `train` looks at one batch before it begins

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self):
        for real, labels in self.loader:
            self.left -= 1
            yield self.happen(real) if self.left < 0 else real, labels


def stop(*_):
    """Press Jupyter's stop button."""
    raise KeyboardInterrupt


def test_a_run_directory_holds_all_that_was_promised(run):
    found = {str(p.relative_to(run.directory)) for p in run.directory.rglob("*") if p.is_file()}
    (events,) = [name for name in found if name.startswith("events.out.tfevents.")]
    samples = {f"samples/epoch_000{epoch}.png" for epoch in range(3)}
    files = {"config.json", "checkpoint.pt", "generator.pt", "progress.gif"}
    assert found == {events} | samples | files
    assert len({(run.directory / name).read_bytes() for name in samples}) == 3
    assert Image.open(run.directory / "progress.gif").n_frames == 3
    facts = json.loads((run.directory / "config.json").read_text())
    assert (facts["epoch"], facts["step"], facts["torch"]) == (2, 120, torch.__version__)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("loss/discriminator", LOGGED),
        ("loss/generator", LOGGED),
        ("score/real", LOGGED),
        ("score/fake", LOGGED),
        ("score/auc", LOGGED),
        ("quality/frechet_distance", [60, 120]),
        ("speed/images_per_second", [60, 120]),
    ],
)
def test_figures_are_logged_and_kept_in_the_history(run, name, expected):
    events = read_events(run.directory).Scalars(name)
    assert steps(events) == expected
    kept = [(row["step"], row[name]) for row in run.history if name in row]
    assert kept == [(event.step, pytest.approx(event.value, rel=1e-6)) for event in events]


def test_real_and_fake_images_are_logged_and_the_fakes_change(run):
    events = read_events(run.directory)
    real, fakes = (events.Images(f"images/{kind}") for kind in ("real", "fake"))
    assert (steps(real), steps(fakes)) == ([0], [0, 60, 120])
    grids = {event.encoded_image_string for event in (*real, *fakes)}
    assert len(grids) == 4
    for grid in grids:
        low, high = Image.open(io.BytesIO(grid)).convert("L").getextrema()
        assert high - low > 20


def test_the_rates_fall_after_the_steady_epochs(run, tiny):
    for optimizer, rate in ((run.game.optimizer_g, tiny.lr_g), (run.game.optimizer_d, tiny.lr_d)):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.6 * rate)


def test_another_process_gives_the_same_weights_measured_or_not(run, runs, tiny):
    child = run_child("nb.train(config, loader, 'cpu')", runs, tiny)
    assert child.returncode == 0, child.stderr
    (directory,) = runs.iterdir()
    assert same_run(directory, run.directory)


def test_another_seed_gives_other_weights(nb, runs, run, loader, tiny, cpu):
    other = nb.train(replace(tiny, seed=1), loader, cpu)
    assert not same_weights(other.generator, run.generator)


@pytest.mark.parametrize("kind", [None, "directory", "text", "file"])
def test_a_run_resumed_for_more_epochs_is_the_run_that_did_not_stop(
    nb, runs, run, loader, tiny, cpu, kind
):
    part = nb.train(replace(tiny, epochs=1), loader, cpu)
    place = part.directory
    kinds = {"directory": place, "text": str(place), "file": place / "checkpoint.pt"}
    resumed = nb.train(tiny, loader, cpu, resume_from=kinds.get(kind, part))
    assert resumed.directory == place
    assert same_run(place, run.directory)
    assert same_weights(resumed.generator, run.generator)


@pytest.mark.parametrize("players", ["conv", "conditional", "textbook"])
def test_runs_of_other_players_resume_as_exactly(nb, runs, mnist, tiny, cpu, players):
    config = replace(tiny, players=players)  # convolutions, labels, dropout
    loader = nb.make_loader(mnist[0][:100], mnist[1][:100], config, cpu)
    whole = nb.train(config, loader, cpu)
    part = nb.train(replace(config, recipe="part", epochs=1), loader, cpu)
    resumed = nb.train(replace(config, recipe="part"), loader, cpu, resume_from=part)
    assert same_run(whole.directory, resumed.directory)


@pytest.mark.parametrize("batch", [0, 59, 60, 75])
def test_the_stop_button_leaves_a_run_that_can_be_used_and_resumed(
    nb, runs, run, loader, tiny, cpu, capsys, batch
):
    stopped = nb.train(tiny, Accident(loader, batch + 1, stop), cpu)
    assert f"resume_from={str(stopped.directory)!r}" in capsys.readouterr().out
    assert nb.sample(stopped.generator, 2).shape == (2, 1, 28, 28)
    assert nb.load_generator(stopped.directory)
    assert Image.open(stopped.directory / "progress.gif").n_frames == 1 + batch // 60
    nb.train(tiny, loader, cpu, resume_from=stopped)
    assert same_run(stopped.directory, run.directory)
    events = read_events(stopped.directory)
    assert steps(events.Scalars("loss/generator")) == LOGGED
    assert steps(events.Images("images/fake")) == [0, 60, 120]
    assert steps(events.Images("images/real")) == [0]


def test_a_run_stopped_while_it_is_measured_can_be_resumed(nb, runs, run, loader, tiny, cpu):
    stopped = nb.train(tiny, loader, cpu, measure=stop)
    nb.train(tiny, loader, cpu, resume_from=stopped)
    assert same_run(stopped.directory, run.directory)


def test_epochs_that_were_played_are_not_played_again(nb, run, damaged, loader, tiny, cpu):
    for epochs in (1, 2):
        again = nb.train(replace(tiny, epochs=epochs), loader, cpu, resume_from=damaged)
        assert (again.epoch, again.game.step) == (2, 120)
        assert same_run(damaged, run.directory)


def test_figures_may_be_numpys_numbers(nb, runs, loader, tiny, cpu):
    figures = {"ten": np.float64(10), "three": 3}
    part = nb.train(replace(tiny, epochs=1), loader, cpu, measure=lambda _: figures)
    resumed = nb.train(tiny, loader, cpu, resume_from=part)
    assert {"step": 60, "quality/ten": 10, "quality/three": 3} in resumed.history


def test_a_checkpoint_of_another_configuration_is_refused(nb, run, tiny, loader, cpu):
    with pytest.raises(ValueError, match="belongs to another configuration") as caught:
        nb.train(replace(tiny, lr_g=1e-2), loader, cpu, resume_from=run)
    assert "\n" not in str(caught.value)


def test_resuming_from_nowhere_names_the_file_that_is_missing(nb, tiny, loader, cpu, tmp_path):
    with pytest.raises(FileNotFoundError, match=f"{tmp_path}/checkpoint.pt"):
        nb.train(tiny, loader, cpu, resume_from=tmp_path)


@pytest.mark.parametrize(
    "other", [{"batch_size": 20}, {"players": "first"}, {"shape": (1, 14, 56)}], ids=str
)
def test_a_loader_of_another_configuration_is_refused(nb, runs, mnist, tiny, cpu, other):
    config = replace(tiny, **other)
    images = mnist[0][:100].view(-1, *config.shape)
    loader = nb.make_loader(images, mnist[1][:100], config, cpu)
    with pytest.raises(ValueError, match=r"isn't of \(10, 1, 28, 28\) in \[-1, 1\]") as caught:
        nb.train(tiny, loader, cpu)
    assert "\n" not in str(caught.value)
    assert not runs.exists()


@pytest.mark.parametrize("short", [False, True])
def test_layers_compute_in_sixteen_bits_and_weights_and_losses_do_not(
    nb, runs, loader, tiny, cpu, monkeypatch, short
):
    sixteen = torch.autocast("cpu", torch.bfloat16, enabled=short, cache_enabled=False)
    monkeypatch.setattr(nb, "SHORT", sixteen)
    play_step, products, figures = nb.play_step, [], []

    def watch(game, real, labels):
        hook = game.discriminator.layers[1].register_forward_hook(
            lambda _, inputs, outputs: products.append(outputs.dtype)
        )
        figures.append(play_step(game, real, labels))
        hook.remove()
        return figures[-1]

    monkeypatch.setattr(nb, "play_step", watch)
    run = nb.train(replace(tiny, epochs=1), loader, cpu)
    looked_at = products[:2]  # `train` first plays a step on a copy, to see whether it can be
    assert looked_at == [torch.float32] * 2
    assert {*products[2:]} == {torch.bfloat16 if short else torch.float32}
    assert {row.dtype for row in figures} == {torch.float32}
    for network in (run.generator, run.game.generator, run.game.discriminator):
        assert {weight.dtype for weight in network.parameters()} == {torch.float32}
    assert nb.sample(run.generator, 2).dtype == torch.float32


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_checkpoint(
    nb, runs, run, loader, tiny, cpu
):
    poisoned = Accident(loader, 71, lambda real: real * float("nan"))
    with pytest.raises(FloatingPointError, match="No finite loss at step 110"):
        nb.train(tiny, poisoned, cpu)
    (directory,) = runs.iterdir()
    assert nb.load(directory / "checkpoint.pt")["epoch"] == 1
    nb.train(tiny, loader, cpu, resume_from=directory)
    assert same_run(directory, run.directory)


def test_two_runs_begun_in_the_same_second_get_directories_of_their_own(nb, runs, tiny, cpu):
    game = nb.Game(tiny, cpu)
    assert nb.open_run(game, None).directory != nb.open_run(game, None).directory


def test_the_sketch_of_act_one_logs_losses_scores_and_images(nb, loader, tmp_path, capsys):
    torch.manual_seed(0)
    match = nb.Match(nb.Generator(widths=(32,)), nb.Discriminator(widths=(32,)))
    nb.play(match, loader, 2, tmp_path)
    events = read_events(tmp_path)
    for name in nb.FIGURES:
        assert steps(events.Scalars(name)) == [50, 100]
    for name in ("images/real", "images/fake"):
        assert steps(events.Images(name)) == [60, 120]
    assert "epoch 2: loss/discriminator" in capsys.readouterr().out


def test_a_rehearsal_keeps_a_row_for_every_step_and_writes_nothing(nb, runs, loader, tiny, cpu):
    history = nb.rehearse(nb.Game(tiny, cpu), loader, detach=False)
    assert [row["step"] for row in history] == list(range(1, 61))
    assert all(row.keys() == {"step", *nb.FIGURES} for row in history)
    assert not runs.exists()


# What section 9 shows, on every seed


@pytest.fixture(scope="module")
def games(nb, cells):
    """The games that the page plays with digits, by name, as the page sets them up."""
    (source,) = (cell["source"] for cell in cells if cell["id"] == "failures")
    page = {**vars(nb), "config": nb.Config()}
    exec(source[: source.index("panels =")], page)
    return page["games"]


@pytest.fixture(scope="module")
def rates(cells):
    """The discriminator's rates on the ring, by name, as the page sets them up."""
    (source,) = (cell["source"] for cell in cells if cell["id"] == "ring-run")
    return ast.literal_eval(re.search(r"\{.+?\}", source)[0])


def share_alike(nb, generator) -> float:
    """Return the share of pairs of drawings that are nearly alike, as section 9 counts them."""
    drawn = nb.sample(generator, 300, seed=0).flatten(1)
    return (torch.pdist(drawn) < 3).float().mean().item()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_slow_discriminator_lets_the_generator_draw_one_thing(nb, mnist, judge, games, seed):
    healthy, slow = (
        nb.Game(replace(games[name], seed=seed), "cpu") for name in ("healthy", "slow D")
    )
    for game in (healthy, slow):
        nb.rehearse(game, nb.make_loader(*(part[:40_000] for part in mnist), game.config, "cpu"))
    drawn = nb.sample(slow.generator, 300, seed=0)
    assert share_alike(nb, slow.generator) > 0.9
    assert len(judge(drawn).argmax(1).unique()) <= 2
    assert share_alike(nb, healthy.generator) < 0.3


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_on_the_ring_a_slow_discriminator_keeps_the_fakes_together(nb, rates, seed):
    spread = {}
    for name, lr_d in rates.items():
        game = nb.Game(replace(nb.RING, seed=seed, lr_d=lr_d), "cpu")
        for _ in range(1200):
            nb.play_step(game, *nb.ring_batch())
        points = game.generator(game.generator.latent(1000))
        spread[name] = points.std(0).mean().item()
    assert spread["equal rates"] > 0.4  # of the real points: 0.57
    assert spread["slow discriminator"] < 0.25
