"""`train` writes a whole run directory, repeats itself, stops in good order, and resumes."""

import io
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import run_child, same_run, same_weights
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

ROWS = [50, 100]  # of two epochs of sixty steps: every fiftieth


def read_events(directory) -> EventAccumulator:
    return EventAccumulator(str(directory), size_guidance={"images": 0, "scalars": 0}).Reload()


def steps(events: list) -> list[int]:
    return [event.step for event in events]


class Accident:
    """A loader to whose batches from the n-th on something happens."""

    def __init__(self, loader, n: int, happen) -> None:
        self.loader, self.dataset, self.happen, self.left = loader, loader.dataset, happen, n

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self):
        for real, labels in self.loader:
            self.left -= 1
            yield self.happen(real) if self.left < 0 else real, labels


def stop(*_):
    """Press Jupyter's stop button."""
    raise KeyboardInterrupt


@pytest.fixture
def train_fails(nb, runs, few, cpu):
    """Train until an error ends it, let nothing happen any more, and return the directory."""

    def train(config, error, *, n=10**9, happen=stop, **choices) -> Path:
        with pytest.MonkeyPatch.context() as patch:
            make_loader = nb.make_loader
            patch.setattr(nb, "make_loader", lambda *a: Accident(make_loader(*a), n, happen))
            with pytest.raises(error):
                nb.train(config, *few, cpu, **choices)
        (directory,) = runs.iterdir()
        return directory

    return train


# What a run writes down


def test_a_run_directory_holds_all_that_was_promised(run):
    found = {str(p.relative_to(run.directory)) for p in run.directory.rglob("*") if p.is_file()}
    events = {name for name in found if name.startswith("events.out.tfevents.")}
    samples = {f"samples/epoch_000{epoch}.png" for epoch in range(3)}
    files = {"config.json", "checkpoint.pt", "generator.pt", "progress.gif"}
    assert found - events == samples | files
    assert events
    assert len({(run.directory / name).read_bytes() for name in samples}) == 3
    assert Image.open(run.directory / "progress.gif").n_frames == 3


def test_the_config_beside_a_run_is_its_own_and_names_the_version(nb, run, tiny):
    facts = json.loads((run.directory / "config.json").read_text())
    assert (facts["step"], facts["torch"]) == (120, torch.__version__)
    kept = nb.Config(**facts["config"])
    assert replace(kept, mean=None, classes=None) == tiny
    assert (kept.classes, -1 < kept.mean < 0) == (10, True)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("loss/d", ROWS),
        ("loss/g", ROWS),
        ("score/real", ROWS),
        ("score/fake", ROWS),
        ("score/auc", ROWS),
        ("slope", ROWS),
        ("quality/frechet_distance", [60, 120]),
        ("quality/coverage", [60, 120]),
    ],
)
def test_measures_are_logged_and_kept_in_the_history(run, name, expected):
    events = read_events(run.directory).Scalars(name)
    assert steps(events) == expected
    kept = [(row["step"], row[name]) for row in run.history if name in row]
    assert kept == [(event.step, pytest.approx(event.value, rel=1e-6)) for event in events]


def test_real_and_fake_images_are_logged_and_the_fakes_change(run):
    events = read_events(run.directory)
    real, fakes = (events.Images(f"images/{kind}") for kind in ("real", "fake"))
    assert (steps(real), steps(fakes)) == ([60, 120], [60, 120])
    grids = {event.encoded_image_string for event in (*real, *fakes)}
    assert len(grids) == 4
    for grid in grids:
        low, high = Image.open(io.BytesIO(grid)).convert("L").getextrema()
        assert high - low > 20


def test_a_row_holds_the_means_of_the_losses_since_the_last_row(nb, tiny, mnist, cpu):
    def count(match, *_):
        match.step += 1
        return torch.tensor(float(match.step)), torch.tensor(1.0)

    hundred_steps = nb.make_loader(mnist[0][:1000], mnist[1][:1000], tiny.batch_size, cpu)
    rows = nb.play(nb.make_match(tiny), hundred_steps, 2, step=count)
    assert [row["step"] for row in rows] == [50, 100, 150, 200]
    assert [row["loss/d"] for row in rows] == [25.5, 75.5, 125.5, 175.5]
    assert {row["loss/g"] for row in rows} == {1}


def test_the_directory_is_told_first(nb, runs, few, tiny, cpu, capsys):
    run = nb.train(replace(tiny, epochs=0), *few, cpu)
    assert capsys.readouterr().out.startswith(f"{os.path.relpath(run.directory)}\n")
    assert run.directory.parent == runs


def test_the_rates_fall_after_the_steady_steps(run, tiny):
    match = run.match
    for optimizer, rate in ((match.optimizer_g, tiny.lr_g), (match.optimizer_d, tiny.lr_d)):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.6 * rate)


def test_the_page_s_own_loop_writes_events_without_a_config(nb, loader, tmp_path):
    torch.manual_seed(0)
    match = nb.Match(nb.Generator(widths=(32,)), nb.Discriminator(widths=(32,)))
    rows = nb.play(match, loader, 2, tmp_path)
    events = read_events(tmp_path)
    for name in rows[0].keys() - {"step"}:
        assert steps(events.Scalars(name)) == ROWS
    for name in ("images/real", "images/fake"):
        assert steps(events.Images(name)) == [60, 120]


def test_a_loop_without_a_directory_writes_nothing(nb, runs, loader, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where a SummaryWriter without a name would write
    rows = nb.play(nb.make_match(tiny), loader, 1)
    assert [row["step"] for row in rows] == [50]
    assert not [*tmp_path.iterdir()]


# The same again


def test_another_process_gives_the_same_weights_measured_or_not(run, runs, tiny):
    child = run_child("nb.train(config, images, labels, 'cpu')", runs, tiny)
    assert child.returncode == 0, child.stderr
    (directory,) = runs.iterdir()
    assert same_run(directory, run.directory)


def test_another_seed_gives_other_weights(nb, runs, run, few, tiny, cpu):
    other = nb.train(replace(tiny, seed=1), *few, cpu)
    assert not same_weights(other.generator, run.generator)


@pytest.mark.parametrize("kind", ["run", "directory", "text", "file"])
def test_a_run_resumed_for_more_epochs_is_the_run_that_did_not_stop(
    nb, runs, run, few, tiny, cpu, kind
):
    part = nb.train(replace(tiny, epochs=1), *few, cpu)
    place = part.directory
    kinds = {"directory": place, "text": str(place), "file": place / "checkpoint.pt"}
    resumed = nb.train(tiny, *few, cpu, resume_from=kinds.get(kind, part))
    assert resumed.directory == place
    assert same_run(place, run.directory)
    assert same_weights(resumed.generator, run.generator)


@pytest.mark.parametrize(
    "choices",
    [
        {"players": "conv", "generator_widths": (8, 4), "discriminator_widths": (4, 8)},
        {"conditional": True},
        {"players": "classic"},  # dropout
        {"averaging": 0.0},
    ],
    ids=str,
)
def test_runs_of_other_players_resume_as_exactly(nb, runs, few, tiny, cpu, choices):
    config = replace(tiny, **choices)
    some = few[0][:100], few[1][:100]
    whole = nb.train(config, *some, cpu)
    part = nb.train(replace(config, epochs=1), *some, cpu)
    resumed = nb.train(config, *some, cpu, resume_from=part)
    assert same_run(whole.directory, resumed.directory)


def test_epochs_that_were_played_are_not_played_again(nb, run, damaged, few, tiny, cpu):
    for epochs in (1, 2):
        again = nb.train(replace(tiny, epochs=epochs), *few, cpu, resume_from=damaged)
        assert again.match.step == 120
        assert same_run(damaged, run.directory)


# When something happens


@pytest.mark.parametrize("batch", [0, 59, 60, 75])
def test_the_stop_button_leaves_a_run_that_can_be_used_and_resumed(
    nb, run, few, tiny, cpu, train_fails, batch
):
    directory = train_fails(tiny, KeyboardInterrupt, n=batch)
    assert nb.load(directory / "checkpoint.pt")["step"] == 60 * (batch // 60)
    assert nb.sample(nb.load_generator(directory), 2).shape == (2, 1, 28, 28)
    assert len([*directory.glob("samples/*.png")]) == 1 + batch // 60
    nb.train(tiny, *few, cpu, resume_from=directory)
    assert same_run(directory, run.directory)
    events = read_events(directory)
    assert steps(events.Scalars("loss/g")) == ROWS
    assert steps(events.Images("images/fake")) == [60, 120]


def test_a_run_stopped_while_it_is_measured_has_its_epoch_and_can_be_resumed(
    nb, run, few, tiny, cpu, train_fails
):
    looks = iter([{"sure": 0.5}])  # the first one is at the untrained generator
    directory = train_fails(tiny, KeyboardInterrupt, measure=lambda _: next(looks, None) or stop())
    assert nb.load(directory / "checkpoint.pt")["step"] == 60
    nb.train(tiny, *few, cpu, resume_from=directory)
    assert same_run(directory, run.directory)


def test_a_measure_that_fails_later_costs_no_epoch(nb, run, few, tiny, cpu, train_fails):
    looks = iter([{"sure": 0.5}, {"sure": 0.6, "name": "mlp"}])  # the second has no number
    directory = train_fails(tiny, ValueError, measure=lambda _: next(looks))
    nb.train(tiny, *few, cpu, resume_from=directory)
    assert same_run(directory, run.directory)


@pytest.mark.parametrize("measure", [lambda _: 0.5, lambda _: 1 / 0, lambda _: None])
def test_a_measure_that_cannot_be_had_is_refused_before_the_first_epoch(
    nb, runs, few, tiny, cpu, measure
):
    with pytest.raises((TypeError, ZeroDivisionError)):
        nb.train(tiny, *few, cpu, measure=measure)
    assert not runs.exists()


def test_measures_may_be_numpys_and_torchs_numbers(nb, runs, few, tiny, cpu):
    measures = {"ten": np.float64(10), "three": 3, "two": torch.tensor(2.0)}
    part = nb.train(replace(tiny, epochs=1), *few, cpu, measure=lambda _: measures)
    resumed = nb.train(tiny, *few, cpu, resume_from=part)
    assert {"step": 60, "quality/ten": 10, "quality/three": 3, "quality/two": 2} in resumed.history


def test_weights_that_are_no_numbers_stop_the_run_and_keep_the_last_checkpoint(
    nb, run, few, tiny, cpu, train_fails
):
    directory = train_fails(tiny, FloatingPointError, n=70, happen=lambda real: real * float("nan"))
    assert nb.load(directory / "checkpoint.pt")["step"] == 60
    assert nb.sample(nb.load_generator(directory), 2).isfinite().all()
    nb.train(tiny, *few, cpu, resume_from=directory)
    assert same_run(directory, run.directory)


@pytest.mark.parametrize("change", [{"lr_g": 1e-2}, {"mean": 0.0}, {"batch_size": 20}], ids=str)
def test_a_checkpoint_of_another_configuration_is_refused(nb, run, damaged, tiny, few, cpu, change):
    with pytest.raises(ValueError, match="of another configuration") as caught:
        nb.train(replace(tiny, **change), *few, cpu, resume_from=damaged)
    assert "\n" not in str(caught.value)
    assert same_run(damaged, run.directory)


def test_resuming_from_nowhere_names_the_file_that_is_missing(nb, tiny, few, cpu, tmp_path):
    with pytest.raises(FileNotFoundError, match=re.escape(f"{tmp_path}/checkpoint.pt")):
        nb.train(tiny, *few, cpu, resume_from=tmp_path)


def test_images_of_another_shape_than_the_config_s_are_refused(nb, runs, few, tiny, cpu):
    with pytest.raises(ValueError, match=r"images are \(1, 14, 56\), and shape is") as caught:
        nb.train(tiny, few[0].view(-1, 14, 56), few[1], cpu)
    assert "\n" not in str(caught.value)
    assert not runs.exists()


def test_numbers_stay_of_32_bits(run, nb):
    for network in (run.generator, run.match.generator, run.match.discriminator):
        assert {weight.dtype for weight in network.parameters()} == {torch.float32}
    assert nb.sample(run.generator, 2).dtype == torch.float32
