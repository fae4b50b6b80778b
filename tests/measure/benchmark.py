"""How fast a step is, as a staircase: from the loop that textbooks write to the notebook's.

Usage: python tests/measure/benchmark.py [STEPS [ROUNDS]]      (50 and 12; five minutes)

Each row changes one thing and keeps all changes above it; all rows are measured in turns, some
steps of each in every round, and the median of the rounds is printed. All play the page's losses.
"""

import statistics
import sys
import time
from collections.abc import Callable
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


WIDE, OWN = ((256, 512, 1024), (1024, 512, 256)), ((256, 512), (512, 256, 128))
PLAIN = {"faces": 0, "batch_norm": False}  # of the generator
TEXTBOOK = {
    "tensors": False,
    "one_pass": False,
    "only_g": False,
    "same_fakes": False,
    "read_every": 1,
    "fused": False,
    "widths": WIDE,
    "g": PLAIN,
    "d": {"dropout": 0.3},
    "averaging": 0.0,
}
STAIRS = {
    "the textbook's loop": {},
    "all images in one tensor": {"tensors": True},
    "real images and fakes in one pass": {"one_pass": True},
    "no gradients for D in G's turn": {"only_g": True},
    "the same fakes in both turns": {"same_fakes": True},
    "losses read every 50 steps": {"read_every": 50},
    "fused Adam": {"fused": True},
    "the default's widths": {"widths": OWN},
    "no dropout": {"d": {}},
    "batch normalisation, and a die": {"g": {}},
    "spectral normalisation": {"d": {"norm": nb.spectral_norm}},
    "the average: the default recipe": {"averaging": 0.998},
}


def turn(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> torch.Tensor:
    """Take a step down a loss, with gradients for all that it reaches."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


def play_step(match: nb.Match, real: torch.Tensor, stair: SimpleNamespace) -> torch.Tensor:
    """Play a step as `stair` says; return both losses."""
    g, d = match.generator, match.discriminator
    fake = g(g.latent(len(real)))
    if stair.one_pass:
        loss_d = nb.turn_of_d(match, real, fake)
    else:
        loss_d = turn(match.optimizer_d, nb.discriminator_loss(d(real), d(fake.detach())))
    if not stair.same_fakes:
        fake = g(g.latent(len(real)))
    if stair.only_g:
        loss_g = nb.turn_of_g(match, fake)
    else:
        loss_g = turn(match.optimizer_g, nb.generator_loss(d(fake)))
    if match.average:
        match.average.update_parameters(g)
    return torch.stack([loss_d, loss_g])


def make(stair: SimpleNamespace) -> Callable[[int], float]:
    """Return a function that plays so many steps as `stair` says; it returns ms a step."""
    widths_g, widths_d = stair.widths
    players = (
        nb.DieGenerator(**stair.g, widths=widths_g),
        nb.Discriminator(widths=widths_d, **stair.d),
    )
    match = nb.Match(*(player.to(nb.device) for player in players), averaging=stair.averaging)
    if not stair.fused:
        match.optimizer_g = torch.optim.Adam(match.generator.parameters())
        match.optimizer_d = torch.optim.Adam(match.discriminator.parameters())
    if stair.tensors:
        loader = nb.make_loader(images, labels)
    else:
        loader = DataLoader(PerImage(), 100, shuffle=True, drop_last=True)
    batches = nb.chain.from_iterable(nb.repeat(loader))

    def play(steps: int) -> float:
        began = time.perf_counter()
        for step in range(1, steps + 1):
            losses = play_step(match, next(batches)[0].to(nb.device), stair)
            if step % stair.read_every == 0 or step == steps:
                losses.tolist()  # waits for the device
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
    medians = {name: statistics.median(values) for name, values in times.items()}
    first = medians["the textbook's loop"]
    rows = {k: {"ms a step": value, "times as fast": first / value} for k, value in medians.items()}
    shared.print_rows(rows)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
