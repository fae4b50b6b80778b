#!/usr/bin/env python3
"""Write the student's edition of the page: tasks to solve, answers folded, checks that help.

    python tests/classroom/student.py [OUT.ipynb] [--key] [--no-solutions] [--nbgrader] [--force]

README.md, beside this file, says what a class does with it.
"""

import argparse
import ast
import base64
import inspect
import json
import re
import textwrap
import zlib
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell
from tasks import GUESSES, NO_SOLUTIONS, OTHER_CODE, OTHER_WORDS, TASKS

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent.parent / "GAN_for_MNIST.ipynb"
ANSWER = re.compile(r"\A<details><summary>Answer</summary>.*?</details>\s*", re.S)
NOTE = """\
**This is the student's edition.** Nothing in it has run yet.

- A *task* is a function whose body is `raise NotImplementedError`. Write the body in its place, \
run the cell, and then run the check below it, which says whether it is right, or what is wrong.
- {lent}
- A *question* has a cell `guess = ...` below it. Type your guess there, in quotes, before you go \
on. It is set beside what came out; nobody grades it."""
LENT = """\
As long as a function is missing or wrong, its check lends you the page's own, so everything \
below runs all the same. Below each check are folded: a question that helps, the calls of \
PyTorch{and_}."""
KEY = "**This is the key to the student's edition.** In it all tasks are solved."
GRADED = """\
Everything below needs your functions, and the checks give the points. Long cells play a small \
game here; the environment variable `SMOKE_TEST=0` makes them play the whole one."""
CHECKS = ""  # in the edition: checks.py, packed


# These go into the edition's first folded cell, as they stand here.


def unpack(packed: str) -> dict:
    """Return what `pack` has packed."""
    return json.loads(zlib.decompress(base64.b64decode(packed)))


def settle(page: dict, packed: str) -> None:
    """Check the functions of a task; the page's own ones step in for those that aren't right."""
    checks, task = {}, unpack(packed)
    exec(unpack(CHECKS)["checks"], checks)
    verdicts = {name: checks["verdict"](page, name) for name in task["functions"]}
    mine = {name: page[name] for name, (kind, _) in verdicts.items() if kind == "right"}
    if len(mine) < len(verdicts):
        exec(task["answer"], page)
        for name, said in verdicts.items():
            page[name].stands_in = said
        page.update(mine)
    missing = [f"`{name}`" for name, (kind, _) in verdicts.items() if kind == "missing"]
    if missing:
        many = len(missing) > 1
        are, step = ("are", "step") if many else ("is", "steps")
        names = " and ".join(missing)
        print(f"{names} {are} not written yet: the page's own {step} in for what follows.")
    for name, (kind, sentence) in verdicts.items():
        if kind == "wrong":
            print(f"`{name}` is not right yet: {sentence}")
            print("The page's own steps in for what follows, until yours is right.")
        elif kind == "right":
            print(f"`{name}` is right. {sentence}".strip())
    try:
        exec(task["demo"], page)
    except Exception:
        print("(The page's own small example can't be shown with this answer.)")


def grade(page: dict, name: str) -> None:
    """Raise an error unless a function is right."""
    checks = {}
    exec(unpack(CHECKS)["checks"], checks)
    kind, sentence = checks["verdict"](page, name)
    if kind != "right":
        raise AssertionError(f"`{name}`: {sentence or 'it is not written yet.'}")
    print(f"`{name}` is right. {sentence}".strip())


def beside(guess: object, came_out) -> None:
    """Set a guess beside what came out, which a function tells. Nothing is graded."""
    print("Your guess:    ", "none was written down" if guess is ... else guess)
    try:
        print("What came out: ", came_out())
    except Exception:
        print("What came out: see above.")


# What makes the edition of the page


def pack(**what) -> str:
    """Return facts as letters that can't be read by accident, in lines of 96."""
    letters = base64.b64encode(zlib.compress(json.dumps(what).encode(), 9)).decode()
    return "\n".join(textwrap.wrap(letters, 96))


def tags(cell: nbformat.NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def is_question(cell: nbformat.NotebookNode) -> bool:
    """Tell whether a cell's last paragraph asks for a prediction."""
    last = cell.source.strip().split("\n\n")[-1]
    return cell.cell_type == "markdown" and last.startswith("**Predict.**")


def new_cell(name: str, source: str, *tags: str) -> nbformat.NotebookNode:
    """Return a new cell of code, folded if its source begins with a title."""
    cell = new_code_cell(source, id=name)
    cell.metadata.tags = [*tags]
    if source.startswith("# @title"):
        cell.metadata |= {"cellView": "form", "jupyter": {"source_hidden": True}}
    return cell


def new_text(name: str, source: str, *tags: str) -> nbformat.NotebookNode:
    return new_markdown_cell(source, id=name, metadata={"tags": [*tags]} if tags else {})


def fold(title: str, text: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{text}\n\n</details>"


def split(source: str, functions: list[str]) -> tuple[str, str]:
    """Return a cell's imports and these functions of it, and whatever else it defines."""
    lines, task, rest = source.splitlines(), [], []
    for node in ast.parse(source).body:
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
        imports = isinstance(node, ast.Import | ast.ImportFrom)
        mine = imports or getattr(node, "name", "") in functions
        part = "\n".join(lines[first - 1 : node.end_lineno])
        (task if mine else rest).append(part)
    return "\n\n\n".join(task), "\n\n\n".join(rest)


def unsolve(source: str, stubs: dict[str, str], marks: bool = False) -> str:
    """Return a task's cell with its functions unsolved or, for nbgrader, marked as solutions."""
    lines = source.splitlines()
    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    for function in reversed(functions):  # from the end: the lines above keep their numbers
        start = function.body[0].end_lineno  # of the docstring, which every task has
        body = lines[start : function.end_lineno]
        if marks:
            new = ["    ### BEGIN SOLUTION", *body, "    ### END SOLUTION"]
        else:
            new = [f'    raise NotImplementedError("Your turn: {function.name}")']
        stub = textwrap.indent(stubs.get(function.name, ""), "    ").splitlines()
        lines[start : function.end_lineno] = stub + new
    return "\n".join(lines)


def nbgrader(cell: nbformat.NotebookNode, points: int = 0, solution: bool = False) -> None:
    """Mark a cell for nbgrader: a solution, a grade with points, or one that nobody may change."""
    facts = {"schema_version": 3, "grade_id": cell.id, "task": False, "cell_type": "code"}
    facts |= {"solution": solution, "grade": points > 0, "locked": not solution}
    cell.metadata.nbgrader = facts | ({"points": points} if points else {})


def tools(asked: argparse.Namespace) -> nbformat.NotebookNode:
    """Return the cell that the checks and the guesses need."""
    functions = [unpack, grade if asked.nbgrader else settle, beside]
    source = (HERE / "checks.py").read_text(encoding="utf-8")
    parts = [
        "# @title Tools of this edition, for checks and guesses: you may skip this cell.\n"
        "import base64\nimport json\nimport zlib",
        *map(inspect.getsource, functions),
        f'CHECKS = """\n{pack(checks=source)}\n"""',
    ]
    cell = new_cell("classroom-tools", "\n\n\n".join(part.strip() for part in parts), "define")
    if asked.nbgrader:
        nbgrader(cell)
    return cell


def task_cells(name: str, cell, check, asked) -> list[nbformat.NotebookNode]:
    """Return the cells of a task: its text, itself, its check, its hints, and what it was with."""
    task = TASKS[name]
    solved, rest = split(cell.source, task["functions"])
    solved = solved if rest else cell.source
    solution = "\n\n\n".join(part for part in solved.split("\n\n\n") if part.startswith("def "))
    demo = re.sub(r"\A# @title.*\n", "", check.source) if check else task.get("shown", "")
    secret = not demo or "binary_cross_entropy" in demo or name == "turns"
    cell.source = solved if asked.key else unsolve(solved, task.get("stub", {}), asked.nbgrader)
    # A cell with this tag may fail, and "Run All" still goes on to the check below.
    cell.metadata.tags = [*dict.fromkeys([*tags(cell), "task", "raises-exception"])]
    cells = [new_text(f"task-{name}", task["text"])] if "text" in task else []
    cells.append(cell)
    title = f"# @title {task['title']}\n"
    answer = {} if asked.nbgrader else {"answer": solved}
    packed = pack(functions=task["functions"], **answer, demo=demo if secret else "")
    if asked.nbgrader:
        nbgrader(cell, solution=True)
        for function in task["functions"]:
            source = f'{title}grade(globals(), "{function}")'
            cells.append(new_cell(f"check-{function.replace('_', '-')}", source, "check"))
            nbgrader(cells[-1], points=1)
        if demo:
            shown = f'exec(unpack("""\n{packed}\n""")["demo"])' if secret else demo
            example = f"# @title An example, if the functions are right\n{shown}"
            cells.append(new_cell(f"example-{name}", example, "raises-exception"))
            nbgrader(cells[-1])
    else:
        source = f'{title}settle(globals(), """\n{packed}\n""")'
        source += "" if secret else f"\n{demo}"
        cells.append(new_cell(f"check-{name}", source, "check", "raises-exception"))
        cells[-1].metadata.task = name
    hints = [fold("Hint: a question", task["question"]), fold("Hint: the calls", task["call"])]
    if not asked.nbgrader and not asked.no_solutions:
        hints.append(fold("Solution", f"```python\n{solution}\n```"))
    cells.append(new_text(f"hints-{name}", "\n\n".join(hints), "hint"))
    if rest:
        cells.append(new_cell(f"{name}-given", rest, "define"))
    return cells


def reword(text: str, words: list[tuple[str, str]]) -> str:
    for old, new in words:
        text = re.sub(old, new, text)
    return text


def beside_cell(question: str) -> nbformat.NotebookNode:
    """Return the cell that sets the guess at a question beside what came out."""
    came_out = GUESSES.get(question, ("", '"see above"'))[1]
    source = f"beside(\n    guess,\n    lambda: (\n{textwrap.indent(came_out, ' ' * 8)}\n    ),\n)"
    return new_cell(
        f"beside-{question}", f"# @title Your guess, and what came out\n{source}", "beside"
    )


def guess_cell(question: str) -> nbformat.NotebookNode:
    """Return the cell in which a guess is written down."""
    example = GUESSES.get(question, ('"..."',))[0]
    return new_cell(f"guess-{question}", f"guess = ...  # for example: guess = {example}", "guess")


def new_task(name: str, asked: argparse.Namespace) -> list[nbformat.NotebookNode]:
    """Return the cells of a task that the page doesn't have."""
    task = TASKS[name]
    cells = task_cells(name, new_cell(name, task["source"], "define"), None, asked)
    if "then" in task:
        shown = new_cell(f"{name}-shown", task["then"]["source"])
        asking = new_text(f"{name}-text", task["then"]["question"])
        cells += [asking, guess_cell(asking.id), shown, beside_cell(asking.id)]
        if not asked.no_solutions:
            cells.append(new_text(f"{name}-answer", fold("Answer", task["then"]["answer"])))
    return cells


def section(text, code: list, checks: dict, asked: argparse.Namespace) -> list:
    """Return a text of the page and the code cells below it, with what the edition adds."""
    asks, question, before = is_question(text), [], None
    if asks:
        question, before = [guess_cell(text.id)], next((cell.id for cell in code), None)
        tasks = [place for place, cell in enumerate(code) if {"task", "check"} & {*tags(cell)}]
        if tasks:  # the question moves to below the tasks
            text.source, _, last = text.source.strip().rpartition("\n\n")
            question.insert(0, new_text(f"question-{text.id}", last))
            before = next((cell.id for cell in code[tasks[-1] + 1 :]), None)
        before = (GUESSES.get(text.id, ())[2:] or [before])[0]
    cells = [text] if text.source.strip() else []
    for cell in code:
        if cell.id == before:
            cells, question = cells + question, []
        if cell.id in TASKS:
            cells += task_cells(cell.id, cell, checks.get(cell.id), asked)
        elif "check" not in tags(cell):  # a check comes with its task
            cells.append(cell)
    if asks:
        cells += [*question, beside_cell(text.id)]
    there = {cell.id for cell in code}
    for name, task in TASKS.items():
        if task.get("after") in there and name not in asked.page_has:
            cells += new_task(name, asked)
    return cells


def edition(page: nbformat.NotebookNode, asked: argparse.Namespace) -> nbformat.NotebookNode:
    """Return the student's edition of the page."""
    page.metadata.pop("widgets", None)
    asked.page_has = {cell.id for cell in page.cells}
    checks = {cell.metadata.task: cell for cell in page.cells if "check" in tags(cell)}
    sections = []  # a text and the code below it
    for cell in page.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            cell.metadata.pop("execution", None)
            cell.source = reword(cell.source, OTHER_CODE)
            if asked.nbgrader and "parameters" in tags(cell):
                cell.source += '\nSMOKE_TEST = SMOKE_TEST or "1"  # small games, unless it is "0"'
            sections[-1][1].append(cell)
            continue
        cell.source = reword(cell.source, OTHER_WORDS)
        if asked.no_solutions:
            cell.source = reword(ANSWER.sub("", cell.source), NO_SOLUTIONS)
        if not (asked.no_solutions and "solution" in tags(cell)):
            sections.append((cell, []))
    page.cells = [cell for text, code in sections for cell in section(text, code, checks, asked)]
    lent = LENT.format(and_="" if asked.no_solutions else ", and the solution")
    note = NOTE.format(lent=GRADED if asked.nbgrader else lent)
    page.cells.insert(1, new_text("edition-note", KEY if asked.key else note))
    first = next(place for place, cell in enumerate(page.cells) if cell.cell_type == "code")
    page.cells.insert(first + 1, tools(asked))
    return page


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", nargs="?", type=Path, help="beside the page if left out")
    parser.add_argument("--key", action="store_true", help="with the tasks solved")
    parser.add_argument("--no-solutions", action="store_true", help="without readable answers")
    parser.add_argument("--nbgrader", action="store_true", help="the source of an assignment")
    parser.add_argument("--force", action="store_true", help="write over a file that is there")
    asked = parser.parse_args(arguments)
    if asked.key and asked.nbgrader:
        parser.error("the file for nbgrader holds the solutions already: it is its own key")
    kind = "nbgrader" if asked.nbgrader else "key" if asked.key else "student"
    out = asked.out or PAGE.with_name(f"{PAGE.stem}_{kind}.ipynb")
    if out.resolve() == PAGE.resolve():
        parser.error("this would overwrite the page itself")
    if out.exists() and not asked.force:
        parser.error(f"{out} is there already, perhaps with somebody's work in it: see --force")
    page = edition(nbformat.read(PAGE, as_version=4), asked)
    nbformat.validate(page)
    nbformat.write(page, out)
    print(f"Wrote {out}")


if __name__ == "__main__":
    main()
