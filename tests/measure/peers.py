"""Widely used GANs for MNIST, from their published settings, by this page's judge.

Usage: python tests/measure/peers.py [NAME ...] [--seeds 0] [--seconds S] [--minutes 10]
           [--threads 1] [--file FILE] [--table] [--readme] [--fill]

Each game is written here from its published settings, as a recipe of the page's, and measured
twice: after as many CPU seconds as the default needs (S; by itself those of the default's row in
FILE, or 140), and in the end, which is its published length, or as many CPU minutes as there are.
Only steps are timed. A JSON object a measurement is appended to FILE (peers.jsonl in this folder).
It goes on after the last whole epoch: a game that is not over is kept in a folder beside FILE.
`--table` prints what is there; `--readme` prints the table of the README, whose other rows are of
ablation.jsonl, runs/reference and opinion.jsonl; `--fill` puts both into the README files.

What differs from the publications: an incomplete last batch is left out; the losses are the
page's, of logits (a factor before a loss, as in loss / 2, changes nothing for Adam); samples are
drawn with the running statistics of batch normalisation. Where a source has images in [0, 1],
its networks still have them: the players here turn them into [-1, 1] and back.
"""

import argparse
import json
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path

import opinion
import shared
import torch
from shared import nb
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

AS_LONG, END = "after as many seconds", "in the end"
GAMES = "mlp", "cs231n", "gan.py", "deeplearning.ai", "tensorflow-dcgan", "classic"
OPINION = shared.MEASURE / "opinion.jsonl"
PEERS = {  # the README's
    "cs231n": "Stanford CS231n's assignment",
    "gan.py": "PyTorch-GAN's `gan.py`",
    "classic": "the game of many notebooks",
}
Players = tuple[nn.Module, nn.Module]


def dense(*sizes: int, slope: float = 0.2, norm=None) -> list[nn.Module]:
    """Return fully connected layers of `sizes`, each with its norm and (leaky) ReLU."""
    layers = []
    for n_in, n_out in pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), *([norm(n_out)] if norm else []), nn.LeakyReLU(slope)]
    return layers


def drawer(*layers: nn.Module, latent_size: int = 100) -> nn.Sequential:
    """Return a generator of layers that end with an image, flat or not, in [-1, 1]."""
    generator = nn.Sequential(*layers, nn.Flatten(), nn.Unflatten(1, (1, 28, 28)))
    generator.latent_size = latent_size
    return generator


def critic(*layers: nn.Module, n_in: int) -> nn.Sequential:
    """Return a discriminator of layers that end with `n_in` features: one logit an image."""
    return nn.Sequential(*layers, nn.Linear(n_in, 1), nn.Flatten(0))


def gan_py() -> Players:
    """github.com/eriklindernoren/PyTorch-GAN, implementations/gan/gan.py.

    Its BatchNorm1d(n, 0.8) sets eps, not the momentum. G moves first, then D, on the same fakes.
    """
    norm = partial(nn.BatchNorm1d, eps=0.8)
    hidden = [*dense(100, 128), *dense(128, 256, 512, 1024, norm=norm)]
    generator = drawer(*hidden, nn.Linear(1024, 784), nn.Tanh())
    return generator, critic(nn.Flatten(), *dense(784, 512, 256), n_in=256)


def cs231n() -> Players:
    """Stanford CS231n (2021), assignment 3, Generative_Adversarial_Networks.ipynb, vanilla GAN.

    Images 1 to 50,000, always in the same order; latents uniform from -1 to 1.
    """
    uniform = nb.Lambda(lambda latent: torch.erf(latent / 2**0.5))  # normal numbers' own ranks
    hidden = dense(96, 1024, 1024, slope=0.0)
    generator = drawer(uniform, *hidden, nn.Linear(1024, 784), nn.Tanh(), latent_size=96)
    return generator, critic(nn.Flatten(), *dense(784, 256, 256, slope=0.01), n_in=256)


def deeplearning_ai() -> Players:
    """deeplearning.ai, Build Basic Generative Adversarial Networks, week 1, Your First GAN.

    Images in [0, 1], so G ends with a sigmoid.
    """
    hidden = dense(64, 128, 256, 512, 1024, slope=0.0, norm=nn.BatchNorm1d)
    signed = nb.Lambda(lambda images: 2 * images - 1)
    generator = drawer(*hidden, nn.Linear(1024, 784), nn.Sigmoid(), signed, latent_size=64)
    unsigned = nb.Lambda(lambda images: (images + 1) / 2)
    return generator, critic(unsigned, nn.Flatten(), *dense(784, 512, 256, 128), n_in=128)


def tensorflow_dcgan() -> Players:
    """github.com/tensorflow/docs, site/en/tutorials/generative/dcgan.ipynb.

    With Keras's defaults: LeakyReLU of 0.3, batch normalisation with eps 1e-3 and a momentum
    that PyTorch writes as 0.01, Adam with eps 1e-7, Glorot's weights, biases of 0, and where
    padding is uneven ("same", stride 2) one pixel more at the right and below.
    """
    keras = dict(eps=1e-3, momentum=0.01)
    layers = [nn.Linear(100, 7 * 7 * 256, bias=False), nn.BatchNorm1d(7 * 7 * 256, **keras)]
    layers += [nn.LeakyReLU(0.3), nn.Unflatten(1, (256, 7, 7))]
    layers += [nn.ConvTranspose2d(256, 128, 5, padding=2, bias=False)]
    layers += [nn.BatchNorm2d(128, **keras), nn.LeakyReLU(0.3)]
    cut = nn.ZeroPad2d((0, -1, 0, -1))
    layers += [nn.ConvTranspose2d(128, 64, 5, 2, 1, bias=False), cut]
    layers += [nn.BatchNorm2d(64, **keras), nn.LeakyReLU(0.3)]
    layers += [nn.ConvTranspose2d(64, 1, 5, 2, 1, bias=False), cut, nn.Tanh()]
    seen = []
    for n_in, n_out in ((1, 64), (64, 128)):
        seen += [nn.ZeroPad2d((1, 2, 1, 2)), nn.Conv2d(n_in, n_out, 5, 2)]
        seen += [nn.LeakyReLU(0.3), nn.Dropout(0.3)]
    generator, discriminator = drawer(*layers), critic(*seen, nn.Flatten(), n_in=7 * 7 * 128)
    for layer in (*generator, *discriminator):
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return generator, discriminator


def publish(name: str, players: Callable[[], Players], rate: float, **settings) -> None:
    """Make a recipe of published settings: one rate for both, which stays; new fakes for G."""
    nb.PLAYERS[name] = players
    published = dict(players=name, lr_g=rate, lr_d=rate, steady_epochs=settings["epochs"])
    nb.RECIPES[name] = nb.RECIPES["classic"] | published | settings


publish("cs231n", cs231n, 1e-3, beta1=0.5, batch_size=128, epochs=10)
publish("gan.py", gan_py, 2e-4, beta1=0.5, batch_size=64, epochs=200)
publish("deeplearning.ai", deeplearning_ai, 1e-5, batch_size=128, epochs=200)
publish("tensorflow-dcgan", tensorflow_dcgan, 1e-4, batch_size=256, epochs=50)
SOURCES = {name: nb.PLAYERS[name].__doc__.splitlines()[0].rstrip(".") for name in GAMES[1:-1]}
# `classic` is the page's. Its source has batches of 128; github.com/lyeoni/pytorch-mnist-GAN, the
# same players and rates, and many notebooks after it, have batches of 100, and so has the page.
SOURCES["classic"] = "github.com/znxlwm/pytorch-MNIST-CelebA-GAN-DCGAN, pytorch_MNIST_GAN.py"


def generator_first(match: nb.Match, real: Tensor) -> None:
    """Play G's turn, then D's with the same fakes."""
    fake = match.generator(torch.randn(len(real), match.generator.latent_size, device=real.device))
    nb.turn_of_g(match, fake)
    nb.turn_of_d(match, real, fake)
    match.step += 1


def at_once(match: nb.Match, real: Tensor) -> None:
    """Take both gradients from the same logits, then move both players."""
    fake = match.generator(torch.randn(len(real), match.generator.latent_size, device=real.device))
    logits_real, logits_fake = match.discriminator(torch.cat([real, fake])).chunk(2)
    loss_d = nb.discriminator_loss(logits_real, logits_fake)
    match.optimizer_g.zero_grad()
    match.optimizer_d.zero_grad()
    loss_g = nb.generator_loss(logits_fake)
    loss_g.backward(inputs=[*match.generator.parameters()], retain_graph=True)
    loss_d.backward(inputs=[*match.discriminator.parameters()])
    match.optimizer_g.step()
    match.optimizer_d.step()
    match.step += 1


STEPS = {"gan.py": generator_first, "tensorflow-dcgan": at_once}  # the others: the page's


def make_match(name: str, seed: int) -> nb.Match:
    """Return a new match of a recipe of the page's or of a peer."""
    match = nb.make_match(name, seed=seed)
    if name == "tensorflow-dcgan":
        for optimizer in (match.optimizer_g, match.optimizer_d):
            optimizer.param_groups[0]["eps"] = 1e-7
    return match


def make_loader(name: str) -> DataLoader:
    """Return the loader of a game."""
    size = nb.RECIPES[name]["batch_size"]
    if name != "cs231n":
        return nb.make_loader(shared.images, shared.labels, size)
    data = TensorDataset(shared.images[:50_000].to(nb.device), shared.labels[:50_000])
    return DataLoader(data, size, drop_last=True)


def batches(match: nb.Match, loader: DataLoader) -> Iterator[Tensor]:
    """Yield batches epoch after epoch without an end, each epoch begun as `train` begins it."""
    epoch = match.step // len(loader)
    while True:
        epoch += 1
        nb.begin_epoch(match, epoch)
        for real, _ in loader:
            yield real


def default_seconds(path: Path) -> float:
    """Return the CPU seconds that the default needed on its way to the end, or else 140."""
    rows = [row for row in shared.read(path) if row["name"] == "mlp" and row["moment"] == END]
    seconds = [row["seconds"] for row in rows]
    return sum(seconds) / len(seconds) if seconds else 0.1 if shared.REHEARSAL else 140.0


def play(name: str, seed: int, judge: nn.Module, options: argparse.Namespace) -> None:
    """Play a game to its end, or on from where it stopped; append its rows."""
    path, second = options.file, opinion.second_judge()
    rows = [row for row in shared.read(path) if (row["name"], row["seed"]) == (name, seed)]
    moments = {row["moment"] for row in rows}
    as_long = name == "mlp" or AS_LONG in moments
    match, loader, seconds = make_match(name, seed), make_loader(name), 0.0
    epochs = match.settings["epochs"]
    end = 2 if shared.REHEARSAL else epochs * len(loader)
    limit, wait = 60 * options.minutes, options.seconds or default_seconds(path)
    done = [row for row in rows if row["moment"] == END]
    if any(row["steps"] >= end or row["seconds"] >= limit for row in done):
        return
    folder = path.with_name(f"{path.stem}-{name}-{seed}.busy")  # which git ignores
    if (folder / "match.pt").exists():
        state = torch.load(folder / "match.pt", weights_only=True)
        match.step, seconds = state["step"], float((folder / "seconds").read_text())
        for part in nb.PARTS:
            getattr(match, part).load_state_dict(state[part])

    def add_row(moment: str) -> None:
        row = {"name": name, "source": SOURCES.get(name, "this page's default"), "seed": seed}
        row |= {"moment": moment, "steps": match.step, "epochs": match.step / len(loader)}
        row |= {"seconds": seconds, "published_epochs": epochs, "machine": shared.machine()}
        drawings = nb.sample(match.artist, len(shared.test_images), seed=0)
        row["measures"] = nb.compare(drawings, judge, shared.test_images)
        row["measures"] |= second(drawings) if second else {}
        shared.append(path, row)
        print(name, seed, moment, {key: round(n, 3) for key, n in row["measures"].items()})

    step = STEPS.get(name, nb.play_step)
    for real in batches(match, loader):
        began = time.process_time()
        step(match, real)
        seconds += time.process_time() - began
        if seconds >= wait and not as_long:
            as_long = True
            add_row(AS_LONG)
        if match.step % len(loader) == 0:
            folder.mkdir(exist_ok=True)
            nb.save(match, folder)
            (folder / "seconds").write_text(str(seconds))
        if as_long and (match.step >= end or seconds >= limit):
            break
    add_row(END)
    if match.step >= end:
        shutil.rmtree(folder, ignore_errors=True)


def table(rows: list[dict]) -> str:
    """Return the mean and the range over the seeds of each game and moment; the latest of each."""
    groups: dict[str, dict[int, dict]] = {}
    for row in rows:
        title = f"{row['name']} ({row['published_epochs']} epochs), {row['moment']}"
        facts = {"epochs": row["epochs"], "seconds": row["seconds"]} | row["measures"]
        groups.setdefault(title, {})[row["seed"]] = facts
    keys = ("epochs", "seconds", "frechet_distance", "sure", "precision", "coverage", "rarest")
    table = {}
    for title, seeds in groups.items():
        table[title] = {"seeds": len(seeds)}
        for key in (*keys, "frechet_distance by the second judge"):
            values = [facts[key] for facts in seeds.values() if key in facts]
            table[title][key.replace("frechet_", "")] = shared.mean_of(values) if values else ""
    return shared.markdown("", table)


def readme_rows(rows: list[dict]) -> str:
    """Return the README's table: the default, three peers after as many seconds, real digits."""
    latest = {(row["name"], row["moment"]): row for row in rows if row["seed"] == 0}
    found = {}
    seeds = shared.artists("the default")
    if seeds:
        found[f"the default, 13 epochs, three minutes ({len(seeds)} seeds)"] = seeds
    for name, title in PEERS.items():
        row = latest.get((name, AS_LONG))
        if row:
            epochs = f"{row['epochs']:.0f} epochs; published are {row['published_epochs']}"
            found[f"{title} ({epochs})"] = [row["measures"]]
    path = shared.REFERENCE / "classic" / "figures.json"
    if path.exists():
        found["the page's version of it, after all of its epochs"] = [json.loads(path.read_text())]
    real = [r["measures"] for r in shared.read(OPINION) if r["name"] == "real digits, slices"]
    if real:
        found["real digits, of other people"] = real
    table = {}
    for title, seeds in found.items():
        clear, coverage = (sum(s[key] for s in seeds) / len(seeds) for key in ("sure", "coverage"))
        distance = shared.mean_of([seed["frechet_distance"] for seed in seeds])
        table[title] = {"Fréchet distance (smaller is better)": distance}
        table[title] |= {"clear digits": f"{clear:.0%}", "coverage": f"{coverage:.2f}"}
    return shared.markdown("10,000 samples, as many seconds of a core for each", table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(GAMES))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--seconds", type=float, help="of a core, what the default needs")
    parser.add_argument("--minutes", type=float, default=10.0, help="of a core, for each game")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--file", type=Path, default=shared.MEASURE / "peers.jsonl")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--readme", action="store_true")
    parser.add_argument("--fill", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if not (options.table or options.readme or options.fill):
        judge = shared.load_judge()
        for seed in options.seeds:
            for name in options.names or GAMES:
                play(name, seed, judge, options)
    rows = shared.read(options.file)
    if options.fill:
        shared.fill({"peers": table(rows), "readme": readme_rows(rows)})
    print(readme_rows(rows) if options.readme else table(rows))
