"""How good the default recipe is, seed by seed, beside the textbook's in the same wall time.

Usage: python tests/quality.py [SEED ...]        (0 1 2 without arguments; about 15 minutes)

For each seed it trains `RECIPES["mlp"]` to its end, then `RECIPES["classic"]` for as many seconds
of training, and prints the notebook's own figures for both.
"""

import os
import sys
import tempfile
import time
from dataclasses import replace

import torch
from conftest import ROOT, load_definitions, processor


def play(nb, config, loader, device, seconds: float = float("inf")):
    """Train until the recipe's last epoch or until the time is up; return game and seconds."""
    game, began = nb.Game(config, device), time.perf_counter()
    for epoch in range(config.epochs):
        torch.manual_seed(config.seed + 1_000_003 * epoch)
        for real, labels in loader:
            nb.play_step(game, real, labels)
            if time.perf_counter() - began >= seconds:
                return game, seconds
    return game, time.perf_counter() - began


def main(seeds: list[int]) -> None:
    nb = load_definitions()
    images, labels = nb.load_mnist(ROOT / "data", train=True)
    real = nb.load_mnist(ROOT / "data", train=False)[0][:, None].float() / 255
    judge = nb.load_judge(images, labels, ROOT / "runs/reference/judge.pt")
    device = nb.pick_device()
    print(f"{processor()}, {os.cpu_count()} cores, device {device}, torch {torch.__version__}")
    for seed in seeds:
        seconds = float("inf")
        for name in ("mlp", "classic"):
            config = replace(nb.RECIPES[name], seed=seed)
            loader = nb.make_loader(images, labels, config, device)
            game, seconds = play(nb, config, loader, device, seconds)
            figures = nb.evaluate(game.average, judge, real)
            listed = "  ".join(f"{name} {value:.3g}" for name, value in figures.items())
            print(f"seed {seed}  {config.recipe:8} {seconds:4.0f} s  {listed}", flush=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["RUNS_DIR"] = scratch
        main([int(seed) for seed in sys.argv[1:]] or [0, 1, 2])
