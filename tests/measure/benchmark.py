"""How fast a step is, as a staircase: from the page's first loop to the default's step.

Usage: python tests/measure/benchmark.py [--steps 50] [--rounds 12] [--fill]

Each row changes one thing and keeps all changes above it. All rows are measured in turns, some
steps of each in every round, on one thread; milliseconds of a core, the median of the rounds. The
second table is of loaders alone, milliseconds a batch of 100. Three minutes; `--fill` puts both
tables into the records.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterable, Iterator

import shared
import torch
from shared import images, labels, nb
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset
from torchvision.transforms import Compose, Normalize, ToTensor

BARE = dict(hold_every=0, average=0.0)


def first_loop(match: nb.Match, real: Tensor) -> None:
    """Play a step as the page's first training does, line by line."""
    generator, discriminator = match.generator, match.discriminator
    fake = generator(torch.randn(len(real), generator.latent_size, device=real.device))
    logits_real, logits_fake = discriminator(real), discriminator(fake.detach())
    turn(match.optimizer_d, nb.discriminator_loss(logits_real, logits_fake))
    turn(match.optimizer_g, nb.generator_loss(discriminator(fake)))


def one_pass(match: nb.Match, real: Tensor) -> None:
    """Play a step in which D sees real images and fakes in one pass."""
    generator = match.generator
    fake = generator(torch.randn(len(real), generator.latent_size, device=real.device))
    nb.turn_of_d(match, real, fake)
    turn(match.optimizer_g, nb.generator_loss(match.discriminator(fake)))


def turn(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """Take a step down a loss, with gradients for all that it reaches."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def make(step: Callable, fused: bool = True, recipe: str = "plain", **changes) -> Callable:
    """Return a function that plays so many steps and returns the milliseconds of one."""
    match = nb.make_match(recipe, **changes)
    if not fused:
        for optimizer in (match.optimizer_g, match.optimizer_d):
            optimizer.param_groups[0]["fused"] = False
            optimizer.param_groups[0]["foreach"] = False
    batches = forever(nb.make_loader(images, labels))
    return lambda steps: timed(lambda: step(match, next(batches)[0]), steps)


def timed(action: Callable, times: int) -> float:
    """Return the milliseconds of a core that an action takes, done so many times."""
    began = time.process_time()
    for _ in range(times):
        action()
    return (time.process_time() - began) / times * 1e3


def forever(loader: Iterable) -> Iterator:
    """Yield a loader's batches, epoch after epoch without an end."""
    while True:
        yield from loader


def medians(actions: dict[str, Callable], steps: int, rounds: int) -> dict[str, float]:
    """Return the median of each action's milliseconds, of rounds in which all have their turn."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for action in actions.values():
        action(1)  # warms up
    for _ in range(rounds):
        for name, action in actions.items():
            times[name].append(action(steps))
    return {name: statistics.median(values) for name, values in times.items()}


def loaders() -> dict[str, Callable]:
    """Return functions that read so many batches, each from a loader of another kind."""
    digits = nb.DATASET(nb.DATA_DIR, download=True)
    digits.transform = Compose([ToTensor(), Normalize((0.5,), (0.5,))])
    each = dict(batch_size=100, shuffle=True, drop_last=True)
    kinds = {
        "torchvision's dataset, image by image": DataLoader(digits, **each),
        "tensors, image by image": DataLoader(TensorDataset(images, labels), **each),
        "tensors, a batch at a time: the page's": nb.make_loader(images, labels),
    }
    found = {}
    for name, loader in kinds.items():
        batches = forever(loader)
        found[name] = lambda times, batches=batches: timed(lambda: next(batches), times)
    return found


def main(steps: int, rounds: int, fill: bool) -> None:
    torch.set_num_threads(1)
    stairs = {
        "the page's first loop": make(first_loop, fused=False, **BARE),
        "+ real images and fakes in one pass of D": make(one_pass, fused=False, **BARE),
        "+ no gradients for D in G's turn": make(nb.play_step, fused=False, **BARE),
        "+ fused Adam: the page's functions": make(nb.play_step, **BARE),
        "+ the average": make(nb.play_step, hold_every=0),
        "+ R1 at every second step": make(nb.play_step, hold_every=2),
        "+ the die: the default": make(nb.play_step, recipe="mlp"),
    }
    print(f"{shared.machine()}; medians of {rounds} rounds of {steps} steps")
    tables = {}
    for name, unit, actions in (("steps", "step", stairs), ("loaders", "batch", loaders())):
        times = medians(actions, steps, rounds)
        rows = {title: {f"ms of a core a {unit}": value} for title, value in times.items()}
        tables[name] = shared.markdown(f"a {unit}", rows)
        print(tables[name])
    if fill:
        shared.fill(tables)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--fill", action="store_true")
    options = parser.parse_args()
    main(options.steps, options.rounds, options.fill)
