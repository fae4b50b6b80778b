"""Why the default recipe's settings are what they are: each changed alone, three seeds each.

Usage: python tests/search.py [ROUND [SECONDS]]      (2 and 60 without arguments; half an hour)

Round 1 began with dropout and without spectral norm, round 2 with what it had found.

Every trial gets the same time of one processor core to train, in a process of its own, as many at
once as there are cores, and is then measured by the notebook's judge on 10,000 samples. Prints a
table in Markdown, the most even settings first: sorted by the worst of the three seeds.
"""

import multiprocessing
import os
import sys
import time
from dataclasses import replace
from functools import partial

import torch
from conftest import ROOT, load_definitions
from torch.nn import functional as F

SEEDS = 0, 1, 2


def step_with_penalty(nb, game, real, labels, weight: float, relative: bool) -> None:
    """A step with zero-centred gradient penalties on real and fake images.

    With `relative`, the losses compare real with fake in pairs: R3GAN (Huang et al., 2024).
    """
    generator, discriminator = game.generator, game.discriminator
    with game.short_products():
        fake = generator(game.latent(len(real)), labels).detach()
        inputs = torch.cat([real, fake]).requires_grad_()
        logits = discriminator(inputs).float()
    logits_real, logits_fake = logits.chunk(2)
    if relative:
        loss_d = F.softplus(logits_fake - logits_real).mean()
    else:
        loss_d = nb.discriminator_loss(logits_real, logits_fake)
    (slope,) = torch.autograd.grad(logits.sum(), inputs, create_graph=True)
    loss_d = loss_d + weight * slope.square().flatten(1).sum(1).mean()
    game.optimizer_d.zero_grad()
    loss_d.backward()
    game.optimizer_d.step()

    discriminator.requires_grad_(False)
    with game.short_products():
        fake = generator(game.latent(len(real)), labels)
        logits_real, logits_fake = discriminator(torch.cat([real, fake])).float().chunk(2)
    if relative:
        loss_g = F.softplus(logits_real - logits_fake).mean()
    else:
        loss_g = nb.generator_loss(logits_fake)
    game.optimizer_g.zero_grad()
    loss_g.backward()
    game.optimizer_g.step()
    discriminator.requires_grad_(True)
    nb.average_weights(game)


# What is tried: a name, and the settings that differ from those that the round began with.
TEXTBOOK = {"generator_widths": (256, 512, 1024), "discriminator_widths": (1024, 512, 256)}
HALVED = {"generator_widths": (64, 128, 256), "discriminator_widths": (256, 128, 64)}
FIRST = {
    "nothing": {},
    "batch 50": {"batch_size": 50},
    "batch 200": {"batch_size": 200},
    "both rates 2.5e-4": {"lr_g": 2.5e-4, "lr_d": 2.5e-4},
    "both rates 1e-3": {"lr_g": 1e-3, "lr_d": 1e-3},
    "generator's rate 1e-3": {"lr_g": 1e-3},
    "discriminator's rate 1e-3": {"lr_d": 1e-3},
    "beta1 0.5": {"betas": (0.5, 0.999)},
    "beta1 0.9": {"betas": (0.9, 0.999)},
    "dropout 0": {"dropout": 0.0},
    "dropout 0.5": {"dropout": 0.5},
    "averaging 0 (none)": {"averaging": 0.0},
    "averaging 0.999": {"averaging": 0.999},
    "no batch norm": {"batch_norm": False},
    "label smoothing 0.1": {"smoothing": 0.1},
    "the textbook's widths": TEXTBOOK,
    "half the widths": HALVED,
    "spectral norm, no dropout": {"dropout": 0.0, "spectral_norm": True},
    "gradient penalty 0.1, no dropout": {"dropout": 0.0},
    "relativistic, penalty 0.1, no dropout": {"dropout": 0.0},
}
SECOND = {
    "nothing": {},
    "both rates 1e-3": {"lr_g": 1e-3, "lr_d": 1e-3},
    "generator's rate 1e-3": {"lr_g": 1e-3},
    "discriminator's rate 1e-3": {"lr_d": 1e-3},
    "batch 50": {"batch_size": 50},
    "batch 200": {"batch_size": 200},
    "averaging 0.995": {"averaging": 0.995},
    "averaging 0.999": {"averaging": 0.999},
    "dropout 0.1": {"dropout": 0.1},
    "beta1 0.5": {"betas": (0.5, 0.999)},
    "beta2 0.99": {"betas": (0.0, 0.99)},
    "half the widths": HALVED,
    "the textbook's discriminator": {"discriminator_widths": TEXTBOOK["discriminator_widths"]},
    "latents of 32": {"latent_dim": 32},
    "no batch norm": {"batch_norm": False},
}
RATES = {"lr_g": 5e-4, "lr_d": 5e-4}  # with which both rounds began
ROUNDS = {1: (RATES | {"dropout": 0.3, "spectral_norm": False}, FIRST), 2: (RATES, SECOND)}


def play(job: tuple[int, str, int, float]) -> tuple[str, int, int, dict[str, float]]:
    """Play one trial on one core; return its name, seed, steps and figures."""
    number, name, seed, budget = job
    start, trials = ROUNDS[number]
    torch.set_num_threads(1)
    nb = load_definitions()
    cpu = torch.device("cpu")
    images, labels = nb.load_mnist(ROOT / "data")
    real = nb.load_mnist(ROOT / "data", train=False)[0][:, None].float() / 255
    judge = nb.load_judge(images, labels, ROOT / "runs/reference/judge.pt")
    config = replace(nb.RECIPES["mlp"], seed=seed, **start | trials[name])
    game = nb.Game(config, cpu)
    step = nb.play_step
    if "penalty" in name:
        relative = name.startswith("relativistic")
        step = partial(step_with_penalty, nb, weight=0.1, relative=relative)
    loader = nb.make_loader(images, labels, config, cpu)
    steps, began = 0, time.process_time()
    while time.process_time() - began < budget:
        for batch in loader:
            step(game, *batch)
            steps += 1
            if time.process_time() - began >= budget:
                break
    shares = nb.class_shares(judge, fakes := nb.sample(game.average, 10_000, seed=0))
    figures = {
        "distance": nb.frechet_to(judge, real)(fakes),
        "rarest": (shares / nb.class_shares(judge, real)).min().item(),
    }
    return name, seed, steps, figures


def main(number: int = 2, budget: float = 60.0) -> None:
    trials = ROUNDS[number][1]
    jobs = [(number, name, seed, budget) for name in trials for seed in SEEDS]
    found: dict[str, dict] = {name: {} for name in trials}
    with multiprocessing.get_context("spawn").Pool(os.cpu_count(), maxtasksperchild=1) as pool:
        for name, seed, steps, figures in pool.imap_unordered(play, jobs):
            found[name][seed] = steps, figures
            listed = "  ".join(f"{key} {value:.3g}" for key, value in figures.items())
            print(f"{name}, seed {seed}: {steps} steps, {listed}", file=sys.stderr, flush=True)
    print("| changed | Fréchet distance, seeds 0, 1, 2 | rarest digit, at worst | steps |")
    print("|---|---|---|---|")
    for name, seeds in sorted(
        found.items(), key=lambda item: max(f["distance"] for _, f in item[1].values())
    ):
        distances = ", ".join(f"{seeds[seed][1]['distance']:.0f}" for seed in SEEDS)
        rarest = min(figures["rarest"] for _, figures in seeds.values())
        steps = sum(steps for steps, _ in seeds.values()) // len(SEEDS)
        print(f"| {name} | {distances} | {rarest:.2f} | {steps:,} |")


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    main(*(kind(word) for kind, word in zip((int, float), sys.argv[1:])))
