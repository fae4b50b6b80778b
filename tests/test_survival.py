"""Runs survive kills, signals and full disks; damaged files are named; nothing leaves `runs/`."""

import http.server
import json
import random
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from conftest import FILES, NOTEBOOK, same_weights
from PIL import Image


def child(code: str, **values) -> subprocess.Popen:
    """Start a Python of its own that has the notebook's definitions, as `nb`, and `values`."""
    head = f"""
        import os, signal, sys, time
        from dataclasses import replace
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from conftest import load_definitions
        import torch
        torch.set_num_threads(1)
        nb = load_definitions()
        cpu = torch.device("cpu")
        images, labels = nb.load_mnist()
        config = nb.Config(**{values.pop("config")!r})
        loader = nb.make_loader(images[:500], labels[:500], config, cpu)
        nb.RUNS = Path({str(values.pop("runs"))!r})
    """
    source = textwrap.dedent(head) + textwrap.dedent(code).format(**values)
    return subprocess.Popen(
        [sys.executable, "-u", "-c", source],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def one_thread():
    """As many threads as a child has: sums of floats depend on how they are split up."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def conv(nb):
    """A small convolutional recipe."""
    return replace(
        nb.RECIPES["dcgan"],
        generator_widths=(8, 4),
        discriminator_widths=(4, 8),
        batch_size=50,
        epochs=3,
    )


def test_a_convolutional_run_resumes_bit_for_bit(nb, runs, conv, mnist, cpu):
    loader = nb.make_loader(mnist[0][:300], mnist[1][:300], conv, cpu)
    whole = nb.train(conv, loader, cpu)
    for stop in (1, 2):
        part = nb.train(replace(conv, epochs=stop), loader, cpu)
        resumed = nb.train(conv, loader, cpu, resume_from=part.directory)
        for name in ("generator", "discriminator", "average"):
            assert same_weights(getattr(whole.game, name), getattr(resumed.game, name))


TWENTY_KILLS = """
    directory = nb.train(replace(config, epochs=1), loader, cpu).directory  # its first page is slow
    for pause in {pauses}:
        pid = os.fork()
        if pid == 0:
            nb.train(config, loader, cpu, resume_from=directory)
            os._exit(0)
        time.sleep(pause)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        print("at", nb.resume_run(directory, config, cpu).epoch)
"""


def test_twenty_kills_at_random_moments_lose_at_most_the_work_since_the_last_checkpoint(
    nb, runs, loader, tiny, cpu, one_thread
):
    random.seed(6)
    config = replace(tiny, epochs=5000)
    pauses = [random.uniform(0.05, 0.6) for _ in range(20)]
    process = child(TWENTY_KILLS, runs=runs, config=asdict(config), pauses=pauses)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    told, reached, kills = 0, [], 0
    for line in output.splitlines():
        if line.startswith("at "):
            kills += 1
            reached.append(int(line[3:]))
            assert reached[-1] >= told  # a line is printed once the epoch is safe
        elif epoch := re.match(r"epoch +(\d+)/", line):
            told = int(epoch[1])
    assert kills == 20
    assert reached == sorted(reached)
    assert reached[-1] > 10
    (directory,) = runs.iterdir()
    end = replace(config, epochs=reached[-1] + 1)
    resumed = nb.train(end, loader, cpu, resume_from=directory)
    whole = nb.train(end, loader, cpu)
    assert same_weights(whole.game.generator, resumed.game.generator)


def test_the_interrupt_signal_ends_a_run_in_good_order(nb, runs, loader, tiny, cpu, one_thread):
    code = """
        signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it
        run = nb.train(config, loader, cpu)
        print("kept", run.directory, nb.sample(run.generator, 2).shape)
    """
    process = child(code, runs=runs, config=asdict(replace(tiny, epochs=5000)))
    for line in process.stdout:
        if line.startswith("epoch   3/"):
            process.send_signal(signal.SIGINT)
            break
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "Stopped in epoch" in output
    assert "kept" in output
    (directory,) = runs.iterdir()
    assert Image.open(directory / "progress.gif").n_frames >= 4
    assert nb.sample(nb.load_generator(directory), 1).shape == (1, 1, 28, 28)


def test_a_new_process_gives_the_same_weights(nb, runs, loader, tiny, cpu, one_thread):
    process = child("nb.train(config, loader, cpu)", runs=runs, config=asdict(tiny))
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    (directory,) = runs.iterdir()
    here = nb.train(tiny, loader, cpu)
    assert same_weights(nb.load_generator(directory), here.generator)


def test_a_full_disk_ends_a_run_in_one_sentence_and_keeps_the_earlier_files(nb, runs, tiny):
    code = """
        import resource
        run = nb.train(replace(config, epochs=1), loader, cpu)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))  # less than a checkpoint
        try:
            nb.train(config, loader, cpu, resume_from=run.directory)
        except OSError as error:
            print("said", str(error))
    """
    config = replace(tiny, sample_every=100)
    process = child(code, runs=runs, config=asdict(config))
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    (said,) = [line for line in output.splitlines() if line.startswith("said")]
    assert "checkpoint.pt can't be written" in said
    assert "free some disk space" in said
    (directory,) = runs.iterdir()
    assert not list(directory.glob("*.tmp"))
    assert nb.resume_run(directory, config, torch.device("cpu")).epoch == 1


@pytest.mark.parametrize("seed", range(40))
def test_flipped_bits_are_noticed_or_harmless(nb, damaged, run, tiny, cpu, seed):
    path = damaged / "checkpoint.pt"
    data = bytearray(path.read_bytes())
    random.seed(seed)
    for _ in range(3):
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    path.write_bytes(data)
    said = None
    try:
        found = nb.resume_run(damaged, tiny, cpu)
    except ValueError as error:
        said = str(error)
    if said is None:  # the flips hit bytes that mean nothing, such as padding between a zip's parts
        assert same_weights(found.game.generator, run.game.generator)
        assert same_weights(found.game.discriminator, run.game.discriminator)
    else:
        assert "checkpoint.pt is damaged" in said
        assert "checkpoint_previous.pt" in said
        assert "\n" not in said
    assert path.read_bytes() == data


def test_some_flipped_bits_are_noticed(nb, damaged):
    path = damaged / "checkpoint.pt"
    data = bytearray(path.read_bytes())
    noticed = 0
    for place in range(len(data) // 10, len(data), len(data) // 10):
        data[place] ^= 4
        path.write_bytes(data)
        data[place] ^= 4
        try:
            nb.load_file(path)
        except ValueError:
            noticed += 1
    assert noticed >= 8


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is damaged"),
        (b"not a zip", "is damaged"),
        ({"format": 0, "epoch": 3}, "format that this notebook doesn't know"),
        ({"epoch": 3}, "format that this notebook doesn't know"),
        ([1, 2, 3], "format that this notebook doesn't know"),
        ({"format": 1}, "format that this notebook doesn't know"),
    ],
    ids=["empty", "text", "older", "without a format", "a list", "without its parts"],
)
def test_a_foreign_checkpoint_is_named(nb, damaged, tiny, cpu, content, reason):
    path = damaged / "checkpoint.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(ValueError, match=reason) as caught:
        nb.resume_run(damaged, tiny, cpu)
    assert "checkpoint.pt" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_generator_file_cannot_name_a_place_outside_the_runs(nb, damaged):
    state = nb.load_file(damaged / "generator.pt")
    config = json.loads(state["config"]) | {"recipe": "../../elsewhere"}
    torch.save(state | {"config": json.dumps(config)}, damaged / "generator.pt")
    with pytest.raises(ValueError, match="recipe"):
        nb.load_generator(damaged)


@pytest.mark.parametrize("how", ["emptied", "swapped", "text"])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_data_file_is_named(nb, folder, name, how):
    path = folder / "MNIST" / "raw" / name
    other = FILES[(FILES.index(name) + 1) % 4]
    content = {"emptied": b"", "swapped": (path.parent / other).read_bytes(), "text": b"<html>"}
    path.write_bytes(content[how])
    with pytest.raises(RuntimeError, match=f"missing or damaged: {name}") as caught:
        nb.load_mnist(folder)
    assert "\n" not in str(caught.value)


@pytest.fixture
def server(nb, monkeypatch):
    """A local server in place of MNIST's mirrors; `broken` names files that it cuts short."""
    source = Path(nb.DATA) / "MNIST" / "raw"

    class Handler(http.server.BaseHTTPRequestHandler):
        broken: tuple[str, ...] = ()

        def do_GET(self) -> None:
            name = self.path.strip("/")
            data = (source / name).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2] if name in self.broken else data)

        def log_message(self, *args) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        mirror = f"http://127.0.0.1:{running.server_port}/"
        monkeypatch.setattr(nb.torchvision.datasets.MNIST, "mirrors", [mirror])
        yield Handler
        running.shutdown()
        thread.join()


def test_opened_alone_the_notebook_downloads_mnist(nb, server, tmp_path, mnist):
    images, labels = nb.load_mnist(tmp_path / "data")
    assert torch.equal(images, mnist[0])
    assert torch.equal(labels, mnist[1])


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_repaired_when_it_can_be_downloaded(nb, server, folder, mnist, name):
    path = folder / "MNIST" / "raw" / name
    path.write_bytes(path.read_bytes()[:-10])
    assert torch.equal(nb.load_mnist(folder)[0], mnist[0])


@pytest.mark.parametrize("name", FILES)
def test_a_download_that_breaks_off_is_named_and_can_be_tried_again(
    nb, server, folder, mnist, name
):
    (folder / "MNIST" / "raw" / name).unlink()
    server.broken = (name,)
    with pytest.raises(RuntimeError, match=f"missing or damaged: {name}"):
        nb.load_mnist(folder)
    server.broken = ()
    assert torch.equal(nb.load_mnist(folder)[0], mnist[0])


def test_a_file_with_another_content_is_never_unpacked(nb, server, folder, monkeypatch):
    (folder / "MNIST" / "raw" / FILES[1]).unlink()
    monkeypatch.setattr(Path, "read_bytes", lambda path: b"something else")
    with pytest.raises(RuntimeError, match=f"missing or damaged: {FILES[1]}"):
        nb.load_mnist(folder)
    assert not (folder / "MNIST" / "raw" / FILES[1].removesuffix(".gz")).exists()


def test_notebooks_that_unpack_the_data_at_once_do_not_disturb_each_other(nb, folder, mnist):
    results = []

    def load() -> None:
        results.append(nb.load_mnist(folder))

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
        time.sleep(0.05)
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert all(torch.equal(images, mnist[0]) for images, _ in results)


def test_training_again_leaves_the_finished_run_alone(nb, runs, loader, tiny, cpu):
    first = nb.train(tiny, loader, cpu)
    before = {p: p.read_bytes() for p in first.directory.rglob("*") if p.is_file()}
    second = nb.train(replace(tiny, seed=1), loader, cpu)
    assert second.directory != first.directory
    assert {p: p.read_bytes() for p in first.directory.rglob("*") if p.is_file()} == before


def execute(cells: list[dict], folder: Path = NOTEBOOK.parent) -> dict:
    """Run `cells` as a notebook in a kernel of its own, in `folder`, and return it."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells = [nbformat.from_dict(cell) for cell in cells]
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
    client = NotebookClient(notebook, timeout=120, resources={"metadata": {"path": folder}})
    return client.execute()


def test_every_cell_can_be_run_twice(cells):
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    execute([cell for cell in code for _ in range(2)])


def test_opened_alone_the_whole_notebook_runs(cells, tmp_path, monkeypatch):
    """In an empty folder, as in Colab: no reference run, no judge; MNIST is where it was put."""
    monkeypatch.setenv("RUNS_DIR", "runs")
    result = execute([cell for cell in cells if cell["cell_type"] == "code"], tmp_path)
    outputs = [output for cell in result.cells for output in cell.outputs]
    assert "without the repository" in json.dumps(outputs)
    assert not [output for output in outputs if output.get("name") == "stderr"]
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}
    names = {path.name.split("-")[0] for path in (tmp_path / "runs").iterdir()}
    assert names == {"mlp", "sigmoid", "dcgan", "conditional"}


def test_a_trained_generator_can_be_used_before_anything_is_trained(cells, nb, runs):
    """Only the definitions and section 11 run: it takes the reference run's generator."""
    ids = [cell["id"] for cell in cells]
    start, end = ids.index("using-text"), ids.index("players-text")
    defined = [cell for cell in cells if "define" in cell["metadata"].get("tags", [])]
    section = [cell for cell in cells[start:end] if cell["cell_type"] == "code"]
    hidden = {"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": []}
    hidden |= {"source": f"RUNS = Path({str(runs)!r})"}
    result = execute([*defined, hidden, *section])
    assert "image/png" in json.dumps(result.cells[-1].outputs)


def test_without_any_generator_section_11_says_which_section_to_run_first(nb, runs, monkeypatch):
    monkeypatch.setattr(nb, "REFERENCE", runs / "reference")
    with pytest.raises(FileNotFoundError, match="run section 8 first"):
        nb.latest_run()


def test_nothing_but_mnist_is_downloaded_and_no_file_is_loaded_as_code(cells):
    code = "\n".join(cell["source"] for cell in cells if cell["cell_type"] == "code")
    assert re.findall(r"torch\.load\([^)]*\)", code) == [
        'torch.load(path, map_location="cpu", weights_only=True)'
    ]
    assert not re.search(r"urlopen|urlretrieve|requests|pickle|bind_all|0\.0\.0\.0", code)
