"""A second opinion: do the rankings hold by a judge that somebody else has trained?

Usage: python tests/measure/opinion.py [--rows NAME ...] [--seed 0] [--file FILE] [--table]
       python tests/measure/opinion.py FOLDER    (judges the images 28 by 28 in a folder)

The judge is the small classifier that the package digit-recognizer-py ships (PyPI, MIT licence):
`pip install --no-deps digit-recognizer-py==0.1.0`. Only its weights are read; none of its code
runs. It reads 99.06 % of the test digits right. It sees images as (x - 0.1307) / 0.3081.

Without a folder it plays games of the ablation again, for one seed, and appends both judges'
measures to FILE (opinion.jsonl in this folder), a JSON object a game; it can be stopped and goes
on where it stopped.
"""

import argparse
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import ablation
import shared
import torch
from shared import nb
from torch import Tensor, nn

PACKAGE, WEIGHTS = "digit-recognizer-py", "digit_recognizer/models/handwriting_model.pth"
PLACES = {  # of a layer: in the file, and below
    "conv_layers.0": "0.0", "conv_layers.3": "0.3", "conv_layers.6": "0.6",
    "fc_layers.0": "1", "fc_layers.2": "4",
}  # fmt: skip
ROWS = (
    "the default", "D's rate halved (5e-4)", "without the spectral norm",
    "R1 in the norm's place", "norm and R1", "without the die", "beta1 0.5",
)  # fmt: skip


class Eye(nn.Sequential):
    """Return features `(N, d)` of images in [0, 1], of which a few at a time are normalised."""

    def forward(self, images: Tensor) -> Tensor:
        parts = ((part - 0.1307) / 0.3081 for part in images.split(500))  # to save memory
        return torch.cat([super(Eye, self).forward(part) for part in parts])


def load_second_judge() -> nn.Sequential | None:
    """Return the package's classifier, logits of images `(N, 1, 28, 28)` in [0, 1]; or None.

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
    """Return a function from images `(N, 1, 28, 28)` in [0, 1] to the second judge's measures,
    whose names end with "by the second judge"; None where the package is not installed.
    """
    judge = load_second_judge()

    def opinion(images: Tensor) -> dict[str, float]:
        measures = nb.assess(judge, images, shared.test_images)
        return {f"{name} by the second judge": value for name, value in measures.items()}

    return opinion if judge else None


def read_folder(folder: Path) -> Tensor:
    """Return a folder's image files, each 28 by 28, as `(N, 1, 28, 28)` in [0, 1]."""
    from torchvision.io import ImageReadMode, read_image

    kinds = (".png", ".jpg", ".jpeg")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in kinds)
    return torch.stack([read_image(str(path), ImageReadMode.GRAY) for path in paths]) / 255


def floor(opinion: Callable[[Tensor], dict[str, float]]) -> dict[str, dict]:
    """Return the second judge's measures of other real digits, by slices of the training set."""
    slices = shared.images[:, None].split(len(shared.test_images))
    return {f"real digits, slice {i + 1}": opinion(part / 255) for i, part in enumerate(slices)}


def main(path: Path, names: list[str], seed: int, opinion: Callable) -> None:
    """Play the games of the ablation that `path` lacks; append both judges' measures."""
    judge = shared.load_judge()

    def assess(judge: nn.Module, fake: Tensor) -> dict[str, float]:
        return shared.assess(judge, fake) | opinion(fake)

    for name in names:
        if any((row["name"], row["seed"]) == (name, seed) for row in shared.read(path)):
            continue
        measures = ablation.run(ablation.GAMES[name], seed, judge, assess)["average"]
        shared.append(path, {"name": name, "seed": seed, "measures": measures})
        print(name, seed, {key: round(value, 3) for key, value in measures.items()})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, help="of images 28 by 28")
    parser.add_argument("--file", type=Path, default=shared.MEASURE / "opinion.jsonl")
    parser.add_argument("--rows", nargs="*", default=ROWS, metavar="NAME")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--floor", action="store_true", help="judge real digits and no others")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    opinion = second_judge()
    if not (opinion or options.table):
        raise SystemExit(f"This needs `pip install --no-deps {PACKAGE}==0.1.0`.")
    if options.folder:
        shared.print_rows({options.folder.name: opinion(read_folder(options.folder))})
    elif options.floor:
        shared.print_rows(floor(opinion))
    else:
        if not options.table:
            main(options.file, options.rows, options.seed, opinion)
        rows = shared.read(options.file)
        shared.print_rows({f"{row['name']}, seed {row['seed']}": row["measures"] for row in rows})
