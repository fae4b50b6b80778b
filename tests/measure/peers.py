"""Widely used GANs for MNIST, from their published settings, by this page's judge.

Usage: python tests/measure/peers.py [NAME ...] [--seeds 0] [--seconds S] [--minutes 30]
           [--until-epochs N] [--file FILE] [--table]

Each game is written here from its published settings, and measured twice: after as many CPU
seconds as the default needs (S; by itself those of the default's row in FILE, or 125), and in the
end, which is its published length, or N epochs, or as many CPU minutes as there are. Only steps
are timed. A JSON object a measurement is appended to
FILE (peers.jsonl in this folder). It can be stopped and goes on where it stopped: a game that is
not over is kept in a file beside FILE. With `--table` it only prints what is there.

What differs from the publications: an incomplete last batch is left out; the losses are the
page's, of logits (a factor before a loss, as in loss / 2, changes nothing for Adam); samples are
drawn with the running statistics of batch normalisation. Where a source has images in [0, 1],
its networks still have them: the players here turn them into [-1, 1] and back.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import ablation
import opinion
import shared
import torch
from shared import nb
from torch import Tensor, nn

AS_LONG, END = "after as many seconds", "in the end"
PARTS = "generator", "discriminator", "optimizer_g", "optimizer_d", "average"


class Drawer(nn.Sequential):
    """A generator of layers: images `(B, 1, 28, 28)` in [-1, 1] of normal or uniform latents."""

    conditional = False

    def __init__(self, *layers: nn.Module, latent_dim: int = 100, uniform: bool = False):
        super().__init__(*layers)
        self.latent_dim, self.uniform = latent_dim, uniform

    def latent(self, n: int, random: torch.Generator | None = None, labels=None) -> Tensor:
        """Return `n` latents: on the generator's device, or drawn by `random` on the CPU."""
        where = "cpu" if random else next(self.parameters()).device
        draw = torch.rand if self.uniform else torch.randn
        latent = draw(n, self.latent_dim, generator=random, device=where)
        return 2 * latent - 1 if self.uniform else latent


class ToSigned(nn.Sigmoid):
    """Return a sigmoid's images in [0, 1] as images in [-1, 1]."""

    def forward(self, raw: Tensor) -> Tensor:
        return 2 * super().forward(raw) - 1


class ToUnsigned(nn.Flatten):
    """Return images in [-1, 1] as flat ones in [0, 1]."""

    def forward(self, images: Tensor) -> Tensor:
        return (super().forward(images) + 1) / 2


def dense(*sizes: int, slope: float = 0.2, norm=None, dropout: float = 0.0) -> list[nn.Module]:
    """Return fully connected layers of `sizes`, each with its norm, (leaky) ReLU and dropout."""
    layers = []
    for n_in, n_out in pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), *([norm(n_out)] if norm else [])]
        layers += [nn.LeakyReLU(slope), *([nn.Dropout(dropout)] if dropout else [])]
    return layers


def image(n_in: int, output: nn.Module) -> list[nn.Module]:
    """Return a generator's last layers: to an image."""
    return [nn.Linear(n_in, 784), output, nn.Unflatten(1, nb.SHAPE)]


def critic(*layers: nn.Module, n_in: int) -> nn.Sequential:
    """Return a discriminator of layers that end with `n_in` features: one logit an image."""
    return nn.Sequential(*layers, nn.Linear(n_in, 1), nn.Flatten(0))


def match(generator, discriminator, lr: float, betas=(0.9, 0.999)) -> nb.Match:
    """Return a match with one rate for both; `betas` are Adam's own unless they are given."""
    players = generator.to(nb.device), discriminator.to(nb.device)
    return nb.Match(*players, lr_g=lr, lr_d=lr, betas=betas)


def gan_py() -> nb.Match:
    """github.com/eriklindernoren/PyTorch-GAN, implementations/gan/gan.py.

    Its BatchNorm1d(n, 0.8) sets eps, not the momentum. G moves first, then D, on the same fakes.
    """
    norm = partial(nn.BatchNorm1d, eps=0.8)
    hidden = [*dense(100, 128), *dense(128, 256, 512, 1024, norm=norm)]
    d = critic(nn.Flatten(), *dense(784, 512, 256), n_in=256)
    return match(Drawer(*hidden, *image(1024, nn.Tanh())), d, 2e-4, (0.5, 0.999))


def cs231n() -> nb.Match:
    """Stanford CS231n (2021), assignment 3, Generative_Adversarial_Networks.ipynb, vanilla GAN.

    Images 1 to 50,000, always in the same order; latents uniform from -1 to 1.
    """
    hidden = dense(96, 1024, 1024, slope=0.0)
    g = Drawer(*hidden, *image(1024, nn.Tanh()), latent_dim=96, uniform=True)
    d = critic(nn.Flatten(), *dense(784, 256, 256, slope=0.01), n_in=256)
    return match(g, d, 1e-3, (0.5, 0.999))


def deeplearning_ai() -> nb.Match:
    """deeplearning.ai, Build Basic Generative Adversarial Networks, week 1, Your First GAN.

    Images in [0, 1], so G ends with a sigmoid; both losses as in the page.
    """
    hidden = dense(64, 128, 256, 512, 1024, slope=0.0, norm=nn.BatchNorm1d)
    d = critic(ToUnsigned(), *dense(784, 512, 256, 128), n_in=128)
    return match(Drawer(*hidden, *image(1024, ToSigned()), latent_dim=64), d, 1e-5)


def tensorflow_dcgan() -> nb.Match:
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
    g, seen = Drawer(*layers), []
    for n_in, n_out in ((1, 64), (64, 128)):
        seen += [nn.ZeroPad2d((1, 2, 1, 2)), nn.Conv2d(n_in, n_out, 5, 2)]
        seen += [nn.LeakyReLU(0.3), nn.Dropout(0.3)]
    d = critic(*seen, nn.Flatten(), n_in=7 * 7 * 128)
    for layer in (*g, *d):
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    game = match(g, d, 1e-4)
    for optimizer in (game.optimizer_g, game.optimizer_d):
        optimizer.param_groups[0]["eps"] = 1e-7
    return game


def classic() -> nb.Match:
    """github.com/znxlwm/pytorch-MNIST-CelebA-GAN-DCGAN, pytorch_MNIST_GAN.py.

    Its batches are of 128 images; those of github.com/lyeoni/pytorch-mnist-GAN, the same players
    and rates for 200 epochs, and of many notebooks after it, are of 100, and so here.
    """
    d = critic(nn.Flatten(), *dense(784, 1024, 512, 256, dropout=0.3), n_in=256)
    return match(Drawer(*dense(100, 256, 512, 1024), *image(1024, nn.Tanh())), d, 2e-4)


def default() -> nb.Match:
    """GAN_for_MNIST.ipynb, the game of its first sections."""
    return ablation.make_match(ablation.DEFAULT)


def dcgan() -> nb.Match:
    """GAN_for_MNIST.ipynb, the DCGAN of its section 10."""
    return nb.make_match(nb.RECIPES["dcgan"], nb.device)


def new_fakes(match: nb.Match, real: Tensor) -> None:
    """Play D's turn, then G's with fakes of its own."""
    with torch.no_grad():
        fake = match.generator(match.generator.latent(len(real)))
    nb.turn_of_d(match, real, fake)
    nb.turn_of_g(match, match.generator(match.generator.latent(len(real))))
    match.step += 1


def generator_first(match: nb.Match, real: Tensor) -> None:
    """Play G's turn, then D's with the same fakes."""
    fake = match.generator(match.generator.latent(len(real)))
    nb.turn_of_g(match, fake)
    nb.turn_of_d(match, real, fake)
    match.step += 1


def at_once(match: nb.Match, real: Tensor) -> None:
    """Take both gradients from the same logits, then move both players."""
    fake = match.generator(match.generator.latent(len(real)))
    logits_real, logits_fake = match.discriminator(torch.cat([real, fake])).chunk(2)
    loss_d = nb.discriminator_loss(logits_real, logits_fake)
    for optimizer in (match.optimizer_g, match.optimizer_d):
        optimizer.zero_grad()
    loss_g = nb.generator_loss(logits_fake)
    loss_g.backward(inputs=[*match.generator.parameters()], retain_graph=True)
    loss_d.backward(inputs=[*match.discriminator.parameters()])
    match.optimizer_g.step()
    match.optimizer_d.step()
    match.step += 1


def default_step(match: nb.Match, real: Tensor) -> None:
    """Play a step as the ablation plays the default's, at rates that fall after the steady ones."""
    ablation.set_rates(match, ablation.DEFAULT)
    ablation.play_step(match, real, ablation.DEFAULT)


@dataclass(frozen=True)
class Game:
    """How to make a match and to play its steps, and on what; `epochs` as published."""

    make: Callable[[], nb.Match]
    step: Callable[[nb.Match, Tensor], object]
    batch_size: int
    epochs: int
    n: int = 60_000
    shuffled: bool = True

    @property
    def steps(self) -> int:
        """How many steps an epoch has."""
        return min(self.n, len(shared.images)) // self.batch_size

    def batches(self) -> Iterator[Tensor]:
        """Yield batches of real images in [-1, 1], epoch after epoch without an end."""
        images = shared.images[: self.n, None].to(nb.device)
        while True:
            order = torch.randperm(len(images)) if self.shuffled else torch.arange(len(images))
            for some in order.split(self.batch_size)[: self.steps]:
                yield images[some.to(nb.device)].float() / 127.5 - 1


GAMES = {
    "default": Game(default, default_step, 100, 13),
    "dcgan": Game(dcgan, nb.play_step, 100, 18),  # its rates stay
    "classic": Game(classic, new_fakes, 100, 100),
    "gan.py": Game(gan_py, generator_first, 64, 200),
    "cs231n": Game(cs231n, new_fakes, 128, 10, n=50_000, shuffled=False),
    "deeplearning.ai": Game(deeplearning_ai, new_fakes, 128, 200),
    "tensorflow-dcgan": Game(tensorflow_dcgan, at_once, 256, 50),
}


def measure(judge: nn.Module, match: nb.Match) -> dict[str, float]:
    """Return what the page's judge says of 10,000 samples, and the second judge if it is there."""
    fake = nb.sample(nb.artist(match), len(shared.test_images), seed=0)
    second = opinion.second_judge()
    return shared.assess(judge, fake) | (second(fake) if second else {})


def default_seconds(path: Path) -> float:
    """Return the CPU seconds that the default needed on its way to the end, or else 125."""
    rows = [row for row in shared.read(path) if row["name"] == "default"]
    seconds = [row["seconds"] for row in rows if row["epochs"] >= row["published_epochs"]]
    return sum(seconds) / len(seconds) if seconds else 0.1 if shared.REHEARSAL else 125.0


def play(name: str, seed: int, judge: nn.Module, options: argparse.Namespace) -> None:
    """Play a game to its end, or on from where it stopped; append its rows."""
    game, path = GAMES[name], options.file
    rows = [row for row in shared.read(path) if (row["name"], row["seed"]) == (name, seed)]
    as_long = name == "default" or any(row["moment"] == AS_LONG for row in rows)
    seconds_of_default = options.seconds or default_seconds(path)
    end = game.steps * min(game.epochs, options.until_epochs or game.epochs)
    end = min(end, 3) if shared.REHEARSAL else end
    if as_long and any(row["steps"] >= end for row in rows):
        return
    torch.manual_seed(seed)
    match, seconds = game.make(), 0.0
    parts = {part: getattr(match, part) for part in PARTS if getattr(match, part) is not None}
    kept = path.with_name(f"{path.stem}-{name}-{seed}.pt")
    if kept.exists():
        state = torch.load(kept)
        match.step, seconds = state["step"], state["seconds"]
        torch.set_rng_state(state["random"])
        for part, value in parts.items():
            value.load_state_dict(state[part])

    def keep(moment: str = "") -> None:
        if moment:
            row = {"name": name, "source": game.make.__doc__.splitlines()[0].rstrip(".")}
            row |= {"seed": seed, "moment": moment, "steps": match.step, "seconds": seconds}
            row |= {"epochs": match.step / game.steps, "published_epochs": game.epochs}
            row |= {"machine": shared.machine(), "measures": measure(judge, match)}
            shared.append(path, row)
            print(name, seed, moment, {k: round(v, 3) for k, v in row["measures"].items()})
        state = {part: value.state_dict() for part, value in parts.items()}
        random = torch.get_rng_state()
        torch.save(state | dict(step=match.step, seconds=seconds, random=random), kept)

    batches, limit = game.batches(), 60 * options.minutes
    while seconds < limit and not (as_long and match.step >= end):
        real = next(batches)
        began = time.process_time()
        game.step(match, real)
        seconds += time.process_time() - began
        if seconds >= seconds_of_default and not as_long:
            as_long = True
            keep(AS_LONG)
        if match.step == end or (match.step < end and seconds >= limit):
            keep(END)
        elif match.step % 1000 == 0:
            keep()
    if match.step >= end and not options.until_epochs:
        kept.unlink(missing_ok=True)


def table(rows: list[dict]) -> dict[str, dict]:
    """Return the mean and the range over the seeds of each game and moment; the latest of each."""
    latest = {(row["name"], row["moment"], row["seed"]): row for row in rows}
    for row in latest.values():
        row["average"] = {"epochs": row["epochs"], "seconds": row["seconds"]} | row["measures"]
        row["ms of a core a step"] = 1000 * row["seconds"] / row["steps"]
        row["name"] += f" ({row['published_epochs']} epochs), {row['moment']}"
    return ablation.table([*latest.values()])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(GAMES))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--seconds", type=float, help="of a core, what the default needs")
    parser.add_argument("--minutes", type=float, default=30.0, help="of a core, for each game")
    parser.add_argument("--until-epochs", type=int)
    parser.add_argument("--file", type=Path, default=shared.MEASURE / "peers.jsonl")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if not options.table:
        judge = shared.load_judge()
        for seed in options.seeds:
            for name in options.names or GAMES:
                play(name, seed, judge, options)
    print(shared.machine())
    shared.print_rows(table(shared.read(options.file)))
