"""Training and using in unusual places: small folders, other classes, old disks, other callers."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


@pytest.fixture
def pictures(few):
    """A folder's two hundred pictures, which are two steps of a hundred an epoch."""
    return few[0][:200], few[1][:200]


# A small folder


@pytest.fixture(scope="module")
def long_run(nb, few, tiny, cpu, tmp_path_factory):
    """A run of thirty epochs of two steps, with the page's own schedule and without a film."""
    schedule = {name: getattr(nb.Config(), name) for name in ("steady_steps", "lr_g")}
    config = replace(tiny, batch_size=100, epochs=30, **schedule)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nb, "RUNS", tmp_path_factory.mktemp("runs"))
        patch.setattr(nb, "add_to_film", lambda *_: None)
        return nb.train(config, few[0][:200], few[1][:200], cpu)


def test_two_hundred_pictures_still_learn_after_many_epochs(nb, long_run):
    assert long_run.match.step == 60
    assert long_run.match.optimizer_g.param_groups[0]["lr"] == nb.Config().lr_g


def test_of_a_small_folder_every_epoch_s_images_are_logged(long_run):
    events = EventAccumulator(str(long_run.directory), size_guidance={"images": 0}).Reload()
    assert [event.step for event in events.Images("images/fake")] == [*range(2, 61, 2)]


def test_drawing_the_film_takes_no_longer_in_the_hundredth_epoch(
    nb, runs, pictures, tiny, cpu, monkeypatch
):
    run = nb.train(replace(tiny, batch_size=100, epochs=1), *pictures, cpu)
    first = (run.directory / "samples" / "epoch_0001.png").read_bytes()
    for epoch in range(2, 100):
        (run.directory / "samples" / f"epoch_{epoch:04d}.png").write_bytes(first)
    opened, open_image = [], nb.Image.open
    monkeypatch.setattr(nb.Image, "open", lambda path: opened.append(path) or open_image(path))
    nb.add_to_film(run.directory, nb.sample(run.generator, 64), 100)
    assert len(opened) <= 60


# Other kinds and other images


@pytest.mark.parametrize("classes", [3, 12, 26])
def test_a_conditional_generator_has_as_many_classes_as_its_labels(
    nb, runs, pictures, tiny, cpu, classes
):
    config = replace(tiny, conditional=True, epochs=1)
    run = nb.train(config, pictures[0], torch.arange(200) % classes, cpu)
    generator = nb.load_generator(run.directory)
    assert nb.sample(generator, 2, labels=classes - 1).shape == (2, 1, 28, 28)
    with pytest.raises(RuntimeError, match="num_classes"):
        nb.sample(generator, 2, labels=classes)


def test_the_classes_of_a_run_are_kept_in_its_config(nb, runs, pictures, tiny, cpu):
    run = nb.train(replace(tiny, epochs=0), pictures[0], torch.arange(200) % 12, cpu)
    facts = json.loads((run.directory / "config.json").read_text())
    assert facts["config"]["classes"] == 12


def test_the_mean_pixel_of_a_run_is_that_of_its_images(nb, runs, pictures, tiny, cpu):
    run = nb.train(replace(tiny, epochs=0), 255 - pictures[0], pictures[1], cpu)
    assert run.match.discriminator.mean == pytest.approx(
        1 - 2 * pictures[0].float().mean().item() / 255, abs=1e-4
    )


@pytest.mark.parametrize("shape", [(3, 28, 28), (1, 20, 30)], ids=str)
def test_images_of_another_shape_are_trained_if_the_config_says_so(nb, runs, tiny, cpu, shape):
    images = torch.randint(256, (200, *shape), dtype=torch.uint8)
    run = nb.train(replace(tiny, shape=shape, epochs=1), images, torch.zeros(200).long(), cpu)
    assert nb.sample(nb.load_generator(run.directory), 2).shape == (2, *shape)


def test_a_measure_of_grey_images_is_refused_for_colours_before_an_epoch(
    nb, runs, tiny, cpu, judge, digits
):
    images = torch.randint(256, (200, 3, 28, 28), dtype=torch.uint8)
    config = replace(tiny, shape=(3, 28, 28))
    with pytest.raises(RuntimeError, match="channels"):
        nb.train(
            config,
            images,
            torch.zeros(200).long(),
            cpu,
            measure=lambda g: nb.evaluate(g, judge, digits[0][:50]),
        )
    assert not runs.exists()


# Configs from elsewhere


@pytest.mark.parametrize(
    "choices",
    [
        {"lr_g": np.float64(1e-3), "seed": np.int64(3)},
        {"mean": torch.tensor(-0.5)},
        {"betas": (np.float64(0.5), np.float64(0.999))},
        {"generator_widths": tuple(np.array([32, 64]))},
        {"generator_widths": [32, 64]},
    ],
    ids=str,
)
def test_choices_that_are_numpys_or_torchs_numbers_can_be_kept_and_loaded(
    nb, runs, pictures, tiny, cpu, choices
):
    run = nb.train(replace(tiny, epochs=0, **choices), *pictures, cpu)
    assert nb.load_generator(run.directory)


def test_a_config_read_back_from_json_resumes_its_run(nb, runs, pictures, tiny, cpu):
    config = replace(tiny, batch_size=100, epochs=1, generator_widths=[32, 64], betas=[0, 0.99])
    run = nb.train(config, *pictures, cpu)
    again = nb.Config(**json.loads((run.directory / "config.json").read_text())["config"])
    resumed = nb.train(replace(again, epochs=2), *pictures, cpu, resume_from=run)
    assert resumed.match.step == 4


def test_every_recipe_is_the_same_after_a_journey_through_json(nb):
    for config in nb.RECIPES.values():
        assert nb.Config(**json.loads(json.dumps(asdict(config)))) == config


# Busy folders and old disks


def test_runs_begun_in_the_same_second_get_directories_of_their_own(nb, runs):
    with ThreadPoolExecutor(48) as pool:
        made = [*pool.map(nb.new_directory, ["mlp"] * 48)]
    assert len({*made}) == 48
    assert {*made} == {*runs.iterdir()}


def test_a_run_s_directory_can_be_read_by_those_who_can_read_its_parent(nb, runs):
    before = os.umask(0o022)
    try:
        directory = nb.new_directory("mlp")
    finally:
        os.umask(before)
    assert directory.stat().st_mode & 0o777 == runs.stat().st_mode & 0o777


def test_a_folder_whose_name_is_no_text_stops_a_training_before_its_first_epoch(
    nb, tmp_path, pictures, tiny, cpu, monkeypatch
):
    name = os.fsdecode(os.fsencode(tmp_path) + b"/r\xffns")
    monkeypatch.setattr(nb, "RUNS", Path(name))
    played = []
    monkeypatch.setattr(nb, "turn_of_d", lambda *_: played.append(1))
    with pytest.raises(UnicodeEncodeError):
        nb.train(tiny, *pictures, cpu)
    assert not played


# Other callers


def execute(cells: list[dict], page: dict) -> None:
    for cell in cells:
        exec(compile(cell["source"], f"<cell {cell['id']}>", "exec"), page)


def tagged(cells: list[dict], tag: str) -> list[dict]:
    return [cell for cell in cells if tag in cell["metadata"].get("tags", [])]


@pytest.fixture
def injected(cells, tmp_path, monkeypatch):
    """Return what the page defines up to its sizes, with values injected as papermill does."""
    for name in ("SMOKE_TEST", "RUNS_DIR", "DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)

    def run(**values) -> dict:
        page, define = {"__name__": "page"}, tagged(cells, "define")
        (at,) = (n for n, cell in enumerate(define) if cell in tagged(cells, "parameters"))
        (end,) = (n for n, cell in enumerate(define) if cell["id"] == "sizes")
        execute(define[: at + 1], page)
        page |= values
        execute(define[at + 1 : end + 1], page)
        return page

    return run


@pytest.mark.parametrize("value", [True, 1, "1", "true", "True", "yes", "on", "ON"])
def test_a_rehearsal_can_be_injected(injected, value):
    page = injected(SMOKE_TEST=value)
    assert page["SIZE"] == page["SMALL"]


@pytest.mark.parametrize("value", [False, 0, "", "0", "false", "no", "off", None])
def test_a_rehearsal_can_be_declined(injected, value):
    page = injected(SMOKE_TEST=value)
    assert page["SIZE"] == page["FULL"]


@pytest.mark.parametrize("value", ["1", "true", "yes", "on"])
def test_a_rehearsal_can_be_asked_for_by_the_environment(injected, monkeypatch, value):
    monkeypatch.setenv("SMOKE_TEST", value)
    page = injected()
    assert page["SIZE"] == page["SMALL"]


def test_injected_folders_may_be_text(injected, tmp_path):
    page = injected(RUNS_DIR="elsewhere", DATA_DIR=str(tmp_path / "data"))
    assert page["RUNS"] == tmp_path / "elsewhere"
    assert page["DATA"] == tmp_path / "data"


def test_without_any_setting_the_folders_are_beside_the_page(injected, tmp_path):
    page = injected()
    assert (page["RUNS"], page["DATA"]) == (tmp_path / "runs", tmp_path / "data")


# Entered in the middle

NAMED = {"first-real", "batch", "try-judge"}  # the cells that section 9's first sentence names


def enter(cells: list[dict], section: int) -> list[dict]:
    """Return what somebody runs who begins at `section`: definitions, what is named, the rest."""
    (begin,) = (n for n, cell in enumerate(cells) if f"### {section} " in cell["source"])
    (end,) = (n for n, cell in enumerate(cells) if f"### {section + 1} " in cell["source"])
    needed = [c for c in cells[:begin] if c in tagged(cells, "define") or c["id"] in NAMED]
    return needed + [cell for cell in cells[begin:end] if cell["cell_type"] == "code"]


@pytest.mark.parametrize("section", [9, 10, 11])
def test_sections_nine_to_eleven_can_be_entered_without_the_trainings(
    cells, tmp_path, monkeypatch, section
):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("RUNS_DIR", str(tmp_path))
    execute(enter(cells, section), {"__name__": "page"})
