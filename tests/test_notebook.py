"""The notebook as a page: what it carries, what it must not carry, whether its links lead on."""

import base64
import io
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from conftest import NOTEBOOK, ROOT
from PIL import Image
from tensorboard import manager, version


@pytest.fixture(scope="module")
def prose(cells) -> str:
    return "\n".join(cell["source"] for cell in cells if cell["cell_type"] == "markdown")


@pytest.fixture(scope="module")
def outputs(cells) -> list[dict]:
    return [output for cell in cells for output in cell.get("outputs", [])]


def test_every_link_within_the_page_leads_to_an_anchor(prose):
    anchors = set(re.findall(r'<a id="([^"]+)"></a>', prose))
    links = set(re.findall(r"\]\(#([^)]+)\)", prose))
    assert links
    assert links <= anchors


def test_every_section_is_in_the_contents(cells, prose):
    titles = re.findall(r'<a id="([^"]+)"></a>\n## (\d+ [^\n]+)', prose)
    contents = cells[0]["source"]
    assert [f"[{title}](#{anchor})" in contents for anchor, title in titles] == [True] * len(titles)
    assert [int(title.split()[0]) for _, title in titles] == list(range(1, len(titles) + 1))


def test_every_file_that_the_prose_links_to_exists(prose):
    for target in re.findall(r"\]\((?!#|https?:|attachment:)([^)#]+)\)", prose):
        assert (ROOT / target).exists(), target


def test_the_outputs_are_of_one_clean_run_from_top_to_bottom(cells):
    counts = [cell["execution_count"] for cell in cells if cell["cell_type"] == "code"]
    assert counts == list(range(1, len(counts) + 1))


def test_no_output_is_an_error_or_a_warning(outputs):
    assert not [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"]


def test_no_output_names_a_folder_of_the_machine_that_made_it(outputs):
    for output in outputs:
        text = re.sub(r"base64,[^\"]*|\"image/png\": \"[^\"]*\"", "", json.dumps(output))
        assert not re.search(r"/(root|tmp|work|home|Users)/", text)


def test_the_outputs_are_of_a_full_run_not_of_a_rehearsal(nb, outputs):
    text = "".join("".join(output.get("text", "")) for output in outputs)
    epochs = nb.RECIPES["mlp"].epochs
    assert f"epoch {epochs:3}/{epochs}" in text


def test_every_picture_has_an_alternative_text(cells, outputs):
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert pictures
    for output in pictures:
        assert len(output["metadata"]["image/png"]["alt"]) > 20
    everything = "".join("".join(o.get("data", {}).get("text/html", "")) for o in outputs)
    everything += "".join(cell["source"] for cell in cells if cell["cell_type"] == "markdown")
    for tag in re.findall(r"<img [^>]*>", everything):
        assert re.search(r'alt="[^"]{20,}"', tag)
    for alt in re.findall(r"!\[([^\]]*)\]\(", everything):
        assert len(alt) > 20


def test_the_notebook_is_small_enough_for_github_to_show():
    assert NOTEBOOK.stat().st_size < 8e6


def test_lines_fit_on_a_screen_and_cells_on_a_page(cells):
    for cell in cells:
        if cell["cell_type"] == "code":
            lines = cell["source"].splitlines()
            assert len(lines) <= 30, cell["id"]
            assert max(map(len, lines)) <= 100, cell["id"]


def test_half_of_the_code_cells_have_at_most_six_lines_and_prose_outweighs_code(cells, prose):
    code = [cell["source"].splitlines() for cell in cells if cell["cell_type"] == "code"]
    assert statistics.median(map(len, code)) <= 6
    assert len(prose.split()) >= 6 * sum(map(len, code))


def test_the_film_on_the_title_page_is_the_reference_runs(cells):
    film = cells[0]["attachments"]["progress.gif"]["image/gif"]
    assert base64.b64decode(film) == (ROOT / "runs/reference/progress.gif").read_bytes()


def test_the_reference_run_is_of_the_default_recipe(nb):
    facts = json.loads((ROOT / "runs/reference/config.json").read_text())
    assert nb.Config(**facts["config"]) == nb.RECIPES["mlp"]
    state = nb.load_file(ROOT / "runs/reference/generator.pt")
    assert nb.Config(**json.loads(state["config"])) == nb.RECIPES["mlp"]


@pytest.mark.parametrize("name", ["classic", "sigmoid", "dcgan", "conditional"])
def test_the_committed_log_of_a_recipe_is_of_its_full_length(nb, name):
    config, curves, grid = nb.read_log(ROOT / "runs/reference" / name)
    assert config == nb.RECIPES[name]
    assert len(curves["quality/frechet_distance"]) == config.epochs
    assert Image.open(io.BytesIO(grid)).size == (8 * 30 + 2, 8 * 30 + 2)
    row = nb.summary(config, curves)
    assert row["epochs"] == config.epochs
    assert row["frechet_distance"] == curves["quality/frechet_distance"][-1]


def test_the_conditional_generator_trained_to_its_end_draws_what_it_is_asked_for(nb):
    _, curves, _ = nb.read_log(ROOT / "runs/reference/conditional")
    assert curves["quality/as_asked"][-1] >= 0.97


def test_the_repository_stays_small():
    folders = [ROOT / "runs/reference", ROOT / "tests", ROOT / ".ci"]
    files = [path for folder in folders for path in folder.rglob("*.*") if path.is_file()]
    files += [NOTEBOOK, *(ROOT / "data/MNIST/raw").glob("*.gz")]
    assert sum(path.stat().st_size for path in files) < 40e6
    default = [path for path in (ROOT / "runs/reference").glob("*.*") if path.is_file()]
    assert sum(path.stat().st_size for path in default) < 10e6


def test_the_notebook_runs_without_a_display_and_exits_cleanly(tmp_path):
    """`jupyter execute`, as the README has it, on the first section alone: nbval runs the rest."""
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    end = next(k for k, c in enumerate(notebook["cells"]) if c["id"] == "config-intro-text")
    notebook["cells"] = notebook["cells"][:end]
    copy = tmp_path / "copy.ipynb"
    copy.write_text(json.dumps(notebook))
    jupyter = [sys.executable, "-m", "jupyter", "execute", "--inplace", str(copy)]
    subprocess.run(jupyter, check=True, capture_output=True, timeout=120)
    executed = json.loads(copy.read_text())
    assert executed["cells"][-1]["outputs"]


@pytest.fixture
def servers(tmp_path, monkeypatch):
    """TensorBoard's list of running servers, empty at first."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def enter(port: int, folder: Path) -> None:
        facts = {"version": version.VERSION, "start_time": 1, "pid": os.getpid(), "port": port}
        facts |= {"path_prefix": "", "logdir": str(folder), "db": "", "cache_key": "none"}
        manager.write_info_file(manager.TensorBoardInfo(**facts))

    yield enter
    manager.remove_info_file()


def test_a_running_tensorboard_is_found_by_its_folder(nb, servers, tmp_path):
    with socket.create_server(("localhost", 0)) as server:
        port = server.getsockname()[1]
        servers(port, tmp_path)
        assert nb.find_tensorboard(tmp_path) == f"http://localhost:{port}/"
        assert "tensorboard --logdir" in nb.find_tensorboard(tmp_path / "elsewhere")


def test_a_tensorboard_that_was_killed_is_forgotten(nb, servers, tmp_path):
    with socket.create_server(("localhost", 0)) as server:
        port = server.getsockname()[1]
    servers(port, tmp_path)  # nobody listens there any more
    assert manager.get_all()
    assert "tensorboard --logdir" in nb.find_tensorboard(tmp_path)
    assert not manager.get_all()
