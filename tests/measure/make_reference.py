"""Make runs/reference again: finished runs to look at before you have any of your own.

Usage: python tests/measure/make_reference.py [--out FOLDER] [--recipes NAME ...]

Without names all recipes, one after the other; each is kept as soon as it is finished, so if this
was stopped, go on with the names that are missing. It keeps the numbers and the
last drawings, and of the default recipe, `mlp`, the generator and the film. The judge
is the one in the folder, or a new one if there is none.
"""

import argparse
import contextlib
import json
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

import shared
from shared import nb, test_images
from torch.utils.tensorboard import SummaryWriter

EVENTS = "events.out.tfevents.reference"  # without this machine's name; TensorBoard reads it, too


def write_events(run, folder: Path) -> None:
    """Write the curves of a run and its last drawings, in one small file."""
    with SummaryWriter(folder) as writer:
        for row in run.history:
            for name in row.keys() - {"step"}:
                writer.add_scalar(name, row[name], row["step"])
        writer.add_images("images/fake", nb.sample(run.generator, 64, seed=0), run.match.step)
    for events in folder.glob("events.*"):
        events.rename(folder / EVENTS)


def make(name: str, out: Path, judge) -> None:
    """Train a recipe to its end and keep in `out` what a reader needs of it."""
    config, seconds = nb.RECIPES[name], 0.0
    if shared.REHEARSAL:
        config = replace(config, epochs=2)

    def quick_look(generator) -> dict[str, float]:  # as the page does
        nonlocal seconds
        began = time.perf_counter()
        fake = nb.sample(generator, 2000, seed=0)
        measures = nb.distance_and_sure(judge, fake, test_images[:2000])
        seconds -= time.perf_counter() - began
        return measures

    seconds -= time.perf_counter()
    with contextlib.redirect_stdout(sys.stderr):  # standard output is for results
        run = nb.train(config, shared.images, shared.labels, nb.device, measure=quick_look)
    seconds += time.perf_counter()
    kept = run.directory / "kept"
    kept.mkdir()
    shutil.copy(run.directory / "config.json", kept)
    write_events(run, kept)
    generator = run.generator
    if name == "mlp":
        shutil.copy(run.directory / "progress.gif", kept)
        state = nb.load(run.directory / "generator.pt")
        nb.save(kept / "generator.pt", state | {"weights": shared.halve(state["weights"])})
        generator = nb.load_generator(kept)  # what is measured is what is kept
    figures = {"epochs": config.epochs, "seconds": round(seconds)}
    figures |= nb.evaluate(generator, judge, test_images)
    (kept / "figures.json").write_text(json.dumps(figures))
    nb.save_image(nb.sample(generator, 32, seed=0), kept / "last.png", nrow=16, pad_value=0.5)
    shutil.copytree(kept, out if name == "mlp" else out / name, dirs_exist_ok=True)
    print(name, *(f"{measure} {value:.3g}" for measure, value in figures.items()), sep="  ")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipes", nargs="*", default=[*nb.RECIPES], choices=nb.RECIPES)
    parser.add_argument("--out", type=Path, default=shared.REFERENCE)
    options = parser.parse_args()
    print(shared.machine())
    judge = shared.load_judge(options.out / "judge.pt")
    for name in options.recipes:
        make(name, options.out, judge)
