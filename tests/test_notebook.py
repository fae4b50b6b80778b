"""The notebook as a page: its shape, what it shows and links to, and its exercises as printed."""

import ast
import base64
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import asdict
from html.parser import HTMLParser
from itertools import takewhile
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import pytest
from conftest import NOTEBOOK, ROOT, load_definitions

REFERENCE = ROOT / "runs" / "reference"
CONTRACT = "load_mnist make_loader Generator Discriminator Game play_step Config RECIPES train"
CONTRACT += " load_generator sample evaluate"
LIMITS = {"code cells": 64, "code lines": 720, "words": 6500}
LIMITS_BEFORE_TRAINING = {"code cells": 24, "code lines": 220, "words": 1500}


def tags(cell: dict) -> list[str]:
    return cell["metadata"].get("tags", [])


def code_lines(cell: dict) -> list[str]:
    """Return the lines of a code cell that are neither blank nor only a comment."""
    lines = cell["source"].splitlines() if cell["cell_type"] == "code" else []
    return [line for line in lines if line.strip() and not line.strip().startswith("#")]


def size(cells: list[dict]) -> dict[str, int]:
    """Return how much there is to read in some cells."""
    prose = [cell["source"] for cell in cells if cell["cell_type"] == "markdown"]
    return {
        "code cells": sum(cell["cell_type"] == "code" for cell in cells),
        "code lines": sum(len(code_lines(cell)) for cell in cells),
        "words": sum(len(text.split()) for text in prose),
    }


def text_of(output: dict) -> str:
    """Return an output as text, without the pictures in it."""
    return re.sub(r'base64,[^"\\]*', "", json.dumps(output, ensure_ascii=False))


class Page(HTMLParser):
    """A page of HTML, taken apart: its tags, each with its attributes, and its running text."""

    def __init__(self, html: str):
        super().__init__()
        self.tags, self.text, self.inside = [], "", []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag in ("a", "code", "pre", "script", "style"):
            self.inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.inside and self.inside[-1] == tag:
            self.inside.pop()

    def handle_data(self, data: str) -> None:
        self.text += "" if self.inside else data

    def find(self, tag: str) -> list[dict]:
        """Return the attributes of all tags of a kind."""
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def code(cells) -> list[dict]:
    return [cell for cell in cells if cell["cell_type"] == "code"]


@pytest.fixture(scope="module")
def outputs(code) -> list[dict]:
    return [output for cell in code for output in cell["outputs"]]


@pytest.fixture(scope="module")
def page() -> Page:
    """The committed notebook as nbconvert shows it in a browser."""
    from nbconvert import HTMLExporter

    return Page(HTMLExporter().from_filename(str(NOTEBOOK))[0])


# The shape of the page


@pytest.mark.parametrize("what", LIMITS)
def test_the_page_keeps_to_its_budget(cells, what):
    assert size(cells)[what] <= LIMITS[what]


@pytest.mark.parametrize("what", LIMITS_BEFORE_TRAINING)
def test_little_stands_before_the_first_training(cells, what):
    before = [*takewhile(lambda cell: "first-training" not in tags(cell), cells)]
    assert len(before) < len(cells)
    assert size(before)[what] <= LIMITS_BEFORE_TRAINING[what]


def test_the_first_digits_are_shown_within_forty_lines(cells):
    end = next(number for number, cell in enumerate(cells) if cell["id"] == "show-real")
    assert size(cells[: end + 1])["code lines"] <= 40


def test_a_cell_fits_on_a_page_and_a_line_on_a_screen(code):
    for cell in code:
        assert len(code_lines(cell)) <= 30, cell["id"]
        assert max(map(len, cell["source"].splitlines())) <= 100, cell["id"]


def test_bookkeeping_is_rare_and_folded_and_says_what_it_is_for(cells):
    bookkeeping = [cell for cell in cells if "bookkeeping" in tags(cell)]
    assert 0 < len(bookkeeping) <= 4
    for cell in bookkeeping:
        assert cell["metadata"]["jupyter"] == {"source_hidden": True}
        assert cell["source"].startswith("# ")
        assert "define" in tags(cell)


def test_every_cell_has_a_name_of_its_own(cells):
    names = [cell["id"] for cell in cells]
    assert len({*names}) == len(names)


def test_every_public_definition_has_a_docstring(cells):
    for cell in cells:
        for node in ast.parse(cell["source"]).body if "define" in tags(cell) else []:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_":
                assert ast.get_docstring(node), node.name


@pytest.mark.parametrize("command", [("check",), ("format", "--check")])
def test_the_notebook_keeps_to_the_projects_style(command):
    subprocess.run([sys.executable, "-m", "ruff", *command, NOTEBOOK], check=True, cwd=ROOT)


# The definitions


def test_the_definitions_alone_make_the_module_that_was_promised(nb):
    assert not [name for name in CONTRACT.split() if not hasattr(nb, name)]


def test_the_definitions_do_nothing_by_themselves(tmp_path, monkeypatch, capfd):
    """In an empty folder: no file, no download, no output, no random number, so no training."""
    import matplotlib.pyplot as plt
    import torch

    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "gan_for_mnist", None)  # to be put back afterwards
    for name in ("DATA_DIR", "RUNS_DIR"):
        monkeypatch.delenv(name)
    before = torch.random.get_rng_state()
    load_definitions()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert capfd.readouterr().out == ""
    assert plt.get_fignums() == []
    assert [*tmp_path.iterdir()] == []


# What the page shows


def test_the_outputs_are_of_one_run_from_top_to_bottom(code):
    counts = [cell["execution_count"] for cell in code]
    assert counts == [*range(1, len(code) + 1)]


def test_what_is_not_a_definition_shows_something(code):
    silent = {cell["id"] for cell in code if not cell["outputs"] and "define" not in tags(cell)}
    assert silent <= {"tensorboard", "prepare"}  # the one shows only to a reader who looks on


def test_no_output_is_an_error_or_a_warning(outputs):
    assert not [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"]


def test_the_outputs_are_of_a_full_run_not_of_a_rehearsal(nb, cells):
    (training,) = (cell for cell in cells if cell["id"] == "training")
    assert f"fakes after epoch {nb.Config().epochs}." in text_of(training["outputs"])


def test_nothing_names_a_folder_of_the_machine_that_made_it(cells):
    for cell in cells:
        text = cell["source"] + text_of(cell.get("outputs", []))
        assert not re.search(r"(?<![\w.])/(home|root|tmp|work|Users)\b", text), cell["id"]


def test_the_page_speaks_to_its_reader_not_of_how_it_was_made(cells):
    for cell in cells:
        text = cell["source"] + text_of(cell.get("outputs", []))
        assert not re.search(r"\b(issue|session|workplace|pull request)s?\b", text, re.I), cell[
            "id"
        ]


def test_every_picture_has_a_description(page):
    pictures = page.find("img")
    assert len(pictures) > 20
    for picture in pictures:
        assert len(picture["alt"]) > 10
        assert not picture["alt"].startswith("No description")  # nbconvert's own words


def test_every_picture_among_the_outputs_has_a_size(outputs):
    assert not [kind for o in outputs for kind in o.get("data", {}) if kind.startswith("image/")]
    for output in outputs:
        for picture in Page("".join(output.get("data", {}).get("text/html", ""))).find("img"):
            assert int(picture["width"]) > 0
            assert int(picture["height"]) > 0


def test_the_file_is_small_enough_for_github_to_show():
    assert NOTEBOOK.stat().st_size < 4e6


# Where the page leads


def test_every_section_is_in_the_contents(cells):
    titles = [t for c in cells for t in re.findall(r"^### (\d+ .+)$", c["source"], re.M)]
    assert [int(title.split()[0]) for title in titles] == [*range(1, 11)]
    links = re.findall(r"\[(\d+ [^]]+)\]\(#\w+\)", cells[0]["source"])
    assert [title[: len(link)] for title, link in zip(titles, links, strict=True)] == links


def test_every_link_leads_somewhere(page):
    places = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    for link in (attributes["href"] for attributes in page.find("a") if "href" in attributes):
        url = urlsplit(link)
        if url.scheme:
            assert url.scheme in ("http", "https"), link
            assert re.fullmatch(r"([\w-]+\.)+[a-z]{2,}|localhost", url.hostname), link
        elif url.path:
            assert (ROOT / unquote(url.path)).exists(), link
        else:
            assert unquote(url.fragment) in places, link


def test_no_link_is_left_as_markdown(page):
    assert not re.search(r"\]\s?\((#|https?:)", page.text)


# What comes with the page


def test_the_film_on_the_title_page_is_the_reference_runs(cells):
    film = cells[0]["attachments"]["progress.gif"]["image/gif"]
    assert base64.b64decode(film) == (REFERENCE / "progress.gif").read_bytes()


@pytest.mark.parametrize("name", ["mlp", "classic", "sigmoid", "dcgan", "conditional"])
def test_the_committed_run_of_a_recipe_is_of_this_recipe_to_its_end(nb, name):
    folder = REFERENCE if name == "mlp" else REFERENCE / name
    facts = json.loads((folder / "config.json").read_text())
    assert facts["config"] == json.loads(json.dumps(asdict(nb.RECIPES[name])))
    assert facts["epoch"] == nb.RECIPES[name].epochs


def test_the_repository_stays_small():
    git = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    if (ROOT / ".git").exists():
        names = subprocess.run(git, cwd=ROOT, check=True, capture_output=True, text=True).stdout
        files = [ROOT / name for name in names.split("\0") if (ROOT / name).is_file()]
        assert sum(path.stat().st_size for path in files) < 40e6


# The exercises, and the page in an empty folder


@pytest.fixture(scope="module")
def exercises(cells) -> SimpleNamespace:
    """Section 10: the numbers of its exercises, the solutions by number, the one-line change."""
    text = next(cell["source"] for cell in cells if "<details>" in cell["source"])
    (block,) = re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)
    nothing, *parts = re.split(r"^# (\d+)\b.*\n", block, flags=re.M)
    assert nothing == ""
    return SimpleNamespace(
        numbers=[int(number) for number in re.findall(r"^(\d+)\. ", text, re.M)],
        solutions=dict(zip(map(int, parts[::2]), parts[1::2])),
        change=re.search(r"`([^`]+ as DATASET)` \w+ `([^`]+ as DATASET)`", text).groups(),
    )


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """A folder of colour pictures of different sizes, in a subfolder for each of two kinds."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("pictures")
    for kind, colour in {"leaves": (40, 160, 60), "bricks": (180, 60, 40)}.items():
        (folder / kind).mkdir()
        for number in range(8):
            Image.new("RGB", (40 + 9 * number, 90 - 5 * number), colour).save(
                folder / kind / f"{number}.png"
            )
    return folder


@pytest.fixture(scope="module")
def played(exercises, pictures, tmp_path_factory) -> SimpleNamespace:
    """The page, alone in an empty folder as in Colab, after the exercises were done as printed.

    Its one line is changed to Fashion-MNIST, whose files are of the same format: MNIST's take their
    place here. It runs by the README's command, and then each solution in a cell of its own.
    """
    scratch = tmp_path_factory.mktemp("played")
    shutil.copytree(ROOT / "data" / "MNIST", scratch / "data" / "FashionMNIST")
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    imports = next(cell for cell in notebook["cells"] if cell["id"] == "imports")
    changed = "".join(imports["source"]).replace(*exercises.change)
    assert changed != "".join(imports["source"])
    imports["source"] = changed + "\nDATASET.resources = DATASET.__base__.resources"  # MNIST's
    sources = {"own-pictures": f"folder = {str(pictures)!r}"}
    sources |= {f"solution-{number}": text for number, text in exercises.solutions.items()}
    for name, source in sources.items():
        cell = {"id": name, "cell_type": "code", "metadata": {}, "source": source}
        notebook["cells"].append(cell | {"execution_count": None, "outputs": []})
    (scratch / "empty").mkdir()
    copy = scratch / "empty" / NOTEBOOK.name
    copy.write_text(json.dumps(notebook), encoding="utf-8")
    environment = {"DATA_DIR": str(scratch / "data"), "RUNS_DIR": str(scratch / "runs")}
    command = [sys.executable, "-m", "jupyter", "execute", "--inplace", "--allow-errors", str(copy)]
    subprocess.run(command, check=True, timeout=900, env=os.environ | environment)
    cells = json.loads(copy.read_text(encoding="utf-8"))["cells"]
    return SimpleNamespace(
        outputs={cell["id"]: cell["outputs"] for cell in cells if cell["cell_type"] == "code"},
        runs=scratch / "runs",
        left=[path for path in copy.parent.iterdir() if path != copy],
    )


def complaints(outputs: dict[str, list[dict]]) -> dict[str, str]:
    """Return what went wrong, or was warned of, in each cell."""
    return {
        name: output.get("evalue") or output["text"]
        for name, some in outputs.items()
        for output in some
        if output["output_type"] == "error" or output.get("name") == "stderr"
    }


def test_the_page_runs_in_an_empty_folder_and_on_fashion_mnist(played):
    outputs = {k: v for k, v in played.outputs.items() if not k.startswith("solution")}
    assert complaints(outputs) == {}


def test_the_page_writes_to_the_folder_for_runs_only(played):
    assert played.left == []
    assert played.runs.is_dir()


def test_every_exercise_that_needs_code_has_a_solution(exercises):
    assert exercises.numbers == [*range(1, len(exercises.numbers) + 1)]
    assert len({*exercises.numbers} - {*exercises.solutions}) == 1  # the change of one line
    assert {*exercises.solutions} < {*exercises.numbers}


def test_every_solution_runs_as_printed_and_shows_something(exercises, played):
    outputs = {k: v for k, v in played.outputs.items() if k.startswith("solution")}
    assert len(outputs) == len(exercises.solutions)
    assert complaints(outputs) == {}
    assert [name for name, some in outputs.items() if not some] == []


def test_every_run_of_the_exercises_is_kept_to_its_end(exercises, played):
    text = "".join(exercises.solutions.values())
    recipes = {*re.findall(r"\brecipe=\"(\w+)\"", text)}
    assert recipes
    for recipe in recipes:
        (folder,) = played.runs.glob(f"{recipe}-2*")
        facts = json.loads((folder / "config.json").read_text())
        assert facts["epoch"] == facts["config"]["epochs"]
        assert (folder / "progress.gif").stat().st_size > 0


def test_a_folder_of_colour_pictures_makes_a_generator_of_colour_pictures(nb, played):
    facts = [json.loads(path.read_text()) for path in played.runs.glob("*/config.json")]
    (own,) = (fact["config"] for fact in facts if fact["config"]["shape"][0] == 3)
    (folder,) = played.runs.glob(f"{own['recipe']}-2*")
    drawn = nb.sample(nb.load_generator(folder), 4, seed=0)
    assert drawn.shape == (4, *own["shape"])
