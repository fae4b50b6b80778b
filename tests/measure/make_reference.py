"""Make runs/reference again: finished runs to look at before you have any of your own.

Usage: python tests/measure/make_reference.py [--recipes NAME ...] [--out FOLDER] [--work FOLDER]
           [--threads 1] [--table] [--fill]

Without names all recipes, one after the other, seed 0. A run that was stopped goes on after its
last whole epoch (it lies in FOLDER, runs/making, until it is over). Of each recipe its settings,
figures, curves and last drawings are kept; of the default, `mlp`, also the artist in half
precision, a film, and a page in which it is alive. The judge stays as it is. `--table` prints the
figures of all recipes and plays nothing; `--fill` puts them into the README files.
"""

import argparse
import contextlib
import json
import shutil
import sys
import time
from pathlib import Path

import PIL.Image
import shared
import torch
from shared import nb
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter
from torchvision.io import decode_image

EVENTS = "events.out.tfevents.reference"  # without this machine's name; TensorBoard reads it, too
RECIPES = "mlp", "dcgan", "conditional", "sigmoid", "classic"
SEEDS = {"mlp": "the default", "dcgan": "the recipe dcgan"}  # rows of ablation.jsonl


def train(name: str, directory: Path, judge) -> nb.Match:
    """Play a recipe to its end, or on from where it was stopped; return its match.

    `seconds` in its directory says how much of a core its whole epochs took, measures left out.
    """
    going_on = (directory / "match.pt").exists()
    if not going_on:
        shutil.rmtree(directory, ignore_errors=True)  # of a run stopped in its first epoch
    match = nb.load_match(directory) if going_on else nb.make_match(name)
    seen = shared.images
    if name == "conditional":
        seen = nb.with_labels(shared.images, shared.labels)
    loader = nb.make_loader(seen, shared.labels, match.settings["batch_size"])
    clock, began = directory / "seconds", time.process_time()

    def measure(artist) -> dict[str, float]:  # as the page does
        nonlocal began
        spent = float(clock.read_text()) if clock.exists() else 0.0
        clock.write_text(str(spent + time.process_time() - began))
        measures = nb.evaluate(artist, judge, shared.test_images[::5])
        began = time.process_time()
        return measures

    epochs = min(match.settings["epochs"], 2) if shared.REHEARSAL else match.settings["epochs"]
    with contextlib.redirect_stdout(sys.stderr):  # standard output is for results
        nb.train(match, loader, epochs, directory=directory, measure=measure)
    return match


def write_events(directory: Path, folder: Path) -> None:
    """Write a run's curves, 200 points each at most, and a few of its grids into one small file."""
    for old in folder.glob("events.*"):
        old.unlink()
    seen = EventAccumulator(str(directory), {"scalars": 0, "images": 0}).Reload()
    with SummaryWriter(folder) as writer:
        for name in set(seen.Tags()["scalars"]) - {"step"}:  # which is the axis already
            events = seen.Scalars(name)
            for event in events[:: 1 + len(events) // 200]:
                writer.add_scalar(name, event.value, event.step, event.wall_time)
        for name in seen.Tags()["images"]:
            events = seen.Images(name)
            wanted = {1, 3, len(events) - 1} if name.endswith("fake") else {0}
            for event in (event for place, event in enumerate(events) if place in wanted):
                encoded = torch.frombuffer(bytearray(event.encoded_image_string), dtype=torch.uint8)
                picture = decode_image(encoded)
                writer.add_image(name, picture, event.step, event.wall_time)
    for events in folder.glob("events.*"):
        events.rename(folder / EVENTS)


def write_film(directory: Path, path: Path) -> None:
    """Make a film of a run's grids, which stands still at its end, and plays three times."""
    frames = [PIL.Image.open(png).convert("L") for png in sorted(directory.glob("samples/*.png"))]
    durations = [400] * (len(frames) - 1) + [3000]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations, loop=2)


def write_artist(directory: Path, folder: Path) -> None:
    """Keep the artist in half precision; whole numbers, of batch normalisation, as they are."""
    state = torch.load(directory / "generator.pt", weights_only=True)
    for name, weights in state["artist"].items():
        state["artist"][name] = weights.half() if weights.is_floating_point() else weights
    torch.save(state, folder / "generator.pt")


def write_alive(folder: Path, artist) -> None:
    """Write the page in which the default is alive, and a film of it."""
    import alive  # which needs a browser

    alive.write_alive(folder / "alive.html", shared.images, artist)
    alive.film(folder / "alive.html", folder / "alive.gif")


def figures_of(match: nb.Match, directory: Path, judge) -> dict[str, float]:
    """Return all measures of the artist as it was trained, and what they took."""
    figures = {"epochs": match.step // match.settings["batches"]}
    figures["seconds"] = round(float((directory / "seconds").read_text()))
    figures |= nb.evaluate(match.artist, judge, shared.test_images)
    if match.settings["recipe"] == "conditional":
        asked = torch.arange(10).repeat(len(shared.test_images) // 10)
        right = judge(nb.ask(match.artist, asked)).argmax(1) == asked
        figures["as asked"] = right.float().mean().item()
    return figures


def make(name: str, out: Path, work: Path, judge) -> None:
    """Train a recipe to its end and keep in `out` what a reader needs of it."""
    directory, folder = work / name, out if name == "mlp" else out / name
    match = train(name, directory, judge)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(directory / "config.json", folder)
    write_events(directory, folder)
    nb.save_image(nb.grid(nb.sample(match.artist, 32, seed=0)), folder / "last.png")
    figures = figures_of(match, directory, judge)
    (folder / "figures.json").write_text(json.dumps(figures, indent=1))
    if name == "mlp":
        write_artist(directory, folder)
        write_film(directory, folder / "progress.gif")
        if not shared.REHEARSAL:
            write_alive(folder, match.artist)
    shutil.rmtree(directory)
    print(name, *(f"{measure} {value:.3g}" for measure, value in figures.items()), sep="  ")


def table(out: Path) -> str:
    """Return the figures of all recipes that are there; of those with more seeds, the means."""
    rows = {}
    for name in RECIPES:
        path = (out if name == "mlp" else out / name) / "figures.json"
        if path.exists():
            figures = json.loads(path.read_text())
            of_seeds = shared.artists(SEEDS.get(name)) or [figures]
            distances = [seed["frechet_distance"] for seed in of_seeds]
            rows[name] = {"epochs": figures["epochs"], "seconds": figures["seconds"]}
            rows[name] |= {"seeds": len(of_seeds), "distance ↓": shared.mean_of(distances)}
            for key in ("sure", "precision", "coverage", "rarest", "as asked"):
                values = [seed[key] for seed in of_seeds if key in seed]
                rows[name][f"{key} ↑"] = f"{sum(values) / len(values):.3f}" if values else ""
    return shared.markdown("recipe", rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipes", nargs="*", default=RECIPES, choices=RECIPES)
    parser.add_argument("--out", type=Path, default=shared.REFERENCE)
    parser.add_argument("--work", type=Path, default=shared.ROOT / "runs" / "making")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--fill", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.fill:
        shared.fill({"recipes": table(options.out)})
    elif not options.table:
        print(shared.machine())
        judge = shared.load_judge()
        for name in options.recipes:
            make(name, options.out, options.work, judge)
    print(table(options.out))
