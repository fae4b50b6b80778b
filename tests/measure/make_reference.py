"""Make runs/reference again: finished runs to look at before you have any of your own.

Usage: python tests/measure/make_reference.py [--out FOLDER] [RECIPE ...]

Without names all recipes, one after the other; each is kept as soon as it is finished, so if this
was stopped, go on with the names that are missing. Of the default recipe, `mlp`, it keeps the
generator, the film and the logs; of the others their numbers and their last drawings. The judge
is the one in the folder, or a new one if there is none.
"""

import argparse
import json
import shutil
from pathlib import Path

import shared
from shared import nb, real
from torch.utils.tensorboard import SummaryWriter

EVENTS = "events.out.tfevents.reference"  # without this machine's name; TensorBoard reads it, too


def make(name: str, out: Path, judge) -> None:
    """Train a recipe to its end and keep in `out` what a reader needs of it."""
    run, seconds = shared.train(nb.RECIPES[name], judge)
    kept = run.directory / "kept"
    if name == "mlp":
        kept.mkdir()
        for events in run.directory.glob("events.out.tfevents.*"):
            shutil.copy(events, kept / EVENTS)
        shutil.copy(run.directory / "progress.gif", kept)
        state = nb.load(run.directory / "generator.pt")
        nb.save(kept / "generator.pt", state | {"weights": shared.halve(state["weights"])})
        generator = nb.load_generator(kept)  # what is measured is what is kept
    else:
        generator = run.generator
        with SummaryWriter(kept) as writer:
            for row in run.history:
                for figure in row.keys() - {"step"}:
                    writer.add_scalar(figure, row[figure], row["step"])
            writer.add_images("images/fake", nb.sample(generator, 64, seed=0), run.game.step)
        for events in kept.glob("events.*"):
            events.rename(kept / EVENTS)
    shutil.copy(run.directory / "config.json", kept)
    figures = {
        "epochs": run.epoch,
        "seconds": round(seconds),
        **nb.evaluate(generator, judge, real),
    }
    (kept / "figures.json").write_text(json.dumps(figures))
    nb.save_image(nb.sample(generator, 32, seed=0), kept / "last.png", nrow=16, pad_value=0.5)
    shutil.copytree(kept, out if name == "mlp" else out / name, dirs_exist_ok=True)
    print(name, *(f"{figure} {value:.3g}" for figure, value in figures.items()), sep="  ")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", help=", ".join(nb.RECIPES))
    parser.add_argument("--out", type=Path, default=shared.REFERENCE)
    options = parser.parse_args()
    print(shared.machine())
    judge = shared.load_judge(options.out / "judge.pt")
    for name in options.recipes or nb.RECIPES:
        make(name, options.out, judge)
