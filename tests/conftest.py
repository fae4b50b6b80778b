"""What all tests share: the notebook's definitions, real digits, and a scratch folder.

The environment is set before anything is collected, so that the kernel in which nbval runs the
notebook has it too: a small rehearsal, off the network, that writes to the scratch folder only.
"""

import json
import linecache
import os
import platform
import shutil
import sys
import tempfile
import types
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "GAN_for_MNIST.ipynb"
FILES = (  # MNIST, as its authors packed it
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


@pytest.hookimpl(tryfirst=True)  # before pytest chooses a folder that all its runs share
def pytest_configure(config: pytest.Config) -> None:
    scratch = Path(tempfile.mkdtemp(prefix="gan-for-mnist-"))
    config.add_cleanup(lambda: shutil.rmtree(scratch, ignore_errors=True))
    config.option.basetemp = scratch / "pytest"  # two runs at once would delete each other's
    raw = scratch / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in (ROOT / "data" / "MNIST" / "raw").glob("*.gz"):
        shutil.copy(file, raw)  # unpacking happens beside the copy, not in the repository
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


def read_cells(path: Path = NOTEBOOK) -> list[dict]:
    """Return the notebook's cells, each with its source as one string."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell | {"source": "".join(cell["source"])} for cell in cells]


def load_definitions() -> types.ModuleType:
    """Run the cells tagged `define`, and no others, as a module."""
    module = types.ModuleType("gan_for_mnist")
    sys.modules[module.__name__] = module  # dataclasses look themselves up there
    for cell in read_cells():
        if "define" in cell["metadata"].get("tags", []):
            name = f"<cell {cell['id']}>"
            lines = cell["source"].splitlines(keepends=True)
            linecache.cache[name] = len(cell["source"]), None, lines, name  # for tracebacks
            exec(compile(cell["source"], name, "exec"), module.__dict__)
    return module


def same_weights(first, second) -> bool:
    """Tell whether two networks have the same state, bit for bit."""
    import torch  # here, since loading it is slow and collecting does not need it

    ours, theirs = first.state_dict(), second.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


def processor() -> str:
    """Return the processor's name, as far as the system tells."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


@pytest.fixture(scope="session")
def nb() -> types.ModuleType:
    """The notebook's definitions."""
    return load_definitions()


@pytest.fixture(scope="session")
def cells() -> list[dict]:
    """The notebook's cells, each with its source as one string."""
    return read_cells()


@pytest.fixture(scope="session")
def mnist(nb):
    """MNIST's training images and labels."""
    return nb.load_mnist(train=True)


@pytest.fixture(scope="session")
def digits(nb):
    """MNIST's test images, float (10000, 1, 28, 28) in [0, 1], and labels."""
    images, labels = nb.load_mnist(train=False)
    return images[:, None].float() / 255, labels


@pytest.fixture(scope="session")
def tiny(nb):
    """A configuration that trains in about a second: two epochs of ten steps."""
    return replace(
        nb.Config(),
        generator_widths=(32, 64),
        discriminator_widths=(64, 32),
        batch_size=50,
        epochs=2,
        log_every=4,
    )


@pytest.fixture(scope="session")
def cpu():
    import torch

    return torch.device("cpu")


@pytest.fixture
def loader(nb, mnist, tiny, cpu):
    """Ten batches of real digits."""
    return nb.make_loader(mnist[0][:500], mnist[1][:500], tiny, cpu)


@pytest.fixture
def runs(nb, tmp_path, monkeypatch):
    """An empty folder of this test's own for its run directories."""
    monkeypatch.setattr(nb, "RUNS", tmp_path / "runs")
    return tmp_path / "runs"


@pytest.fixture(scope="session")
def run(nb, mnist, tiny, cpu, digits, tmp_path_factory):
    """A finished run of two epochs, with the judge's quick figures (of an untrained judge)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nb, "RUNS", tmp_path_factory.mktemp("runs"))
        import torch

        torch.manual_seed(0)
        loader = nb.make_loader(mnist[0][:500], mnist[1][:500], tiny, cpu)
        measure = nb.make_measure(nb.Judge().eval(), digits[0], n=200)
        return nb.train(tiny, loader, cpu, measure=measure)


@pytest.fixture
def damaged(run, tmp_path):
    """A copy of a run's directory that a test may damage."""
    shutil.copytree(run.directory, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture
def folder(nb, tmp_path):
    """A data folder of this test's own, with the four official files."""
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in FILES:
        shutil.copy(Path(nb.DATA) / "MNIST" / "raw" / name, raw)
    return tmp_path / "data"
