"""What holds D, and what then remains worth its lines: games on 50,000 training images, measured
on the 10,000 that were held out.

Usage: python tests/measure/choice.py [--rows NAME ...] [--seeds 0 1 2] [--table]

Neither players nor judge see the last 10,000 training images; the test images are not used. Each
game is 7,800 steps of 100 images, on one thread; a row of `choice.jsonl` is a game. The script
stands by itself: it was played before the page was written, and the page tells what it found.
"""

import argparse
import copy
import json
import time
from contextlib import suppress
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.datasets import MNIST

HERE = Path(__file__).resolve().parent
FILE = HERE / "choice.jsonl"
STEPS, CURVE = 7800, (600, 1200, 2400, 4800, 7800)
SHIFTS = {"mean": 0.7387, "black": 1.0, "none": 0.0}  # what is added to the pixels that D sees
R1 = dict(norm=False, gain=1.0, shift="mean", weight=1.0, every=4, inside=False)
PLAIN = dict(batch_norm=True, average=True, falling=True)
GAMES = {
    "norm, gain 4, mean": dict(norm=True, gain=4.0, shift="mean", weight=0.0, every=4) | PLAIN,
    "R1, mean": R1 | PLAIN,
    "R1, black is 0": R1 | PLAIN | dict(shift="black"),
    "R1, mean, inside the loss": R1 | PLAIN | dict(inside=True),
    "R1, mean, weight 0.5": R1 | PLAIN | dict(weight=0.5),
    "R1, mean, weight 2": R1 | PLAIN | dict(weight=2.0),
    "R1, mean, every 2": R1 | PLAIN | dict(every=2),
    "R1, mean, every 8": R1 | PLAIN | dict(every=8),
    "R1, mean, weight 0.5, every 2": R1 | PLAIN | dict(weight=0.5, every=2),
    "R1, black is 0, every 2": R1 | PLAIN | dict(shift="black", every=2),
    "R1, black is -1": R1 | PLAIN | dict(shift="none"),
    "R1, black is 0, without batch norm": R1 | PLAIN | dict(shift="black", batch_norm=False),
    "R1, black is 0, without falling": R1 | PLAIN | dict(shift="black", falling=False),
    "R1, mean, without batch norm": R1 | PLAIN | dict(batch_norm=False),
    "R1, mean, without falling": R1 | PLAIN | dict(falling=False),
}


class Shift(nn.Module):
    """Add a number to every pixel, and stretch."""

    def __init__(self, number: float, gain: float):
        super().__init__()
        self.number, self.gain = number, gain

    def forward(self, images: Tensor) -> Tensor:
        return (images + self.number) * self.gain


class Die(nn.Module):
    """Replace the last twenty numbers of a latent by 3 times the one-hot of their largest."""

    def forward(self, latent: Tensor) -> Tensor:
        face = F.one_hot(latent[:, -20:].argmax(1), 20)
        return torch.cat([latent[:, :-20], 3.0 * face], 1)


def make_players(game: dict) -> tuple[nn.Module, nn.Module]:
    """Return both players of a game."""
    norm = nn.BatchNorm1d if game["batch_norm"] else lambda n: nn.Identity()
    held = nn.utils.parametrizations.spectral_norm if game["norm"] else lambda layer: layer
    generator = nn.Sequential(
        *(Die(), nn.Linear(100, 256), norm(256), nn.LeakyReLU(0.2)),
        *(nn.Linear(256, 512), norm(512), nn.LeakyReLU(0.2)),
        *(nn.Linear(512, 784), nn.Tanh()),
    )
    discriminator = nn.Sequential(
        *(Shift(SHIFTS[game["shift"]], game["gain"]), held(nn.Linear(784, 512))),
        *(nn.LeakyReLU(0.2), held(nn.Linear(512, 256)), nn.LeakyReLU(0.2)),
        *(held(nn.Linear(256, 128)), nn.LeakyReLU(0.2), held(nn.Linear(128, 1)), nn.Flatten(0)),
    )
    return generator, discriminator


def squared_slope(discriminator: nn.Module, real: Tensor, graph: bool = True) -> Tensor:
    """Return the squared length of the gradient of D's logit in the pixels, of each image."""
    real = real.detach().requires_grad_()
    (slope,) = torch.autograd.grad(discriminator(real).sum(), real, create_graph=graph)
    return slope.square().sum(1)


def draw(artist: nn.Module, n: int) -> Tensor:
    """Return `n` images of fixed latents."""
    latent = torch.randn(n, 100, generator=torch.Generator().manual_seed(0))
    was_training = artist.training
    artist.eval()
    with torch.no_grad():
        fake = torch.cat([artist(some) for some in latent.split(1000)])
    artist.train(was_training)
    return fake


def teach_judge(images: Tensor, labels: Tensor, path: Path) -> nn.Module:
    """Return a judge of 50,000 images, taught once and kept at `path`; it reads [0, 1]."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 16, 5, 2, 2), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU()]
    layers += [nn.AdaptiveAvgPool2d(7), nn.Flatten(), nn.Linear(32 * 49, 128), nn.ReLU()]
    judge = nn.Sequential(*layers, nn.Dropout(0.3), nn.Linear(128, 10))
    if path.exists():
        judge.load_state_dict(torch.load(path, weights_only=True))
    else:
        optimizer = torch.optim.AdamW(judge.parameters())
        for _ in range(6):
            for some in torch.randperm(len(images)).split(128):
                optimizer.zero_grad()
                real = images[some].view(-1, 1, 28, 28) / 2 + 0.5
                F.cross_entropy(judge(real), labels[some]).backward()
                optimizer.step()
        torch.save(judge.state_dict(), path)
    return judge.requires_grad_(False).eval()


def features(judge: nn.Module, images: Tensor) -> Tensor:
    """Return the judge's features of images `(N, 784)` in [-1, 1]."""
    images = images.view(-1, 1, 28, 28) / 2 + 0.5
    return torch.cat([judge[:-2](some) for some in images.split(1000)])


def frechet(real: Tensor, fake: Tensor) -> float:
    real, fake = real.double(), fake.double()
    shift = (real.mean(0) - fake.mean(0)).square().sum()
    cov_real, cov_fake = real.T.cov(), fake.T.cov()
    roots = torch.linalg.eigvals(cov_real @ cov_fake).real.clamp(min=0).sqrt()
    return (shift + cov_real.trace() + cov_fake.trace() - 2 * roots.sum()).item()


def compare(fake: Tensor, real: Tensor, last: nn.Module) -> dict[str, float]:
    """Return all measures of two sets of features."""
    chances = last(fake).softmax(1)
    digits = chances.argmax(1).bincount(minlength=10) / len(fake)
    measures = {"frechet_distance": frechet(real, fake)}
    measures["sure"] = (chances.amax(1) >= 0.95).float().mean().item()
    real, fake = F.normalize(real), F.normalize(fake)
    inside, covered = torch.zeros(len(fake), dtype=torch.bool), []
    for some in real.split(1000):
        radius = torch.cdist(some, real).topk(4, largest=False).values[:, -1:]
        near = torch.cdist(some, fake) <= radius
        inside |= near.any(0)
        covered.append(near.any(1))
    measures["precision"] = inside.float().mean().item()
    measures["coverage"] = torch.cat(covered).float().mean().item()
    return measures | {"rarest": digits.min().item()}


def play(game: dict, seed: int, train: Tensor, held_out: Tensor, judge: nn.Module) -> dict:
    """Play a game; return its row."""
    torch.manual_seed(seed)
    generator, discriminator = make_players(game)
    average = copy.deepcopy(generator)
    betas = 0.0, 0.999
    optimizer_g = torch.optim.Adam(generator.parameters(), 2e-3, betas, fused=True)
    optimizer_d = torch.optim.Adam(discriminator.parameters(), 1e-3, betas, fused=True)
    row, seconds, batches = {"curve": {}, "slopes": {}}, 0.0, iter(())
    real_features = features(judge, held_out)
    for step in range(1, STEPS + 1):
        fallen = max(0, 1 + (step - 1 - 5400) // 600) * game["falling"]
        optimizer_g.param_groups[0]["lr"] = 2e-3 * 0.6**fallen
        optimizer_d.param_groups[0]["lr"] = 1e-3 * 0.6**fallen
        batch = next(batches, None)
        if batch is None:
            batches = iter(torch.randperm(len(train)).split(100))
            batch = next(batches)
        began = time.process_time()
        real, fake = train[batch], generator(torch.randn(100, 100))
        logits_real, logits_fake = discriminator(torch.cat([real, fake.detach()])).chunk(2)
        loss_d = F.softplus(-logits_real).mean() + F.softplus(logits_fake).mean()
        pays = game["weight"] and step % game["every"] == 0
        if pays and game["inside"]:
            loss_d = loss_d + game["weight"] * squared_slope(discriminator, real).mean()
        optimizer_d.zero_grad()
        loss_d.backward()
        optimizer_d.step()
        loss_g = F.softplus(-discriminator(fake)).mean()
        optimizer_g.zero_grad()
        loss_g.backward(inputs=[*generator.parameters()])
        optimizer_g.step()
        if pays and not game["inside"]:
            optimizer_d.zero_grad()
            (game["weight"] * squared_slope(discriminator, real).mean()).backward()
            optimizer_d.step()
        with torch.no_grad():
            weight = max(0.002, 9 / (9 + step))
            for kept, now in zip(average.state_dict().values(), generator.state_dict().values()):
                if kept.is_floating_point():
                    kept.lerp_(now, weight)
        seconds += time.process_time() - began
        if step in (100, *CURVE):
            row["slopes"][step] = squared_slope(discriminator, real, False).sqrt().median().item()
        if step in CURVE[:-1]:
            row["curve"][step] = frechet(real_features, features(judge, draw(average, 10_000)))
    row["ms of a core a step"] = 1000 * seconds / STEPS
    for name, artist in (("average", average), ("last", generator)):
        row[name] = compare(features(judge, draw(artist, 10_000)), real_features, judge[-2:])
    return row


def main(names: list[str], seeds: list[int], file: Path) -> None:
    torch.set_num_threads(1)
    data = MNIST(HERE.parent.parent / "data", download=True)
    images, labels = data.data.flatten(1).float() / 127.5 - 1, data.targets
    judge = teach_judge(images[:50_000], labels[:50_000], file.with_name("choice-judge.pt"))
    for seed, name in ((seed, name) for seed in seeds for name in names):
        note = file.with_name(f"{name.replace(' ', '-')}.{seed}.busy")
        rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        if any((row["name"], row["seed"]) == (name, seed) for row in rows):
            continue
        try:
            note.touch(exist_ok=False)  # another one at work leaves it alone
        except FileExistsError:
            continue
        try:
            row = {"name": name, "seed": seed}
            row |= play(GAMES[name], seed, images[:50_000], images[50_000:], judge)
            with open(file, "a") as out:
                out.write(json.dumps(row) + "\n")
            print(name, seed, {k: round(v, 3) for k, v in row["average"].items()}, flush=True)
        finally:
            with suppress(OSError):
                note.unlink()


def table(file: Path) -> None:
    """Print means and ranges over the seeds."""
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for name in dict.fromkeys(row["name"] for row in rows):
        some = [row for row in rows if row["name"] == name]
        cells = [f"{name} ({len(some)})"]
        for kind in ("average", "last"):
            for key in some[0]["average"] if kind == "average" else ("frechet_distance", "sure"):
                values = [row[kind][key] for row in some]
                mean = sum(values) / len(values)
                cells.append(f"{mean:.3g} ({min(values):.3g} to {max(values):.3g})")
        for step in (600, 2400, 7800):
            cells.append(f"{sum(row['slopes'][str(step)] for row in some) / len(some):.2f}")
        cells.append(f"{sum(row['ms of a core a step'] for row in some) / len(some):.1f}")
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="*", default=[*GAMES], choices=GAMES, metavar="NAME")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--file", type=Path, default=FILE)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if not options.table:
        main(options.rows, options.seeds, options.file)
    table(options.file)
