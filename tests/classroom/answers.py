"""Wrong and right answers to the tasks, which `test_classroom.py` gives to the checks.

`WRONG`: for each function, what is wrong, the answer, and a part of what its check is to say.
`RIGHT`: for each function, answers other than the page's own.
"""


def but(code: str, *changes: tuple[str, str]) -> str:
    """Return code with some of its text replaced, which has to be there."""
    for old, new in changes:
        if old not in code:
            raise ValueError(f"There is no {old!r} in {code}")
        code = code.replace(old, new)
    return code


GENERATOR = """
def make_generator():
    generator = nn.Sequential(
        nn.Linear(100, 256), nn.BatchNorm1d(256), nn.LeakyReLU(0.2),
        nn.Linear(256, 512), nn.BatchNorm1d(512), nn.LeakyReLU(0.2),
        nn.Linear(512, 784), nn.Tanh(), nn.Unflatten(1, (1, 28, 28)),
    )
    generator.latent_size = 100
    return generator
"""
DISCRIMINATOR = """
def make_discriminator(pixels=784):
    return nn.Sequential(
        Lambda(lambda images: images + 0.74), nn.Flatten(),
        nn.Linear(pixels, 512), nn.LeakyReLU(0.2),
        nn.Linear(512, 256), nn.LeakyReLU(0.2),
        nn.Linear(256, 128), nn.LeakyReLU(0.2),
        nn.Linear(128, 1), nn.Flatten(0),
    )
"""
BCE = "F.binary_cross_entropy_with_logits"
D, G = "def discriminator_loss(x, y):\n    ", "def generator_loss(y):\n    "
LOSS_D = D + "return F.softplus(-x).mean() + F.softplus(y).mean()"
LOSS_G = G + "return F.softplus(-y).mean()"
TURN_D = """
def turn_of_d(match, real, fake):
    fake = fake.detach()
    loss = discriminator_loss(match.discriminator(real), match.discriminator(fake))
    match.optimizer_d.zero_grad()
    loss.backward()
    match.optimizer_d.step()
    return loss.detach()
"""
TURN_G = """
def turn_of_g(match, fake):
    loss = generator_loss(match.discriminator(fake))
    match.optimizer_g.zero_grad()
    loss.backward()
    match.optimizer_g.step()
    return loss.detach()
"""
ZERO_D, ZERO_G = "    match.optimizer_d.zero_grad()\n", "    match.optimizer_g.zero_grad()\n"
STEP_D, STEP_G = "    match.optimizer_d.step()\n", "    match.optimizer_g.step()\n"
BACK = "    loss.backward()\n"
FROZEN = "    match.discriminator.requires_grad_(False)\n"
NEW_FAKES = (
    "fake = match.generator(torch.randn(len(fake), match.generator.latent_size, device=device))"
)
SCORE = "def best_score(p, q):\n    return "
FRECHET = """
def frechet_distance(real, fake):
    real, fake = real.double(), fake.double()
    shift = (real.mean(0) - fake.mean(0)).square().sum()
    a, b = real.T.cov(), fake.T.cov()
    root = torch.linalg.eigvals(a @ b).real.clamp(min=0).sqrt().sum()
    return (shift + a.trace() + b.trace() - 2 * root).item()
"""
ROOT = "torch.linalg.eigvals(a @ b).real.clamp(min=0).sqrt().sum()"
APART = """
    def root_of(m):
        numbers, vectors = torch.linalg.eigh(m)
        return vectors @ numbers.clamp(min=0).sqrt().diag() @ vectors.T
    root = """
WALK = """
def walk(start, end, steps, faces=20):
    n = len(start) - faces
    a, b = start[:n], end[:n]
    angle = torch.arccos((a @ b / a.norm() / b.norm()).clamp(-0.9999, 0.9999))
    t = torch.linspace(0, 1, steps)[:, None]
    arc = (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / torch.sin(angle)
    return torch.cat([arc, start[n:].repeat(steps, 1)], 1)
"""
ARC = "(torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / torch.sin(angle)"
ANGLE = "torch.arccos((a @ b / a.norm() / b.norm()).clamp(-0.9999, 0.9999))"
SCORES = "p, q = x.sigmoid(), y.sigmoid()\n    "

WRONG = {
    "make_generator": {
        "no return": (but(GENERATOR, ("    return generator\n", "")), "`return` missing"),
        "no latent_size": (but(GENERATOR, ("    generator.latent_size = 100\n", "")), "latent_siz"),
        "another size": (but(GENERATOR, ("size = 100", "size = 64")), "is 64"),
        "no normalisation": (
            but(GENERATOR, ("nn.BatchNorm1d(256), ", ""), ("nn.BatchNorm1d(512), ", "")),
            "Batch normalisation is missing",
        ),
        "one normalisation": (but(GENERATOR, ("nn.BatchNorm1d(512), ", "")), "There are 1 batch"),
        "a normalised image": (
            but(GENERATOR, ("784), ", "784), nn.BatchNorm1d(784), ")),
            "after the last linear layer",
        ),
        "ReLU": (but(GENERATOR, ("LeakyReLU(0.2)", "ReLU()")), "ReLU stands where LeakyReLU"),
        "PyTorch's slope": (but(GENERATOR, ("LeakyReLU(0.2)", "LeakyReLU()")), "a fifth"),
        "no activation": (but(GENERATOR, (" nn.LeakyReLU(0.2),", "")), "There are 0 LeakyReLUs"),
        "no Tanh": (but(GENERATOR, (" nn.Tanh(),", "")), "Tanh is missing"),
        "a sigmoid": (but(GENERATOR, ("nn.Tanh", "nn.Sigmoid")), "as from a sigmoid"),
        "flat images": (but(GENERATOR, (", nn.Unflatten(1, (1, 28, 28))", "")), "flat, (B, 784)"),
        "no channel": (but(GENERATOR, ("(1, 28, 28)", "(28, 28)")), "no channel"),
        "layers that don't fit": (
            but(GENERATOR, ("nn.Linear(256, 512)", "nn.Linear(128, 512)")),
            "stops at layer 4",
        ),
        "other sizes": (but(GENERATOR, ("256", "300")), "100 to 300"),
        "two layers": (
            but(
                GENERATOR, ("nn.Linear(100, 256), nn.BatchNorm1d(256), nn.LeakyReLU(0.2),", "")
            ).replace("256, 512", "100, 512"),
            "There are 2 linear layers",
        ),
        "the other order": (
            but(
                GENERATOR,
                (
                    "nn.BatchNorm1d(256), nn.LeakyReLU(0.2)",
                    "nn.LeakyReLU(0.2), nn.BatchNorm1d(256)",
                ),
            ),
            "before batch normalisation",
        ),
        "one for all": (
            "the_one = None\n"
            + but(
                GENERATOR, ("    generator =", "    global the_one\n    generator = the_one or")
            ).replace("    return", "    the_one = generator\n    return"),
            "share their weights",
        ),
        "nested": (
            but(
                GENERATOR,
                (
                    "return generator",
                    "outer = nn.Sequential(generator)\n    "
                    "outer.latent_size = 100\n    return outer",
                ),
            ),
            "one flat Sequential",
        ),
    },
    "make_discriminator": {
        "no return": (but(DISCRIMINATOR, ("return", "network =")), "`return` missing"),
        "a column": (but(DISCRIMINATOR, (", nn.Flatten(0)", "")), "shape (B, 1)"),
        "scores": (but(DISCRIMINATOR, ("1), ", "1), nn.Sigmoid(), ")), "leave the sigmoid out"),
        "a Tanh": (but(DISCRIMINATOR, ("1), ", "1), nn.Tanh(), ")), "leave the Tanh out"),
        "no shift": (
            but(DISCRIMINATOR, ("Lambda(lambda images: images + 0.74), ", "")),
            "0.74 is not added",
        ),
        "the other sign": (but(DISCRIMINATOR, ("+ 0.74", "- 0.74")), "so add it"),
        "multiplied": (but(DISCRIMINATOR, ("+ 0.74", "* 0.74")), "multiplied by 0.74"),
        "from 0 to 1": (but(DISCRIMINATOR, ("images + 0.74", "(images + 1) / 2")), "0 to 1: add"),
        "ReLU": (but(DISCRIMINATOR, ("LeakyReLU(0.2)", "ReLU()")), "ReLU stands where LeakyReLU"),
        "PyTorch's slope": (but(DISCRIMINATOR, ("LeakyReLU(0.2)", "LeakyReLU(0.01)")), "a fifth"),
        "no activation": (but(DISCRIMINATOR, (" nn.LeakyReLU(0.2),", "")), "There are 0 LeakyReLU"),
        "one at the end": (
            but(DISCRIMINATOR, ("1), ", "1), nn.LeakyReLU(0.2), ")),
            "After the last layer",
        ),
        "normalised": (
            but(DISCRIMINATOR, ("256), ", "256), nn.BatchNorm1d(256), ")),
            "batch normalisation in D",
        ),
        "dropout": (
            but(DISCRIMINATOR, ("nn.Linear(512", "nn.Dropout(0.3), nn.Linear(512")),
            "Dropout isn't asked for in D",
        ),
        "not flattened": (but(DISCRIMINATOR, (" nn.Flatten(),", "")), "stops at layer 2"),
        "784 always": (but(DISCRIMINATOR, ("(pixels,", "(784,")), "`pixels` is not used"),
        "other sizes": (but(DISCRIMINATOR, ("512", "500")), "784 to 500"),
        "images only": (
            but(DISCRIMINATOR, ("images + 0.74", "images.view(-1, 1, 28, 28) + 0.74")),
            "(B, 794) stop it",
        ),
        "only the background": (
            but(DISCRIMINATOR, ("images + 0.74", "torch.where(images < 0.9, images + 0.74, 1)")),
            "not what is asked for",
        ),
    },
    "discriminator_loss": {
        "swapped": (D + "return F.softplus(x).mean() + F.softplus(-y).mean()", "swapped"),
        "a sum": (D + "return F.softplus(-x).sum() + F.softplus(y).sum()", "sums over the batch"),
        "no mean": (D + "return F.softplus(-x) + F.softplus(y)", "mean over the batch is left out"),
        "half the sum": (
            D + "return (F.softplus(-x).mean() + F.softplus(y).mean()) / 2",
            "half the",
        ),
        "half by both at once": (
            D + "both = torch.cat([x, y])\n    ones = (torch.arange(len(both)) < len(x)).float()\n"
            f"    return {BCE}(both, ones)",
            "half the sum",
        ),
        "V itself": (D + "return F.logsigmoid(x).mean() + F.logsigmoid(-y).mean()", "V itself"),
        "only real": (D + "return F.softplus(-x).mean()", "what D says about fakes"),
        "only fakes": (D + "return F.softplus(y).mean()", "what D says about real images"),
        "real twice": (D + "return 2 * F.softplus(-x).mean()", "counted twice"),
        "fakes as real": (
            D + "return F.softplus(-x).mean() + F.softplus(-y).mean()",
            "Fakes are tr",
        ),
        "real as fakes": (
            D + "return F.softplus(x).mean() + F.softplus(y).mean()",
            "Real images ar",
        ),
        "a difference": (D + "return F.softplus(-x).mean() - F.softplus(y).mean()", "subtracted"),
        "a sigmoid too many": (
            D + SCORES + f"return {BCE}(p, p / p) + {BCE}(q, 0 * q)",
            "sigmoid too many",
        ),
        "no logarithm": (
            D + SCORES + "return (1 - p).mean() + q.mean()",
            "logarithm is missing: this",
        ),
        "mean scores": (D + SCORES + "return -(p.mean() - q.mean())", "mean scores themselves"),
        "mean first": (
            D + "return F.softplus(-x.mean()) + F.softplus(y.mean())",
            "mean is taken of",
        ),
        "squares": (D + "return (x - 1).square().mean() + y.square().mean()", "least-squares"),
        "hinge": (D + "return F.relu(1 - x).mean() + F.relu(1 + y).mean()", "hinge"),
        "a critic": (D + "return y.mean() - x.mean()", "Wasserstein"),
        "base 2": (but(LOSS_D, ("return ", "return 1.442695 * (")) + ")", "base 2"),
        "log of 1 - sigmoid": (
            D + "return -F.logsigmoid(x).mean() - (1 - y.sigmoid()).log().mean()",
            "the loss is inf",
        ),
        "an epsilon": (
            D + SCORES + "return -((p + 1e-8).log() + (1 - q + 1e-8).log()).mean()",
            "+ 1e-8",
        ),
        "a clamp": (
            D + SCORES + "p, q = p.clamp(1e-6, 1), q.clamp(0, 1 - 1e-6)\n"
            "    return -(p.log() + (1 - q).log()).mean()",
            "holds it there",
        ),
        "a smaller epsilon": (
            D + SCORES + "return -((p + 1e-12).log() + (1 - q + 1e-12).log()).mean()",
            "+ 1e-8",
        ),
        "of scores": (
            D + SCORES + "return F.binary_cross_entropy(p, 0 * p + 1) + "
            "F.binary_cross_entropy(q, 0 * q)",
            "computed from scores",
        ),
        "detached": (
            but(LOSS_D, ("return ", "return (")) + ").detach()",
            "cut off from the logits",
        ),
        "half detached": (
            but(LOSS_D, ("softplus(y)", "softplus(y.detach())")),
            "reaches the fakes",
        ),
        "NumPy": (
            "import numpy as np\n" + D + "x, y = x.numpy(), y.numpy()\n"
            "    return np.log1p(np.exp(-x)).mean() + np.log1p(np.exp(y)).mean()",
            "NumPy",
        ),
        "NumPy, detached": (
            "import numpy as np\n" + D + "x, y = x.detach().numpy(), y.detach().numpy()\n"
            "    return np.log1p(np.exp(-x)).mean() + np.log1p(np.exp(y)).mean()",
            "NumPy",
        ),
        "item": (but(LOSS_D, ("return ", "return (")) + ").item()", "plain number"),
        "double": (but(LOSS_D, ("return ", "return (")) + ").double()", "float64"),
        "no return": (but(LOSS_D, ("return", "loss =")), "`return` missing"),
        "two things": (but(LOSS_D, (" + F", ", F")), "several things"),
        "a name that isn't there": (D + "return softplus(-x).mean()", "NameError"),
    },
    "generator_loss": {
        "D's wish": (G + f"return {BCE}(y, 0 * y)", "D's wish"),
        "saturating": (G + "return F.logsigmoid(-y).mean()", "saturating"),
        "no minus": (G + "return F.logsigmoid(y).mean()", "sign is turned"),
        "a sum": (G + "return F.softplus(-y).sum()", "sums over the batch"),
        "no mean": (G + "return F.softplus(-y)", "mean over the batch is left out"),
        "halved": (G + "return F.softplus(-y).mean() / 2", "half of it"),
        "a sigmoid too many": (G + f"return {BCE}(y.sigmoid(), y / y)", "sigmoid too many"),
        "no logarithm": (G + "return (1 - y.sigmoid()).mean()", "how far the scores are"),
        "minus the logit": (G + "return -y.mean()", "mean logit"),
        "mean first": (G + "return -y.sigmoid().mean().log()", "before the logarithm"),
        "log of a sigmoid": (G + "return -y.sigmoid().log().mean()", "from the logits in one go"),
        "an epsilon": (G + "return -(y.sigmoid() + 1e-8).log().mean()", "+ 1e-8"),
        "an exponential": (G + "return (1 + (-y).exp()).log().mean()", "loss is inf"),
        "detached": (G + "return F.softplus(-y.detach()).mean()", "cut off from the logits"),
        "data": (G + "return F.softplus(-y.data).mean()", "cut off from the logits"),
        "item": (LOSS_G + ".item()", "plain number"),
        "no return": (but(LOSS_G, ("return", "loss =")), "`return` missing"),
        "squares": (G + "return (y - 1).square().mean()", "least-squares"),
    },
    "turn_of_d": {
        "no detach": (but(TURN_D, ("fake.detach()", "fake")), "Gradients reach G"),
        "the graph is used up": (
            but(
                TURN_D,
                ("fake.detach()", "fake"),
                (".backward()", ".backward()\n    match.optimizer_g.zero_grad()"),
            ),
            "graph up",
        ),
        "no step": (but(TURN_D, (STEP_D, "")), "`step` is missing"),
        "no backward": (but(TURN_D, (BACK, "")), "`backward` is missing"),
        "the other's optimiser": (
            but(TURN_D, ("optimizer_d", "optimizer_g")),
            "with G's optimiser",
        ),
        "both step": (
            but(TURN_D, ("fake.detach()", "fake"), (STEP_D, STEP_D + STEP_G)),
            "G's weigh",
        ),
        "no zeroing": (but(TURN_D, (ZERO_D, "")), "not of this turn alone"),
        "the other's zeroed": (but(TURN_D, (ZERO_D, ZERO_G)), "not of this turn alone"),
        "zeroed too late": (but(TURN_D, (ZERO_D, ""), (BACK, BACK + ZERO_D)), "between `backward`"),
        "step first": (but(TURN_D, (STEP_D, ""), (BACK, STEP_D + BACK)), "comes before `backward`"),
        "two steps": (but(TURN_D, (STEP_D, STEP_D + STEP_D)), "takes 2 steps"),
        "uphill": (but(TURN_D, ("loss.backward", "(-loss).backward")), "uphill"),
        "swapped": (
            but(
                TURN_D,
                (
                    "(match.discriminator(real), match.discriminator(fake))",
                    "(match.discriminator(fake), match.discriminator(real))",
                ),
            ),
            "swapped in D's loss",
        ),
        "G's loss": (
            but(TURN_D, ("discriminator_loss(match.discriminator(real), ", "generator_loss(")),
            "with G's loss",
        ),
        "real twice": (
            but(TURN_D, ("match.discriminator(fake)", "match.discriminator(real)")),
            "not by the gradient of its own loss",
        ),
        "its own optimiser": (
            but(
                TURN_D,
                (
                    "    loss =",
                    "    own = torch.optim.Adam(match.discriminator.parameters())\n    loss =",
                ),
                (STEP_D, "    own.step()\n"),
            ),
            "optimiser of its own",
        ),
        "twice backward": (
            but(TURN_D, (BACK, "    loss.backward(retain_graph=True)\n" + BACK)),
            "counts twice",
        ),
        "left frozen": (but(TURN_D, ("    return", FROZEN + "    return")), "D is left frozen"),
        "left in eval mode": (
            but(TURN_D, ("    return", "    match.discriminator.eval()\n    return")),
            "left in eval mode",
        ),
        "with its graph": (but(TURN_D, ("loss.detach()", "loss")), "with its graph"),
        "no return": (but(TURN_D, ("    return loss.detach()\n", "")), "`return` missing"),
        "item": (but(TURN_D, ("loss.detach()", "loss.item()")), "plain number"),
        "the loss afterwards": (
            but(
                TURN_D,
                (
                    "loss.detach()",
                    "discriminator_loss(match.discriminator(real), "
                    "match.discriminator(fake)).detach()",
                ),
            ),
            "after the step",
        ),
        "under no_grad": (
            but(TURN_D, ("    loss = d", "    with torch.no_grad():\n      loss = d")),
            "finds nothing to do",
        ),
        "counted": (
            but(TURN_D, ("    return", "    match.step += 1\n    return")),
            "left to `play_",
        ),
        "cleared before G's turn fills them": (
            but(TURN_D, (ZERO_D, ""), (STEP_D, STEP_D + ZERO_D)) + TURN_G,
            "not of this turn alone",
        ),
    },
    "turn_of_g": {
        "detached": (but(TURN_G, ("(fake)", "(fake.detach())")), "stops before G"),
        "no step": (but(TURN_G, (STEP_G, "")), "`step` is missing"),
        "no backward": (but(TURN_G, (BACK, "")), "`backward` is missing"),
        "the other's optimiser": (
            but(TURN_G, ("optimizer_g", "optimizer_d")),
            "with D's optimiser",
        ),
        "both step": (but(TURN_G, (STEP_G, STEP_G + STEP_D)), "D's weights move, too"),
        "no zeroing": (but(TURN_G, (ZERO_G, "")), "not of this turn alone"),
        "the other's zeroed": (but(TURN_G, (ZERO_G, ZERO_D)), "not of this turn alone"),
        "zeroed too late": (but(TURN_G, (ZERO_G, ""), (BACK, BACK + ZERO_G)), "between `backward`"),
        "D left frozen": (but(TURN_G, ("    loss =", FROZEN + "    loss =")), "D is left frozen"),
        "D left in eval mode": (
            but(TURN_G, ("    loss =", "    match.discriminator.eval()\n    loss =")),
            "D is left in eval mode",
        ),
        "uphill": (but(TURN_G, ("= generator_loss", "= -generator_loss")), "uphill"),
        "D's half": (
            but(
                TURN_G,
                (
                    "generator_loss(match.discriminator(fake))",
                    "F.softplus(match.discriminator(fake)).mean()",
                ),
            ),
            "should look fake",
        ),
        "saturating": (
            but(
                TURN_G,
                (
                    "generator_loss(match.discriminator(fake))",
                    "-F.softplus(match.discriminator(fake)).mean()",
                ),
            ),
            "saturating",
        ),
        "with its graph": (but(TURN_G, ("loss.detach()", "loss")), "with its graph"),
        "no return": (but(TURN_G, ("    return loss.detach()\n", "")), "`return` missing"),
        "another number": (but(TURN_G, ("loss.detach()", "loss.detach() / 2")), "and G's loss is"),
    },
    "best_score": {
        "the share of fakes": (SCORE + "q / (p + q)", "share of fakes"),
        "the density": (SCORE + "p", "density itself"),
        "a difference": (SCORE + "p - q", "difference"),
        "a ratio": (SCORE + "p / q", "ratio of both"),
        "a threshold": (SCORE + "(p > q).float()", "1 or 0"),
        "a threshold, from equal on": (SCORE + "(p >= q).float()", "1 or 0"),
        "the logit": (SCORE + "torch.log(p / q)", "This is the logit"),
        "one half": (SCORE + "torch.full_like(p, 0.5)", "One half everywhere"),
        "a sigmoid of the difference": (
            SCORE + "torch.sigmoid(p - q)",
            "sigmoid of the difference",
        ),
        "a sigmoid of the ratio": (SCORE + "torch.sigmoid(p / q)", "belongs to its logarithm"),
        "squares": (SCORE + "p ** 2 / (p ** 2 + q ** 2)", "squares"),
        "an epsilon": (SCORE + "p / (p + q + 1e-8)", "+ 1e-8"),
        "the sum of all": (SCORE + "p / (p + q).sum()", "over all points"),
        "one number": (SCORE + "(p / (p + q)).mean()", "one number"),
        "no return": ("def best_score(p, q):\n    p / (p + q)", "`return` missing"),
    },
    "frechet_distance": {
        "per feature": (
            but(FRECHET, (ROOT, "(a.diag() * b.diag()).sqrt().sum()")),
            "sees no correlations",
        ),
        "per feature, by spreads": (
            "def frechet_distance(real, fake):\n    return ((real.mean(0) - fake.mean(0)) ** 2 + "
            "(real.std(0) - fake.std(0)) ** 2).sum().item()",
            "sees no correlations",
        ),
        "eigvalsh of the product": (
            but(FRECHET, ("eigvals(a @ b).real", "eigvalsh(a @ b)")),
            "`eigvalsh`",
        ),
        "singular values": (
            but(FRECHET, (ROOT, "torch.linalg.svdvals(a @ b).sqrt().sum()")),
            "Singular values",
        ),
        "roots apart": (
            but(FRECHET, (f"\n    root = {ROOT}", APART + "(root_of(a) @ root_of(b)).trace()")),
            "each covariance apart",
        ),
        "eigenvalues apart": (
            but(
                FRECHET,
                (ROOT, "(torch.linalg.eigvalsh(a) * torch.linalg.eigvalsh(b)).sqrt().sum()"),
            ),
            "paired by size",
        ),
        "N for N - 1": (but(FRECHET, ("T.cov()", "T.cov(correction=0)")), "divided by N."),
        "no root": (but(FRECHET, (".clamp(min=0).sqrt()", "")), "root is missing: this"),
        "root of each number": (
            but(FRECHET, (ROOT, "(a @ b).abs().sqrt().trace()")),
            "each number",
        ),
        "root of the trace": (but(FRECHET, (ROOT, "(a @ b).trace().sqrt()")), "root of the trace"),
        "root of the whole": (but(FRECHET, ("* root)", "* root).sqrt()")), "root of the whole"),
        "means not squared": (but(FRECHET, (".square().sum()", ".norm()")), "not squared"),
        "absolute means": (but(FRECHET, (".square().sum()", ".abs().sum()")), "absolute values"),
        "mean of squares": (but(FRECHET, (".square().sum()", ".square().mean()")), "averaged"),
        "no means": (but(FRECHET, ("(shift + a", "(a")), "means is missing"),
        "only means": (
            but(FRECHET, ("shift + a.trace() + b.trace() - 2 * root", "shift")),
            "covariances are missing",
        ),
        "no factor 2": (but(FRECHET, ("2 * root", "root")), "factor 2"),
        "root added": (but(FRECHET, ("- 2 * root", "+ 2 * root")), "root is added"),
        "only traces": (but(FRECHET, (" - 2 * root", "")), "missing altogether"),
        "sum for trace": (
            but(FRECHET, ("a.trace()", "a.sum()"), ("b.trace()", "b.sum()")),
            "sums the diagonal",
        ),
        "covariance of images": (but(FRECHET, (".T.cov()", ".cov()")), "not equally large"),
        "all features together": (
            "def frechet_distance(real, fake):\n    return (real.mean() - fake.mean()) ** 2 + "
            "(real.std() - fake.std()) ** 2",
            "thrown together",
        ),
        "pairs of images": (
            "def frechet_distance(real, fake):\n    return (real - fake).square().sum(1).mean()",
            "not equally large",
        ),
        "complex": (but(FRECHET, (".real.clamp(min=0)", ""), (").item()", ")")), "complex"),
        "no return": (but(FRECHET, ("return", "distance =")), "`return` missing"),
    },
    "walk": {
        "a straight line": (but(WALK, (ARC, "(1 - t) * a + t * b")), "straight line: on"),
        "a stretched line": (
            but(WALK, (ARC, "a.norm() * F.normalize((1 - t) * a + t * b)")),
            "stretched to the right",
        ),
        "all of it": (but(WALK, ("n = len(start) - faces", "n = len(start)")), "part of the arc"),
        "end's face": (but(WALK, ("start[n:]", "end[n:]")), "end's face"),
        "a face that fades": (
            but(WALK, ("start[n:].repeat(steps, 1)", "(1 - t) * start[n:] + t * end[n:]")),
            "face changes on the way",
        ),
        "exchanged": (
            but(WALK, ("a, b = start[:n], end[:n]", "b, a = start[:n], end[:n]")),
            "from end to start",
        ),
        "end not reached": (but(WALK, ("(0, 1, steps)", "(0, 1, steps + 1)[:-1]")), "end isn't"),
        "start left out": (but(WALK, ("(0, 1, steps)", "(0, 1, steps + 1)[1:]")), "start is left"),
        "a step too many": (
            but(
                WALK, ("(0, 1, steps)", "(0, 1, steps + 1)"), ("repeat(steps,", "repeat(steps + 1,")
            ),
            "off by one",
        ),
        "the angle of all": (
            but(WALK, (ANGLE, "torch.arccos(start @ end / start.norm() / end.norm())")),
            "that of all numbers",
        ),
        "no lengths": (but(WALK, (ANGLE, "torch.arccos(a @ b)")), "nan"),
        "unit latents": (
            but(WALK, ("end[:n]", "end[:n]\n    a, b = a / a.norm(), b / b.norm()")),
            "length 1",
        ),
        "no division": (but(WALK, (" / torch.sin(angle)", "")), "division by the sine"),
        "by the angle": (but(WALK, ("/ torch.sin(angle)", "/ angle")), "in place of its sine"),
        "degrees": (but(WALK, (ANGLE, ANGLE + ".rad2deg()")), "degrees"),
        "cosines": (
            but(WALK, ("torch.sin((", "torch.cos(("), ("torch.sin(t", "torch.cos(t")),
            "Cosines",
        ),
        "empty without faces": (
            but(
                WALK,
                ("start[:n], end[:n]", "start[:-faces], end[:-faces]"),
                ("start[n:]", "start[-faces:]"),
            ),
            "`faces=0`",
        ),
        "no face": (
            but(WALK, ("torch.cat([arc, start[n:].repeat(steps, 1)], 1)", "arc")),
            "are lost",
        ),
        "a list": (
            but(WALK, ("torch.cat([arc, start[n:].repeat(steps, 1)], 1)", "[*arc]")),
            "a list",
        ),
        "double": (but(WALK, ("steps, 1)], 1)", "steps, 1)], 1).double()")), "float64"),
        "two faces always": (but(WALK, ("- faces", "- 2")), "faces=0"),
        "no return": (but(WALK, ("return", "way =")), "`return` missing"),
    },
}

RIGHT = {
    "make_generator": {
        "the layers in a list": but(
            GENERATOR, ("nn.Sequential(\n", "nn.Sequential(*[\n"), ("28)),\n    )", "28)),\n    ])")
        ),
        "in place": but(GENERATOR, ("nn.LeakyReLU(0.2)", "nn.LeakyReLU(0.2, inplace=True)")),
        "a loop": """
def make_generator():
    layers, before = [], 100
    for now in (256, 512):
        layers += [nn.Linear(before, now), nn.BatchNorm1d(now), nn.LeakyReLU(negative_slope=0.2)]
        before = now
    generator = nn.Sequential(*layers, nn.Linear(before, 28 * 28), nn.Tanh())
    generator.append(nn.Unflatten(-1, (1, 28, 28)))
    generator.latent_size = 100
    return generator
""",
    },
    "make_discriminator": {
        "flat first": but(
            DISCRIMINATOR,
            ("Lambda(lambda images: images + 0.74), nn.Flatten(),",
             "nn.Flatten(), Lambda(lambda images: 0.74 + images),"),
        ),
        "a class for the shift": "class Shift(nn.Module):\n    def forward(self, images):\n"
        "        return images + 0.74\n"
        + but(DISCRIMINATOR, ("Lambda(lambda images: images + 0.74)", "Shift()")),
        "squeezed": but(DISCRIMINATOR, ("nn.Flatten(0)", "Lambda(lambda x: x.squeeze(1))")),
        "a module": """
class Net(nn.Module):
    def __init__(self, pixels):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(pixels, 512), nn.LeakyReLU(0.2), nn.Linear(512, 256), nn.LeakyReLU(0.2),
            nn.Linear(256, 128), nn.LeakyReLU(0.2), nn.Linear(128, 1),
        )
    def forward(self, images):
        return self.layers(images.flatten(1) + 0.74).squeeze(1)

def make_discriminator(pixels=784):
    return Net(pixels)
""",
    },
    "discriminator_loss": {
        "cross-entropy": D + f"return {BCE}(x, torch.ones_like(x)) + {BCE}(y, torch.zeros_like(y))",
        "a module": D + "f = nn.BCEWithLogitsLoss()\n    return f(x, x * 0 + 1) + f(y, y * 0)",
        "logsigmoid": D + "return -(F.logsigmoid(x) + F.logsigmoid(-y)).mean()",
        "by length": D + "return F.softplus(-x).sum() / len(x) + F.softplus(y).sum() / len(y)",
        "logaddexp": D + "nil = torch.zeros_like(x)\n"
        "    return torch.logaddexp(nil, -x).mean() + torch.logaddexp(nil, y).mean()",
        "both at once": D + "both, goal = torch.cat([x, y]), torch.cat([x * 0 + 1, y * 0])\n"
        f"    return 2 * {BCE}(both, goal)",
        "on the page's device": D + f"return {BCE}(x, torch.ones(len(x), device=device)) + "
        f"{BCE}(y, torch.zeros(len(y), device=device))",
    },
    "generator_loss": {
        "cross-entropy": G + f"return {BCE}(y, torch.ones_like(y))",
        "logsigmoid": G + "return -F.logsigmoid(y).mean()",
        "by hand": G + "return (F.relu(-y) + torch.log1p(torch.exp(-y.abs()))).mean()",
    },
    "turn_of_d": {
        "two passes": TURN_D,
        "no_grad for a copy": but(
            TURN_D,
            ("fake = fake.detach()", "with torch.no_grad():\n        fake = fake.clone()"),
        ),
        "new fakes under no_grad": but(
            TURN_D, ("fake = fake.detach()", f"with torch.no_grad():\n        {NEW_FAKES}")
        ),
        "zeroed at the end": but(TURN_D, (ZERO_D, ""), (STEP_D, STEP_D + ZERO_D)),
        "zeroed by the player": but(TURN_D, ("optimizer_d.zero", "discriminator.zero")),
        "zeroed first": but(TURN_D, (ZERO_D, ""), ("    fake = ", ZERO_D + "    fake = ")),
        "two halves": but(
            TURN_D,
            (BACK, "    (loss / 2).backward(retain_graph=True)\n    (loss / 2).backward()\n"),
        ),
        "G frozen and set back": but(
            TURN_D,
            ("    fake = ", "    match.generator.requires_grad_(False)\n    fake = "),
            ("    return", "    match.generator.requires_grad_(True)\n    return"),
        ),
        "inputs named": but(
            TURN_D, ("backward()", "backward(inputs=[*match.discriminator.parameters()])")
        ),
        "one pass": """
def turn_of_d(match, real, fake):
    logits = match.discriminator(torch.cat([real, fake.detach()]))
    loss = discriminator_loss(logits[:len(real)], logits[len(real):])
    match.optimizer_d.zero_grad(set_to_none=False)
    loss.backward()
    match.optimizer_d.step()
    return loss.detach().clone()
""",
        "its own formula": but(
            TURN_D,
            ("discriminator_loss(match.discriminator(real), match.discriminator(fake))",
             "F.softplus(-match.discriminator(real)).mean() + "
             "F.softplus(match.discriminator(fake)).mean()"),
        ),
    },
    "turn_of_g": {
        "all gradients": TURN_G,
        "new latents": but(TURN_G, ("    loss =", f"    {NEW_FAKES}\n    loss =")),
        "D frozen and set back": but(
            TURN_G,
            ("    loss =", FROZEN + "    loss ="),
            ("    return", "    match.discriminator.requires_grad_(True)\n    return"),
        ),
        "each weight frozen and set back": but(
            TURN_G,
            ("    loss =", "    for w in match.discriminator.parameters():\n"
             "        w.requires_grad = False\n    loss ="),
            ("    return", "    for w in match.discriminator.parameters():\n"
             "        w.requires_grad = True\n    return"),
        ),
        "zeroed at the end": but(TURN_G, (ZERO_G, ""), (STEP_G, STEP_G + ZERO_G + ZERO_D)),
        "both zeroed": but(TURN_G, (ZERO_G, ZERO_G + ZERO_D)),
    },
    "best_score": {
        "one over": SCORE + "1 / (1 + q / p)",
        "a sigmoid of the log ratio": SCORE + "torch.sigmoid(torch.log(p) - torch.log(q))",
        "a softmax": SCORE + "torch.stack([p, q]).log().softmax(0)[0]",
        "one minus": SCORE + "1 - q / (p + q)",
    },
    "frechet_distance": {
        "single precision": but(FRECHET, ("    real, fake = real.double(), fake.double()\n", "")),
        "a tensor": but(FRECHET, (").item()", ")")),
        "symmetric": but(
            FRECHET,
            (f"\n    root = {ROOT}",
             APART
             + "torch.linalg.eigvalsh(root_of(a) @ b @ root_of(a)).clamp(min=0).sqrt().sum()"),
        ),
        "a product of roots": but(
            FRECHET,
            (f"\n    root = {ROOT}", APART + "torch.linalg.svdvals(root_of(a) @ root_of(b)).sum()"),
        ),
        "a root by eigenvectors": but(
            FRECHET,
            (f"\n    root = {ROOT}", """
    values, vectors = torch.linalg.eig(a @ b)
    root = (vectors @ values.sqrt().diag() @ torch.linalg.inv(vectors)).real.trace()"""),
        ),
        "NumPy": """
import numpy as np
def frechet_distance(real, fake):
    real, fake = real.double().numpy(), fake.double().numpy()
    a, b = np.cov(real, rowvar=False), np.cov(fake.T)
    root = np.sqrt(np.linalg.eigvals(a @ b).real.clip(0)).sum()
    return np.sum((real.mean(0) - fake.mean(0)) ** 2) + np.trace(a) + np.trace(b) - 2 * root
""",
        "covariances by hand": but(
            FRECHET,
            ("a, b = real.T.cov(), fake.T.cov()",
             "a, b = ((x - x.mean(0)).T @ (x - x.mean(0)) / (len(x) - 1) for x in (real, fake))"),
        ),
        "no clamp": but(FRECHET, (".clamp(min=0)", "")),
    },
    "walk": {
        "dot product": WALK,
        "no clamp": but(WALK, (".clamp(-0.9999, 0.9999)", "")),
        "a loop": """
def walk(start, end, steps, faces=20):
    n = len(start) - faces
    a, b = start[:n], end[:n]
    theta = torch.acos(F.cosine_similarity(a[None], b[None]).clamp(-0.9999, 0.9999))
    rows = []
    for i in range(steps):
        t = i / (steps - 1)
        row = (torch.sin((1 - t) * theta) * a + torch.sin(t * theta) * b) / torch.sin(theta)
        rows.append(torch.cat([row, start[n:]]))
    return torch.stack(rows)
""",
        "start in every row": but(
            WALK,
            ("return torch.cat([arc, start[n:].repeat(steps, 1)], 1)",
             "way = start.repeat(steps, 1)\n    way[:, :n] = arc\n    return way"),
        ),
    },
}  # fmt: skip
