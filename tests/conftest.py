"""What all tests share: the notebook's definitions, real digits, and a scratch folder.

The environment is set before anything is collected, so that the kernel in which nbval runs the
notebook has it too: a small rehearsal, off the network, that writes to the scratch folder only.
"""

import json
import linecache
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import types
from contextlib import chdir
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = Path(os.environ.get("NOTEBOOK", ROOT / "GAN_for_MNIST.ipynb")).absolute()


@pytest.hookimpl(tryfirst=True)  # before pytest chooses a folder that all its runs share
def pytest_configure(config: pytest.Config) -> None:
    scratch = Path(tempfile.mkdtemp(prefix="gan-for-mnist-"))
    config.add_cleanup(lambda: shutil.rmtree(scratch, ignore_errors=True))
    config.option.basetemp = scratch / "pytest"  # two runs at once would delete each other's
    raw = scratch / "data" / "MNIST" / "raw"  # torchvision unpacks here, not in the repository
    raw.mkdir(parents=True)
    for packed in (ROOT / "data" / "MNIST" / "raw").glob("*.gz"):
        (raw / packed.name).symlink_to(packed)
    nowhere = "http://127.0.0.1:9"  # the discard port: a download fails at once
    os.environ |= {
        "SMOKE_TEST": "1",
        "DATA_DIR": str(scratch / "data"),
        "RUNS_DIR": str(scratch / "runs"),
        "IPYTHONDIR": str(scratch / "ipython"),
        "MPLCONFIGDIR": str(scratch / "matplotlib"),
        "http_proxy": nowhere,
        "https_proxy": nowhere,
        "no_proxy": "localhost,127.0.0.1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    os.environ.setdefault("MPLBACKEND", "agg")
    for name in ("JPY_SESSION_NAME", "COLAB_RELEASE_TAG", "VSCODE_PID"):
        os.environ.pop(name, None)  # nobody looks on, though pytest be run from such a place


def read_cells(path: Path = NOTEBOOK) -> list[dict]:
    """Return the notebook's cells, each with its source as one string."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell | {"source": "".join(cell["source"])} for cell in cells]


def load_definitions() -> types.ModuleType:
    """Run the cells tagged `define`, and no others, as a module."""
    module = types.ModuleType("gan_for_mnist")
    sys.modules[module.__name__] = module
    for cell in read_cells():
        if "define" in cell["metadata"].get("tags", []):
            name = f"<cell {cell['id']}>"
            lines = cell["source"].splitlines(keepends=True)
            linecache.cache[name] = len(cell["source"]), None, lines, name  # for tracebacks
            with chdir(ROOT):  # as in Jupyter, where `runs/reference` is beside the notebook
                exec(compile(cell["source"], name, "exec"), module.__dict__)
    return module


def register_tiny(nb: types.ModuleType) -> None:
    """Add the recipe `tiny` to a module of definitions: small players, two epochs in a second."""
    from torch import nn  # here, since loading it is slow and collecting does not need it

    def tiny_players():
        generator = nn.Sequential(
            *(nb.Die(5), nn.Linear(20, 32), nn.BatchNorm1d(32), nn.LeakyReLU(0.2)),
            *(nn.Linear(32, 784), nn.Tanh(), nn.Unflatten(1, (1, 28, 28))),
        )
        generator.latent_size = 20
        layers = nn.Flatten(), nn.Linear(784, 32), nn.LeakyReLU(0.2), nn.Dropout(0.1)
        return generator, nn.Sequential(*layers, nn.Linear(32, 1), nn.Flatten(0))

    nb.PLAYERS["tiny"] = tiny_players
    small = {"players": "tiny", "batch_size": 10, "epochs": 2, "steady_epochs": 1}
    nb.RECIPES["tiny"] = nb.RECIPES["mlp"] | small


def same_weights(first, second) -> bool:
    """Tell whether two networks have the same state, bit for bit."""
    import torch

    ours, theirs = first.state_dict(), second.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


def same_run(first: Path, second: Path) -> bool:
    """Tell whether two directories hold the same match, bit for bit."""
    import torch

    ours, theirs = (torch.load(directory / "match.pt") for directory in (first, second))
    assert ours.pop("settings") == theirs.pop("settings")  # words can't be close
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)  # goes through dicts and lists
    return True


def run_child(code: str, runs: Path) -> subprocess.CompletedProcess:
    """Run `code` in a Python of its own that has the notebook, `nb`, its recipe `tiny`, and a
    `loader` of sixty batches of ten.
    """
    head = f"""
        import os, sys
        import torch
        sys.path.insert(0, {str(ROOT / "tests")!r})
        from conftest import load_definitions, register_tiny
        torch.set_num_threads(1)
        nb = load_definitions()
        register_tiny(nb)
        loader = nb.make_loader(*(part[:600] for part in nb.load_mnist()), 10)
    """
    command = [sys.executable, "-c", textwrap.dedent(head) + textwrap.dedent(code)]
    environment = os.environ | {"RUNS_DIR": str(runs)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)


@pytest.fixture(scope="session")
def nb() -> types.ModuleType:
    """The notebook's definitions."""
    import torch

    torch.set_num_threads(1)  # as a child does: the last bits of a sum depend on how it is split
    return load_definitions()


@pytest.fixture(scope="session", autouse=True)
def event_files_in_order() -> None:
    """Number TensorBoard's files from 1000 on: within a second it would read 10 before 9."""
    from tensorboard.summary.writer import event_file_writer

    event_file_writer._global_uid = event_file_writer.AtomicCounter(1000)


@pytest.fixture(scope="session")
def cells() -> list[dict]:
    """The notebook's cells, each with its source as one string."""
    return read_cells()


@pytest.fixture(scope="session")
def mnist(nb):
    """MNIST's training images, from -1 to 1, and labels."""
    return nb.load_mnist(train=True)


@pytest.fixture(scope="session")
def digits(nb):
    """MNIST's test images, from -1 to 1, and labels."""
    return nb.load_mnist(train=False)


@pytest.fixture(scope="session")
def judge(nb, mnist):
    """The judge that comes with the repository."""
    return nb.load_judge(*mnist, str(ROOT / "runs" / "reference" / "judge.pt"))


@pytest.fixture(scope="session")
def few(mnist):
    """Six hundred training images and labels."""
    return mnist[0][:600], mnist[1][:600]


@pytest.fixture(scope="session")
def loader(nb, few):
    """Sixty batches of ten real digits."""
    return nb.make_loader(*few, 10)


@pytest.fixture
def tiny_match(nb, monkeypatch):
    """Make a match of the recipe `tiny`, which is there during this test only."""
    for name in ("PLAYERS", "RECIPES"):
        monkeypatch.setattr(nb, name, dict(getattr(nb, name)))
    register_tiny(nb)
    return lambda **changes: nb.make_match("tiny", **changes)


@pytest.fixture
def runs(nb, tmp_path, monkeypatch):
    """A folder of this test's own, not there yet, for its run directories."""
    monkeypatch.setattr(nb, "RUNS", tmp_path / "runs")
    return tmp_path / "runs"
