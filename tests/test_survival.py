"""Files are whole or not there, damaged ones are named, and a run outlives whoever killed it."""

import errno
import os
import pickle
import random
import shutil
import sys
import types
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import run_child, same_run, same_weights
from PIL import Image


@pytest.fixture
def small_disk():
    """A system that lets no file grow beyond 100,000 bytes."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


# Writing


@pytest.mark.parametrize(
    ("content", "error"),
    [(torch.ones(100_000), OSError), (lambda: None, (AttributeError, pickle.PicklingError))],
    ids=["too large", "no number"],
)
def test_what_cannot_be_written_leaves_the_earlier_file(nb, tmp_path, small_disk, content, error):
    path = tmp_path / "file.pt"
    nb.save(path, {"number": 1})
    with pytest.raises(error):
        nb.save(path, {"number": 2, "content": content})
    assert nb.load(path) == {"number": 1}


def test_a_full_disk_ends_a_training_and_keeps_its_checkpoint(
    nb, damaged, small_disk, run, few, tiny, cpu
):
    with pytest.raises(OSError, match="File too large"):
        nb.train(replace(tiny, epochs=3), *few, cpu, resume_from=damaged)
    assert same_run(damaged, run.directory)


@pytest.mark.parametrize("kind", ["samples", "film"])
def test_a_full_disk_for_pictures_stops_nothing(nb, runs, run, few, tiny, cpu, monkeypatch, kind):
    owner, name = (nb, "save_image") if kind == "samples" else (Image.Image, "save")
    act = getattr(owner, name)

    def refuse_files(image, where, *args, **kwargs):
        if isinstance(where, Path):  # not in memory
            raise OSError(errno.ENOSPC, "No space left on device")
        return act(image, where, *args, **kwargs)

    monkeypatch.setattr(owner, name, refuse_files)
    other = nb.train(tiny, *few, cpu)
    assert same_run(other.directory, run.directory)
    assert not (other.directory / "progress.gif").exists()


def test_a_file_system_that_cannot_sync_will_do(nb, tmp_path, monkeypatch):
    def refuse(_):
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", refuse)
    nb.save(tmp_path / "file.pt", {"number": 1})
    assert nb.load(tmp_path / "file.pt") == {"number": 1}


# Reading


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999, None])
def test_a_file_cut_short_or_foreign_is_refused_and_left_alone(nb, damaged, share):
    path = damaged / "checkpoint.pt"
    content = b"<html>Not found</html>"
    if share is not None:
        content = path.read_bytes()[: int(share * path.stat().st_size)]
    path.write_bytes(content)
    with pytest.raises(zipfile.BadZipFile):
        nb.load(path)
    assert path.read_bytes() == content


def flip_a_bit(path: Path, place: int) -> None:
    """Flip a bit in the middle of an archive's entry, the largest one first."""
    with zipfile.ZipFile(path) as archive:
        entry = sorted(archive.infolist(), key=lambda entry: -entry.file_size)[place]
    data = bytearray(path.read_bytes())
    data[entry.header_offset + 200 + entry.file_size // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("place", range(5))
def test_a_flipped_bit_in_the_weights_is_noticed(nb, damaged, place):
    path = damaged / "checkpoint.pt"
    flip_a_bit(path, place)
    with pytest.raises((ValueError, zipfile.BadZipFile)):
        nb.load(path)


def test_a_flipped_bit_is_noticed_by_a_python_without_asserts(cells, damaged, monkeypatch):
    page = types.ModuleType("without_asserts")
    monkeypatch.setitem(sys.modules, page.__name__, page)  # dataclasses look themselves up there
    for cell in cells:
        if "define" in cell["metadata"].get("tags", []):
            exec(compile(cell["source"], cell["id"], "exec", optimize=1), page.__dict__)
    flip_a_bit(damaged / "generator.pt", 0)
    with pytest.raises((ValueError, zipfile.BadZipFile)):
        page.load_generator(damaged)


@pytest.mark.parametrize("seed", range(20))
def test_flipped_bits_anywhere_are_noticed_or_harmless(nb, damaged, run, seed):
    path, dice = damaged / "generator.pt", random.Random(seed)
    data = bytearray(path.read_bytes())
    for _ in range(3):
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    path.write_bytes(data)
    try:
        loaded = nb.load_generator(path)
    except Exception:  # what refuses it depends on where the bits are
        return
    assert same_weights(loaded, run.generator)  # they hit bytes that mean nothing, padding, say


def test_a_file_that_carries_code_is_refused_and_its_code_does_not_run(nb, tmp_path):
    marker, path = tmp_path / "ran", tmp_path / "generator.pt"

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(marker),)

    torch.save({"weights": Evil()}, path)
    with pytest.raises(pickle.UnpicklingError):
        nb.load_generator(tmp_path)
    assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists()  # the code was live: it is the loader that stopped it


@pytest.mark.parametrize("kind", [str, Path])
@pytest.mark.parametrize("file", ["", "generator.pt"])
def test_a_generator_is_loaded_from_a_directory_or_a_file(nb, run, file, kind):
    loaded = nb.load_generator(kind(run.directory / file))
    assert same_weights(loaded, run.generator)
    assert torch.equal(nb.sample(loaded, 4, seed=1), nb.sample(run.generator, 4, seed=1))


def test_loading_leaves_the_random_state_alone(nb, run, few):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    nb.load_generator(run.directory)
    nb.load_judge(*few)
    nb.latest_run()
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    "change",
    [
        {"config": {"players": "cnn"}},
        {"config": {"players": "conv"}},
        {"config": {"generator_widths": (32,)}},
        {"config": {"generator_widths": (32, 65)}},
        {"config": {"heads": 2}},  # of a later version
        {"weights": {}},
        {"weights": 3},
        [1, 2],
    ],
    ids=str,
)
def test_a_generator_that_is_not_known_here_is_refused(nb, damaged, change):
    path = damaged / "generator.pt"
    state = nb.load(path)
    if "config" in change:
        change = {"config": state["config"] | change["config"]}
    nb.save(path, change if isinstance(change, list) else state | change)
    with pytest.raises((LookupError, TypeError, RuntimeError)):
        nb.load_generator(damaged)


# What is left of a run


def only_the_checkpoint(directory: Path) -> None:
    for path in directory.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "checkpoint.pt":
            path.unlink()


def no_samples(directory: Path) -> None:
    shutil.rmtree(directory / "samples")


def an_empty_sample(directory: Path) -> None:
    (directory / "samples" / "epoch_0001.png").write_bytes(b"")


def half_a_sample(directory: Path) -> None:
    path = directory / "samples" / "epoch_0001.png"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def a_sample_that_is_no_picture(directory: Path) -> None:
    (directory / "samples" / "epoch_0001.png").write_text("<html>Not found</html>")


def a_file_in_place_of_the_samples(directory: Path) -> None:
    no_samples(directory)
    (directory / "samples").write_text("full")


@pytest.fixture(scope="module")
def longer(nb, run, few, tiny, cpu, tmp_path_factory):
    """The directory of the same run, played for three epochs."""
    copy = shutil.copytree(run.directory, tmp_path_factory.mktemp("longer") / "run")
    return nb.train(replace(tiny, epochs=3), *few, cpu, resume_from=copy).directory


@pytest.mark.parametrize(
    "accident",
    [
        only_the_checkpoint,
        no_samples,
        an_empty_sample,
        half_a_sample,
        a_sample_that_is_no_picture,
        a_file_in_place_of_the_samples,
    ],
)
def test_pictures_that_are_gone_or_damaged_do_not_hinder_resuming(
    nb, damaged, longer, few, tiny, cpu, accident
):
    accident(damaged)
    nb.train(replace(tiny, epochs=3), *few, cpu, resume_from=damaged)
    assert same_run(damaged, longer)


@pytest.fixture
def keep(nb, runs, run):
    """Make a run's directory of this name, with the generator of `players`."""
    state = nb.load(run.directory / "generator.pt")

    def make(name: str, players: str = "mlp") -> Path:
        (runs / name).mkdir(parents=True)
        changed = {"config": state["config"] | {"players": players}}
        nb.save(runs / name / "generator.pt", state | changed)
        return runs / name

    return make


def test_the_latest_run_is_that_of_the_latest_name(nb, keep):
    assert nb.latest_run() == nb.REFERENCE
    latest = keep("mlp-20260102-000001-b")
    keep("mlp-20260101-235959-c")  # written later
    (latest.parent / "mlp-20260104-000000-a").mkdir()  # stopped before it had a generator
    assert nb.latest_run() == nb.latest_run("mlp") == latest


def test_the_latest_run_is_of_the_recipe_that_is_asked_for(nb, keep):
    ours = keep("mlp-20260102-000001-a")
    wide, narrow = keep("mlp-wide-20260103-000000-a"), keep("mlp-256-20260103-000000-a")
    keep("dcgan-20260103-000000-a")
    found = [nb.latest_run(recipe) for recipe in ("mlp", "mlp-wide", "mlp-256")]
    assert found == [ours, wide, narrow]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"<html>Not found</html>"])
def test_the_latest_run_passes_over_damaged_files(nb, keep, content):
    (keep("mlp-20260102-000000-a") / "generator.pt").write_bytes(content)
    known = keep("mlp-20260101-000000-a")
    assert nb.latest_run() == known


def test_the_latest_run_passes_over_players_that_are_not_known(nb, keep):
    keep("mlp-20260102-000000-a", players="of my own")
    assert nb.latest_run() == nb.REFERENCE


# Kills

CHOSEN = {  # which function is called for the how-manieth time
    "in the middle of an epoch": ("nb.turn_of_g", 30),
    "before the generator is in its place": ("os.replace", 3),  # two files at first, then an epoch
    "before the checkpoint is in its place": ("os.replace", 4),
    "before the config is written": ("json.dumps", 2),
    "before the epoch is drawn": ("nb.show_images", 2),
}
ANYWHERE = [f"at random, {number}" for number in range(20)]


@pytest.fixture(scope="module")
def brief(tiny):
    """A configuration of three epochs of twenty steps."""
    return replace(tiny, epochs=3)


@pytest.fixture(scope="module")
def lived(nb, brief, few, cpu, tmp_path_factory):
    """The directory of a run of `brief` that nobody killed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nb, "RUNS", tmp_path_factory.mktemp("lived"))
        return nb.train(brief, few[0][:200], few[1][:200], cpu).directory


@pytest.fixture(scope="module")
def killed(brief, tmp_path_factory):
    """A folder with trainings that were killed, each in a folder with the name of its moment."""
    runs = tmp_path_factory.mktemp("killed")
    code = f"""
        import itertools, json, random

        def call_or_die(act, number):
            calls = itertools.count(1)

            def call(*args, **kwargs):
                if next(calls) == number:
                    os.kill(os.getpid(), 9)
                return act(*args, **kwargs)

            return call

        def begin_to_count(number):
            # from the first turn on, count the calls of all functions
            turn = nb.turn_of_d

            def first_turn(*args):
                nb.turn_of_d = turn
                sys.setprofile(call_or_die(lambda *_: None, number))
                return turn(*args)

            nb.turn_of_d = first_turn

        def train(moment, module=None, name=None, number=None):
            nb.RUNS = nb.RUNS / moment
            sys.stdout = open(os.devnull, "w")
            if module:
                setattr(module, name, call_or_die(getattr(module, name), number))
            else:
                begin_to_count(number)
            nb.train(config, images[:200], labels[:200], "cpu")

        dice = random.Random(0)
        plans = {{moment: [] for moment in {ANYWHERE!r}}}
        for moment, (name, number) in {CHOSEN!r}.items():
            module, name = name.split(".")
            plans[moment] = [globals()[module], name, number]
        for moment, plan in plans.items():
            number = dice.randrange(500_000)  # there are 580,000
            if os.fork() == 0:
                try:
                    train(moment, *plan) if plan else train(moment, number=number)
                finally:
                    sys.setprofile(None)
                    os._exit(3)
            assert os.wait()[1] == 9, (moment, number)
    """
    child = run_child(code, runs, brief)
    assert child.returncode == 0, child.stderr
    return runs


@pytest.mark.parametrize("moment", [*CHOSEN, *ANYWHERE])
def test_a_training_that_was_killed_is_resumed_as_if_it_had_not_been(
    nb, killed, lived, few, brief, cpu, moment
):
    (directory,) = (killed / moment).iterdir()
    assert nb.load_generator(directory)
    nb.train(brief, few[0][:200], few[1][:200], cpu, resume_from=directory)
    assert same_run(directory, lived)


def test_half_a_file_that_a_kill_left_is_written_over(nb, damaged, run, few, tiny, cpu):
    (damaged / "checkpoint.tmp").write_bytes(b"half")
    nb.train(tiny, *few, cpu, resume_from=damaged)
    assert same_run(damaged, run.directory)
    assert not [*damaged.glob("*.tmp")]
