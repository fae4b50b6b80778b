"""The notebook as a page: what it carries, what it must not carry, whether its links lead on."""

import base64
import json
import re
import subprocess
import sys

import pytest
from conftest import NOTEBOOK, ROOT


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


def test_the_film_on_the_title_page_is_the_reference_runs(cells):
    film = cells[0]["attachments"]["progress.gif"]["image/gif"]
    assert base64.b64decode(film) == (ROOT / "runs/reference/progress.gif").read_bytes()


def test_the_reference_run_is_of_the_default_recipe(nb):
    facts = json.loads((ROOT / "runs/reference/config.json").read_text())
    assert nb.Config(**facts["config"]) == nb.RECIPES["mlp"]
    state = nb.load_file(ROOT / "runs/reference/generator.pt")
    assert nb.Config(**json.loads(state["config"])) == nb.RECIPES["mlp"]


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
