"""The notebook as a page: its shape, what it shows, and what it says about what it shows."""

import ast
import json
import re
import subprocess
import sys
from itertools import pairwise

import PIL.Image
import pytest
from conftest import NOTEBOOK, ROOT, load_definitions

LIMITS = {
    "code cells": 66,
    "Python lines": 700,
    "JavaScript lines": 230,
    "words": 6000,
    "cells before the first training": 20,
    "lines before the first training": 130,
    "words before the first training": 1200,
    "lines up to the first real digits": 40,
    "lines from section 8 to its training": 60,
    "lines of a cell": 30,
    "lines without an output": 60,
    "references forward before Act III": 3,
}
TAGS = {
    *("define", "parameters", "bookkeeping", "javascript", "first-real", "first-training"),
    *("task", "check", "solution"),
}
CONTRACT = """load_mnist make_loader discriminator_loss generator_loss Match turn_of_d turn_of_g
play_step hold_d play RECIPES make_match train load_match load_generator latest_run sample draw
with_labels ask load_judge frechet_distance compare evaluate playground ring live_digits"""


def tags(cell: dict) -> list[str]:
    return cell["metadata"].get("tags", [])


def lines(cells: list[dict], javascript: bool = False) -> int:
    """Return how many lines of Python, or of JavaScript, are neither blank nor only a comment."""
    some = [
        c for c in cells if c["cell_type"] == "code" and javascript == ("javascript" in tags(c))
    ]
    kept = [line.strip() for cell in some for line in cell["source"].splitlines()]
    return sum(bool(line) and line[0] != "#" for line in kept)


def words(cells: list[dict]) -> int:
    """Return how many words of prose there are, without code and the bars of tables."""
    text = "\n".join(cell["source"] for cell in cells if cell["cell_type"] == "markdown")
    text = re.sub(r"```.*?```", "", text, flags=re.S).replace("|", " ")
    return len([word for word in text.split() if re.search(r"\w", word)])


def place(cells: list[dict], what: str) -> int:
    """Return the number of the first cell that has a tag, or in which something stands."""
    found = (bool(what in tags(c) or re.search(what, c["source"], re.M)) for c in cells)
    return [*found].index(True)


def is_seen(output: dict) -> bool:
    """Tell whether a reader sees an output."""
    text = "".join(output.get("text", "")) + "".join(output.get("data", {}).get("text/html", ""))
    return bool(text.strip() or output.get("data", {}).keys() - {"text/html"})


def longest_stretch(cells: list[dict]) -> int:
    """Return the most lines of Python that pass without an output."""
    stretches = [0]
    for cell in cells:
        stretches[-1] += lines([cell])
        if any(map(is_seen, cell.get("outputs", []))):
            stretches.append(0)
    return max(stretches)


def references_forward(cells: list[dict]) -> int:
    """Return how many lines before Act III name a section that is yet to come."""
    here = count = 0
    for cell in cells[: place(cells, "^### 10 ")]:
        for line in cell["source"].splitlines():
            heading = re.match(r"### (\d+) ", line)
            here = int(heading[1]) if heading else here
            text = line if cell["cell_type"] == "markdown" else line.partition("#")[2]
            named = re.findall(r"\b[Ss]ections? (\d+)(?:(?:,| and| to) (\d+))?", text)
            count += any(int(number) > here > 0 for pair in named for number in pair if number)
    return count


def shape(cells: list[dict]) -> dict[str, int]:
    """Return how much there is to read, by the names of LIMITS."""
    before = cells[: place(cells, "first-training")]
    code = [c for c in cells if c["cell_type"] == "code" and "javascript" not in tags(c)]
    return {
        "code cells": len(code),
        "Python lines": lines(cells),
        "JavaScript lines": lines(cells, javascript=True),
        "words": words(cells),
        "cells before the first training": len([cell for cell in before if cell in code]),
        "lines before the first training": lines(before),
        "words before the first training": words(before),
        "lines up to the first real digits": lines(cells[: place(cells, "first-real") + 1]),
        "lines from section 8 to its training": lines(
            cells[place(cells, "^### 8 ") : place(cells, r"= train\(")]
        ),
        "lines of a cell": max(lines([cell]) for cell in code),
        "lines without an output": longest_stretch(cells),
        "references forward before Act III": references_forward(cells),
    }


def text_of(cell: dict) -> str:
    """Return a cell's source and outputs as text, without the pictures in it."""
    outputs = json.dumps(cell.get("outputs", []), ensure_ascii=False)
    return cell["source"] + re.sub(r"[A-Za-z0-9+/=]{80,}", "", outputs)


@pytest.fixture(scope="module")
def code(cells) -> list[dict]:
    return [cell for cell in cells if cell["cell_type"] == "code"]


@pytest.fixture(scope="module")
def prose(cells) -> list[dict]:
    return [cell for cell in cells if cell["cell_type"] == "markdown"]


@pytest.fixture(scope="module")
def outputs(code) -> list[dict]:
    return [output for cell in code for output in cell["outputs"]]


# Its shape


@pytest.mark.parametrize("what", LIMITS)
def test_the_page_keeps_to_its_budget(cells, what):
    assert shape(cells)[what] <= LIMITS[what]


def test_a_line_of_code_fits_on_a_screen(code):
    for cell in code:
        assert max(map(len, cell["source"].splitlines())) <= 100, cell["id"]


def test_javascript_stands_in_folded_cells_of_one_string_each(code):
    scripts = [cell for cell in code if "javascript" in tags(cell)]
    assert scripts
    for cell in scripts:
        (assignment,) = ast.parse(cell["source"]).body
        assert isinstance(assignment, ast.Assign), cell["id"]
        assert isinstance(assignment.value, ast.Constant), cell["id"]
        assert "cellView" in cell["metadata"], cell["id"]


def test_cells_have_only_tags_that_are_agreed_upon(cells):
    assert {tag for cell in cells for tag in tags(cell)} <= TAGS


def test_only_what_needs_no_reading_is_folded_in_jupyter_and_in_colab_alike(cells):
    for cell in cells:
        folded = bool({"bookkeeping", "javascript", "check"} & {*tags(cell)})
        expected = {"jupyter": {"source_hidden": True}, "cellView": "form"} if folded else {}
        metadata = cell["metadata"]
        assert {k: metadata[k] for k in ("jupyter", "cellView") if k in metadata} == expected
        assert cell["source"].startswith("# @title ") == folded, cell["id"]
        assert not folded or "check" in tags(cell) or "skip" in cell["source"].splitlines()[0]


def test_every_task_has_a_check_of_its_own_before_the_next_task(cells):
    kinds = [(kind, cell) for cell in cells for kind in ("task", "check") if kind in tags(cell)]
    assert [kind for kind, _ in kinds] == ["task", "check"] * (len(kinds) // 2)
    assert kinds
    for (_, task), (_, check) in zip(kinds[::2], kinds[1::2]):
        assert check["metadata"]["task"] == task["id"]
        assert "define" in tags(task)
        assert "define" not in tags(check)


def test_every_cell_has_a_name_of_its_own(cells):
    names = [cell["id"] for cell in cells]
    assert len({*names}) == len(names)


def test_every_function_says_in_one_to_three_lines_what_it_does_and_what_it_takes(code):
    for cell in code:
        has_magic = re.search(r"^ *%", cell["source"], re.M)
        for node in [] if has_magic else ast.parse(cell["source"]).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                said = ast.get_docstring(node) or ""
                assert 1 <= len(said.splitlines()) <= 3, node.name
            if isinstance(node, ast.FunctionDef):
                assert node.returns, node.name
                arguments = [*node.args.args, *node.args.kwonlyargs]
                # `train` and `record` take a function, `measure`, and what plays with it
                measures = "measure" in [argument.arg for argument in arguments]
                assert measures or all(argument.annotation for argument in arguments), node.name


@pytest.mark.parametrize("command", [("check",), ("format", "--check")])
def test_the_notebook_keeps_to_the_projects_style(command):
    config = ["--config", str(ROOT / ".ruff.toml")]
    words = [sys.executable, "-m", "ruff", *command, *config, str(NOTEBOOK)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


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


@pytest.mark.parametrize(
    ("value", "small"), [("1", True), ("True", True), ("", False), ("0", False)], ids=str
)
def test_a_rehearsal_is_the_same_code_and_less_of_everything(monkeypatch, nb, value, small):
    monkeypatch.setitem(sys.modules, "gan_for_mnist", nb)
    monkeypatch.setenv("SMOKE_TEST", value)
    assert (load_definitions().SIZE["images"] < 60_000) == small


def test_as_a_script_it_parses(cells, tmp_path):
    words = [sys.executable, "-m", "jupyter", "nbconvert", "--to", "script", str(NOTEBOOK)]
    subprocess.run([*words, "--output-dir", str(tmp_path)], check=True, capture_output=True)
    (script,) = tmp_path.glob("*.py")
    assert ast.parse(script.read_text(encoding="utf-8"))


# Its prose


def test_sections_and_acts_are_in_order_and_named_alike_in_the_contents(cells):
    text = "\n".join(cell["source"] for cell in cells if cell["cell_type"] == "markdown")
    titles = re.findall(r"^### (\d+) (.*)$", text, re.M)
    contents = re.findall(r"\b(\d+) ([A-Z][\w ]+?)(?: [·|])", cells[0]["source"])
    assert [int(number) for number, _ in titles] == [*range(1, 13)]
    assert contents == titles
    acts = re.findall(r"^## (Act \w+): (.*)$", text, re.M)
    assert re.findall(r"^\| (Act \w+) \| ([^|]*?) \|", cells[0]["source"], re.M) == acts


def test_every_prediction_is_followed_by_an_output_and_then_by_its_answer(cells):
    """In a fold, or printed by a cell of its own."""
    for number, cell in enumerate(cells):
        if "**Predict.**" in cell["source"]:
            code, following = [], cells[number + 1 :]
            for other in following:
                if other["cell_type"] == "markdown":
                    break
                code.append(other["id"])
            assert code, cell["id"]
            assert other["source"].startswith("<details><summary>Answer") or len(code) == 2


def test_an_answer_stands_in_a_fold_right_after_an_output(cells):
    answers = [(a, b) for a, b in pairwise(cells) if "<summary>Answer" in b["source"]]
    assert len(answers) > 10
    for before, answer in answers:
        assert before["cell_type"] == "code", answer["id"]
        assert answer["source"].startswith("<details><summary>Answer</summary>\n\n"), answer["id"]


def test_every_fold_is_closed_again(prose):
    for cell in prose:
        assert cell["source"].count("<details>") == cell["source"].count("</details>"), cell["id"]


def test_solutions_are_folded_and_tagged_and_nothing_else_is(prose):
    for cell in prose:
        found = "<summary>Solutions</summary>" in cell["source"]
        assert ("solution" in tags(cell)) == found, cell["id"]


def test_every_exercise_has_a_level_and_minutes_and_says_what_to_see(prose):
    (text,) = (cell["source"] for cell in prose if "### 12 " in cell["source"])
    rows = re.findall(r"^\| (\d+) \| (\w+) \| (\d+) \| ([^|]+) \| ([^|]+) \|$", text, re.M)
    assert [int(number) for number, *_ in rows] == [*range(1, len(rows) + 1)]
    assert {level for _, level, *_ in rows} == {"easy", "medium", "hard"}
    (solutions,) = (cell["source"] for cell in prose if "solution" in tags(cell))
    solved = {int(number) for number in re.findall(r"^# (\d+)\b", solutions, re.M)}
    assert {*range(1, len(rows) + 1)} - solved == {6}  # the change of one line


NUMBER = re.compile(r"(?<![\w.,/^_-])\d[\d,]*(?:\.\d+)?(?![\w/]|\.\d)")
NO_PROSE = r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|\[[^\]]*\]\([^)]*\)|<[^>]*>|^#.*$"
SECTIONS = r"(?i)\b(sections?|equations?|exercises?) \d+((,| and| to) \d+)*"
COUNTED = r"(19|20)\d\d\b|\d[\d,]* (steps?|epochs?|images|samples|turns?|pixels|seeds?)"


def numbers_in(cell: dict) -> list[tuple[str, int]]:
    """Return the numbers of a cell's prose that may be results, each with 100 if in percent."""
    text = re.sub(SECTIONS, " ", re.sub(NO_PROSE, " ", cell["source"], flags=re.S | re.M))
    if "tests/measure" in cell["source"]:
        text = re.sub(r"^\|.*$", "", text, flags=re.M)  # a table of the records
    found = [n for n in NUMBER.finditer(text) if not re.match(COUNTED, text[n.start() :])]
    percent = [text[n.end() :].lstrip().startswith("%") for n in found]
    return [(n[0].replace(",", ""), 100 if p else 1) for n, p in zip(found, percent)]


def test_prose_quotes_no_number_that_this_run_has_printed(cells):
    """Elsewhere it is another one. Settings, which the code has, may be named."""
    code = "".join(cell["source"] for cell in cells if cell["cell_type"] == "code")
    known = {float(n) for n in re.findall(r"\d+(?:\.\d+)?", re.sub(r"(?<=\d)_", "", code))} | {0, 1}
    shown, quoted = [], []
    for cell in cells:
        for output in cell.get("outputs", []):
            text = json.dumps([output.get("text"), output.get("data", {}).get("text/plain")])
            shown += [float(number) for number in re.findall(r"\d+(?:\.\d+)?", text)]
        if cell["cell_type"] == "markdown" and cell["id"] != "references-text":
            for number, scale in numbers_in(cell):
                decimals = len(number.partition(".")[2])
                same = any(f"{s * by:.{decimals}f}" == number for s in shown for by in (1, scale))
                if same and not {float(number), float(number) / scale} & known:
                    quoted.append((cell["id"], number))
    assert quoted == []


def test_the_page_speaks_to_its_reader_not_of_how_it_was_made(cells):
    for cell in cells:
        found = re.search(r"\b(issues?|session|workplace|pull requests?)\b", text_of(cell), re.I)
        assert not found, (cell["id"], found)


def test_nothing_names_a_folder_of_the_machine_that_made_it(cells):
    for cell in cells:
        found = re.search(r"(?<![\w.])/(home|root|tmp|work|Users)\b", text_of(cell))
        assert not found, cell["id"]


def test_no_text_waits_to_be_written(prose):
    for cell in prose:
        assert not re.search(r"^(TABLE|TODO|FIXME|XXX)\b", cell["source"], re.M), cell["id"]


def test_every_link_leads_somewhere(prose):
    for cell in prose:
        for link in re.findall(
            r"\]\(([^)]+)\)", re.sub(r"```.*?```", "", cell["source"], flags=re.S)
        ):
            if not re.match(r"https://([\w-]+\.)+[a-z]{2,}/", link):
                assert (ROOT / link.partition("#")[0]).exists(), (cell["id"], link)


# What it shows


def test_the_outputs_are_of_one_run_from_top_to_bottom(code):
    assert [cell["execution_count"] for cell in code] == [*range(1, len(code) + 1)]


def test_what_is_not_a_definition_shows_something(code):
    silent = {cell["id"] for cell in code if not cell["outputs"] and "define" not in tags(cell)}
    assert silent <= {"open-tensorboard"}  # which waits for a reader who looks on


def test_no_output_is_an_error_or_a_warning(outputs):
    assert not [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"]


def test_the_outputs_are_of_a_full_run_not_of_a_rehearsal(nb, code):
    (training,) = (cell for cell in code if cell["id"] == "training")
    assert re.search(rf"epoch {nb.RECIPES['mlp']['epochs']}\b", text_of(training))


def test_every_picture_has_an_alternative_text_that_says_what_is_to_be_seen(outputs):
    pictures = [o for o in outputs if "image/png" in o.get("data", {})]
    assert len(pictures) > 30
    for picture in pictures:
        alt = picture["metadata"]["image/png"]["alt"]
        assert len(alt) > 10
    html = "".join("".join(o.get("data", {}).get("text/html", "")) for o in outputs)
    for picture in re.findall(r"<img\b[^>]*>", html):
        assert re.search(r'\balt="[^"]{10,}"', picture)


def test_where_only_pictures_are_allowed_those_of_the_page_survive(outputs):
    from nbconvert import HTMLExporter

    html, _ = HTMLExporter(sanitize_html=True).from_filename(str(NOTEBOOK))
    pictures = sum("image/png" in output.get("data", {}) for output in outputs)
    assert html.count('src="data:image/png;base64') == pictures > 0


def test_films_stop_after_some_rounds():
    films = [*(ROOT / "runs" / "reference").glob("**/*.gif")]
    assert films
    for film in films:
        assert PIL.Image.open(film).info["loop"] > 0  # 0 is for ever


def test_printed_lines_have_only_letters_that_every_terminal_has(outputs):
    for output in outputs:
        "".join(output.get("text", "")).encode("cp1252")


# The file


def test_the_file_is_small_enough_for_github_to_show():
    assert NOTEBOOK.stat().st_size <= 5e6


def test_the_page_needs_nothing_that_requirements_do_not_name(code):
    named = re.findall(r"^(\w+)", (ROOT / "requirements.txt").read_text(), re.M)
    names = {*named, "PIL", "IPython"}  # which come with torchvision and Jupyter
    for cell in code:
        imported = re.findall(r"^(?:from|import) (\w+)", cell["source"], re.M)
        assert {*imported} <= names | sys.stdlib_module_names, cell["id"]


def test_the_repository_stays_small():
    git = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    if (ROOT / ".git").exists():
        done = subprocess.run(git, cwd=ROOT, check=True, capture_output=True, text=True)
        files = [ROOT / name for name in done.stdout.split("\0")]
        assert sum(path.stat().st_size for path in files if path.is_file()) < 40e6
