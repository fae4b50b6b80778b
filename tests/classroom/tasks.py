"""What the student's edition adds to the page, as data: tasks, hints, guesses, other sentences."""

# A task's key is the id of its cell. `text` and `source` are of tasks that the page doesn't have:
# `text` stands before the cell, and `source` is a whole cell that goes after the cell `after`.
TASKS = {
    "generator": {
        "title": "Check of the generator",
        "functions": ["make_generator"],
        "text": """\
*Task (easy, 10 minutes): write the generator.* Return one `nn.Sequential` without others inside \
it: three linear layers; after the first two of them batch normalisation, then LeakyReLU; at the \
end Tanh and the shape of an image.""",
        "stub": {
            "make_generator": """\
# (B, 100) to (B, 256): a linear layer, batch normalisation, LeakyReLU
# (B, 256) to (B, 512): the same again
# (B, 512) to (B, 784): a linear layer, Tanh
# (B, 784) to (B, 1, 28, 28)
# Before the return: generator.latent_size = 100, so that others know what it takes."""
        },
        "question": "What shape does each layer take, and what does the next one need?",
        "call": """\
`nn.Linear(100, 256)`, `nn.BatchNorm1d(256)`, `nn.LeakyReLU(0.2)`, `nn.Tanh()`, \
`nn.Unflatten(1, (1, 28, 28))`""",
    },
    "discriminator": {
        "title": "Check of the discriminator",
        "functions": ["make_discriminator"],
        "text": """\
*Task (easy, 10 minutes): write the discriminator.* Four linear layers with LeakyReLU between \
them, and nothing after the last: the logits. (The 0.74 can be added by `Lambda`, a layer made of \
a function. `pixels` is 784 here; section 10 asks for 794, and its images come flat.)""",
        "stub": {
            "make_discriminator": """\
# add 0.74 to every pixel, then (B, 1, 28, 28) to (B, pixels)
# (B, pixels) to (B, 512): a linear layer, LeakyReLU
# (B, 512) to (B, 256), and (B, 256) to (B, 128): the same
# (B, 128) to (B, 1): a linear layer
# (B, 1) to (B,)"""
        },
        "question": """\
Which dimension does `nn.Flatten()` leave alone, and what does its argument change?""",
        "call": """\
`Lambda(lambda images: images + 0.74)`, `nn.Flatten()`, `nn.Linear(pixels, 512)`, \
`nn.LeakyReLU(0.2)`; at the end `nn.Flatten(0)`""",
    },
    "losses": {
        "title": "Check of both losses",
        "functions": ["discriminator_loss", "generator_loss"],
        "question": """\
Which number should $D$ give to a real image, which to a fake, and what does a loss cost when it \
does? Where does the average over the batch go?""",
        "call": "`F.softplus(...)`, and `.mean()` of what it returns",
    },
    "turns": {
        "title": "Check of both turns",
        "functions": ["turn_of_d", "turn_of_g"],
        "question": """\
Which lines of section 4's loop are $D$'s, which are $G$'s, and which of them must not send a \
gradient into the other player?""",
        "call": """\
`fake.detach()`, `match.optimizer_d.zero_grad()`, `loss_d.backward()`, \
`match.optimizer_d.step()`, and `loss_d.detach()` to return""",
    },
    "best-score": {
        "title": "Check of the best score",
        "after": "ring-run",
        "functions": ["best_score"],
        "text": """\
*Task (medium, 10 minutes): write $D$'s best answer.* Why have the circles the colour that they \
have? Take a game on a line, in which the densities of both sides are known: at some point real \
ones have the density $p_{\\text{real}}$ and fakes $p_{\\text{fake}}$. There the value of \
section 3 is $p_{\\text{real}} \\log s + p_{\\text{fake}} \\log(1 - s)$, if $D$ gives the score \
$s$. Which $s$ makes it largest?""",
        "source": '''\
def best_score(p_real: Tensor, p_fake: Tensor) -> Tensor:
    """Return D's best score at each point, from both densities there, `(N,)`."""
    return p_real / (p_real + p_fake)''',
        "shown": """\
# Two hills on a line, and the best score between them.
places = torch.linspace(-4, 4, 200)
hills = [(-((places - top) ** 2) / 2).exp() / math.sqrt(2 * math.pi) for top in (-1, 1)]
_, axis = plt.subplots(figsize=(5, 2.6), layout="constrained")
axis.plot(places, hills[0], "b", label="density of real points")
axis.plot(places, hills[1], "r", label="density of fakes")
axis.plot(places, best_score(*hills), "k--", label="best score")
axis.set(xlabel="place", ylim=(0, 1.05))
axis.legend(fontsize=8)
show_figure("Two hills, and the best score at each place.")""",
        "question": "Where is the derivative in $s$ zero? What is $s$ where both are as dense?",
        "call": "No call: the four signs `+ - * /` are enough",
    },
    "frechet": {
        "title": "Check of the distance",
        "functions": ["frechet_distance"],
        "question": """\
Along which dimension is a mean over images? Which matrix does the root belong to, and what do \
its eigenvalues tell about the trace of its root?""",
        "call": """\
`real.T.cov()`, `a @ b`, `.trace()`, `torch.linalg.eigvals(...)`, of which `.real.clamp(min=0)`""",
    },
    "walk": {
        "title": "Check of the walk",
        "after": "use",
        "text": """\
**A walk** draws what lies between two latents. On the straight line between two random ones the \
length shrinks, to latents that the generator was never trained on, so walk on the arc (White, \
2016). With $\\theta$ the angle between $a$ and $b$, its points are $\\big(\\sin((1-t)\\theta)\\,a \
+ \\sin(t\\theta)\\,b\\big) / \\sin\\theta$ for $t$ from 0 to 1. The die has no arc: what lies \
between two faces was never trained. So the other numbers walk, and the last twenty stay as they \
are at the start.

*Task (medium, 15 minutes): write the walk.*""",
        "source": '''\
def walk(start: Tensor, end: Tensor, steps: int, faces: int = 20) -> Tensor:
    """Return latents `(steps, d)` on the arc from `start` to `end`, `(d,)`, with start's face.

    The arc is that of all numbers but the last `faces`, which are start's at every step.
    """
    n = len(start) - faces
    here, there = start[:n], end[:n]
    theta = torch.arccos(F.cosine_similarity(here, there, dim=0).clamp(-0.9999, 0.9999))
    t = torch.linspace(0, 1, steps)[:, None]
    arc = (torch.sin((1 - t) * theta) * here + torch.sin(t * theta) * there) / torch.sin(theta)
    return torch.cat([arc, start[n:].expand(steps, -1)], 1)''',
        "then": {
            "question": "**Predict.** What will change along a row?",
            "source": """\
ends = torch.randn(4, 2, generator.latent_size, generator=torch.Generator().manual_seed(8))
walks = torch.cat([walk(start, end, 16) for start, end in ends])
show(draw(generator, walks), "Four walks, a row each.")""",
            "answer": """\
The style: slant, width, weight, loops that open and close. The face stays, and mostly the digit \
with it, but a face isn't always one digit.""",
        },
        "functions": ["walk"],
        "question": """\
Which numbers walk, which stay, and of which is $\\theta$ the angle? What shape must `t` have so \
that each row is one step?""",
        "call": """\
`F.cosine_similarity(a, b, dim=0)`, `torch.arccos`, `torch.linspace(0, 1, steps)[:, None]`, \
`torch.cat([...], 1)` and `.expand(steps, -1)`""",
    },
}

# For the question at the end of each of these cells: how a guess may look, and what came out, an
# expression of the names that the page then has. It draws no random numbers. Where one has to see
# something before guessing, a third entry names the cell before which the guess is asked for.
GUESSES = {
    "loader-text": (
        '"(10, 28), 0 to 255"',
        'f"{tuple(real.shape)}, from {real.min():.0f} to {real.max():.0f}"',
    ),
    "untrained-text": (
        '"a face in both modes"',
        """\
"noise; from square to square a pixel varies by "
f"{both[0].std(0).mean():.2f} in eval mode, {both[1].std(0).mean():.2f} in training mode\"""",
    ),
    "scores-text": (
        '"real 0.9, noise 0.9"',
        """\
f"real {discriminator(real[:8]).sigmoid().mean():.2f}, "
f"noise {discriminator(fake[:8]).sigmoid().mean():.2f} (means of eight)\"""",
    ),
    "by-hand-text": (
        '"real 0.6, fake 0.6"',
        """\
f"real {discriminator(real[:8]).sigmoid().mean():.2f}, "
f"fake {discriminator(fake[:8]).sigmoid().mean():.2f} (means of eight)\"""",
    ),
    "hand-g-text": (
        '"real 0.6, fake 0.6, and all differ"',
        """\
f"real {discriminator(real[:8]).sigmoid().mean():.2f}, "
f"fake {discriminator(fake[:8]).sigmoid().mean():.2f}, and the squares above\"""",
    ),
    "first-text": (
        '"after 10,000 steps"',
        '"the rows above: at which step would you name a digit?"',
    ),
    "born-text": (
        '"by 0.01, and they will be clean digits"',
        """\
f"scores from {discriminator(fake).sigmoid().mean():.2f} "
f"to {discriminator(moved).sigmoid().mean():.2f}, while a pixel moved by "
f"{(moved - fake).abs().mean():.2f} on average, of 2 from black to white\"""",
    ),
    "ring-text": (
        '"green"',
        """\
"scores at the centres of the circles from "
f"{on_ring.discriminator(CENTRES).sigmoid().min():.2f} "
f"to {on_ring.discriminator(CENTRES).sigmoid().max():.2f}\"""",
    ),
    "judge-text": (
        '"rfffrrrfffrrrrff"  # r for real, f for fake',
        '"open the key below the pictures, and count"',
        "",  # asked below the pictures, not above them
    ),
    "compare-text": (
        '"noise is farther; other people\'s digits at 0"',
        """\
"distances: "
+ ", ".join(f"{name} {row['frechet_distance']:.1f}" for name, row in table.items())""",
    ),
    "losses-text": (
        '"better, since ..."',
        """\
"from the first row to the last: "
+ ", ".join(
    f"{name} {rows[0][name]:.3g} to {rows[-1][name]:.3g}"
    for name in ("loss/d", "loss/g", "distance")
)""",
    ),
    "changes-text": (
        '"at once; never"',
        """\
"without the price, the left path; "
f"with it, at the end theta is {theta:.2f} and psi {psi:.2f}\"""",
    ),
    "recipes-text": (
        '"the average; the slope doubles"',
        """\
"; ".join(
    f"{name}: distance {row['frechet_distance']:.1f}, slope {row['slope']:.2g}"
    for name, row in results.items()
)""",
    ),
    "die-text": (
        '"for nothing at all"',
        'f"the digit that is drawn most in each face: {digits.mode(1).values.tolist()}"',
    ),
    "tensorboard-text": (
        '"after epoch 10"',
        """\
"distances after each epoch: "
+ ", ".join(f"{row['quality/frechet_distance']:.1f}" for row in rows if "epoch" in row)""",
    ),
    "curves-text": (
        '"loss/d, since ..."',
        """\
"from the first row to the last: "
+ ", ".join(
    f"{name} {rows[0][name]:.3g} to {rows[-1][name]:.3g}"
    for name in ("loss/d", "loss/g", "score/auc", "slope")
)""",
    ),
    "curves-answer": (
        '"10, which is farther; 15"',
        '"the table and the key above"',
    ),
    "copies-text": (
        '"the real ones"',
        '"the two medians above"',
    ),
    "walk-text": (
        '"the size"',
        """\
"digits that the judge reads along each row: "
+ str([{*row.tolist()} for row in judge(draw(generator, walks)).argmax(1).view(4, -1)])""",
    ),
    "others-text": (
        '"the default, by far"',
        """\
"distances: "
+ ", ".join(f"{name} {row['frechet_distance']:.1f}" for name, row in others.items())""",
    ),
    "conditional-text": (
        '"the 0 and the 1"',
        'f"least often right: {right.argmin()}; most often: {right.argmax()}"',
    ),
    "ring-failures-text": (
        '"4 and 4"',
        '"the numbers above both maps"',
    ),
    "broken-text": (
        '"all of them"',
        """\
"; ".join(
    f"{name}: loss/d {row['loss/d']:.2g}, loss/g {row['loss/g']:.2g}, "
    f"distance {row['frechet_distance']:.0f}"
    for name, row in broken.items()
)""",
    ),
}

# Sentences that hold on the page only, as regular expressions, and what stands in their place.
OTHER_WORDS = [
    (r",?(?: on paper, a line each,)? before you read on\b", ""),
    (r" *\(To predict honestly, clear all outputs first\.\)", ""),
    (r"differ from those here", "differ from your neighbour's"),
    (r"The check compares with \*binary cross-entropy\*", "Both are *binary cross-entropy*"),
]
# Descriptions of pictures that would answer the question above them: their code is seen first.
OTHER_CODE = [
    (r"Two rows of grey noise[^\"]*", "Sixteen squares in eval mode, and below in training mode."),
    (r"Sixteen fakes after ten turns of G:[^\"]*", "Sixteen fakes after ten turns of G."),
    (r"The paths of both numbers,[^\"]*", "The paths of both numbers, without and with a price."),
]
NO_SOLUTIONS = [
    (r"; the answer is folded below(?: its output| it)?", "; your teacher has the answer"),
    (r" *Solutions are in the fold below\.", ""),
]
