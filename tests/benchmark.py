"""How fast the notebook's loop is beside the loop that textbooks write, measured in turns.

Usage: python tests/benchmark.py [--quick] [--epochs N]

It takes 30 to 70 minutes on 2 cores, most of them for the textbook's 50 epochs; --epochs 10 spares
four fifths of these, and --quick does less of everything and takes two minutes.

Prints one table for each question: images a second, what fetching a batch takes, what each trick
buys, where a step's time goes, memory, batch sizes, what a busy neighbour costs, and the time to
reach the same quality. All on the real data. Where a row
has a ratio, the two sides were measured in turns, and the textbook's side is 1.
"""

import argparse
import contextlib
import io
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from unittest import mock

import torch
import torchvision
from conftest import ROOT, load_definitions, processor
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torchvision import transforms

CPU = torch.device("cpu")
GOOD = 30.0  # a Fréchet distance at which a reader finds a wrong digit only by looking for it


class Textbook:
    """A GAN as most notebooks write it: the networks and settings of the `classic` recipe."""

    def __init__(self, batch_size: int = 100) -> None:
        torch.manual_seed(0)
        pixels = [transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))]
        folder = os.environ.get("DATA_DIR", ROOT / "data")  # where the notebook has it, too
        digits = torchvision.datasets.MNIST(
            folder, transform=transforms.Compose(pixels), download=True
        )
        self.loader = torch.utils.data.DataLoader(digits, batch_size, shuffle=True, drop_last=True)
        self.generator = nn.Sequential(
            *(nn.Linear(100, 256), nn.LeakyReLU(0.2), nn.Linear(256, 512), nn.LeakyReLU(0.2)),
            *(nn.Linear(512, 1024), nn.LeakyReLU(0.2), nn.Linear(1024, 784), nn.Tanh()),
        )
        self.discriminator = nn.Sequential(
            *(nn.Linear(784, 1024), nn.LeakyReLU(0.2), nn.Dropout(0.3)),
            *(nn.Linear(1024, 512), nn.LeakyReLU(0.2), nn.Dropout(0.3)),
            *(nn.Linear(512, 256), nn.LeakyReLU(0.2), nn.Dropout(0.3)),
            *(nn.Linear(256, 1), nn.Sigmoid()),
        )
        self.optimizer_g = torch.optim.Adam(self.generator.parameters(), lr=2e-4)
        self.optimizer_d = torch.optim.Adam(self.discriminator.parameters(), lr=2e-4)
        self.losses: list[tuple[float, float]] = []

    def play(self, steps: int) -> float:
        """Play that many steps, at most an epoch, and return the seconds they took."""
        criterion, n = nn.BCELoss(), self.loader.batch_size
        ones, zeros = torch.ones(n, 1), torch.zeros(n, 1)
        began = time.perf_counter()
        for (real, _), _ in zip(self.loader, range(steps)):
            self.optimizer_d.zero_grad()
            loss_real = criterion(self.discriminator(real.view(n, 784)), ones)
            fake = self.generator(torch.randn(n, 100))
            loss_fake = criterion(self.discriminator(fake.detach()), zeros)
            loss_d = loss_real + loss_fake
            loss_d.backward()
            self.optimizer_d.step()

            self.optimizer_g.zero_grad()
            fake = self.generator(torch.randn(n, 100))
            loss_g = criterion(self.discriminator(fake), ones)
            loss_g.backward()
            self.optimizer_g.step()
            self.losses.append((loss_d.item(), loss_g.item()))
        return time.perf_counter() - began

    def sample(self, n: int) -> torch.Tensor:
        """Return `n` images `(n, 1, 28, 28)` in [0, 1]."""
        with torch.no_grad():
            latent = torch.randn(n, 100, generator=torch.Generator().manual_seed(0))
            return (self.generator(latent).view(n, 1, 28, 28) + 1) / 2


class Ours:
    """A recipe of the notebook, played by its own step on its own loader."""

    def __init__(self, nb, recipe, data) -> None:
        self.nb, self.game = nb, nb.Game(recipe, CPU)
        self.batches = self.endless(nb.make_loader(*data, recipe, CPU))

    @staticmethod
    def endless(loader) -> Iterator:
        while True:
            yield from loader

    def play(self, steps: int, step: Callable | None = None) -> float:
        """Play that many steps and return the seconds they took."""
        step = step or self.nb.play_step
        began = time.perf_counter()
        for (real, labels), _ in zip(self.batches, range(steps)):
            step(self.game, real, labels)
        return time.perf_counter() - began


class PlainAdam(torch.optim.Adam):
    """Adam as it is without `fused=True`."""

    def __init__(self, parameters, lr, betas, fused) -> None:
        super().__init__(parameters, lr, betas)


def plain_step(nb, game, real, labels, join=True, freeze=True) -> None:
    """`play_step`, with each of its tricks to be switched off."""
    generator, discriminator = game.generator, game.discriminator
    with game.short_products():
        fake = generator(game.latent(len(real)), labels).detach()
        if join:
            both = torch.cat([real, fake])
            logits_real, logits_fake = discriminator(both, labels.repeat(2)).float().chunk(2)
        else:
            logits_real = discriminator(real, labels).float()
            logits_fake = discriminator(fake, labels).float()
    loss_d = nb.discriminator_loss(logits_real, logits_fake)
    game.optimizer_d.zero_grad()
    loss_d.backward()
    game.optimizer_d.step()
    discriminator.requires_grad_(not freeze)
    with game.short_products():
        fake = generator(game.latent(len(real)), labels)
        loss_g = nb.generator_loss(discriminator(fake, labels).float())
    game.optimizer_g.zero_grad()
    loss_g.backward()
    game.optimizer_g.step()
    discriminator.requires_grad_(True)
    nb.average_weights(game)


def table(title: str, heads: list[str], rows: list[list]) -> None:
    """Print a table in Markdown."""
    print(f"\n{title}\n\n| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for row in rows:
        cells = [f"{cell:,.3g}" if isinstance(cell, float) else str(cell) for cell in row]
        print(f"| {' | '.join(cells)} |")
    print(flush=True)


def in_turns(players: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Call each of `players`, which return a time per step, in turns; return the medians."""
    times: dict[str, list[float]] = {name: [] for name in players}
    for turn in range(rounds + 1):
        for name, play in players.items():
            seconds = play()
            if turn:  # the first turn warms up
                times[name].append(seconds)
    return {name: statistics.median(values) for name, values in times.items()}


def trained(nb, recipe, data, steps: int) -> float:
    """Return the seconds a step that the notebook's `train` takes for a short epoch."""
    part = [tensor[: steps * recipe.batch_size] for tensor in data]
    loader = nb.make_loader(*part, recipe, CPU)
    with contextlib.redirect_stdout(io.StringIO()):
        run = nb.train(replace(recipe, epochs=1), loader, CPU)
    return recipe.batch_size / run.curve("speed/images_per_second")[1][0]


def compare_speed(nb, data, quick: bool) -> None:
    """(a) Images a second: the textbook's loop, and `train` with the same and other recipes."""
    steps, rounds = (40, 1) if quick else (200, 3)
    textbook = Textbook()
    players = {"textbook": lambda: textbook.play(steps) / steps}
    for name in ("classic", "mlp", "sigmoid", "dcgan", "conditional"):
        recipe = nb.RECIPES[name]
        players[f"`train`, {name}"] = lambda r=recipe: trained(nb, r, data, steps)
    times = in_turns(players, rounds)
    sizes = {f"`train`, {name}": recipe.batch_size for name, recipe in nb.RECIPES.items()}
    rates = {name: sizes.get(name, 100) / seconds for name, seconds in times.items()}
    rows = [
        [name, f"{times[name] * 1e3:.1f}", f"{rate:,.0f}", rate / rates["textbook"]]
        for name, rate in rates.items()
    ]
    table("Speed", ["loop", "ms a step", "images a second", "ratio"], rows)


def compare_loading(nb, data, quick: bool) -> None:
    """What fetching a batch of 100 takes, decoded image by image and gathered in one go."""
    loaders = {
        "textbook": Textbook().loader,
        "`make_loader`": nb.make_loader(*data, nb.RECIPES["classic"], CPU),
    }
    steps, rounds = (40, 1) if quick else (200, 3)

    def fetch(loader) -> float:
        began = time.perf_counter()
        for _ in zip(range(steps), loader):
            pass
        return (time.perf_counter() - began) / steps

    times = in_turns({name: lambda at=at: fetch(at) for name, at in loaders.items()}, rounds)
    rows = [
        [name, f"{seconds * 1e3:.2f}", times["textbook"] / seconds]
        for name, seconds in times.items()
    ]
    table("Fetching a batch", ["loader", "ms", "ratio"], rows)


def compare_neighbours(nb, data, quick: bool) -> None:
    """What a step takes alone and beside a program that keeps a core busy, by threads."""
    threads, steps, rows = torch.get_num_threads(), 20 if quick else 100, []
    for where in ("alone", "beside a busy program"):
        spin = [sys.executable, "-c", "while True: pass"]
        neighbour = None if where == "alone" else subprocess.Popen(spin)
        try:
            for count in sorted({1, threads}):
                torch.set_num_threads(count)
                ours = Ours(nb, nb.RECIPES["mlp"], data)
                ours.play(20)
                rows.append([where, count, f"{ours.play(steps) / steps * 1e3:.1f}"])
        finally:  # also when it is interrupted: the neighbour would never end by itself
            if neighbour:
                neighbour.kill()
                neighbour.wait()
    torch.set_num_threads(threads)
    table("Threads (`mlp`)", ["", "threads", "ms a step"], rows)


def compare_quality(nb, data, quick: bool, epochs: int) -> None:
    """(b) The time that the default recipe takes to be as good as the textbook after N epochs."""
    judge = nb.load_judge(*data, ROOT / "runs/reference/judge.pt")
    real = nb.load_mnist(ROOT / "data", train=False)[0][:, None].float() / 255
    distance = nb.frechet_to(judge, real)
    marks, length = ((1,), 150) if quick else (range(10, epochs + 1, 10), 600)
    textbook, seconds, rows = Textbook(), 0.0, []
    for epoch in range(1, max(marks) + 1):
        seconds += textbook.play(length)
        if epoch in marks:
            found = distance(textbook.sample(10_000))
            name = f"textbook, {epoch * length / 600:g} epochs"
            rows.append([name, found, seconds, epoch * length])
    ours, seconds, steps, seen = Ours(nb, nb.RECIPES["mlp"], data), 0.0, 0, []
    goals = [*(row[1] for row in rows), *([] if quick else [GOOD])]
    while not seen or (seen[-1][0] > min(goals) and steps < 20_000):
        seconds += ours.play(100)
        steps += 100
        fake = nb.sample(ours.game.average, 10_000, seed=0)
        seen.append((distance(fake), seconds, steps))
    reached = []
    for goal in goals:
        _, took, at = next(look for look in seen if look[0] <= goal)
        theirs = next((row for row in rows if row[1] <= goal), None)
        ratio = theirs[2] / took if theirs else f"over {rows[-1][2] / took:.0f}"
        reached.append([f"`mlp`, as good as {goal:.0f}", goal, took, at, ratio])
    rows = [[name, d, f"{s:.0f}", f"{n:,}", 1.0] for name, d, s, n in rows]
    rows += [[name, d, f"{s:.1f}", f"{n:,}", r] for name, d, s, n, r in reached]
    heads = ["", "Fréchet distance", "seconds of training", "steps", "times as fast"]
    table("Time to the same quality (10,000 samples; measuring not counted)", heads, rows)


def compare_tricks(nb, data, quick: bool) -> None:
    """What each trick buys: the step with it taken out, beside the step with all of them."""
    steps, rounds = (20, 1) if quick else (100, 5)
    rows = []
    for name in ("classic", "mlp"):
        recipe = nb.RECIPES[name]
        games = {"all": Ours(nb, recipe, data)}
        if recipe.dropout:
            with mock.patch.object(nb, "FastDropout", nn.Dropout):
                games["fast dropout masks"] = Ours(nb, recipe, data)
        with mock.patch.object(torch.optim, "Adam", PlainAdam):
            games["fused Adam"] = Ours(nb, recipe, data)
        games["16-bit products"] = Ours(nb, recipe, data)
        games["16-bit products"].game.short_products = contextlib.nullcontext
        players = {key: lambda g=g: g.play(steps) / steps for key, g in games.items()}
        for key, trick in (
            ("real and fake in one pass", "join"),
            ("frozen discriminator", "freeze"),
        ):
            step = lambda *a, t=trick: plain_step(nb, *a, **{t: False})  # noqa: E731
            players[key] = lambda g=games["all"], s=step: g.play(steps, s) / steps
        times = in_turns(players, rounds)
        for key, seconds in times.items():
            with_it = "" if key == "all" else seconds / times["all"]
            rows.append([name, key, f"{seconds * 1e3:.1f}", with_it])
    heads = ["recipe", "trick taken out", "ms a step", "what the trick buys: times as fast"]
    table("Tricks ('all' is with all of them)", heads, rows)


def product_rate(dtype: torch.dtype) -> float:
    """Return the machine's rate of matrix products, 200 x 1024 by 1024 x 1024, in GFLOP/s."""
    first, second = torch.ones(200, 1024, dtype=dtype), torch.ones(1024, 1024, dtype=dtype)
    best = float("inf")
    for _ in range(50):
        began = time.perf_counter()
        first @ second
        best = min(best, time.perf_counter() - began)
    return 2 * 200 * 1024 * 1024 / best / 1e9


def profile_step(nb, data, quick: bool) -> None:
    """(c) Where a step's time goes, and what its products would take at the machine's best rate."""
    kinds = {
        "matrix products": ("mm", "addmm", "bmm", "linear", "mkldnn"),
        "dropout masks": ("bernoulli_", "random_", "ge", "randint"),
        "Adam": ("_fused_adam_", "Optimizer.step", "Optimizer.zero_grad"),
        "formats (32 to 16 bits and back)": ("copy_", "to", "_to_copy", "empty_strided"),
        "average of the weights": ("lerp_", "_foreach_lerp_"),
        "spectral norm": ("mv", "addmv_", "vdot", "dot", "linalg_vector_norm", "clamp_min"),
        "data": ("index", "enumerate"),
    }
    short = nb.has_fast_bfloat16(CPU)
    rate = product_rate(torch.bfloat16 if short else torch.float32)
    steps, rows = (20, []) if quick else (60, [])
    for name in ("classic", "mlp"):
        recipe = nb.RECIPES[name]
        ours = Ours(nb, recipe, data)
        ours.play(50)
        # The norm divides weights, and dropout units: whichever a recipe has does nearly all of it.
        scaling = "spectral norm" if recipe.spectral_norm else "dropout masks"
        of_recipe = kinds | {scaling: (*kinds[scaling], "mul", "div", "neg")}
        with profile(activities=[ProfilerActivity.CPU], with_flops=True) as seen:
            ours.play(steps)
        events = seen.key_averages()
        total = sum(event.self_cpu_time_total for event in events)
        left = total
        for kind, names in of_recipe.items():
            part = sum(
                event.self_cpu_time_total
                for event in events
                if event.key.removeprefix("aten::").split("#")[0].split("(")[0] in names
            )
            left -= part
            rows.append([name, kind, f"{part / steps / 1e3:.2f}", f"{part / total:.0%}"])
        rows.append([name, "the rest", f"{left / steps / 1e3:.2f}", f"{left / total:.0%}"])
        work = sum(event.flops for event in events) / steps / 1e9
        best = f"{work / rate * 1e3:.2f}"
        rows.append([name, f"(products alone, {work:.1f} GFLOP, at the best rate)", best, ""])
    print(f"\nBest rate of products, 200 x 1024 by 1024 x 1024, measured: {rate:,.0f} GFLOP/s")
    table("Where a step's time goes", ["recipe", "part", "ms a step", "share"], rows)


def peak_memory(which: str) -> float:
    """Return the peak memory, in MB, of a process that plays fifty steps of one kind."""
    if which == "textbook":
        Textbook().play(50)
    else:
        nb = load_definitions()
        Ours(nb, nb.RECIPES[which], nb.load_mnist(ROOT / "data")).play(50)
    # Linux's own count: that of getrusage begins with the parent's
    status = Path("/proc/self/status").read_text()
    (peak,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(peak.split()[1]) / 1e3


def compare_memory() -> None:
    """(d) Peak memory, each in a process of its own."""
    rows = []
    for which in ("textbook", "classic", "mlp"):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            rows.append([which, f"{pool.apply(peak_memory, (which,)):,.0f}"])
    table("Peak memory of the whole process", ["loop", "MB"], rows)


def compare_batches(nb, data, quick: bool) -> None:
    """(e) How speed grows with the batch."""
    rows = []
    for size in (32, 256, 1024) if quick else (32, 64, 128, 256, 512, 1024):
        steps = 10 if quick else max(20, 6400 // size)
        textbook, recipe = Textbook(size), replace(nb.RECIPES["classic"], batch_size=size)
        times = in_turns(
            {
                "textbook": lambda t=textbook, n=steps: t.play(n) / n,
                "train": lambda r=recipe, n=steps: trained(nb, r, data, n),
            },
            1 if quick else 3,
        )
        theirs, ours = (size / times[name] for name in ("textbook", "train"))
        rows.append([size, f"{theirs:,.0f}", f"{ours:,.0f}", ours / theirs])
    heads = ["batch", "textbook, images a second", "`train`, classic", "ratio"]
    table("Batch sizes", heads, rows)


def main(quick: bool, epochs: int) -> None:
    nb = load_definitions()
    data = nb.load_mnist(ROOT / "data")
    products = "16-bit" if nb.has_fast_bfloat16(CPU) else "32-bit"
    cores = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"
    print(f"{processor()}, {cores}, PyTorch {torch.__version__}, {products} products")
    with tempfile.TemporaryDirectory() as scratch:
        nb.RUNS = Path(scratch)
        compare_speed(nb, data, quick)
        compare_loading(nb, data, quick)
        compare_tricks(nb, data, quick)
        profile_step(nb, data, quick)
        compare_memory()
        compare_batches(nb, data, quick)
        compare_neighbours(nb, data, quick)
        compare_quality(nb, data, quick, epochs)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="less of everything: two minutes")
    parser.add_argument("--epochs", type=int, default=50, help="the textbook's: 10, 20, ...")
    main(**vars(parser.parse_args()))
