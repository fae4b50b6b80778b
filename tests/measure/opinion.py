"""A second opinion: do the rankings hold by a judge that somebody else has trained?

Usage: python tests/measure/opinion.py [FOLDER ...] [--file FILE] [--table] [--fill]

The judge is the small classifier that the package digit-recognizer-py ships (PyPI, MIT licence):
`pip install --no-deps digit-recognizer-py==0.1.0`. Only its weights are read; none of its code
runs. It reads 99.06 % of the test digits right. It sees images as (x - 0.1307) / 0.3081.

It judges the artists that ablation.py has kept in this folder (or those that are named), and six
slices of real digits, and appends both judges' measures to FILE (opinion.jsonl in this folder), a
JSON object each; what FILE has already is left out. `--table` prints the means over the seeds.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import ablation  # which also knows the players of its rows
import shared
import torch
from shared import nb
from torch import Tensor, nn

PACKAGE, WEIGHTS = "digit-recognizer-py", "digit_recognizer/models/handwriting_model.pth"
PLACES = {  # of a layer: in the file, and below
    "conv_layers.0": "0.0", "conv_layers.3": "0.3", "conv_layers.6": "0.6",
    "fc_layers.0": "1", "fc_layers.2": "4",
}  # fmt: skip
SECOND = " by the second judge"


class Eye(nn.Sequential):
    """Return features `(N, d)` of images in [-1, 1], of which a few at a time are normalised."""

    def forward(self, images: Tensor) -> Tensor:
        parts = (((part + 1) / 2 - 0.1307) / 0.3081 for part in images.split(500))  # saves memory
        return torch.cat([super(Eye, self).forward(part) for part in parts])


def load_second_judge() -> nn.Sequential | None:
    """Return the package's classifier, logits of images `(N, 1, 28, 28)` in [-1, 1]; or None.

    It ends as the page's judge does: a linear layer, ReLU, a layer that does nothing, a linear
    layer. So the page's measures are taken at the same place of it. None without the package.
    """
    try:
        path = Path(distribution(PACKAGE).locate_file(WEIGHTS))
    except PackageNotFoundError:
        return None
    layers: list[nn.Module] = []
    for n_in, n_out in ((1, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(n_in, n_out, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    hidden = nn.Linear(128 * 3 * 3, 256), nn.ReLU(), nn.Identity()
    judge = nn.Sequential(Eye(*layers, nn.Flatten()), *hidden, nn.Linear(256, 10))
    state = {}
    for name, values in torch.load(path, weights_only=True).items():
        layer, _, kind = name.rpartition(".")
        state[f"{PLACES[layer]}.{kind}"] = values
    judge.load_state_dict(state)
    return judge.requires_grad_(False).eval()


def second_judge() -> Callable[[Tensor], dict[str, float]] | None:
    """Return a function from images `(N, 1, 28, 28)` to the second judge's measures, whose names
    end with "by the second judge"; None where the package is not installed.
    """
    judge = load_second_judge()

    def opinion(images: Tensor) -> dict[str, float]:
        measures = nb.compare(images, judge, shared.test_images)
        return {f"{name}{SECOND}": value for name, value in measures.items()}

    return opinion if judge else None


def draw(path: Path) -> Tensor:
    """Return as many drawings as there are test images, of the artist that is kept at `path`."""
    return nb.sample(nb.load_generator(path), len(shared.test_images), seed=0)


def subjects(paths: list[Path], known: set) -> dict[tuple[str, int], Callable[[], Tensor]]:
    """Return, by name and number, functions that draw or cut the images that are not yet known."""
    found = {}
    slices = shared.images.split(len(shared.test_images))
    for number, some in enumerate(slices, 1):
        found["real digits, slices", number] = partial(torch.clone, some)
    names = {name.replace(" ", "-"): name for name in ablation.GAMES}
    for path in paths:
        stem, _, seed = path.name.rpartition("-")
        name = names[stem.removeprefix("ablation-")]
        found[name, int(seed)] = partial(draw, path)
    return {key: images for key, images in found.items() if key not in known}


def main(path: Path, paths: list[Path], second: Callable[[Tensor], dict]) -> None:
    """Judge what the file lacks; append both judges' measures."""
    judge = shared.load_judge()
    known = {(row["name"], row["seed"]) for row in shared.read(path)}
    for (name, seed), get in subjects(paths, known).items():
        images = get()
        measures = nb.compare(images, judge, shared.test_images) | second(images)
        shared.append(path, {"name": name, "seed": seed, "measures": measures})
        print(name, seed, {key: round(value, 3) for key, value in measures.items()})


def table(rows: list[dict]) -> str:
    """Return the means over the seeds, the second judge's beside the first's."""
    groups: dict[str, list[dict]] = {}
    for row in rows:
        groups.setdefault(row["name"], []).append(row["measures"])
    table = {}
    for title, seeds in groups.items():
        table[title] = {"seeds": len(seeds)}
        for key in ("frechet_distance", "sure", "precision", "coverage"):
            for name in (key, key + SECOND):
                mean = sum(measures[name] for measures in seeds) / len(seeds)
                table[title][name.replace("frechet_", "").replace(SECOND, ", second")] = mean
    return shared.markdown("", table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("artists", nargs="*", type=Path, metavar="FOLDER")
    parser.add_argument("--file", type=Path, default=shared.MEASURE / "opinion.jsonl")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--fill", action="store_true", help="put the table into README files")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if not (options.table or options.fill):
        second = second_judge()
        if not second:
            sys.exit(f"This needs `pip install --no-deps {PACKAGE}==0.1.0`.")
        artists = options.artists or sorted(
            path.parent for path in shared.MEASURE.glob("ablation-*/generator.pt")
        )
        main(options.file, artists, second)
    if options.fill:
        shared.fill({"opinion": table(shared.read(options.file))})
    print(table(shared.read(options.file)))
