"""How fast a step is, as a staircase: from the loop that textbooks write to the notebook's.

Usage: python tests/measure/benchmark.py [STEPS [ROUNDS]]      (50 and 12; five minutes)

Each row changes one thing and keeps all changes above it; all rows are measured in turns, some
steps of each in every round, and the median of the rounds is printed. The loop is always the
notebook's `play_step`: what textbooks do otherwise is in the pieces that it is given.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import shared
import torch
from PIL import Image
from shared import images, labels, nb
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms


class PerImage(Dataset):
    """Digits as torchvision's MNIST yields them: each decoded and transformed by itself."""

    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])

    def __len__(self) -> int:
        return len(images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(images[index].numpy())), int(labels[index])


class Unfrozen(nb.TextbookDiscriminator):
    """It gets gradients for its weights in the generator's turn, too, for nothing."""

    def requires_grad_(self, requires_grad: bool = True) -> "Unfrozen":
        return self


class TwoPasses(Unfrozen):
    """It takes real images and fakes one after the other."""

    def forward(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return torch.cat([super(TwoPasses, self).forward(part) for part in images.split(100)])


class WithoutDropout(nb.Discriminator):
    """The default's discriminator without its norm."""

    normalize = staticmethod(lambda layer: layer)


TEXTBOOK = {
    "config": nb.RECIPES["classic"],
    "players": (nb.TextbookGenerator, TwoPasses),
    "loader": lambda config: DataLoader(
        PerImage(), config.batch_size, shuffle=True, drop_last=True
    ),
    "read_every": 1,
    "fused": False,
    "average": False,
    "precision": "highest",
    "products": nullcontext(),
}
STAIRS = {
    "the textbook's loop": {},
    "all images in one tensor": {
        "loader": lambda config: nb.make_loader(images, labels, config, nb.device)
    },
    "real images and fakes in one pass": {"players": (nb.TextbookGenerator, Unfrozen)},
    "discriminator frozen in the generator's turn": {"players": nb.PLAYERS["textbook"]},
    "losses read every 50 steps": {"read_every": 50},
    "fused Adam: `classic`, but for the average": {"fused": True},
    "the default's widths": {"config": nb.RECIPES["mlp"]},
    "no dropout": {"players": (nb.TextbookGenerator, WithoutDropout)},
    "batch normalisation, and a die": {"players": (nb.DieGenerator, WithoutDropout)},
    "spectral normalisation": {"players": nb.PLAYERS["mlp"]},
    "the average": {"average": True},
    "'high' precision": {"precision": "high"},
    "16-bit products, if the processor has them: the default recipe": {"products": nb.SHORT},
}


def endless(loader: DataLoader) -> Iterator:
    while True:
        yield from ((real.to(nb.device), kinds.to(nb.device)) for real, kinds in loader)


def make(stair: SimpleNamespace) -> Callable[[int], float]:
    """Return a function that plays so many steps as `stair` says; it returns ms a step."""
    nb.PLAYERS["stair"] = stair.players
    config = replace(stair.config, players="stair")
    game = nb.Game(config, nb.device)
    if not stair.average:
        game = nb.Match(game.generator, game.discriminator, config.lr_g, config.lr_d, config.betas)
    if not stair.fused:
        game.optimizer_g = torch.optim.Adam(game.generator.parameters(), config.lr_g)
        game.optimizer_d = torch.optim.Adam(game.discriminator.parameters(), config.lr_d)
    batches = endless(stair.loader(config))

    def play(steps: int) -> float:
        torch.set_float32_matmul_precision(stair.precision)
        began = time.perf_counter()
        for step in range(1, steps + 1):
            with stair.products:
                figures = nb.play_step(game, *next(batches))
            if step % stair.read_every == 0 or step == steps:
                figures.tolist()  # waits for the device
        return (time.perf_counter() - began) / steps * 1e3

    return play


def main(steps: int = 50, rounds: int = 12) -> None:
    state, stairs = TEXTBOOK, {}
    for name, change in STAIRS.items():
        state = state | change
        stairs[name] = make(SimpleNamespace(**state))
        stairs[name](2)  # warms up
    times: dict[str, list[float]] = {name: [] for name in stairs}
    for _ in range(rounds):
        for name, play in stairs.items():
            times[name].append(play(steps))
    print(f"{shared.machine()}; medians of {rounds} rounds of {steps} steps")
    print("\n| each row keeps what is above it | ms a step | times as fast |\n|---|---:|---:|")
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, median in medians.items():
        print(f"| {name} | {median:.1f} | {medians[next(iter(medians))] / median:.2f} |")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
