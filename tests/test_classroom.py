"""The student's edition: tasks, checks that name the mistake, answers hidden, nobody blocked."""

import ast
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from conftest import NOTEBOOK, ROOT, read_cells

CLASSROOM = ROOT / "tests" / "classroom"
sys.path.insert(0, str(CLASSROOM))

import checks
import student
from answers import FRECHET, RIGHT, ROOT as MATRIX_ROOT, TURN_D, TURN_G, WRONG, but
from tasks import GUESSES, OTHER_CODE, TASKS

FUNCTIONS = [name for task in TASKS.values() for name in task["functions"]]
LOSSES = "def discriminator_loss(x, y):\n    return F.softplus(-x).mean() + F.softplus(y).mean()\n"
student.PAGE = NOTEBOOK
# What would be false in an edition without outputs, or give an answer away.
FALSE = ("Here they are written", "Here it is written", "saved here", "The check compares with")


def tags(cell: dict) -> set[str]:
    return {*cell["metadata"].get("tags", [])}


def by_id(cells: list[dict]) -> dict[str, dict]:
    return {cell["id"]: cell for cell in cells}


def code_of(cells: list[dict]) -> str:
    return "\n".join(cell["source"] for cell in cells if cell["cell_type"] == "code")


def is_question(cell: dict) -> bool:
    last = cell["source"].strip().split("\n\n")[-1]
    return cell["cell_type"] == "markdown" and last.startswith("**Predict.**")


def squeezed(text: str) -> str:
    return " ".join(text.split())


def body_of(source: str, name: str) -> str:
    """Return the body of a function, without its docstring, with all spaces made alike."""
    for node in ast.parse(source).body:
        if getattr(node, "name", "") == name:
            first = node.body[1] if ast.get_docstring(node) else node.body[0]
            return squeezed("\n".join(source.splitlines()[first.lineno - 1 : node.end_lineno]))
    raise KeyError(name)


def run(path, folder) -> list[dict]:
    """Run all of a notebook as Jupyter does, in an empty folder; return its cells."""
    environment = os.environ | {"RUNS_DIR": str(folder / "runs"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "jupyter", "execute", "--inplace", str(path)]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return read_cells(path)


def printed(cell: dict) -> str:
    return "".join("".join(output.get("text", "")) for output in cell.get("outputs", []))


def errors(cells: list[dict]) -> dict[str, str]:
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    return {c["id"]: o["evalue"] for c in code for o in c["outputs"] if "evalue" in o}


@pytest.fixture(scope="module")
def editions(tmp_path_factory) -> SimpleNamespace:
    """The paths of the student's edition, its key, that without solutions, and nbgrader's."""
    folder, paths = tmp_path_factory.mktemp("editions"), {}
    for kind in ("student", "key", "no-solutions", "nbgrader"):
        paths[kind.replace("-", "_")] = path = folder / f"{kind}.ipynb"
        student.main([str(path), *([f"--{kind}"] if kind != "student" else [])])
    return SimpleNamespace(**paths)


@pytest.fixture(scope="module")
def edition(editions) -> list[dict]:
    """The cells of the student's edition."""
    return read_cells(editions.student)


@pytest.fixture(scope="module")
def key(editions) -> list[dict]:
    return read_cells(editions.key)


@pytest.fixture(scope="module")
def bare(editions) -> list[dict]:
    """The cells of the edition without solutions."""
    return read_cells(editions.no_solutions)


@pytest.fixture(scope="module")
def graded(editions) -> list[dict]:
    return read_cells(editions.nbgrader)


@pytest.fixture
def page(nb, key) -> dict:
    """The page's names with all tasks solved, as a test may change them."""
    names = dict(vars(nb))
    for cell in key:
        if "task" in tags(cell):
            exec(cell["source"], names)
    return names


@pytest.fixture
def settle(page, edition):
    """Give an answer, `code`, to a task and run its check; return the page's names."""
    exec(by_id(edition)["classroom-tools"]["source"], page)

    def settled(task: str, code: str) -> dict:
        exec(by_id(edition)[task]["source"], page)
        exec(code, page)
        exec(by_id(edition)[f"check-{task}"]["source"], page)
        return page

    return settled


# The checks


def test_every_function_of_a_task_has_a_check():
    assert sorted(checks.CHECKS) == sorted(FUNCTIONS) == sorted(WRONG) == sorted(RIGHT)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_pages_own_answer_is_right(page, name):
    assert checks.verdict(page, name) == ("right", "")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_check_names_the_mistake(page, name):
    said = {}
    for what, (code, part) in WRONG[name].items():
        names = dict(page)
        exec(code, names)
        kind, sentence = checks.verdict(names, name)
        if kind != "wrong" or part not in sentence:
            said[what] = kind, sentence
    assert said == {}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_check_accepts_other_right_answers(page, name):
    kinds = {}
    for what, code in RIGHT[name].items():
        names = dict(page)
        exec(code, names)
        kinds[what] = checks.verdict(names, name)
    assert {what: said for what, said in kinds.items() if said[0] != "right"} == {}


def test_scipys_root_of_a_matrix_is_accepted(page):
    root = "torch.as_tensor(sqrtm((a @ b).numpy()).real).trace()"
    exec("from scipy.linalg import sqrtm\n" + but(FRECHET, (MATRIX_ROOT, root)), page)
    assert checks.verdict(page, "frechet_distance")[0] == "right"


def test_each_task_has_six_mistakes_with_a_sentence_of_their_own(page):
    sentences = {}
    for task, facts in TASKS.items():
        sentences[task] = set()
        for name in facts["functions"]:
            for code, _ in WRONG[name].values():
                names = dict(page)
                exec(code, names)
                sentences[task].add(checks.verdict(names, name)[1])
    assert min(map(len, sentences.values())) >= 6
    assert len(set.union(*sentences.values())) >= 100
    assert sum(map(len, RIGHT.values())) >= 40


def test_a_mistake_is_told_in_one_or_two_short_sentences(page):
    for name, some in WRONG.items():
        for code, _ in some.values():
            names = dict(page)
            exec(code, names)
            sentence = checks.verdict(names, name)[1]
            assert len(sentence) <= 200, sentence
            assert sentence[-1] in ".?" or "with NameError" in sentence, sentence


def test_a_check_leaves_the_readers_random_numbers_alone(page):
    import torch

    before = torch.random.get_rng_state()
    for name in FUNCTIONS:
        checks.verdict(page, name)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_check_leaves_the_pages_losses_alone_also_after_a_mistake(page):
    exec(but(TURN_D, (".detach()\n    loss", "\n    loss")), page)
    before = dict(page)
    assert checks.verdict(page, "turn_of_d")[0] == "wrong"
    assert page == before


def test_a_turn_is_right_before_the_losses_are(page):
    exec("def discriminator_loss(x, y):\n    raise NotImplementedError", page)
    exec(TURN_D, page)
    assert checks.verdict(page, "turn_of_d") == ("right", "")


def test_an_error_is_told_with_the_line_in_which_it_happened(page, tmp_path):
    file = tmp_path / "answer.py"  # an error shows the lines of a file, or of a cell
    file.write_text("def walk(start, end, steps, faces=20):\n    return start @ torch.ones(7)\n")
    exec(compile(file.read_text(), file, "exec"), page)
    kind, sentence = checks.verdict(page, "walk")
    assert kind == "wrong"
    assert "`return start @ torch.ones(7)` with RuntimeError" in sentence


def test_a_function_that_its_cell_never_defined_is_told(page):
    del page["walk"]
    assert "no such function" in checks.verdict(page, "walk")[1]


def test_a_turn_that_counts_on_another_function_of_the_students_says_so(page):
    exec("def helper():\n    raise NotImplementedError('later')", page)
    exec("def walk(start, end, steps, faces=20):\n    return helper()", page)
    assert "It calls `helper`" in checks.verdict(page, "walk")[1]


# What a check does in the edition


def test_an_unsolved_task_is_told_in_one_sentence_and_the_pages_own_steps_in(settle, capsys):
    page = settle("frechet", "")
    first = capsys.readouterr().out.splitlines()[0]
    assert first == (
        "`frechet_distance` is not written yet: the page's own steps in for what follows."
    )
    assert checks.CHECKS["frechet_distance"](page["frechet_distance"], page) == ""


@pytest.mark.parametrize("task", TASKS)
def test_each_unsolved_task_gets_the_pages_own(settle, task):
    page = settle(task, "")
    for name in TASKS[task]["functions"]:
        assert page[name].stands_in == ("missing", "")
        assert checks.CHECKS[name](page[name], page) == ""


def test_a_wrong_answer_is_named_and_the_pages_own_steps_in(settle, capsys):
    page = settle("turns", but(TURN_D, ("fake.detach()", "fake")) + TURN_G)
    said = capsys.readouterr().out
    assert "`turn_of_d` is not right yet: Gradients reach G" in said
    assert "`turn_of_g` is right." in said
    assert page["turn_of_d"].stands_in[0] == "wrong"
    assert not hasattr(page["turn_of_g"], "stands_in")


def test_a_right_answer_is_used_as_it_is(settle):
    page = settle("losses", LOSSES)
    assert page["discriminator_loss"].__code__.co_varnames == ("x", "y")
    assert page["generator_loss"].stands_in == ("missing", "")


def test_a_check_run_again_says_the_same(settle, page, edition, capsys):
    settle("walk", WRONG["walk"]["a straight line"][0])
    first = capsys.readouterr().out
    exec(by_id(edition)["check-walk"]["source"], page)
    assert capsys.readouterr().out == first
    assert "straight line" in first


def test_an_answer_that_comes_later_takes_its_place(settle, capsys):
    settle("losses", "")
    page = settle("losses", LOSSES)
    assert not hasattr(page["discriminator_loss"], "stands_in")


def test_new_latents_for_g_pass_the_whole_check_cell(settle, capsys):
    page = settle("turns", TURN_D + RIGHT["turn_of_g"]["new latents"])
    assert not hasattr(page["turn_of_g"], "stands_in")
    assert "`turn_of_g` is right." in capsys.readouterr().out


def test_a_guess_is_set_beside_what_came_out(capsys):
    student.beside("green", lambda: "white")
    student.beside(..., lambda: 1 / 0)
    lines = [line.split(": ")[1].strip() for line in capsys.readouterr().out.splitlines()]
    assert lines == ["green", "white", "none was written down", "see above."]


# What the edition hides, and what it keeps


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_stub_keeps_head_and_docstring_and_nothing_of_the_body(page, edition, key, name):
    names = dict(page)
    for cell in edition:
        if "task" in tags(cell):
            exec(cell["source"], names)
    assert names[name].__doc__ == page[name].__doc__
    assert names[name].__annotations__ == page[name].__annotations__
    with pytest.raises(NotImplementedError, match=rf"^Your turn: {name}$"):
        names[name](*[None] * names[name].__code__.co_argcount)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_cell_shows_the_body_of_a_task_outside_its_solution(edition, bare, key, name):
    (source,) = (c["source"] for c in key if "task" in tags(c) and f"def {name}(" in c["source"])
    body = body_of(source, name)
    shown = [cell["id"] for cell in edition if body in squeezed(cell["source"])]
    assert len(shown) == 1
    assert shown[0].startswith("hints-")
    assert not [cell["id"] for cell in bare if body in squeezed(cell["source"])]
    assert "The targets are swapped" not in code_of(edition)


def test_the_imports_of_a_cell_stay_with_its_task():
    source = "import math\n\n\ndef mine():\n    pass\n\n\ndef other():\n    pass"
    task, rest = student.split(source, ["mine"])
    assert task == "import math\n\n\ndef mine():\n    pass"
    assert rest == "def other():\n    pass"


def test_no_output_is_left(edition):
    code = [cell for cell in edition if cell["cell_type"] == "code"]
    assert not [c["id"] for c in code if c["outputs"] or c["execution_count"] is not None]


def test_every_cell_of_the_page_is_there_in_its_order(cells, edition):
    kept = [cell["id"] for cell in cells if "check" not in tags(cell)]
    assert [cell["id"] for cell in edition if cell["id"] in {*kept}] == kept


def test_code_that_is_no_task_is_the_pages_own_but_for_what_answers_a_question(cells, edition):
    page = by_id(cells)
    for cell in edition:
        if (
            cell["cell_type"] == "code"
            and cell["id"] in page
            and not tags(cell) & {"task", "check"}
        ):
            assert cell["source"] == student.reword(page[cell["id"]]["source"], OTHER_CODE)
    for words in ("much alike", "no digits", "a spiral inwards"):
        assert words not in code_of(edition)


def test_every_answer_is_in_a_fold_below_its_output(edition):
    """A text that begins with an answer comes after the cell that sets the guess beside it."""
    for before, cell in pairwise(edition):
        if cell["source"].startswith("<details><summary>Answer"):
            assert before["id"].startswith(("beside-", "hints-best-score")), cell["id"]


def test_no_sentence_is_false_and_no_solution_left_where_none_is_wanted(edition, bare, graded):
    for cell in [*edition, *bare, *graded]:
        assert not [words for words in FALSE if words in cell["source"]], cell["id"]
    text = "\n".join(cell["source"] for cell in bare)
    assert "fold below" not in text
    assert "folded below it" not in text
    assert "<summary>Answer" not in text
    assert "<summary>Solution" not in text


def test_cross_entropy_is_named_after_the_losses_check_only(edition):
    ids = [cell["id"] for cell in edition]
    before = edition[: ids.index("hints-losses") + 1]
    assert not [c["id"] for c in before if re.search(r"cross.entropy", c["source"], re.I)]
    assert re.search(r"cross.entropy", edition[ids.index("hints-losses") + 1]["source"])


def test_three_folds_stand_under_each_task(edition, bare):
    for name in TASKS:
        folds = re.findall("<summary>(.*?)</summary>", by_id(edition)[f"hints-{name}"]["source"])
        assert folds == ["Hint: a question", "Hint: the calls", "Solution"]
        assert by_id(bare)[f"hints-{name}"]["source"].count("<summary>") == 2


def test_each_task_says_its_level_and_minutes(edition):
    text = ""
    for cell in edition:
        if cell["cell_type"] == "markdown":
            text = cell["source"]
        elif "task" in tags(cell):
            assert re.search(r"\*Task \((easy|medium|hard), \d+ minutes\)", text), cell["id"]


def test_each_exercise_says_what_one_should_see(edition):
    rows = re.findall(r"^\| \d+ \|.*", by_id(edition)["exercises-text"]["source"], re.M)
    assert rows
    for row in rows:
        _, _, level, minutes, what, seen, _ = row.split("|")
        assert level.strip() in ("easy", "medium", "hard")
        assert int(minutes) > 0
        assert len(what) > 20
        assert len(seen) > 5


# Questions


def test_each_question_has_a_cell_to_type_a_guess_into_before_its_outcome(edition):
    ids = [cell["id"] for cell in edition]
    questions = [cell["id"] for cell in edition if is_question(cell)]
    assert len(questions) >= 15
    for name in questions:
        place = ids.index(name)
        after = edition[place + 1 :]
        guess = next(n for n, cell in enumerate(after) if "guess" in tags(cell))
        outcome = next(n for n, cell in enumerate(after) if "beside" in tags(cell))
        assert guess < outcome
        assert after[guess]["source"].startswith("guess = ...")
        assert not [cell for cell in after[:outcome] if is_question(cell)], name
    assert ids.index("quiz") < ids.index("guess-judge-text") < ids.index("beside-judge-text")


def test_every_question_of_the_page_has_its_entry_and_no_entry_lacks_a_question(cells):
    added = {f"{name}-text" for name, task in TASKS.items() if "then" in task}
    asked = {cell["id"] for cell in cells if is_question(cell)}
    assert asked | added == {*GUESSES} | (added - {*GUESSES})


def test_a_question_without_an_entry_still_gets_its_cells(tmp_path, monkeypatch):
    monkeypatch.setattr(student, "GUESSES", {})
    student.main([str(tmp_path / "out.ipynb")])
    cells = by_id(read_cells(tmp_path / "out.ipynb"))
    assert cells["guess-scores-text"]["source"].startswith("guess = ...")
    assert "see above" in cells["beside-scores-text"]["source"]


# The script


def test_a_file_that_is_there_is_refused_without_force(tmp_path, capsys):
    out = tmp_path / "mine.ipynb"
    out.write_text("somebody's work")
    with pytest.raises(SystemExit):
        student.main([str(out)])
    assert out.read_text() == "somebody's work"
    assert "--force" in capsys.readouterr().err
    student.main([str(out), "--force"])
    assert nbformat.read(out, as_version=4).cells


@pytest.mark.parametrize("options", [[], ["--force"]])
def test_the_page_itself_is_never_written_over(options):
    before = NOTEBOOK.read_bytes()
    with pytest.raises(SystemExit):
        student.main([str(NOTEBOOK), *options])
    assert NOTEBOOK.read_bytes() == before
    with pytest.raises(SystemExit):  # the file for nbgrader is its own key
        student.main([str(ROOT / "never.ipynb"), "--key", "--nbgrader"])


def test_the_script_runs_from_any_folder(tmp_path):
    command = [sys.executable, CLASSROOM / "student.py", "mine.ipynb"]
    subprocess.run(command, cwd=tmp_path, check=True)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.ipynb"]


def test_the_key_is_the_edition_with_the_pages_own_functions(edition, key):
    assert [cell["id"] for cell in edition] == [cell["id"] for cell in key]
    others = [(mine, own) for mine, own in zip(edition, key) if mine["source"] != own["source"]]
    assert {mine["id"] for mine, _ in others} == {*TASKS, "edition-note"}


# Run All


def test_run_all_goes_on_over_unsolved_tasks(editions, tmp_path):
    """To the end of Act I, and over the checks below it."""
    notebook = nbformat.read(editions.student, as_version=4)
    ids = [cell.id for cell in notebook.cells]
    act_two = ids.index("judge-text")
    later = [
        c for c in notebook.cells[act_two:] if {"define", "check"} & {*c.metadata.get("tags", [])}
    ]
    notebook.cells = notebook.cells[:act_two] + later
    path = tmp_path / "unsolved.ipynb"
    nbformat.write(notebook, path)
    cells = run(path, tmp_path)
    assert errors(cells) == {}
    for cell in cells:
        if "check" in tags(cell):
            assert "not written yet" in printed(cell), cell["id"]
        elif "beside" in tags(cell):
            assert printed(cell).startswith("Your guess:     none was written down\n")
            assert "see above" not in printed(cell), cell["id"]


def test_run_all_of_a_half_solved_edition(editions, tmp_path):
    """Some tasks are right, one is wrong, one doesn't even parse; the rest is not written."""
    notebook = nbformat.read(editions.student, as_version=4)
    answers = {
        "losses": LOSSES + "def generator_loss(y):\n    raise NotImplementedError\n",
        "turns": but(TURN_D, ("match.optimizer_d.zero_grad()", "")) + TURN_G,
        "best-score": "def best_score(p, q)\n    return p",
        "discriminator": RIGHT["make_discriminator"]["flat first"],
        "frechet": RIGHT["frechet_distance"]["NumPy"],
    }
    for cell in notebook.cells:
        if cell.id in answers:  # below the imports, which a student leaves there
            cell.source = cell.source.partition("def ")[0] + answers[cell.id]
        if cell.id == "guess-scores-text":
            cell.source = 'guess = "all near one half"'
    path = tmp_path / "half.ipynb"
    nbformat.write(notebook, path)
    cells = by_id(run(path, tmp_path))
    assert [*errors([*cells.values()])] == ["best-score"]
    said = {name: printed(cells[f"check-{name}"]) for name in TASKS}
    assert "`discriminator_loss` is right." in said["losses"]
    assert "`generator_loss` is not written yet" in said["losses"]
    assert "not of this turn alone" in said["turns"]
    assert "mend the error" in said["best-score"]
    assert "`make_discriminator` is right." in said["discriminator"]
    assert "`frechet_distance` is right." in said["frechet"]
    assert "`walk` is not written yet" in said["walk"]
    assert "Your guess:     all near one half" in printed(cells["beside-scores-text"])
    assert not [name for name, cell in cells.items() if "see above." in printed(cell)]


# nbgrader


def test_a_check_of_nbgraders_raises_and_nothing_steps_in(page, graded):
    cells = by_id(graded)
    exec(cells["classroom-tools"]["source"], page)
    exec("def walk(start, end, steps, faces=20):\n    raise NotImplementedError()", page)
    with pytest.raises(AssertionError, match="`walk`: it is not written yet"):
        exec(cells["check-walk"]["source"], page)
    assert not hasattr(page["walk"], "stands_in")


def test_each_function_is_worth_a_point_and_its_check_is_locked(graded):
    facts = [cell["metadata"]["nbgrader"] for cell in graded if "check" in tags(cell)]
    assert [fact["points"] for fact in facts] == [1] * len(FUNCTIONS)
    assert all(fact["locked"] and fact["grade"] for fact in facts)
    solutions = [c for c in graded if c["metadata"].get("nbgrader", {}).get("solution")]
    assert {cell["id"] for cell in solutions} == {*TASKS}


def test_an_assignment_plays_small_games(graded):
    (cell,) = (cell for cell in graded if "parameters" in tags(cell))
    names = {"os": SimpleNamespace(environ={})}
    exec(cell["source"], names)
    assert names["SMOKE_TEST"] == "1"


def test_nbgrader_gives_an_empty_submission_nothing_and_the_key_all(tmp_path, monkeypatch):
    """Generated, released and autograded with the real program; only long games are left out."""
    short, kept = nbformat.read(NOTEBOOK, as_version=4), []
    wanted = {task["after"] for task in TASKS.values() if "after" in task}
    for cell in short.cells:
        defines = {"define", "task", "check"} & {*cell.metadata.get("tags", [])}
        if defines or cell.id in wanted or cell.cell_type == "markdown":
            kept.append(cell)
        if cell.cell_type == "markdown":
            cell.source = cell.source.replace("**Predict.**", "Predict.")
        elif cell.id in wanted:
            cell.source = "pass"
    short.cells = kept
    nbformat.write(short, tmp_path / "GAN_for_MNIST.ipynb")
    monkeypatch.setattr(student, "PAGE", tmp_path / "GAN_for_MNIST.ipynb")
    course, source = tmp_path / "course", tmp_path / "course" / "source" / "gan" / "gan.ipynb"
    source.parent.mkdir(parents=True)
    student.main([str(source), "--nbgrader"])
    exchange = tmp_path / "exchange"
    exchange.mkdir(mode=0o777)
    exchange.chmod(0o777)
    settings = f"CourseDirectory.course_id = 'gans'\nc.Exchange.root = {str(exchange)!r}"
    (course / "nbgrader_config.py").write_text(f"c = get_config()\nc.{settings}")

    def nbgrader(*arguments: str) -> None:
        command = [sys.executable, "-m", "nbgrader", *arguments]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # alembic is there
        environment = os.environ | {"HOME": str(tmp_path), "PATH": path}
        done = subprocess.run(command, cwd=course, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]

    nbgrader("generate_assignment", "gan")
    nbgrader("release_assignment", "gan")
    released = exchange / "gans" / "outbound" / "gan" / "gan.ipynb"
    text = code_of(read_cells(released))
    assert "SOLUTION" not in text
    assert text.count("YOUR CODE HERE") == len(FUNCTIONS)
    for name, submission in (("empty", released), ("key", source)):
        folder = course / "submitted" / name / "gan"
        folder.mkdir(parents=True)
        (folder / "gan.ipynb").write_bytes(submission.read_bytes())
    nbgrader("autograde", "gan")
    nbgrader("export")
    lines = [line.split(",") for line in (course / "grades.csv").read_text().splitlines()]
    column = {name: place for place, name in enumerate(lines[0])}
    scores = {line[column["student_id"]]: float(line[column["score"]]) for line in lines[1:]}
    assert scores == {"empty": 0.0, "key": float(len(FUNCTIONS))}
