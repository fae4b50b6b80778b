"""Files are whole or not there, damaged ones are named, and a run outlives whoever killed it."""

import os
import pickle
import random
import zipfile
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import run_child, same_run, same_weights


def deny(*_):
    raise PermissionError("somebody has the file open")


@pytest.fixture
def small_disk():
    """A system that lets no file grow beyond 100,000 bytes."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


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
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize(("denials", "number"), [(0, 2), (1, 2), (1000, 1)])
def test_a_file_that_somebody_has_open_is_tried_again(nb, tmp_path, monkeypatch, denials, number):
    path, move, left = tmp_path / "file.pt", os.replace, iter(range(denials))
    nb.save(path, {"number": 1})
    monkeypatch.setattr(nb.time, "sleep", lambda _: None)
    monkeypatch.setattr(os, "replace", lambda *a: move(*a) if next(left, None) is None else deny())
    with suppress(PermissionError) if number == 1 else nullcontext():
        nb.save(path, {"number": 2})
    assert nb.load(path) == {"number": number}
    assert [*tmp_path.iterdir()] == [path]


def test_a_full_disk_ends_a_training_and_keeps_its_checkpoint(
    nb, damaged, small_disk, run, loader, tiny, cpu
):
    with pytest.raises(OSError, match="File too large"):
        nb.train(replace(tiny, epochs=3), loader, cpu, resume_from=damaged)
    assert same_run(damaged, run.directory)
    assert not [*damaged.glob("*.tmp")]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999, None])
def test_a_file_cut_short_or_foreign_is_named_and_left_alone(nb, damaged, share):
    path = damaged / "checkpoint.pt"
    content = b"<html>Not found</html>"
    if share is not None:
        content = path.read_bytes()[: int(share * path.stat().st_size)]
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path} is damaged, or not of this notebook") as caught:
        nb.load(path)
    assert str(caught.value).isprintable()  # one line, and nothing that a terminal obeys
    assert path.read_bytes() == content


@pytest.mark.parametrize("place", range(5))
def test_a_flipped_bit_in_the_weights_is_noticed(nb, damaged, place):
    path = damaged / "checkpoint.pt"
    with zipfile.ZipFile(path) as archive:
        entry = sorted(archive.infolist(), key=lambda entry: -entry.file_size)[place]
    data = bytearray(path.read_bytes())
    data[entry.header_offset + 200 + entry.file_size // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=f"{path} is damaged"):
        nb.load(path)


@pytest.mark.parametrize("seed", range(20))
def test_flipped_bits_anywhere_are_noticed_or_harmless(nb, damaged, run, seed):
    path, dice = damaged / "generator.pt", random.Random(seed)
    data = bytearray(path.read_bytes())
    for _ in range(3):
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    path.write_bytes(data)
    with suppress(ValueError):  # else they hit bytes that mean nothing, padding, say
        assert same_weights(nb.load_generator(path), run.generator)


def test_a_file_that_carries_code_is_refused_and_its_code_does_not_run(nb, tmp_path):
    marker, path = tmp_path / "ran", tmp_path / "generator.pt"

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(marker),)

    torch.save({"weights": Evil()}, path)
    with pytest.raises(ValueError, match=f"{path} is damaged, or not of this notebook") as caught:
        nb.load_generator(tmp_path)
    assert str(caught.value).isprintable()
    assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists()  # the code was live: it is the loader that stopped it


KILLS = {  # which function is called for the how-manieth time
    "in the middle of an epoch": ("nb.play_step", 90),
    "while the checkpoint is written": ("os.fsync", 4),  # two files an epoch, from the 0th on
    "while the generator is written": ("os.fsync", 5),
}


@pytest.fixture(scope="module")
def killed(tiny, tmp_path_factory):
    """A folder with trainings that were killed, each in a folder with the name of its moment."""
    runs = tmp_path_factory.mktemp("killed")
    code = f"""
        for moment, (name, number) in {KILLS!r}.items():
            if os.fork() == 0:
                act, calls = eval(name), iter(range(1, number))

                def call_or_die(*args):
                    if next(calls, None) is None:
                        os.kill(os.getpid(), 9)
                    return act(*args)

                exec(f"{{name}} = call_or_die")
                nb.RUNS = nb.RUNS / moment
                nb.train(config, loader, "cpu")
            assert os.wait()[1] == 9
    """
    child = run_child(code, runs, tiny)
    assert child.returncode == 0, child.stderr
    return runs


@pytest.mark.parametrize("moment", KILLS)
def test_a_training_that_was_killed_is_resumed_as_if_it_had_not_been(
    nb, killed, run, loader, tiny, cpu, moment
):
    (directory,) = (killed / moment).iterdir()
    assert nb.load_generator(directory)
    nb.train(tiny, loader, cpu, resume_from=directory)
    assert same_run(directory, run.directory)


@pytest.mark.parametrize("kind", [str, Path])
@pytest.mark.parametrize("file", ["", "generator.pt"])
def test_a_generator_is_loaded_from_a_directory_or_a_file(nb, run, file, kind):
    loaded = nb.load_generator(kind(run.directory / file))
    assert same_weights(loaded, run.generator)
    assert torch.equal(nb.sample(loaded, 4, seed=1), nb.sample(run.generator, 4, seed=1))


@pytest.mark.parametrize(
    "change",
    [
        {"config": {"players": "cnn"}},
        {"config": {"players": "conv"}},
        {"config": {"generator_widths": (32,)}},
        {"config": {"generator_widths": (32, 65)}},
        {"config": {"heads": 2}},  # of a later version
        {"config": {"batch_size": 0}},
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
    with pytest.raises(ValueError, match=f"{path} holds no generator known here") as caught:
        nb.load_generator(damaged)
    assert str(caught.value).isprintable()


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


def test_the_latest_run_is_that_of_the_latest_name_and_recipe(nb, keep):
    assert nb.latest_run() == nb.REFERENCE
    latest = keep("mlp-20260102-000001")
    keep("mlp-20260101-235959")  # written later
    other = keep("mlp-wide-20260103-000000")
    keep("mlp-256-20260103-000000")
    keep("dcgan-20260103-000000")
    (latest.parent / "mlp-20260104-000000").mkdir()  # stopped before it had a generator
    assert nb.latest_run() == nb.latest_run("mlp") == latest
    assert nb.latest_run("mlp-wide") == other


def test_the_latest_run_passes_over_players_that_are_not_known(nb, keep):
    keep("mlp-20260102-000000", players="of my own")
    assert nb.latest_run() == nb.REFERENCE
    known = keep("mlp-20260101-000000")
    assert nb.latest_run() == known
