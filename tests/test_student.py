"""The student's edition: its tasks, its checks, which name the mistake, and what is left out."""

import ast
import inspect
import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import NOTEBOOK, ROOT, read_cells

TASKS = {
    "check-losses": ["discriminator_loss", "generator_loss"],
    "check-turns": ["turn_of_d", "turn_of_g"],
    "check-frechet": ["frechet_distance"],
    "check-walk": ["walk"],
}
FUNCTIONS = [name for names in TASKS.values() for name in names]
LEFT_OUT = {"answer", "solution", "teacher", "broken", "uses-broken"}

# Typical wrong answers: which check is to find it, the wrong code, and what the check is to say.
D, G = "def discriminator_loss(real, fake):\n    ", "def generator_loss(fake):\n    "
BCE = "F.binary_cross_entropy_with_logits"
TURN_D = """
def turn_of_d(match, real, fake):
    fake = fake.detach()
    match.optimizer_d.zero_grad()
    loss = discriminator_loss(match.discriminator(real), match.discriminator(fake))
    loss.backward()
    match.optimizer_d.step()
    return loss.detach()
"""
TURN_G = """
def turn_of_g(match, fake):
    loss = generator_loss(match.discriminator(fake))
    match.optimizer_g.zero_grad()
    loss.backward()
    match.optimizer_g.step()
    return loss.detach()
"""
FRECHET = """
def frechet_distance(real, fake):
    real, fake = real.double(), fake.double()
    means = (real.mean(0) - fake.mean(0)).square().sum()
    a, b = real.T.cov(), fake.T.cov()
    root = torch.linalg.eigvals(a @ b).real.sqrt().sum()
    return (means + a.trace() + b.trace() - 2 * root).item()
"""
WALK = """
def walk(start, end, steps, faces=20):
    n = len(start) - faces
    a, b = start[:n], end[:n]
    angle = torch.arccos(a @ b / a.norm() / b.norm())
    t = torch.linspace(0, 1, steps)[:, None]
    arc = (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / torch.sin(angle)
    return torch.cat([arc, start[n:].repeat(steps, 1)], 1)
"""
SLERP_OF_ALL = WALK.replace("n = len(start) - faces", "n = len(start)")
LINE = "arc = (1 - t) * a + t * b\n    return"
OWN_ANGLE = "a @ b / a.norm() / b.norm()"
ANGLE_OF_ALL = "start @ end / start.norm() / end.norm()"
TWO_HALVES = "(loss / 2).backward(retain_graph=True)\n    (loss / 2).backward()"
STEP_D = "match.optimizer_d.step()"
ZERO_D, ZERO_G = "    match.optimizer_d.zero_grad()\n", "    match.optimizer_g.zero_grad()\n"


def but(code: str, *changes: tuple[str, str]) -> str:
    """Return `code` with some of its text replaced, which has to be there."""
    for old, new in changes:
        assert old in code, old
        code = code.replace(old, new)
    return code


MISTAKES = {
    "swapped": (
        "losses",
        D + "return F.softplus(real).mean() + F.softplus(-fake).mean()",
        "swapped",
    ),
    "swapped for G": ("losses", G + f"return {BCE}(fake, 0 * fake)", "swapped"),
    "a sum": (
        "losses",
        D + "return F.softplus(-real).sum() + F.softplus(fake).sum()",
        "mean is left",
    ),
    "no mean": ("losses", D + "return F.softplus(-real) + F.softplus(fake)", "mean is left"),
    "no mean for G": ("losses", G + "return F.softplus(-fake)", "mean is left"),
    "a sigmoid": ("losses", G + "return F.softplus(-fake.sigmoid()).mean()", "sigmoid too many"),
    "sigmoids": (
        "losses",
        D + f"x, y = real.sigmoid(), fake.sigmoid()\n    return {BCE}(x, x / x) + {BCE}(y, 0 * y)",
        "sigmoid too many",
    ),
    "saturating": ("losses", G + "return (1 - fake.sigmoid()).log().mean()", "saturating"),
    "no minus": ("losses", G + "return F.logsigmoid(fake).mean()", "Not"),
    "only real": ("losses", D + "return F.softplus(-real).mean()", "that of the fakes"),
    "only fake": ("losses", D + "return F.softplus(fake).mean()", "that of the real images"),
    "real twice": ("losses", D + "return 2 * F.softplus(-real).mean()", "Not"),
    "another loss": (
        "losses",
        D + "return (real - 1).square().mean() + fake.square().mean()",
        "Not",
    ),
    "no detach": ("turns", but(TURN_D, (".detach()\n    match", "\n    match")), "did you detach"),
    "no step": ("turns", but(TURN_D, (STEP_D, "")), "D stood still"),
    "no step of G": ("turns", but(TURN_G, ("match.optimizer_g.step()", "")), "G stood still"),
    "G's optimiser for D": ("turns", but(TURN_D, ("optimizer_d", "optimizer_g")), "D stood still"),
    "detached in G's turn": ("turns", but(TURN_G, ("(fake)", "(fake.detach())")), "G stood still"),
    "D moves in G's turn": (
        "turns",
        but(TURN_G, ("return", f"{STEP_D}\n    return")),
        "D's weights moved in G's turn",
    ),
    "G moves in D's turn": (
        "turns",
        but(TURN_D, ("return", "match.generator.weight.data += 0.1\n    return")),
        "G's weights moved in D's turn",
    ),
    "not cleared": ("turns", but(TURN_D, (ZERO_D, "")), "D's gradients are not of this turn alone"),
    "not cleared for G": ("turns", but(TURN_G, (ZERO_G, "")), "G's gradients are not of this"),
    "cleared before G's turn fills them": (
        "turns",
        but(TURN_D, (ZERO_D, ""), (STEP_D, STEP_D + "\n" + ZERO_D)) + TURN_G,
        "D's gradients are not of this turn alone",
    ),
    "G's loss in D's turn": (
        "turns",
        but(TURN_D, ("discriminator_loss(match.discriminator(real), ", "generator_loss(")),
        "not D's loss",
    ),
    "the opposite loss": (
        "turns",
        but(TURN_G, ("generator_loss(", "-generator_loss(")),
        "not G's loss",
    ),
    "nothing returned": (
        "turns",
        but(TURN_D, ("    return loss.detach()\n", "")),
        "Return the loss",
    ),
    "with its graph": ("turns", but(TURN_D, ("loss.detach()", "loss")), "detached"),
    "divided by N": ("frechet", but(FRECHET, ("T.cov()", "T.cov(correction=0)")), "divided by N"),
    "no root": ("frechet", but(FRECHET, (".sqrt()", "")), "without the root"),
    "root of each number": (
        "frechet",
        but(FRECHET, ("torch.linalg.eigvals(a @ b).real.sqrt().sum()", "(a @ b).sqrt().trace()")),
        "root of each number",
    ),
    "not squared": ("frechet", but(FRECHET, (".square().sum()", ".norm()")), "not squared"),
    "a straight line": ("walk", but(WALK, ("return", LINE)), "straight line"),
    "another face": ("walk", SLERP_OF_ALL, "face changes"),
    "end's face": ("walk", but(WALK, ("start[n:]", "end[n:]")), "face changes"),
    "exchanged": ("walk", but(WALK, ("* a +", "* b +"), ("* b) /", "* a) /")), "exchanged"),
    "end not reached": (
        "walk",
        but(WALK, ("(0, 1, steps)", "(0, 1, steps + 1)[:-1]")),
        "start to end",
    ),
    "a line stretched to the arc": (
        "walk",
        but(WALK, ("return", LINE), ("return", "arc = 5 * F.normalize(arc)\n    return")),
        "Unequal angles",
    ),
    "the angle of all numbers": (
        "walk",
        but(WALK, (OWN_ANGLE, ANGLE_OF_ALL)),
        "of the normal numbers only",
    ),
    "empty without faces": (
        "walk",
        but(WALK, ("[:n]", "[:-faces]"), ("[n:]", "[-faces:]")),
        "faces=0",
    ),
}
ALTERNATIVES = {
    "BCE": ("losses", D + f"return {BCE}(real, real / real) + {BCE}(fake, fake * 0)"),
    "log of a sigmoid": ("losses", G + "return -fake.sigmoid().log().mean()"),
    "two passes": ("turns", TURN_D),
    "all gradients, cleared next time": ("turns", TURN_G),
    "cleared afterwards": (
        "turns",
        but(TURN_D, (ZERO_D, ""), (STEP_D, STEP_D + "\n" + ZERO_D))
        + but(TURN_G, ("loss.backward()", "loss.backward(inputs=[*match.generator.parameters()])")),
    ),
    "D frozen in G's turn": (
        "turns",
        but(
            TURN_G,
            ("    loss = gen", "    match.discriminator.requires_grad_(False)\n    loss = gen"),
            ("    return", "    match.discriminator.requires_grad_(True)\n    return"),
        ),
    ),
    "two halves": (
        "turns",
        but(TURN_D, ("loss.backward()", TWO_HALVES)),
    ),
    "single precision": ("frechet", but(FRECHET, (".double()", ""))),
    "another way to the arc": ("walk", WALK),
}


def tags(cell: dict) -> set[str]:
    return {*cell["metadata"].get("tags", [])}


def by_id(cells: list[dict]) -> dict[str, dict]:
    return {cell["id"]: cell for cell in cells}


def run_check(nb, cells: list[dict], name: str, answer: str = "") -> None:
    """Run a check on the page's definitions, in a copy where `answer` takes its task's place."""
    names = dict(vars(nb))
    exec(compile(answer, "<answer>", "exec"), names)
    exec(compile(by_id(cells)[name]["source"], f"<cell {name}>", "exec"), names)


def task_functions(cells: list[dict]) -> dict[str, str]:
    """Return the body, without its docstring, of each function of a task, by name."""
    bodies = {}
    for cell in cells:
        for node in ast.parse(cell["source"]).body if "task" in tags(cell) else []:
            if isinstance(node, ast.FunctionDef):
                rest = node.body[1:] if ast.get_docstring(node) else node.body
                lines = cell["source"].splitlines()[rest[0].lineno - 1 : node.end_lineno]
                bodies[node.name] = textwrap.dedent("\n".join(lines))
    return bodies


def lines_of(text: str) -> set[str]:
    """Return the lines of a text that are long enough to give something away."""
    return {line.strip() for line in text.splitlines() if len(line.strip()) >= 20}


@pytest.fixture(scope="module")
def editions(tmp_path_factory) -> SimpleNamespace:
    """The paths of the student's file and of its key."""
    folder = tmp_path_factory.mktemp("editions")
    student, key = folder / "student.ipynb", folder / "key.ipynb"
    for arguments in ([student], [key, "--key"]):
        subprocess.run([sys.executable, ROOT / ".ci" / "student", *arguments], check=True)
    return SimpleNamespace(student=student, key=key)


@pytest.fixture(scope="module")
def student(editions) -> list[dict]:
    """The cells of the student's file."""
    return read_cells(editions.student)


# The checks


def test_every_task_has_a_check_and_every_check_a_task(cells):
    assert {cell["id"] for cell in cells if "check" in tags(cell)} == {*TASKS}
    assert sorted(task_functions(cells)) == sorted(FUNCTIONS)


@pytest.mark.parametrize("check", TASKS)
def test_the_pages_own_code_passes_its_check_which_says_so_in_one_line(nb, cells, capsys, check):
    run_check(nb, cells, check)
    assert len(capsys.readouterr().out.splitlines()) == 1


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_check_names_the_mistake(nb, cells, mistake):
    task, answer, message = MISTAKES[mistake]
    with pytest.raises(AssertionError, match=re.escape(message)):
        run_check(nb, cells, f"check-{task}", answer)


@pytest.mark.parametrize("way", ALTERNATIVES)
def test_a_check_accepts_another_right_answer(nb, cells, way):
    task, answer = ALTERNATIVES[way]
    run_check(nb, cells, f"check-{task}", answer)


@pytest.mark.parametrize("check", TASKS)
def test_a_check_leaves_the_readers_random_numbers_alone(nb, cells, check):
    import torch

    before = torch.random.get_rng_state()
    run_check(nb, cells, check)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_no_cell_takes_a_checks_variable_for_its_own(cells):
    owner = {}
    for cell in (cell for cell in cells if cell["cell_type"] == "code"):
        python = re.sub(r"^( *)%.*", r"\1pass", cell["source"], flags=re.M)
        nodes = [*ast.walk(ast.parse(python))]
        names = [node for node in nodes if isinstance(node, ast.Name)]
        stored = {node.id for node in names if isinstance(node.ctx, ast.Store)}
        own = stored | {node.arg for node in nodes if isinstance(node, ast.arg)}
        for name in {node.id for node in names} - own:
            assert owner.get(name) not in TASKS, (cell["id"], name)
        owner |= dict.fromkeys(stored, cell["id"])


# The student's file


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_stub_raises_and_names_itself(nb, student, name):
    names = dict(vars(nb))
    for cell in student:
        if "task" in tags(cell):
            exec(cell["source"], names)
    needed = [p for p in inspect.signature(names[name]).parameters.values() if p.default is p.empty]
    with pytest.raises(NotImplementedError, match=rf"^Your turn: {name}$"):
        names[name](*[None] * len(needed))
    assert names[name].__doc__ == getattr(nb, name).__doc__


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_body_of_a_task_is_in_the_students_file(cells, student, name):
    body = task_functions(cells)[name]
    text = "\n".join(textwrap.dedent(cell["source"]) for cell in student)
    compact = [" ".join(part.split()) for part in (body, text)]
    assert compact[0] not in compact[1]


def test_no_line_of_a_solution_is_in_the_students_file(cells, student):
    solutions = [cell["source"] for cell in cells if "solution" in tags(cell)]
    assert solutions
    known = [c["source"] for c in cells if not tags(c) & {"task", *LEFT_OUT}]
    secret = lines_of("\n".join(solutions)) - lines_of("\n".join(known))
    assert secret & lines_of("\n".join(cell["source"] for cell in student)) == set()


def test_the_students_file_has_all_cells_but_those_that_give_an_answer_away(cells, student):
    kept = [cell["id"] for cell in cells if not tags(cell) & LEFT_OUT]
    assert [cell["id"] for cell in student] == kept
    assert len(kept) < len(cells)


def test_outside_of_the_tasks_the_students_file_is_the_page(cells, student):
    page = by_id(cells)
    for cell in student:
        assert "task" in tags(cell) or cell["source"] == page[cell["id"]]["source"], cell["id"]


def test_the_students_file_shows_no_output(student):
    code = [cell for cell in student if cell["cell_type"] == "code"]
    assert not [c["id"] for c in code if c["outputs"] or c["execution_count"] is not None]


def test_the_script_does_not_overwrite_the_page():
    command = [sys.executable, ROOT / ".ci" / "student", NOTEBOOK]
    assert subprocess.run(command, capture_output=True).returncode == 2


def test_the_students_file_solved_by_the_page_runs_from_top_to_bottom(cells, editions, tmp_path):
    """It is the key then, but for nothing, and runs as in a copy of the repository."""
    page = by_id(cells)
    notebook = json.loads(editions.student.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if "task" in tags(cell):
            cell["source"] = page[cell["id"]]["source"].splitlines(keepends=True)
    assert notebook == json.loads(editions.key.read_text(encoding="utf-8"))
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "reference").symlink_to(ROOT / "runs" / "reference")
    copy = tmp_path / "solved.ipynb"
    copy.write_text(json.dumps(notebook), encoding="utf-8")
    command = [sys.executable, "-m", "jupyter", "execute", "--inplace", "--allow-errors", str(copy)]
    environment = os.environ | {"RUNS_DIR": str(tmp_path / "own")}
    subprocess.run(command, check=True, timeout=900, env=environment, cwd=tmp_path)
    outputs = {c["id"]: c["outputs"] for c in read_cells(copy) if c["cell_type"] == "code"}
    errors = {name: o for name, some in outputs.items() for o in some if "evalue" in o}
    assert errors == {}


# For a teacher who uses nbgrader


def validate(path: Path, tmp_path: Path) -> list[str]:
    """Return the checks that nbgrader finds unsolved; only definitions and tasks run before."""
    if "CI" not in os.environ:
        pytest.importorskip("nbgrader")
    from nbgrader.validator import Validator

    notebook = json.loads(path.read_text(encoding="utf-8"))
    notebook["cells"] = [c for c in notebook["cells"] if tags(c) & {"define", "task", "check"}]
    short = tmp_path / path.name
    short.write_text(json.dumps(notebook), encoding="utf-8")
    results = Validator().validate(str(short))
    assert {*results} <= {"failed"}
    return [failed["source"] for failed in results.get("failed", [])]


def test_nbgrader_passes_the_key(editions, tmp_path):
    assert validate(editions.key, tmp_path) == []


def test_nbgrader_names_the_unsolved_checks_of_the_students_file(cells, editions, tmp_path):
    checks = [cell["source"].strip() for cell in cells if "check" in tags(cell)]
    assert validate(editions.student, tmp_path) == checks


def test_a_task_is_to_be_written_and_a_check_is_locked_and_worth_points(student):
    for cell in student:
        facts = cell["metadata"].get("nbgrader", {})
        assert facts.get("solution", False) == ("task" in tags(cell)), cell["id"]
        assert facts.get("locked", False) == ("check" in tags(cell)), cell["id"]
        assert facts.get("points", 0) == len(TASKS.get(cell["id"], [])), cell["id"]
