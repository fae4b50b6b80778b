"""`train` writes a whole run directory, repeats itself, resumes, and survives."""

import io
import json
import os
import signal
import subprocess
import sys
import zipfile
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from conftest import load_definitions, same_weights
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2


@pytest.fixture(scope="module")
def events(run):
    accumulator = EventAccumulator(str(run.directory), size_guidance={"images": 0})
    return accumulator.Reload()


def test_a_run_directory_holds_all_that_was_promised(run):
    found = {str(p.relative_to(run.directory)) for p in run.directory.rglob("*") if p.is_file()}
    assert {name for name in found if not name.startswith("events")} == {
        "config.json",
        "checkpoint.pt",
        "checkpoint_previous.pt",
        "generator.pt",
        "progress.gif",
        "samples/epoch_0000.png",
        "samples/epoch_0001.png",
        "samples/epoch_0002.png",
    }
    assert sum(name.startswith("events.out.tfevents.") for name in found) == 1


def test_the_directory_is_named_after_the_recipe_and_the_time(run):
    assert run.directory.name[:4] == "mlp-"
    assert run.directory.name[4:12].isdigit()


def test_config_json_holds_the_config_and_the_versions(nb, run, tiny):
    facts = json.loads((run.directory / "config.json").read_text())
    assert nb.Config(**facts["config"]) == tiny
    assert facts["versions"]["torch"] == torch.__version__


@pytest.mark.parametrize(
    "name", ["loss/discriminator", "loss/generator", "score/real", "score/fake"]
)
def test_losses_and_scores_are_logged_at_every_interval_and_every_epochs_end(events, name):
    assert [event.step for event in events.Scalars(name)] == [4, 8, 10, 14, 18, 20]


def test_scores_are_probabilities(events):
    for name in ("score/real", "score/fake"):
        assert all(0 < event.value < 1 for event in events.Scalars(name))


def test_figures_and_speed_are_logged_once_an_epoch(events):
    figures = "frechet_distance", "digits_covered", "rarest_digit"
    for name in (*(f"quality/{f}" for f in figures), "speed/images_per_second", "speed/measuring"):
        assert [event.step for event in events.Scalars(name)] == [10, 20]


def test_image_grids_are_logged_and_decode(events):
    assert [event.step for event in events.Images("images/real")] == [0]
    assert [event.step for event in events.Images("images/fake")] == [0, 10, 20]
    for name in ("images/real", "images/fake"):
        for event in events.Images(name):
            picture = Image.open(io.BytesIO(event.encoded_image_string))
            assert picture.width == 8 * 30 + 2
            low, high = picture.convert("L").getextrema()
            assert high - low > 20


def test_the_graph_and_the_config_are_logged(events):
    graph = events.Graph()
    names = {node.name.split("/")[1] for node in graph.node if "/" in node.name}
    assert any("Generator[generator]" in name for name in names)
    assert any("Discriminator[discriminator]" in name for name in names)
    assert (
        "latent_dim" in events.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    )


def test_the_settings_are_logged_for_the_hparams_tab(events, tiny):
    content = events.PluginTagToContent("hparams")
    assert "_hparams_/experiment" in content
    started = plugin_data_pb2.HParamsPluginData.FromString(
        content["_hparams_/session_start_info"]
    ).session_start_info
    assert started.hparams["lr_g"].number_value == tiny.lr_g
    assert started.hparams["betas"].string_value == str(tiny.betas)


def test_the_film_has_a_frame_for_every_sample(run):
    film = Image.open(run.directory / "progress.gif")
    assert film.n_frames == len(list((run.directory / "samples").iterdir())) == 3
    assert film.is_animated


def test_the_history_holds_the_same_curves_as_tensorboard(run, events):
    for name in ("loss/generator", "quality/frechet_distance"):
        steps, values = run.curve(name)
        assert steps == [event.step for event in events.Scalars(name)]
        assert values == pytest.approx([event.value for event in events.Scalars(name)], rel=1e-6)


def test_the_saved_generator_draws_what_the_runs_generator_draws(nb, run):
    loaded = nb.load_generator(run.directory)
    assert torch.equal(nb.sample(loaded, 4, seed=1), nb.sample(run.generator, 4, seed=1))
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_the_generator_file_loads_as_plain_weights(run):
    state = torch.load(run.directory / "generator.pt", weights_only=True)
    assert set(state) == {"format", "config", "weights"}


def test_samples_show_the_generator_learning(run):
    grids = [Image.open(path).tobytes() for path in sorted((run.directory / "samples").iterdir())]
    assert len(set(grids)) == 3


def test_the_same_seed_gives_the_same_weights(nb, runs, loader, tiny, cpu):
    first, second = (nb.train(tiny, loader, cpu) for _ in range(2))
    assert first.directory != second.directory
    for name in ("generator", "discriminator", "average"):
        assert same_weights(getattr(first.game, name), getattr(second.game, name))


def test_another_seed_gives_other_weights(nb, runs, loader, tiny, cpu):
    first, second = (nb.train(replace(tiny, seed=seed), loader, cpu) for seed in (0, 1))
    assert not same_weights(first.game.generator, second.game.generator)


@pytest.mark.parametrize("stop", [1, 2])
def test_resuming_gives_the_same_weights_as_not_stopping(nb, runs, loader, tiny, cpu, stop):
    whole = nb.train(replace(tiny, epochs=3), loader, cpu)
    part = nb.train(replace(tiny, epochs=stop), loader, cpu)
    resumed = nb.train(replace(tiny, epochs=3), loader, cpu, resume_from=part.directory)
    assert resumed.directory == part.directory
    for name in ("generator", "discriminator", "average"):
        assert same_weights(getattr(whole.game, name), getattr(resumed.game, name))
    assert [row["step"] for row in whole.history] == [row["step"] for row in resumed.history]


def test_a_resumed_runs_curves_have_no_gap_and_no_double_point(nb, runs, loader, tiny, cpu):
    run = nb.train(tiny, StopAfter(loader, 15), cpu)  # in the second epoch
    nb.train(tiny, loader, cpu, resume_from=run.directory)
    events = EventAccumulator(str(run.directory)).Reload()
    for name in ("loss/generator", "score/fake"):
        assert [event.step for event in events.Scalars(name)] == [4, 8, 10, 14, 18, 20]


class StopAfter:
    """A loader during whose n-th batch somebody presses Jupyter's stop button."""

    def __init__(self, loader, n: int) -> None:
        self.loader, self.left = loader, n + 1  # `train` looks at one batch before it begins

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self):
        for batch in self.loader:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            yield batch


def test_the_stop_button_leaves_a_run_that_can_be_shown_and_resumed(
    nb, runs, loader, tiny, cpu, capsys
):
    whole = nb.train(tiny, loader, cpu)
    run = nb.train(tiny, StopAfter(loader, 15), cpu)
    assert f"resume_from='{run.directory}'" in capsys.readouterr().out
    assert nb.sample(run.generator, 2).shape == (2, 1, 28, 28)
    assert Image.open(run.directory / "progress.gif").n_frames == 2
    resumed = nb.train(tiny, loader, cpu, resume_from=run.directory)
    assert same_weights(whole.game.generator, resumed.game.generator)


def test_a_run_stopped_in_its_first_epoch_can_be_resumed(nb, runs, loader, tiny, cpu):
    whole = nb.train(tiny, loader, cpu)
    run = nb.train(tiny, StopAfter(loader, 3), cpu)
    resumed = nb.train(tiny, loader, cpu, resume_from=run.directory)
    assert same_weights(whole.game.generator, resumed.game.generator)


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_checkpoint(
    nb, runs, loader, tiny, cpu
):
    config = replace(tiny, epochs=3)
    run = nb.train(replace(config, epochs=1), loader, cpu)
    before = (run.directory / "checkpoint.pt").read_bytes()

    class Poisoned:
        def __len__(self) -> int:
            return len(loader)

        def __iter__(self):
            for real, labels in loader:
                yield real * float("nan"), labels

    with pytest.raises(FloatingPointError, match="no longer a number at step 14"):
        nb.train(config, Poisoned(), cpu, resume_from=run.directory)
    assert (run.directory / "checkpoint.pt").read_bytes() == before


def test_training_does_not_read_from_the_device_between_logging_intervals(
    nb, runs, loader, tiny, cpu, monkeypatch
):
    reads = []
    for name in ("item", "tolist", "cpu", "__float__", "__bool__", "numpy"):
        original = getattr(torch.Tensor, name)

        def counted(tensor, *args, _original=original, **kwargs):
            reads.append(_original.__name__)
            return _original(tensor, *args, **kwargs)

        monkeypatch.setattr(torch.Tensor, name, counted)
    game = nb.Game(tiny, cpu)
    batch = next(iter(loader))
    reads.clear()
    nb.play_step(game, *batch)
    assert reads == []


def test_two_runs_begun_in_the_same_second_get_directories_of_their_own(nb, runs, tiny, cpu):
    directories = set()
    for _ in range(5):
        directory = nb.start_run(tiny, cpu).directory
        (directory / "samples").rmdir()  # a reader may tidy up
        directories.add(directory)
    assert len(directories) == 5


def test_a_run_directory_that_cannot_be_made_is_explained(nb, tiny, cpu, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setattr(nb, "RUNS", tmp_path / "file")
    with pytest.raises(OSError, match=r"can't be made .* set RUNS_DIR") as caught:
        nb.start_run(tiny, cpu)
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_explained_and_leaves_the_earlier_file(nb, tmp_path):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(b"earlier")

    def fill(file) -> None:
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="free some disk space"):
        nb.write_file(path, fill)
    assert path.read_bytes() == b"earlier"
    assert list(tmp_path.iterdir()) == [path]


def test_a_checkpoint_of_another_configuration_is_refused(nb, run, tiny, loader, cpu):
    with pytest.raises(ValueError, match="another configuration"):
        nb.train(replace(tiny, lr_g=1e-2), loader, cpu, resume_from=run.directory)


def test_resuming_from_nowhere_is_refused(nb, tiny, loader, cpu, tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no file"):
        nb.train(tiny, loader, cpu, resume_from=tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("name", ["checkpoint.pt", "generator.pt"])
def test_a_file_cut_short_is_named_and_left_alone(nb, damaged, tiny, loader, cpu, name, share):
    path = damaged / name
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    read = {
        "checkpoint.pt": lambda: nb.train(tiny, loader, cpu, resume_from=damaged),
        "generator.pt": lambda: nb.load_generator(damaged),
    }
    with pytest.raises(ValueError, match=f"{name} is damaged") as caught:
        read[name]()
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == whole[: int(len(whole) * share)]
    if name == "checkpoint.pt":
        assert "Delete it to go on from checkpoint_previous.pt" in str(caught.value)


@pytest.mark.parametrize("place", range(5))
def test_a_flipped_bit_in_the_weights_is_noticed(nb, damaged, place):
    path = damaged / "generator.pt"
    with zipfile.ZipFile(path) as archive:
        entries = sorted(archive.infolist(), key=lambda entry: -entry.file_size)
    data = bytearray(path.read_bytes())
    data[entries[place].header_offset + 200 + entries[place].file_size // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match="is damaged"):
        nb.load_generator(path)


def test_without_a_checkpoint_the_previous_one_is_used(nb, damaged, run, tiny, loader, cpu):
    (damaged / "checkpoint.pt").unlink()
    assert nb.resume_run(damaged, tiny, cpu).epoch == 1
    resumed = nb.train(tiny, loader, cpu, resume_from=damaged)
    assert same_weights(resumed.game.generator, run.game.generator)


def test_a_file_that_carries_code_is_refused_and_its_code_does_not_run(nb, tmp_path):
    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(marker),)

    torch.save({"format": 1, "weights": Evil()}, tmp_path / "generator.pt")
    with pytest.raises(ValueError, match="was not written by this notebook"):
        nb.load_generator(tmp_path)
    assert not marker.exists()
    torch.load(tmp_path / "generator.pt", weights_only=False)
    assert marker.exists()  # the code was live: it is the loader that stopped it


CHILD = """
import sys
sys.path.insert(0, {tests!r})
from conftest import load_definitions
from dataclasses import asdict, replace
import torch
from pathlib import Path
nb = load_definitions()
nb.RUNS = Path({runs!r})
images, labels = nb.load_mnist()
config = nb.Config(**{config!r})
loader = nb.make_loader(images[:500], labels[:500], config, torch.device("cpu"))
nb.train(config, loader, torch.device("cpu"))
"""


def test_a_killed_run_can_be_resumed(nb, runs, loader, tiny, cpu):
    config = replace(tiny, epochs=400)
    code = CHILD.format(tests=str(Path(__file__).parent), runs=str(runs), config=asdict(config))
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    for line in child.stdout:
        if line.startswith("epoch   3"):
            break
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    (directory,) = runs.iterdir()
    done = nb.resume_run(directory, config, cpu).epoch
    assert done >= 2
    resumed = nb.train(replace(config, epochs=done + 1), loader, cpu, resume_from=directory)
    whole = nb.train(replace(config, epochs=done + 1), loader, cpu)
    assert same_weights(whole.game.generator, resumed.game.generator)


def test_the_definitions_do_nothing_by_themselves(runs):
    before = {path for path in Path.cwd().iterdir()}
    load_definitions()
    assert {path for path in Path.cwd().iterdir()} == before
    assert not runs.exists()
