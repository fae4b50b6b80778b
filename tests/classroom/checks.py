"""The checks of the tasks. Each looks at an answer and names what is wrong with it.

`student.py` puts this file, encoded, into the student's edition, so that reading the edition gives
nothing away. A check takes the answer and the page's names; it raises a `Mistake`, or returns a
remark, mostly an empty one. `verdict` is what the edition calls.
"""

import copy
import traceback
import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Mistake(Exception):
    """What is wrong with an answer, in a sentence for whoever wrote it."""


def need(condition: object, sentence: str) -> None:
    """Name a mistake, unless the condition holds."""
    if not condition:
        raise Mistake(sentence)


def close(first: Tensor, second: Tensor, tolerance: float = 1e-3) -> bool:
    """Tell whether two tensors of one shape are equal, but for rounding."""
    first, second = torch.as_tensor(first).double().cpu(), torch.as_tensor(second).double().cpu()
    return first.shape == second.shape and torch.allclose(first, second, tolerance, 1e-5)


def short(numbers: Tensor) -> list[float]:
    """Return numbers as one would write them down."""
    return [round(number, 2) for number in numbers.tolist()]


def need_right(value, right, mistakes: dict, otherwise: str) -> None:
    """Compare a value with the right one and, if it differs, with what known mistakes give."""
    if not close(value, right):
        for sentence, wrong in mistakes.items():
            need(not close(value, wrong), sentence)
        raise Mistake(otherwise)


def need_result(result, what: str) -> None:
    """Name a result that is nothing at all, several things, or not a tensor."""
    need(result is not None, "It returns nothing. Is its `return` missing?")
    need(not isinstance(result, (tuple, list)), f"It returns several things. Return one: {what}.")
    kind = type(result)
    numpy = "It returns a number of NumPy, through which no gradient flows. Stay with tensors."
    need(not kind.__module__.startswith("numpy"), numpy)
    number = "`.item()` or `float()` makes a plain number of the tensor. Return the tensor itself."
    need(not isinstance(result, (int, float)), number)
    need(isinstance(result, Tensor), f"It returns a {kind.__name__}. Return {what}.")


# The two losses

CUT = (
    "The loss is cut off from the logits, by `detach`, `.data`, `no_grad` or a new tensor: nobody "
    "could learn from it."
)


def loss_and_gradients(answer, *logits: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Return the loss of an answer, and its gradient in each of its arguments."""
    logits = [some.clone().requires_grad_() for some in logits]
    loss = answer(*logits)
    need_result(loss, "the loss, one number in a tensor")
    one = "It returns a number for each image: the mean over the batch is left out."
    need(loss.ndim == 0, one)
    double = "The loss is of float64. Leave `.double()` out: players and logits are of float32."
    need(loss.dtype == logits[0].dtype, double)
    need(loss.requires_grad, CUT)
    gradients = torch.autograd.grad(loss, logits, allow_unused=True)
    pairs = zip(gradients, logits)
    return loss.detach(), [torch.zeros_like(x) if g is None else g for g, x in pairs]


def need_steady(answer, right, signs: list[int], device) -> None:
    """Try logits at which a score rounds to 0 or 1; `signs` make the loss large."""
    for size in (100.0, 18.0, 30.0):
        for side in (1, -1):
            logits = [torch.full((2,), side * sign * size, device=device) for sign in signs]
            (value, gradients), (goal, wanted) = (
                loss_and_gradients(it, *logits) for it in (answer, right)
            )
            at = f"At logits of {size:.0f} and -{size:.0f}"
            infinite = (
                f"{at} the loss is {value:.0f}: there a score rounds to 0 or 1, or an exponential "
                "overflows. Compute it from the logits in one go."
            )
            need(value.isfinite(), infinite)
            held = (
                f"{at} the loss is {value:.1f}, and {goal:.1f} is right: a `+ 1e-8` in the "
                "logarithm, or a clamp, holds it there, and nothing is learned any more."
            )
            need(value > goal or close(value, goal), held)
            rounded = (
                f"{at} the loss or its gradient is wrong: it is computed from scores, which are "
                "rounded there. Compute it from the logits in one go."
            )
            need(close(value, goal) and all(map(close, gradients, wanted)), rounded)


def right_loss_d(real: Tensor, fake: Tensor) -> Tensor:
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def right_loss_g(fake: Tensor) -> Tensor:
    return F.softplus(-fake).mean()


def check_discriminator_loss(answer, page: dict) -> str:
    device, soft, log = page.get("device", "cpu"), F.softplus, torch.log
    x = torch.tensor([2.0, -1.0, 3.0], device=device)
    y = torch.tensor([1.0, -2.0, 0.5], device=device)
    value, gradients = loss_and_gradients(answer, x, y)
    real, fake = x.sigmoid(), y.sigmoid()
    as_real, as_fake = soft(-x).mean(), soft(y).mean()  # the two right halves
    goal, n = as_real + as_fake, len(x)
    mistakes = {
        "The targets are swapped: D wants real images to score 1 and fakes to score 0.": (
            soft(x).mean() + soft(-y).mean()
        ),
        "It sums over the batch: take the mean, or the loss grows with the batch.": n * goal,
        "This is half the sum. Many codes halve it, equation 1 doesn't: add the two halves.": (
            goal / 2
        ),
        "It divides by 100, however long the batch is: take the mean.": n * goal / 100,
        "This is V itself, which D makes large. A loss is made small: turn the sign.": -goal,
        "Half of it is missing: what D says about fakes.": as_real,
        "Half of it is missing: what D says about real images.": as_fake,
        "Fakes are treated as real images: both halves want a score of 1.": (
            as_real + soft(-y).mean()
        ),
        "Real images are treated as fakes: both halves want a score of 0.": soft(x).mean()
        + as_fake,
        "The half of the real images is counted twice, and the fakes' is missing.": 2 * as_real,
        "The half of the fakes is counted twice, and the real images' is missing.": 2 * as_fake,
        "The two halves are subtracted: both are to become small, so add them.": as_real - as_fake,
        "A sigmoid too many: it goes into a function that takes logits.": (
            soft(-real).mean() + soft(fake).mean()
        ),
        "The logarithm is missing: these are the mean scores themselves.": (
            fake.mean() - real.mean()
        ),
        "The logarithm is missing: this is how far the scores are from 1 and 0.": (
            (1 - real).mean() + fake.mean()
        ),
        "The mean is taken of the logits. Take it last, of what each image costs.": (
            soft(-x.mean()) + soft(y.mean())
        ),
        "The mean is taken before the logarithm. Take the logarithm of each score first.": (
            -log(real.mean()) - log((1 - fake).mean())
        ),
        "This is a logarithm to base 2. The natural one is meant.": goal / log(torch.tensor(2.0)),
        "This is a logarithm to base 10. The natural one is meant.": goal / log(torch.tensor(10.0)),
        "These are squares of differences, the least-squares loss (Mao et al., 2017).": (
            (x - 1).square().mean() + y.square().mean()
        ),
        "These are squared differences of scores: take the logarithm of the scores instead.": (
            (real - 1).square().mean() + fake.square().mean()
        ),
        "This is the hinge loss of exercise 2, not equation 1.": (
            F.relu(1 - x).mean() + F.relu(1 + y).mean()
        ),
        "This is a Wasserstein critic's loss, a difference of logits, not equation 1.": (
            y.mean() - x.mean()
        ),
        "This is the generator's loss.": soft(-y).mean(),
    }
    otherwise = (
        f"For logits of {short(x)} for real images and {short(y)} for fakes it gives "
        f"{value:.3f}, and {goal:.3f} is right."
    )
    need_right(value, goal, mistakes, otherwise)
    _, wanted = loss_and_gradients(right_loss_d, x, y)
    for name, gradient, right in zip(("real images", "fakes"), gradients, wanted):
        need(close(gradient, right), f"The loss is right, but no gradient reaches the {name}.")
    need_steady(answer, right_loss_d, [-1, 1], device)
    return ""


def check_generator_loss(answer, page: dict) -> str:
    device, soft, log = page.get("device", "cpu"), F.softplus, torch.log
    y = torch.tensor([1.5, -2.0, 0.3], device=device)
    value, gradients = loss_and_gradients(answer, y)
    goal, n, score = soft(-y).mean(), len(y), y.sigmoid()
    mistakes = {
        "This is D's wish, that fakes score 0. G wants them to score 1: swap the target.": (
            soft(y).mean()
        ),
        "This is log(1 - D), the saturating loss, flat where D is sure. Take -log D.": (
            -soft(y).mean()
        ),
        "It sums over the batch: take the mean, or the loss grows with the batch.": n * goal,
        "The sign is turned: log D is what G makes large, and a loss is made small.": -goal,
        "This is half of it: nothing is to be halved here.": goal / 2,
        "It divides by 100, however long the batch is: take the mean.": n * goal / 100,
        "A sigmoid too many: it goes into a function that takes logits.": soft(-score).mean(),
        "The logarithm is missing: this is the mean score with a minus.": -score.mean(),
        "The logarithm is missing: this is how far the scores are from 1.": (1 - score).mean(),
        "The mean is taken of the logits. Take it last, of what each fake costs.": soft(-y.mean()),
        "The mean is taken before the logarithm. Take the logarithm of each score first.": (
            -log(score.mean())
        ),
        "This is a logarithm to base 2. The natural one is meant.": goal / log(torch.tensor(2.0)),
        "These are squares of differences, the least-squares loss (Mao et al., 2017).": (
            (y - 1).square().mean()
        ),
        "These are squared differences of scores: take the logarithm of the scores instead.": (
            (score - 1).square().mean()
        ),
        "This is the mean logit with a minus, as hinge and Wasserstein games have it.": -y.mean(),
    }
    otherwise = f"For logits of {short(y)} it gives {value:.3f}, and {goal:.3f} is right."
    need_right(value, goal, mistakes, otherwise)
    _, wanted = loss_and_gradients(right_loss_g, y)
    whole = "The loss is right, but its gradient in the logits isn't: something is detached."
    need(close(gradients[0], wanted[0]), whole)
    need_steady(answer, right_loss_g, [-1], device)
    return ""


# The two turns


class Diary(torch.optim.SGD):
    """Plain gradient steps, which write down what is asked of them."""

    def __init__(self, parameters, name: str, diary: list[str]):
        super().__init__(parameters, lr=0.1)
        self.name, self.diary = name, diary

    def zero_grad(self, *arguments, **named):
        self.diary.append(f"zero {self.name}")
        return super().zero_grad(*arguments, **named)

    def step(self, *arguments, **named):
        self.diary.append(f"step {self.name}")
        return super().step(*arguments, **named)


def make_toys(page: dict):
    """Return a match of two tiny players with a diary, and the latents that G drew from."""
    torch.manual_seed(0)
    device = page.get("device", "cpu")
    generator = nn.Linear(3, 2).to(device)
    generator.latent_size = 3
    discriminator = nn.Sequential(nn.Linear(2, 1), nn.Flatten(0)).to(device)
    match = page["Match"](generator, discriminator)
    match.diary, match.drawn = [], []
    match.optimizer_d = Diary(discriminator.parameters(), "D", match.diary)
    match.optimizer_g = Diary(generator.parameters(), "G", match.diary)
    for player, name in ((discriminator, "D"), (generator, "G")):
        for weight in player.parameters():
            weight.register_post_accumulate_grad_hook(
                lambda _, name=name: match.diary.append(f"backward {name}")
            )
    generator.register_forward_pre_hook(lambda _, inputs: match.drawn.append(inputs[0]))
    return match


def weights(player: nn.Module) -> Tensor:
    return torch.cat([weight.detach().flatten().clone() for weight in player.parameters()])


def gradient_of(loss: Tensor, player: nn.Module) -> Tensor:
    parts = torch.autograd.grad(loss, [*player.parameters()], retain_graph=True)
    return torch.cat([part.flatten() for part in parts])


def right_turn(match, name: str, real: Tensor, fake: Tensor) -> None:
    """Play a turn as it should be: D's, or G's."""
    if name == "D":
        loss = right_loss_d(match.discriminator(real), match.discriminator(fake.detach()))
        player, optimizer = match.discriminator, match.optimizer_d
    else:
        loss = right_loss_g(match.discriminator(fake))
        player, optimizer = match.generator, match.optimizer_g
    optimizer.zero_grad()
    loss.backward(inputs=[*player.parameters()])
    optimizer.step()


def stood_still(me: str, other: str, diary: list[str]) -> str:
    """Say why a player's weights have not moved, by what was written down."""
    did = [line for line in diary if line.endswith(me)]
    backward, step = f"backward {me}" in did, f"step {me}" in did
    if not step and f"step {other}" in diary:
        return f"It steps with {other}'s optimiser: {me}'s turn needs {me}'s."
    if not backward and f"backward {other}" in diary:
        return f"{me} stands still: the gradient reaches {other}, and stops before {me}."
    if not backward:
        return f"{me} stands still: `backward` is missing, or reaches no weight of {me}'s."
    if not step:
        return f"{me} stands still: its optimiser's `step` is missing."
    if did.index(f"step {me}") < did.index(f"backward {me}"):
        return f"{me}'s `step` comes before `backward`, when there are no gradients yet."
    return f"{me} stands still: its gradients are cleared between `backward` and `step`."


def need_turn(answer, page: dict, me: str, match, again: bool) -> Tensor:
    """Let an answer play one turn, compare with what should have happened; return the fakes."""
    other = "G" if me == "D" else "D"
    device = page.get("device", "cpu")
    real, z = torch.randn(4, 2, device=device), torch.randn(4, 3, device=device)
    fake, old_g, old_d = (
        match.generator(z),
        *map(copy.deepcopy, (match.generator, match.discriminator)),
    )
    match.diary.clear()
    match.drawn.clear()
    if not again:
        match.optimizer_d.zero_grad()
        match.optimizer_g.zero_grad()
        match.diary.clear()
    result = answer(match, real, fake) if me == "D" else answer(match, fake)
    drawn = old_g(match.drawn[-1].detach()) if match.drawn else old_g(z)
    logits_real, logits_fake = old_d(real), old_d(drawn.detach() if me == "D" else drawn)
    old, new = (old_d, match.discriminator) if me == "D" else (old_g, match.generator)
    loss = right_loss_d(logits_real, logits_fake) if me == "D" else right_loss_g(logits_fake)
    moves = weights(new) - weights(old)

    rival, old_rival = (match.generator, old_g) if me == "D" else (match.discriminator, old_d)
    need(
        torch.equal(weights(rival), weights(old_rival)) or f"step {me}" in match.diary,
        f"It steps with {other}'s optimiser: {me}'s turn needs {me}'s.",
    )
    need(
        torch.equal(weights(rival), weights(old_rival)),
        f"{other}'s weights move, too, in {me}'s turn: only {me}'s may.",
    )
    if me == "D":
        reached = any(w.grad is not None and w.grad.any() for w in match.generator.parameters())
        need(not reached or again, "Gradients reach G in D's turn: detach the fakes.")
    need(moves.any(), stood_still(me, other, match.diary))
    for player, name in ((match.discriminator, "D"), (match.generator, "G")):
        frozen = not all(weight.requires_grad for weight in player.parameters())
        need(not frozen, f"{name} is left frozen: set `requires_grad_(True)` again before the end.")
        need(player.training, f"{name} is left in eval mode: it would no longer train as before.")
    need(match.step == 0, "It counts `match.step`: that is left to `play_step`.")
    steps = match.diary.count(f"step {me}")
    new_one = f"It makes an optimiser of its own. Use the match's, which remembers: {me}'s."
    need(steps, new_one)
    need(steps == 1, f"It takes {steps} steps. A turn is one.")

    size = -10 * moves  # the gradient by which the weights have moved
    goal = gradient_of(loss, old)
    kinds = {f"It goes uphill: {me}'s loss is made larger. Turn the sign.": -goal}
    if me == "D":
        swapped = right_loss_d(logits_fake, logits_real)
        halves = F.softplus(-logits_real).mean(), F.softplus(logits_fake).mean()
        kinds |= {
            "Real images and fakes are swapped in D's loss.": gradient_of(swapped, old),
            "D learns from real images only: the fakes are missing.": gradient_of(halves[0], old),
            "D learns from fakes only: the real images are missing.": gradient_of(halves[1], old),
            "D is taught with G's loss, and learns to call fakes real.": gradient_of(
                right_loss_g(logits_fake), old
            ),
        }
    else:
        kinds |= {
            "G is taught that its fakes should look fake: that is D's half of the loss.": (
                gradient_of(F.softplus(logits_fake).mean(), old)
            ),
            "G plays the saturating loss, log(1 - D): take `generator_loss`.": (
                gradient_of(-F.softplus(logits_fake).mean(), old)
            ),
        }
    kinds["The gradient counts twice: is `backward` called twice?"] = 2 * goal
    kinds["The gradient is halved: nothing is to be halved here."] = goal / 2
    cleared = (
        f"{me}'s gradients are not of this turn alone: old ones are added to them. Clear them with "
        f"{me}'s `zero_grad` before `backward`."
    )
    need_right(size, goal, {} if again else kinds, cleared if again else odd_gradient(me))

    need_result(result, "the loss, detached")
    after = right_loss_d(new(real), new(fake.detach())) if me == "D" else None
    late = "It returns the loss of after the step. Return the one that was learned from."
    wrong = f"It returns {result.detach().mean():.3f}, and {me}'s loss is {loss:.3f}."
    need(result.ndim == 0, "It returns several numbers. Return the loss, which is one.")
    need_right(result.detach(), loss.detach(), {} if after is None else {late: after}, wrong)
    detached = "The loss is returned with its graph, which then stays in memory: detach it."
    need(not result.requires_grad, detached)
    return fake


def odd_gradient(me: str) -> str:
    return f"{me} moves, but not by the gradient of its own loss of these images."


def with_right_losses(check):
    """Let the turns be checked with right losses, whatever the page's are at the moment."""

    def checked(answer, page: dict) -> str:
        names = {"discriminator_loss": right_loss_d, "generator_loss": right_loss_g}
        kept = {name: page[name] for name in names if name in page}
        page.update(names)
        try:
            return check(answer, page)
        finally:
            for name in names:
                del page[name]
            page.update(kept)

    return checked


@with_right_losses
def check_turn_of_d(answer, page: dict) -> str:
    match = make_toys(page)
    fake = need_turn(answer, page, "D", match, again=False)
    try:
        right_turn(match, "G", None, fake)
    except RuntimeError:
        raise Mistake("It uses the fakes' graph up, which G's turn needs: detach them.") from None
    partner = page.get("turn_of_g")
    try:
        check_turn_of_g(partner, page)
    except Exception:
        partner = None  # G's turn is not right yet: nothing to try this one with
    if partner:
        partner(match, match.generator(torch.randn(4, 3, device=page.get("device", "cpu"))))
    need_turn(answer, page, "D", match, again=True)
    return ""


@with_right_losses
def check_turn_of_g(answer, page: dict) -> str:
    match = make_toys(page)
    need_turn(answer, page, "G", match, again=False)
    device = page.get("device", "cpu")
    real, latent = torch.randn(4, 2, device=device), torch.randn(4, 3, device=device)
    right_turn(match, "D", real, match.generator(latent))
    need_turn(answer, page, "G", match, again=True)
    return ""


# D's best answer


def check_best_score(answer, page: dict) -> str:
    p = torch.tensor([0.4, 0.1, 0.25, 0.05, 0.0, 0.3])
    q = torch.tensor([0.1, 0.4, 0.25, 0.01, 0.2, 0.0])
    value = answer(p.clone(), q.clone())
    need_result(value, "a score for each point")
    need(value.shape == p.shape, "It returns one number. Return a score for each point.")
    goal, half = p / (p + q), torch.full_like(p, 0.5)
    threshold = "This is 1 or 0: right is a probability, and one half where both are as dense."
    mistakes = {
        "This is the share of fakes: a score says how likely it is that a point is real.": 1 - goal,
        "This is the density itself: how many fakes there are at the point counts as well.": p,
        "This is a difference. A score lies in 0 to 1, and is one half where both are equal.": (
            p - q
        ),
        "This is the ratio of both, which has no upper bound. Put it over the sum.": p / q,
        threshold: (p > q).float(),
        "This is 1 or 0, and 1 where both are as dense: right is one half there.": (p >= q).float(),
        "This is the logit, the logarithm of the ratio. Its sigmoid is the score.": (p / q).log(),
        "One half everywhere is the answer only where G draws just what is real.": half,
        "This is a sigmoid of the difference, which knows nothing of how rare a point is.": (
            (p - q).sigmoid()
        ),
        "This is a sigmoid of the ratio: the sigmoid belongs to its logarithm.": (p / q).sigmoid(),
        "Each density is divided by its own sum, over all points: each point counts alone.": (
            p / p.sum()
        ),
        "The sum goes over all points: each point counts alone.": p / (p + q).sum(),
        "These are squares: the best score needs none.": p**2 / (p**2 + q**2),
        "The half of it: this is the mean of the two densities' shares.": goal / 2,
    }
    otherwise = f"Densities {short(p)} and {short(q)} have another best score than {short(value)}."
    if not close(value, goal):
        for sentence, wrong in mistakes.items():
            need(not close(value, wrong), sentence)
        low, high = value.nan_to_num().min(), value.nan_to_num().max()
        need(low >= 0 and high <= 1, f"{otherwise} And a score lies between 0 and 1.")
        need(value.isfinite().all(), f"{otherwise} Where no real point is, or no fake, it is nan.")
        raise Mistake(otherwise)
    rare = answer(torch.tensor([3e-12]), torch.tensor([1e-12]))
    tiny = "Where both are rare it is wrong: a `+ 1e-8` in the sum outweighs them. Leave it out."
    need(close(rare, torch.tensor([0.75])), tiny)
    return ""


# The distance


def right_distance(real: Tensor, fake: Tensor) -> Tensor:
    a, b = real.T.cov(), fake.T.cov()
    roots = torch.linalg.eigvals(a @ b).real.clamp(min=0).sqrt().sum()
    return (real.mean(0) - fake.mean(0)).square().sum() + a.trace() + b.trace() - 2 * roots


def root(matrix: Tensor) -> Tensor:
    """Return the root of a symmetric matrix."""
    numbers, vectors = torch.linalg.eigh(matrix)
    return vectors @ numbers.clamp(min=0).sqrt().diag() @ vectors.T


def near_root(a: Tensor, b: Tensor) -> dict[str, Tensor]:
    """Return what known mistakes put in the place of the trace of the product's root."""
    product = a @ b
    return {
        "Each feature is taken alone: this sees no correlations. Take the root of the product of "
        "the two matrices.": (a.diag() * b.diag()).sqrt().sum(),
        "`eigvalsh` is for symmetric matrices, and a product of two is none: take `eigvals`.": (
            torch.linalg.eigvalsh(product).clamp(min=0).sqrt().sum()
        ),
        "`eigvalsh` reads one triangle only, and a product isn't symmetric: take `eigvals`.": (
            torch.linalg.eigvalsh(product, UPLO="U").clamp(min=0).sqrt().sum()
        ),
        "Singular values are not the eigenvalues of a product: take `eigvals`.": (
            torch.linalg.svdvals(product).sqrt().sum()
        ),
        "The product is made symmetric first, which changes its eigenvalues.": (
            torch.linalg.eigvalsh((product + product.T) / 2).clamp(min=0).sqrt().sum()
        ),
        "`*` multiplies number by number: the product of two matrices is `@`.": (
            torch.linalg.eigvals(a * b).real.clamp(min=0).sqrt().sum()
        ),
        "The root is taken of each covariance apart: take the root of their product.": (
            (root(a) @ root(b)).trace()
        ),
        "The root is missing: this is the trace of the product itself.": product.trace(),
        "This is the root of each number: the root of a matrix is another thing.": (
            product.diag().abs().sqrt().sum()
        ),
        "This is the root of the trace: take the trace of the root.": product.trace().sqrt(),
        "The eigenvalues of each covariance are paired by size, which ignores how they lie: take "
        "those of the product.": (torch.linalg.eigvalsh(a) * torch.linalg.eigvalsh(b))
        .clamp(min=0)
        .sqrt()
        .sum(),
        "The factor 2 before the root is missing.": (
            torch.linalg.eigvals(product).real.clamp(min=0).sqrt().sum() / 2
        ),
        "The root is added: it has a minus.": (
            -torch.linalg.eigvals(product).real.clamp(min=0).sqrt().sum()
        ),
        "The root of the product is missing altogether.": torch.zeros(()),
    }


def check_frechet_distance(answer, page: dict) -> str:
    random = torch.Generator().manual_seed(3)
    mix = torch.tensor([[2.0, 0.7, 0.0], [0.0, 1.0, 0.6], [0.5, 0.0, 0.8]])
    real = torch.randn(9, 3, generator=random) @ mix
    fake = torch.randn(7, 3, generator=random) @ mix.flip(1).T + torch.tensor([1.0, -2.0, 0.5])
    device = "cpu"  # where the page's features are
    real, fake = real.to(device), fake.to(device)
    try:
        result = answer(real.clone(), fake.clone())
    except NotImplementedError:
        raise
    except Exception as error:
        try:  # with as many fakes as real images it may run, and show what it does
            answer(real[:7].clone(), fake.clone())
        except Exception:
            raise error from None
        raise Mistake(
            "It stops where the two sets are not equally large: nothing may pair images, and a "
            "covariance is of features, the columns (`.T.cov()`), not of images."
        ) from error
    need(result is not None, "It returns nothing. Is its `return` missing?")
    need(not isinstance(result, (tuple, list)), "It returns several things: return one number.")
    value = torch.as_tensor(result)
    need(value.ndim == 0, f"It returns numbers of shape {tuple(value.shape)}: return one.")
    need(not value.is_complex(), "It returns a complex number: take `.real` of the eigenvalues.")
    value, real, fake = value.double(), real.double(), fake.double()
    a, b = real.T.cov(), fake.T.cov()
    shift = real.mean(0) - fake.mean(0)
    goal, traces = right_distance(real, fake), a.trace() + b.trace()
    roots = (shift.square().sum() + traces - goal) / 2
    spread = traces - 2 * roots
    small = real.T.cov(correction=0), fake.T.cov(correction=0)
    small_roots = torch.linalg.eigvals(small[0] @ small[1]).real.clamp(min=0).sqrt().sum()
    by_n = shift.square().sum() + small[0].trace() + small[1].trace() - 2 * small_roots
    mistakes = {
        "The covariances are divided by N. Those of a sample are divided by N - 1.": by_n,
        "This is the root of the whole: the distance is given squared here.": goal.abs().sqrt(),
        "The difference of the means is not squared.": shift.norm() + spread,
        "The difference of the means is taken by absolute values: square it.": (
            shift.abs().sum() + spread
        ),
        "The squared differences of the means are averaged: sum them.": (
            shift.square().mean() + spread
        ),
        "The difference of the means is missing: fakes may be moved as a whole.": spread,
        "The covariances are missing: fakes that are all alike have none.": shift.square().sum(),
        "One covariance's trace is missing: the fakes'.": goal - b.trace(),
        "One covariance's trace is missing: the real images'.": goal - a.trace(),
        "The traces are of spreads, not of variances: a covariance has squares on its diagonal.": (
            shift.square().sum() + a.diag().sqrt().sum() + b.diag().sqrt().sum() - 2 * roots
        ),
        "All features are thrown together: each has a mean of its own, and spreads go together.": (
            (real.mean() - fake.mean()) ** 2 + (real.std() - fake.std()) ** 2
        ),
        "All numbers of the matrices are summed: a trace sums the diagonal only.": (
            shift.square().sum() + a.sum() + b.sum() - 2 * roots
        ),
    }
    for name, wrong in near_root(a, b).items():
        mistakes[name] = shift.square().sum() + traces - 2 * wrong
    # Combinations: per feature, with N for N - 1 or by spreads alone.
    mistakes["Each feature is taken alone, and divided by N: this sees no correlations."] = (
        shift.square().sum() + (small[0].diag().sqrt() - small[1].diag().sqrt()).square().sum()
    )
    nan = "It returns nan. Are there roots of negative numbers, or a division by zero?"
    need(value.isfinite(), nan)
    need_right(value, goal, mistakes, f"For a small example it gives {value:.2f}, not {goal:.2f}.")
    flat = torch.cat([real, real[:, :1], torch.ones(9, 2)], 1)
    try:
        dead = torch.as_tensor(answer(flat, flat)).isfinite()
    except Exception:
        dead = torch.tensor(False)
    if not dead:
        return (
            "One remark: where a feature never changes, it gives nan, since an eigenvalue that "
            "should be 0 comes out just below. `clamp(min=0)` helps."
        )
    return ""


# The walk


def check_walk(answer, page: dict) -> str:
    start = torch.tensor([5.0, 0.0, 0.0, 3.0])
    end = torch.tensor([3.0, 4.0, 3.0, 0.0])
    way = answer(start.clone(), end.clone(), 4, faces=2)
    if isinstance(way, list):
        raise Mistake("It returns a list: `torch.stack` makes one tensor of it.")
    need_result(way, "a tensor of latents")
    shape = f"Its shape is {tuple(way.shape)}, and (4, 4) is right: `steps` latents, a row each."
    need(way.shape != (5, 4) and way.shape != (3, 4), f"The number of steps is off by one. {shape}")
    need(way.shape != (4, 2), f"The last numbers, the face, are lost: add start's. {shape}")
    need(way.shape == (4, 4), shape)
    need(way.dtype == torch.float32, "Its numbers are of float64, and the generator's of float32.")
    angle = torch.tensor(0.6).acos()
    t = torch.linspace(0, 1, 4)[:, None]
    a, b, face = start[:2], end[:2], start[2:].expand(4, 2)

    def arc(t: Tensor, angle: Tensor, over: Tensor | None = None) -> Tensor:
        over = angle.sin() if over is None else over
        return (((1 - t) * angle).sin() * a + (t * angle).sin() * b) / over

    goal = arc(t, angle)
    nan = "Some latents are nan. Is the cosine of the angle between -1 and 1?"
    need(way.isfinite().all(), nan)
    line, t_short = (1 - t) * a + t * b, torch.linspace(0, 1, 5)[:4, None]
    of_all = (start @ end / start.norm() / end.norm()).acos()
    moved, faces = way[:, :2], way[:, 2:]
    whole = "The face is part of the arc: only the numbers before the last `faces` may walk."
    need(close(faces, face) or not close(moved, arc(t, of_all)), whole)
    mistakes = {
        "The walk goes from end to start: the two are exchanged.": goal.flip(0),
        "This is a straight line: on its way the length shrinks. Keep to the arc.": line,
        "This is a straight line, stretched to the right length: its angles are unequal.": (
            5 * F.normalize(line)
        ),
        "The end isn't reached: `t` must include 1.": arc(t_short, angle),
        "The start is left out: `t` must include 0.": arc(torch.arange(1, 5)[:, None] / 4, angle),
        "Neither start nor end is reached: `t` must go from 0 to 1.": (
            arc(torch.arange(1, 5)[:, None] / 5, angle)
        ),
        "The angle is that of all numbers: take that of the numbers that walk.": arc(t, of_all),
        "The points have length 1: the arc is of the latents themselves, not of unit ones.": (
            goal / 5
        ),
        "The division by the sine of the angle is missing.": goal * angle.sin(),
        "It divides by the angle in place of its sine.": arc(t, angle, angle),
        "The angle is in degrees: sine and arc cosine take radians.": (
            arc(t, angle * 180 / torch.pi)
        ),
        "Cosines stand where sines belong.": (
            (((1 - t) * angle).cos() * a + (t * angle).cos() * b) / angle.sin()
        ),
        "The weights of start and end are the squares of a circle's: take the formula's angles.": (
            (t * torch.pi / 2).cos() * a + (t * torch.pi / 2).sin() * b
        ),
        "The arc goes with a right angle in place of the one between start and end.": (
            arc(t, torch.tensor(torch.pi / 2))
        ),
        "Every step is the start: nothing walks.": a.expand(4, 2),
    }
    if not close(moved, goal):
        for sentence, wrong in mistakes.items():
            need(not close(moved, wrong), sentence)
        raise Mistake(f"The second point is {short(moved[1])}, and {short(goal[1])} is right.")
    need(not close(faces, end[2:].expand(4, 2)), "This is end's face: keep start's at every step.")
    need(close(faces, face), "The face changes on the way: keep start's at every step.")
    bare = answer(a.clone(), b.clone(), 4, faces=0)
    zero = (
        "With `faces=0` it fails: `[:-0]` is empty. Count from the front: `n = len(start) - faces`."
    )
    need(isinstance(bare, Tensor) and bare.shape == goal.shape and close(bare, goal), zero)
    ones = torch.ones(24)
    long = answer(ones, ones + torch.arange(24), 3)
    fixed = "`faces` isn't used as it comes, 20 by itself."
    need(long.shape == (3, 24) and close(long[:, 4:], torch.ones(3, 20)), fixed)
    try:
        still = answer(start.clone(), start.clone(), 3, faces=2).isfinite().all()
    except Exception:
        still = False
    if not still:
        return "One remark: from a latent to itself it gives nan. A clamp of the cosine helps."
    return ""


# The two networks


def layers_of(network: nn.Module) -> list[nn.Module]:
    """Return a network's layers without those that only hold others, and without identities."""
    leaves = [layer for layer in network.modules() if not [*layer.children()]]
    return [layer for layer in leaves if not isinstance(layer, nn.Identity)]


def run_through(network: nn.Module, inputs: Tensor, what: str) -> Tensor:
    """Return a network's output; name the layer at which it stops."""
    try:
        with torch.no_grad():
            return network(inputs)
    except Exception as error:
        if isinstance(network, nn.Sequential):
            for place, layer in enumerate(network, 1):
                try:
                    with torch.no_grad():
                        inputs = layer(inputs)
                except Exception:
                    raise Mistake(
                        f"{what} stops at layer {place}, {layer}: what comes in has shape "
                        f"{tuple(inputs.shape)}."
                    ) from None
        raise Mistake(f"{what} stops with: {str(error).splitlines()[0]}") from None


def need_network(answer, kind: str, *arguments) -> nn.Module:
    """Call an answer twice and return its network; it has to be a new one each time."""
    network = answer(*arguments)
    need(network is not None, "It returns nothing. Is its `return` missing?")
    need(
        not isinstance(network, (list, tuple)), "It returns a list: put the layers in a Sequential."
    )
    need(not isinstance(network, type), "It returns a class: make a network of it with `()`.")
    need(isinstance(network, nn.Module), f"It returns a {type(network).__name__}, not a network.")
    other = answer(*arguments)
    mine, others = ({id(w) for w in some.parameters()} for some in (network, other))
    shared = f"Two calls share their weights: make a new {kind} in each call."
    need(not mine & others and network is not other, shared)
    return network


def need_sizes(network: nn.Module, sizes: list[tuple[int, int]]) -> None:
    """Compare the linear layers with those asked for."""
    found = [
        (layer.in_features, layer.out_features)
        for layer in layers_of(network)
        if isinstance(layer, nn.Linear)
    ]
    text = ", ".join(f"{a} to {b}" for a, b in found) or "none"
    few = f"There are {len(found)} linear layers ({text}), and {len(sizes)} are asked for."
    need(len(found) == len(sizes), few)
    need(found == sizes, f"The linear layers go from {text}: other sizes are asked for.")
    bias = "A linear layer has no bias: saved runs have one, so leave `bias` as it comes."
    need(all(w.bias is not None for w in layers_of(network) if isinstance(w, nn.Linear)), bias)


def need_activations(network: nn.Module, count: int) -> None:
    """Compare the activations between the layers with those asked for."""
    layers = layers_of(network)
    relu = [type(layer).__name__ for layer in layers if type(layer) in (nn.ReLU, nn.GELU, nn.ELU)]
    need(not relu, f"{(relu or [''])[0]} stands where LeakyReLU is asked for.")
    leaky = [layer for layer in layers if isinstance(layer, nn.LeakyReLU)]
    slopes = {layer.negative_slope for layer in leaky} - {0.2}
    ten = f"LeakyReLU lets {slopes} of a negative number through: a fifth is asked for, 0.2."
    need(not slopes, ten)
    lambdas = sum(type(layer).__name__ == "Lambda" for layer in layers)
    by_hand = not leaky and (lambdas > 1 or not isinstance(network, nn.Sequential))
    fewer = f"There are {len(leaky)} LeakyReLUs, and {count} are asked for: one between two layers."
    need(by_hand or len(leaky) <= count, f"{fewer} After the last layer there is none.")
    need(by_hand or len(leaky) == count, fewer)


def check_make_generator(answer, page: dict) -> str:
    network = need_network(answer, "generator")
    sequential = "Return an `nn.Sequential`: section 7 puts a layer in front of it."
    need(isinstance(network, nn.Sequential), sequential)
    size = getattr(network, "latent_size", None)
    need(size is not None, "`generator.latent_size` is missing: set it to 100 before the return.")
    need(size == 100, f"`generator.latent_size` is {size}, and the latent has 100 numbers.")
    latent = torch.randn(6, 100)
    images = run_through(network, latent, "A latent of shape (6, 100)")
    need(isinstance(images, Tensor), "Its output is no tensor.")
    shape = tuple(images.shape)
    flat = "The images are flat, (B, 784): `nn.Unflatten` makes (B, 1, 28, 28) of them."
    need(shape != (6, 784), flat)
    need(shape != (6, 28, 28), "The images have no channel: (B, 1, 28, 28) is asked for.")
    need(shape == (6, 1, 28, 28), f"Six latents give {shape}: (6, 1, 28, 28) is asked for.")
    need_sizes(network, [(100, 256), (256, 512), (512, 784)])
    layers = layers_of(network)
    kinds = [type(layer).__name__ for layer in layers]
    norms = [layer for layer in layers if isinstance(layer, nn.BatchNorm1d)]
    need(norms, "Batch normalisation is missing after the first two linear layers.")
    last = "Batch normalisation stands after the last linear layer, too: there the images are free."
    linear = [place for place, kind in enumerate(kinds) if kind == "Linear"]
    need("BatchNorm1d" not in kinds[linear[-1] :], last)
    need(len(norms) == 2, f"There are {len(norms)} batch normalisations: two are asked for.")
    need_activations(network, 2)
    with torch.no_grad():
        wild = copy.deepcopy(network).train()(1000 * latent * torch.rand(6, 1))
        for weight in (strong := copy.deepcopy(network)).parameters():
            weight.mul_(50)
        wild = torch.cat([wild, strong(latent)])
    need(
        not (wild >= 0).all(),
        "All pixels are at least 0, as from a sigmoid: Tanh goes from -1 to 1.",
    )
    need(wild.abs().max() <= 1, "Pixels leave the range from -1 to 1: Tanh is missing at the end.")
    before = "LeakyReLU stands before batch normalisation: the other order is asked for."
    need(kinds[linear[0] + 1] == "BatchNorm1d" and kinds[linear[1] + 1] == "BatchNorm1d", before)
    sigmoid = "Pixels are squeezed twice, or not by Tanh."
    squeezes = [kind for kind in kinds if kind in ("Tanh", "Sigmoid", "Hardtanh", "Softsign")]
    need(squeezes == ["Tanh"] or not squeezes, sigmoid)
    need("Dropout" not in kinds, "Dropout isn't asked for in the generator.")
    names = [name.split(".")[0] for name in network.state_dict()]
    places = "Keep to one flat Sequential, a layer after the other: saved runs are read by place."
    wanted = [str(place) for place in (0, 1, 3, 4, 6)]
    need(list(dict.fromkeys(names)) == wanted and network.state_dict().keys() == {
        f"{place}.{part}"
        for place in wanted
        for part in (
            ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
            if place in "14"
            else ("weight", "bias")
        )
    }, places)  # fmt: skip
    return ""


def check_make_discriminator(answer, page: dict) -> str:
    network = need_network(answer, "discriminator")
    images = 2 * torch.rand(6, 1, 28, 28) - 1
    network.train()
    logits = run_through(network, images, "An image of shape (1, 28, 28)")
    need(isinstance(logits, Tensor), "Its output is no tensor.")
    column = "Its output has shape (B, 1): `nn.Flatten(0)` at the end makes (B,) of it."
    need(logits.shape != (6, 1), column)
    need(logits.shape == (6,), f"Six images give {tuple(logits.shape)}: (6,) is asked for.")
    need_sizes(network, [(784, 512), (512, 256), (256, 128), (128, 1)])
    layers = layers_of(network)
    kinds = [type(layer).__name__ for layer in layers]
    norm = "There is batch normalisation in D: its answer on an image would depend on the others."
    need(not any("Norm1d" in kind or "LayerNorm" in kind for kind in kinds), norm)
    need("Dropout" not in kinds, "Dropout isn't asked for in D.")
    with torch.no_grad():
        strong = copy.deepcopy(network)
        for weight in strong.parameters():
            weight.mul_(5)
        wild = torch.cat([strong(images), strong(10 * images), network(images)])
    score = "All outputs are between 0 and 1: D returns logits here, so leave the sigmoid out."
    need(not ((wild >= 0) & (wild <= 1)).all(), score)
    tanh = "All outputs are between -1 and 1: a logit has no bounds, so leave the Tanh out."
    need(not (wild.abs() <= 1).all(), tanh)
    need_activations(network, 3)

    def right(images: Tensor, shift: float, size: float = 1.0, slope: float = 0.2) -> Tensor:
        linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
        numbers = (size * images + shift).flatten(1)
        for layer in linear[:-1]:
            numbers = F.leaky_relu(layer(numbers), slope)
        return linear[-1](numbers).flatten()

    with torch.no_grad():
        mistakes = {
            "0.74 is not added: the mean pixel is to be 0.": right(images, 0.0),
            "0.74 is subtracted: the mean pixel is -0.74, so add it.": right(images, -0.74),
            "1 is added in place of 0.74.": right(images, 1.0),
            "The pixels are turned to 0 to 1: add 0.74 instead.": right(images, 0.5, 0.5),
            "The pixels are multiplied by 0.74: add it.": right(images, 0.0, 0.74),
            "Its activation is ReLU, and LeakyReLU is asked for.": right(images, 0.74, slope=0.0),
            "LeakyReLU lets a hundredth through: a fifth is asked for, 0.2.": (
                right(images, 0.74, slope=0.01)
            ),
            "There is no activation between the layers: they are one linear layer then.": (
                right(images, 0.74, slope=1.0)
            ),
        }
        goal = right(images, 0.74)
    otherwise = "The layers are right, but what happens between them is not what is asked for."
    need_right(logits, goal, mistakes, otherwise)
    bright = torch.ones(2, 1, 28, 28)
    with torch.no_grad():
        need(close(network(bright), right(bright, 0.74)), "0.74 is not added to every pixel.")
    ignored = "`pixels` is not used: `make_discriminator(794)` takes images of 784 pixels only."
    wide = answer(794)
    first = next(layer for layer in layers_of(wide) if isinstance(layer, nn.Linear))
    need(first.in_features == 794, ignored)
    flat = "Images that come as (B, 794) stop it: let the shift take any shape."
    try:
        wide(torch.zeros(3, 794))
    except Exception:
        raise Mistake(flat) from None
    if not isinstance(network, nn.Sequential):
        return "One remark: exercise 7 takes the layers of an `nn.Sequential`."
    return ""


CHECKS = {
    "make_generator": check_make_generator,
    "make_discriminator": check_make_discriminator,
    "discriminator_loss": check_discriminator_loss,
    "generator_loss": check_generator_loss,
    "turn_of_d": check_turn_of_d,
    "turn_of_g": check_turn_of_g,
    "best_score": check_best_score,
    "frechet_distance": check_frechet_distance,
    "walk": check_walk,
}

WORDS = {
    "Can't call numpy()": "It goes through NumPy, through which no gradient flows. Stay with "
    "tensors.",
    "does not require grad and does not have a grad_fn": "`backward` finds nothing to do: the loss "
    "is cut off from the weights by `detach`, `no_grad`, `.data` or a player that is frozen.",
    "backward through the graph a second time": "The fakes' graph is used up, or `backward` is "
    "called twice.",
    "grad can be implicitly created only for scalar": "`backward` needs one number: take the mean.",
}


def in_words(error: Exception, name: str) -> str:
    """Say at which line an answer stops, and why."""
    message = (str(error).splitlines() or [""])[0]
    for theirs, ours in WORDS.items():
        if theirs in message:
            return ours
    lines = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.name == name]
    where = f" in its line `{lines[-1].line}`" if lines and lines[-1].line else ""
    return f"It stops{where} with {type(error).__name__}: {message}"


def verdict(page: dict, name: str) -> tuple[str, str]:
    """Return "right", "missing" or "wrong" for one of the page's names, and a sentence."""
    answer = page.get(name)
    if answer is None:
        return "wrong", "There is no such function: run its cell, and mend the error if it has one."
    if hasattr(answer, "stands_in"):
        return answer.stands_in  # what was said when the page's own stepped in
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    try:
        with torch.random.fork_rng(devices), torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.manual_seed(0)
            return "right", CHECKS[name](answer, page)
    except Mistake as mistake:
        return "wrong", str(mistake)
    except NotImplementedError as error:
        at = traceback.extract_tb(error.__traceback__)[-1].name
        if at == name:
            return "missing", ""
        return "wrong", f"It calls `{at}`, which is not written yet: run that task's check first."
    except Exception as error:
        return "wrong", in_words(error, name)
