"""`play` yields rows; `train` writes a run's directory, repeats itself, and can be gone on with."""

import io
import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import register_tiny, run_child, same_run, same_weights
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

NUMBERS = ["step", "loss/d", "loss/g", "score/real", "score/fake", "score/auc", "slope"]
MEASURES = ["frechet_distance", "sure", "precision", "coverage", "rarest"]


def read_events(directory) -> EventAccumulator:
    return EventAccumulator(str(directory), size_guidance={"images": 0, "scalars": 0}).Reload()


def steps(rows: list) -> list[int]:
    return [row["step"] if isinstance(row, dict) else row.step for row in rows]


class Stopped:
    """A loader in whose n-th batch somebody presses Jupyter's stop button."""

    def __init__(self, loader, n: int) -> None:
        self.loader, self.dataset, self.left = loader, loader.dataset, n

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self):
        for batch in self.loader:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            yield batch


@pytest.fixture(scope="module")
def run(nb, loader, judge, digits, tmp_path_factory):
    """The match of a finished run of `tiny`, measured on a few drawings after each epoch, with its
    rows and what it printed.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in ("PLAYERS", "RECIPES"):
            patch.setattr(nb, name, dict(getattr(nb, name)))
        register_tiny(nb)
        patch.setattr(nb, "RUNS", tmp_path_factory.mktemp("runs"))
        patch.setattr("sys.stdout", printed := io.StringIO())
        match = nb.make_match("tiny")
        rows = nb.train(match, loader, measure=lambda a: nb.evaluate(a, judge, digits[0][:200]))
        match.rows, match.printed = rows, printed.getvalue().splitlines()
        return match


@pytest.fixture
def half(nb, tiny_match, runs, loader) -> Path:
    """The directory of a run of one epoch."""
    match = tiny_match()
    nb.train(match, loader, 1)
    return match.directory


# Rows


@pytest.mark.parametrize(
    ("images", "at", "epochs"),
    [
        (600, [50, 60, 100, 120], [None, 1, None, 2]),
        (500, [50, 100], [1, 2]),
        (30, [3, 6], [1, 2]),
    ],
    ids=str,
)
def test_play_yields_a_row_every_fifty_steps_and_at_the_end_of_an_epoch(
    nb, tiny_match, few, images, at, epochs
):
    loader = nb.make_loader(few[0][:images], few[1][:images], 10)
    rows = [*nb.play(tiny_match(), loader, 2)]
    assert steps(rows) == at
    assert [row.get("epoch") for row in rows] == epochs
    assert all([*row][:7] == NUMBERS for row in rows)
    assert {type(number) for row in rows for number in row.values()} <= {int, float}


def test_a_game_is_played_as_far_as_its_rows_are_asked_for(nb, tiny_match, loader):
    match = tiny_match()
    rows = nb.play(match, loader, 9)
    assert match.step == 0
    for row in rows:
        if row["step"] == 100:
            break
    assert match.step == 100


def test_a_row_has_the_mean_of_the_losses_since_the_last_row(nb, tiny_match, loader, monkeypatch):
    def count(match, real):
        match.step += 1
        return torch.tensor(float(match.step)), torch.tensor(1.0)

    monkeypatch.setattr(nb, "play_step", count)
    rows = [*nb.play(tiny_match(), loader, 2)]
    assert [row["loss/d"] for row in rows] == [25.5, 55.5, 80.5, 110.5]
    assert {row["loss/g"] for row in rows} == {1}


def test_a_look_leaves_modes_gradients_and_random_numbers_alone_also_if_it_fails(
    nb, tiny_match, few
):
    match = tiny_match()
    random = torch.get_rng_state()
    first, second = (nb.look(match, few[0][:50]) for _ in range(2))
    with pytest.raises(RuntimeError):
        nb.look(match, few[0][:10, :, :5])
    assert first == second
    assert torch.equal(torch.get_rng_state(), random)
    for player in (match.generator, match.discriminator):
        assert all(module.training for module in player.modules())
        assert all(weights.grad is None for weights in player.parameters())
    assert not few[0].requires_grad


# What a run writes down


def test_a_run_directory_holds_all_that_was_promised(run):
    files = {str(p.relative_to(run.directory)) for p in run.directory.rglob("*") if p.is_file()}
    samples = {f"samples/{step:06}.png" for step in (0, 60, 120)}
    events = {name for name in files if name.startswith("events.out.tfevents.")}
    assert files - events == samples | {"match.pt", "generator.pt", "config.json"}
    assert events
    assert len({(run.directory / name).read_bytes() for name in samples}) == 3


def test_the_settings_beside_a_run_are_its_own_in_every_file(run):
    assert json.loads((run.directory / "config.json").read_text()) == run.settings
    assert (run.settings["recipe"], run.settings["batches"]) == ("tiny", 60)
    for name in ("match.pt", "generator.pt"):
        kept = torch.load(run.directory / name, weights_only=True)
        assert (kept["settings"], kept["step"]) == (run.settings, 120)


@pytest.mark.parametrize("name", NUMBERS[1:] + [f"quality/{name}" for name in MEASURES])
def test_numbers_and_measures_are_logged_as_the_rows_have_them(run, name):
    events = read_events(run.directory).Scalars(name)
    rows = [row for row in run.rows if name in row]
    assert steps(rows) == ([60, 120] if name.startswith("quality") else [50, 60, 100, 120])
    for event, row in zip(events[-len(rows) :], rows):  # the untrained artist is measured, too
        assert (event.step, event.value) == (row["step"], pytest.approx(row[name], rel=1e-6))


def test_real_and_fake_images_are_logged_and_the_fakes_change(run):
    events = read_events(run.directory)
    real, fake = (events.Images(f"images/{kind}") for kind in ("real", "fake"))
    assert steps(real) == steps(fake) == [0, 60, 120]
    assert len({event.encoded_image_string for event in fake}) == 3
    for event in (*real, *fake):
        picture = Image.open(io.BytesIO(event.encoded_image_string)).convert("L")
        assert picture.size == (242, 242)
        low, high = picture.getextrema()
        assert high - low > 20


def test_where_images_carry_labels_the_grids_show_their_pixels_only(nb, runs, few, monkeypatch):
    shown, grid = [], nb.grid
    monkeypatch.setattr(nb, "grid", lambda images, n: shown.append(images) or grid(images, n))
    images, labels = few[0][:200], few[1][:200]
    loader = nb.make_loader(nb.with_labels(images, labels), labels)
    nb.train(nb.make_match("conditional"), loader, 1)
    assert any(torch.equal(some, images[:64]) for some in shown)
    assert {some.shape[1:] for some in shown} == {(1, 28, 28)}


def test_the_directory_is_told_first_and_then_a_line_an_epoch(run):
    assert run.printed[0] == os.path.relpath(run.directory)
    lines = [line.replace(":", "").split() for line in run.printed if "epoch" in line]
    assert len(lines) == 2
    for line, row in zip(lines, run.rows[1::2]):
        told = dict(zip(line[::2], line[1::2]))  # names may be shortened: d for loss/d
        for name in ("epoch", "loss/d", "loss/g", "score/auc", "slope", "quality/frechet_distance"):
            (number,) = (told[key] for key in told if name.endswith(key))
            assert float(number) == pytest.approx(row[name], rel=0.01)


def test_after_the_steady_epochs_both_rates_fall_and_are_saved(nb, runs, tiny_match, loader):
    match = tiny_match(epochs=4)
    nb.train(match, loader)
    kept = torch.load(match.directory / "match.pt")
    for player in "gd":
        (group,) = kept[f"optimizer_{player}"]["param_groups"]
        assert group["lr"] == pytest.approx(0.6**3 * match.settings[f"lr_{player}"])


# Where a run goes


def test_a_run_goes_to_a_new_directory_named_after_its_recipe(nb, runs, tiny_match, loader):
    for _ in range(2):
        nb.train(tiny_match(), loader, 1)
    names = [path.name for path in runs.iterdir()]
    assert len(names) == 2
    assert all(name.startswith("tiny-2") for name in names)


def test_a_directory_that_is_given_is_used(nb, tiny_match, loader, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    match = tiny_match()
    nb.train(match, loader, 1, directory="mine/first")
    assert match.directory == tmp_path / "mine" / "first"
    assert (match.directory / "generator.pt").exists()


def test_another_runs_directory_is_refused_and_stays_as_it_was(nb, tiny_match, loader, half):
    before = {path: path.read_bytes() for path in half.rglob("*") if path.is_file()}
    with pytest.raises(FileExistsError, match=half.name):
        nb.train(tiny_match(), loader, 1, directory=half)
    assert {path: path.read_bytes() for path in half.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("images", [200, 590])
def test_other_data_is_refused_where_a_match_goes_on(nb, few, half, images):
    match = nb.load_match(half)
    loader = nb.make_loader(few[0][:images], few[1][:images], 10)
    with pytest.raises(ValueError, match="as much data") as caught:
        nb.train(match, loader, 2, directory=half)
    assert "\n" not in str(caught.value)
    assert match.step == 60


@pytest.mark.parametrize("name", ["100 %d", "[ab]*?", "ümlaut"])
def test_a_recipes_name_has_no_meaning_for_other_programs(nb, runs, tiny_match, loader, name):
    tiny_match()
    nb.RECIPES[name] = nb.RECIPES["tiny"]
    match = nb.make_match(name)
    nb.train(match, loader, 1)
    assert match.directory.name.startswith(f"{name}-2")
    assert nb.latest_run(name) == match.directory


# What can't work is told before the first epoch


@pytest.mark.parametrize(
    "answer", [0.5, None, {"a": torch.ones(3)}, {"a": None}, {"a": 1j}, {"a": "good"}], ids=str
)
def test_a_measure_that_gives_no_numbers_fails_before_the_first_epoch(
    nb, runs, tiny_match, loader, answer
):
    match = tiny_match()
    with pytest.raises((TypeError, ValueError, AttributeError, RuntimeError)):
        nb.train(match, loader, measure=lambda _: answer)
    assert match.step == 0


@pytest.mark.parametrize("shape", [(4, 28, 28), (1, 20, 30)], ids=str)
def test_pictures_of_another_shape_than_the_players_fail_before_the_first_step(
    nb, runs, tiny_match, shape
):
    match = tiny_match()
    loader = nb.make_loader(torch.rand(100, *shape), torch.zeros(100), 10)
    with pytest.raises((RuntimeError, TypeError, ValueError)):
        nb.train(match, loader, 1)
    assert match.step == 0
    assert not [*runs.rglob("*.pt")]


# The same again


def test_another_process_gives_the_same_weights_measured_or_not(run, runs):
    child = run_child("nb.train(nb.make_match('tiny'), loader)", runs)
    assert child.returncode == 0, child.stderr
    (directory,) = runs.iterdir()
    assert same_run(directory, run.directory)


def test_a_run_that_goes_on_is_the_run_that_did_not_stop(nb, half, run, loader):
    rows = nb.train(nb.load_match(half), loader, 2, directory=half)
    assert steps(rows) == [100, 120]
    assert nb.train(nb.load_match(half), loader, 1, directory=half) == []  # it was played
    assert same_run(half, run.directory)


@pytest.mark.parametrize("recipe", ["dcgan", "conditional", "classic", "sigmoid"])
def test_runs_of_other_recipes_go_on_as_exactly(nb, runs, few, recipe):
    images, labels = few[0][:60], few[1][:60]
    seen = nb.with_labels(images, labels) if recipe == "conditional" else images
    loader = nb.make_loader(seen, labels, 20)
    whole, part = (nb.make_match(recipe) for _ in range(2))
    nb.train(whole, loader, 2)
    nb.train(part, loader, 1)
    nb.train(nb.load_match(part.directory), loader, 2, directory=part.directory)
    assert same_run(whole.directory, part.directory)


# When something happens


@pytest.mark.parametrize("n", [0, 59])
def test_a_run_stopped_in_its_first_epoch_leaves_no_generator_and_is_never_the_latest(
    nb, half, tiny_match, loader, n
):
    match = tiny_match()
    with pytest.raises(KeyboardInterrupt):
        nb.train(match, Stopped(loader, n))
    assert not [*match.directory.glob("*.pt")]
    assert nb.latest_run("tiny") == half


@pytest.mark.parametrize("n", [60, 75])
def test_a_run_stopped_later_can_be_used_and_gone_on_with(nb, runs, run, tiny_match, loader, n):
    match = tiny_match()
    with pytest.raises(KeyboardInterrupt):
        nb.train(match, Stopped(loader, n))
    assert nb.latest_run("tiny") == match.directory
    nb.train(nb.load_match(match.directory), loader, directory=match.directory)
    assert same_run(match.directory, run.directory)
    assert steps(read_events(match.directory).Scalars("loss/g")) == [50, 60, 100, 120]


def test_a_process_that_is_killed_leaves_whole_files(nb, runs, run, tiny_match, loader):
    code = f"""
        play = nb.play
        def play_until_killed(match, loader, epochs):
            for row in play(match, loader, epochs):
                yield row
                if match.step > 60:
                    os.kill(os.getpid(), {int(signal.SIGKILL)})
        nb.play = play_until_killed
        nb.train(nb.make_match("tiny"), loader, directory=nb.RUNS / "killed")
    """
    assert run_child(code, runs).returncode == -signal.SIGKILL
    tiny_match()
    nb.train(nb.load_match(runs / "killed"), loader, directory=runs / "killed")
    assert same_run(runs / "killed", run.directory)


def test_a_measure_that_fails_later_costs_no_epoch(nb, runs, run, tiny_match, loader):
    answers = iter([{"sure": 0.5}, {"sure": None}])  # the first is of the untrained artist
    match = tiny_match()
    with pytest.raises(TypeError):
        nb.train(match, loader, measure=lambda _: next(answers))
    nb.train(nb.load_match(match.directory), loader, directory=match.directory)
    assert same_run(match.directory, run.directory)


def test_what_can_not_be_written_leaves_the_earlier_file(nb, half, monkeypatch):
    before = (half / "match.pt").read_bytes()

    def fill_the_disk(content, path):
        Path(path).write_bytes(b"half of it")
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", fill_the_disk)
    with pytest.raises(OSError, match="No space"):
        nb.save(nb.load_match(half), half)
    assert (half / "match.pt").read_bytes() == before


# Reading a run


def test_a_loaded_generator_is_the_artist_in_eval_mode(nb, half):
    artist = nb.load_generator(half)
    assert same_weights(artist, nb.load_match(str(half)).artist)
    assert not artist.training
    assert nb.sample(artist, 2).shape == (2, 1, 28, 28)


@pytest.mark.parametrize("name", ["load_match", "load_generator"])
def test_reading_a_run_leaves_random_numbers_alone_and_runs_no_code_of_a_file(nb, half, name):
    before = torch.get_rng_state()
    getattr(nb, name)(half)
    assert torch.equal(torch.get_rng_state(), before)
    for file in ("match.pt", "generator.pt"):
        torch.save({"settings": {}, "artist": print}, half / file)
    with pytest.raises(Exception, match=r"[Ww]eights"):
        getattr(nb, name)(half)


def test_the_latest_run_is_the_newest_of_its_recipe(nb, runs, half, loader):
    older = shutil.copytree(half, runs / "tiny-zzz")
    os.utime(older / "generator.pt", (1, 1))
    nb.RECIPES["other"] = nb.RECIPES["tiny"]
    match = nb.make_match("other")
    nb.train(match, loader, 1)
    assert nb.latest_run("tiny") == half
    assert nb.latest_run("other") == match.directory
    with pytest.raises(FileNotFoundError, match="'nobody'"):
        nb.latest_run("nobody")


def fill_with_nan(path: Path) -> None:
    state = torch.load(path)
    state["artist"] = {name: value * float("nan") for name, value in state["artist"].items()}
    torch.save(state, path)


@pytest.mark.parametrize(
    "damage", [lambda path: os.truncate(path, 1000), fill_with_nan, Path.unlink]
)
def test_a_broken_run_is_never_the_latest(nb, runs, half, damage):
    broken = shutil.copytree(half, runs / "tiny-zzz")
    os.utime(half / "generator.pt", (1, 1))
    assert nb.latest_run("tiny") == broken
    damage(broken / "generator.pt")
    assert nb.latest_run("tiny") == half


@pytest.mark.parametrize("kind", [np.float64, np.float32, torch.tensor])
def test_settings_of_numpy_are_kept_as_plain_numbers_or_refused_at_once(
    nb, runs, tiny_match, loader, kind
):
    try:
        match = tiny_match(lr_g=kind(1e-3))
    except TypeError:
        return
    nb.train(match, loader, 1)
    assert nb.load_match(match.directory).step == 60


def test_a_recipe_named_like_a_path_is_found_again(nb, runs, tiny_match, loader):
    tiny_match()
    nb.RECIPES["a/b"] = nb.RECIPES["tiny"]
    match = nb.make_match("a/b")
    nb.train(match, loader, 1)
    assert nb.latest_run("a/b") == match.directory


def test_a_match_that_was_stopped_inside_an_epoch_is_told_to_load(nb, runs, tiny_match, loader):
    match = tiny_match()
    next(nb.play(match, loader, 1))  # stopped at step 50
    with pytest.raises(ValueError, match="load_match"):
        nb.train(match, loader, 2)
