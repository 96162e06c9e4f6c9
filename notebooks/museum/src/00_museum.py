# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 00 The bug museum
#
# **What you will have shown by the end.** Twenty mistakes that stood in published alignment code, none of which
# stopped a run or printed an error. For each: what one sees, the line, and a test of a few lines that would have
# caught it. Then you write tests of your own, and are marked by how many of the twenty they catch.
#
# | reading | computing | hardware |
# |---|---|---|
# | 60 minutes | a minute | any computer, no GPU |
#
# You need lessons 03 and 04 for the words: dual, multiplier, margin, reference.

# %% [markdown]
# ## How the museum works
#
# There is one namespace, `code`, of fourteen small functions: the dual, the multiplier's step, the labels, the
# masks, the log-probability, the loss, the reference. `CORRECT` is the right one. Each **exhibit** is the same
# namespace with *one* function replaced. We wrote every line ourselves, after the description in the thread that
# the card names. A card has five lines: what is replaced, the mistake, the line, a test, the place.

# %%
# %matplotlib inline
import pytest
import torch

from cdpo_edu.museum import CORRECT, EXHIBITS, exhibit, reference_tests

TESTS = [test for name, test in vars(reference_tests).items() if name.startswith("test_")]


def fails(test, code):
    """Say whether a test fails on a namespace."""
    try:
        test(code)
    except (AssertionError, pytest.fail.Exception):
        return True
    return False


print(len(EXHIBITS), "exhibits,", len(TESTS), "reference tests")
assert not any(fails(test, CORRECT) for test in TESTS)


# %% [markdown]
# Read each symptom, **predict** what kind of line makes it, and only then look at the card.


# %%
def card(key):
    """Print what an exhibit replaces, its mistake and line, one test that catches it, and where it was seen."""
    item = exhibit(key)
    test = next(test for test in TESTS if fails(test, item.code()))
    print(f"{key}, in place of code.{item.replaces}")
    print("  mistake:", item.mistake)
    print("  line:   ", item.line())
    print("  test:   ", test.__doc__.strip())
    print("  seen in:", item.threads[0].removeprefix("https://"))


broken = {item.key: item.code() for item in EXHIBITS}
print("for instance, code.penalized of r = 3, c = 2 at lam = 0.5:", end=" ")
print(CORRECT.penalized(torch.tensor(3.0), torch.tensor(2.0), 0.5).item())

# %% [markdown]
# # First wing: the dual

# %% [markdown]
# ## Four multipliers
#
# The kitchen of lesson 03, where $\lambda^* = 3.384$ at a limit of 0.15. Four multipliers walk, each with $\eta = 3$,
# each fed the exact cost of the best policy for its price. In panel D the limit is 0.80, above what the cook does
# unasked (0.759), so the right price is 0. All four come with a curve that a run would log without complaint.
#
# **Predict**: which one is right? For each of the others, what did the programmer forget?

# %%
from cdpo_edu import FiniteProblem

habit = torch.tensor([[0.4, 0.3, 0.2, 0.1], [0.3, 0.4, 0.2, 0.1]], dtype=torch.float64)
taste = torch.tensor([[2.0, 1.2, 0.6, 0.0], [2.0, 3.2, 1.8, 1.1]], dtype=torch.float64)
ill = torch.tensor([[0.90, 0.10, 0.05, 0.02], [0.30, 0.80, 0.05, 0.04]], dtype=torch.float64)
kitchen = FiniteProblem(habit, taste, ill, beta=0.5, cost_limit=0.15)


def cost_of(score):
    """Return E[c] of the policy that is proportional to habit * exp(score / 0.5)."""
    policy = (habit.log() + score / 0.5).softmax(dim=1)
    return (policy * ill).sum(dim=1).mean().item()


print(f"E[c] at the price 0: {cost_of(taste):.3f}, and the oracle's {kitchen.limit_at(0.0):.3f}")

# %% [markdown]
# The prices of a walk, for any of the four:


# %%
def walk(code, limit, steps=14):
    """Return the multipliers of a walk on the exact cost, and the last cost."""
    multiplier, stops = code.Multiplier(0.0, eta=3.0), [0.0]
    for _ in range(steps):
        stops.append(multiplier.step(cost_of(taste - stops[-1] * ill), limit))
    return stops, cost_of(taste - stops[-1] * ill)


# %%
panels = {
    "A": (broken["adam-multiplier"], 0.15),
    "B": (broken["frozen-multiplier"], 0.15),
    "C": (CORRECT, 0.15),
    "D": (broken["negative-multiplier"], 0.80),
}
walks = {name: walk(*panel) for name, panel in panels.items()}
best = {limit: kitchen.with_limit(limit).solve().lam for limit in (0.15, 0.80)}
for name, (stops, cost) in walks.items():
    limit = panels[name][1]
    print(f"{name}: last price {stops[-1]:6.3f}, right price {best[limit]:.3f}, ", end="")
    print(f"E[c] {cost:.3f}, limit {limit:.2f}")

# %% [markdown]
# The last row of each log is the poorer half of the story. The walks themselves:

# %% alt="Four panels of the price over 14 steps. A shoots past the right price to more than twice as much and swings. B makes one step to 1.828 and stays there for ever. C approaches the right price from below and settles. In D the right price is 0, and the walk falls below it and goes on falling."
import matplotlib.pyplot as plt

from cdpo_edu.plots import house_style
from cdpo_edu.plots.ink import EXACT, RUN

with house_style():
    figure, axes = plt.subplots(1, 4, figsize=(16, 4.6), layout="constrained")
    for ax, (name, (stops, _)) in zip(axes, walks.items(), strict=True):
        right = best[panels[name][1]]
        ax.axhline(right, color=EXACT, linestyle="--", linewidth=2)
        ax.plot(stops, color=RUN, marker="o", linewidth=2.5)
        ax.annotate("right price", (14, right), xytext=(0, 6), textcoords="offset points", ha="right")
        ax.set(title=f"{name}: limit {panels[name][1]:.2f}", xlabel="step", xticks=(0, 7, 14))
        ax.margins(y=0.12)
    axes[0].set(ylabel="price λ")

# %% [markdown]
# C is right. It slows down as it arrives, because its step is the violation. A is Adam: it divides the slope by the
# slope's own size, so it marches with steps of the learning rate and cannot slow down in time. B moved once. D has a
# price below zero: the cook is *paid* for making people ill, until the limit is used up.

# %%
for key in ("adam-multiplier", "frozen-multiplier", "negative-multiplier"):
    card(key)
assert walks["B"][0][1] == walks["B"][0][14] and min(walks["D"][0]) < 0 < max(walks["A"][0]) - 2 * best[0.15]

# %% [markdown]
# None of the three needs a training run to be found: a script of three costs and the arithmetic of three steps.

# %% [markdown]
# ## A bound that is too high
#
# The dual $D(\lambda) = \beta E_x \log Z_\lambda(x) + \lambda C$ from the two guests' $\log Z$. **Predict**: where could a
# mean go wrong?


# %%
def log_z(lam):
    """Return log Z of each guest."""
    return (habit.log() + (taste - lam * ill) / 0.5).logsumexp(dim=1)


print("  lam   D of the oracle   right code   exhibit")
for lam in (0.0, 2.0, 4.0):
    given = {"lam": lam, "cost_limit": 0.15, "beta": 0.5}
    right, wrong = (code.dual_value(log_z(lam), **given) for code in (CORRECT, broken["log-of-grand-mean"]))
    print(f"{lam:5.1f} {kitchen.dual(lam):17.4f} {right:12.4f} {wrong:9.4f}")
    assert abs(right - kitchen.dual(lam)) < 1e-5 < wrong - right

# %% [markdown]
# A dual that is too high is still an upper bound, so no certificate looks broken. It is only wrong. Lesson 03 shows
# that its lowest point is elsewhere, too. (Where we read it, each prompt's best score had been taken off first. That
# makes the error smaller, and no less an error.)

# %%
card("log-of-grand-mean")

# %% [markdown]
# ## What the multiplier eats
#
# The multiplier moves by $E[c] - C$. Below is the expected cost as three programs report it, for the same policy,
# measured on 10 and then on 1000 answers. Every answer has the reward 2; three in ten have the cost 1, the others 0.
# **Predict** which column belongs to which mistake.

# %%
print("answers   right   exhibit 1   exhibit 2")
for n in (10, 1000):
    cost = (torch.arange(n) % 10 < 3).double()[None]
    answers = CORRECT.Answers(reward=torch.full_like(cost, 2.0), cost=cost)
    names = (CORRECT, broken["sum-of-costs"], broken["reward-as-cost"])
    values = [code.expected_cost(answers) for code in names]
    print(f"{n:7} {values[0]:7.2f} {values[1]:11.2f} {values[2]:11.2f}")

# %% [markdown]
# The first grows with the batch, so that a "limit" of 25 means another thing after every change of batch size. The
# second is the reward: the better the cook, the harder the brake. Both were found by one reader, in
# one thread, who compared two lines of code with the names in them.

# %%
card("sum-of-costs")
card("reward-as-cost")

# %% [markdown]
# ## The higher the price, the more harm
#
# **Predict** the mistake from the table: the expected cost of the best policy for the score that each program makes
# of reward and cost.

# %%
print("  lam   right: E[c]   exhibit: E[c]")
for lam in (0.0, 1.0, 2.0, 4.0):
    costs = [cost_of(code.penalized(taste, ill, lam)) for code in (CORRECT, broken["cost-as-score"])]
    print(f"{lam:5.1f} {costs[0]:13.3f} {costs[1]:15.3f}")
assert costs[0] < kitchen.limit_at(0.0) < costs[1]

# %% [markdown]
# A sign. Some published models score safety (higher is better), others cost (higher is worse), and their outputs look
# the same. The thread on the card is about a public benchmark on which a good cost model had done surprisingly badly.

# %%
card("cost-as-score")

# %% [markdown]
# ## Margins without end
#
# One pair, whose second answer is better by a tenth of a nat. Gradient descent on the loss of that pair's margin, with
# the targets that two programs give. **Predict**: where does each margin end?

# %%
reward, no_cost = torch.tensor([[0.0, 0.1]]), torch.zeros(1, 2)
goal = {
    name: code.targets(reward, no_cost, 0.0).item()
    for name, code in (("right", CORRECT), ("exhibit", broken["hard-labels"]))
}
for name, target in goal.items():
    margin, seen = torch.tensor(0.0), []
    for step in range(1, 10_001):
        margin = margin - (margin.sigmoid() - target)  # the slope of the loss
        if step in (10, 100, 1000, 10_000):
            seen.append(margin.item())
    print(
        f"{name:8} target {target:.3f}; margin after 10, 100, 1000, 10000 steps:",
        *(f"{m:5.2f}" for m in seen),
    )

# %% [markdown]
# The probability stops the margin at the gap. The bit never does: it asks for certainty, and the more steps, the
# farther from the reference. This one is no slip but a choice, and a common one. The thread on the card proposes label
# smoothing, one remedy, for a popular trainer; soft targets are another.

# %%
card("hard-labels")

# %% [markdown]
# ## A limit on a cost that has no zero
#
# A cost model that saw comparisons alone knows its scores up to a shift. Three such models, which agree on every
# comparison, are asked whether $E[c] \le 0$. **Predict**: what should a program answer?

# %%
costs = torch.tensor([[-0.4, 0.2, -0.1]])
for shift in (-1.0, 0.0, 1.0):
    answers = CORRECT.Answers(torch.zeros_like(costs), costs + shift)
    verdict = broken["limit-without-zero"].meets_limit(answers, 0.0, anchored=False)
    try:
        right = CORRECT.meets_limit(answers, 0.0, anchored=False)
    except CORRECT.InputError as refusal:
        right = f"refused, {refusal}"
    print(f"model shifted by {shift:4.1f}: exhibit {verdict!s:5}; right: {right}")

# %% [markdown]
# The exhibit says yes, yes and no, to one and the same policy. The right answer is no answer. That is why people ask for
# *the* limit that suits a published cost model, and get another number for each. A limit relative to the reference is
# free of the shift, as lesson 02 shows; so is a cost that was told which answers are unsafe.

# %%
card("limit-without-zero")

# %% [markdown]
# # Second wing: from text to log-probability
#
# Nobody prints token ids. Therefore we do. The toy tokenizer has one token per character, and one trap that real ones
# have by the thousand: a colon and the space after it are *one* token.

# %% [markdown]
# ## The character that changed sides
#
# **Predict**: the prompt is `dish:`, the answer ` soup`. What is the answer's first token?


# %%
def show(ids):
    """Return token ids as text, one bracket per token."""
    names = {CORRECT.PAD: "pad", CORRECT.END: "end", 2: ": "}
    return "".join(f"[{names.get(i) or chr(i - 1)}]" for i in ids)


for name, code in (("right", CORRECT), ("exhibit", broken["cut-after-joining"])):
    tokens = code.tokenise("dish:", " soup")
    print(f"{name:8} prompt {show(tokens.prompt):20} answer {show(tokens.answer)}")

# %% [markdown]
# In the exhibit the prompt of the answer ` soup` is not the prompt of the answer `soup`: a pair compares answers to two
# different questions, and one scored token less.

# %%
card("cut-after-joining")

# %% [markdown]
# ## Nothing to learn from
#
# A row may have 16 tokens. **Predict** what each program keeps of a long prompt and a short answer.

# %%
tokens = CORRECT.tokenise("no nuts please. dish:", " soup")
for name, code in (("right", CORRECT), ("exhibit", broken["keep-the-start"])):
    kept = code.truncate(tokens, 16)
    print(f"{name:8} answer {show(kept.answer) or 'nothing'}, after prompt {show(kept.prompt)}")

# %% [markdown]
# With an empty answer both log-probabilities are 0, so is the margin, and the loss is $\ln 2$. If that happens to a third
# of the rows, the training curve is a little flatter. Nothing else shows.

# %%
card("keep-the-start")

# %% [markdown]
# ## The rejected answer gets worse by itself
#
# Log-probabilities under a model to which all 127 tokens are alike, so that every scored token costs $\ln 127$. The answers
# are the same in all rows, `soup` and `pie`. Only the prompt gets longer. **Predict** what a mask did wrong in
# each exhibit.

# %%
print("prompt     right: soup   pie    exhibit 1: soup   pie    exhibit 2: soup   pie")
for prompt in ("dish:", "no nuts please. dish:"):
    parts = [
        [CORRECT.tokenise(prompt, "")[0]],
        *([CORRECT.tokenise("", dish)[1]] for dish in ("soup", "pie")),
    ]
    line = []
    for code in (CORRECT, broken["rejected-prompt-scored"], broken["padding-scored"]):
        rows = code.pair_rows(*parts)
        line += code.sequence_logp(torch.zeros(*rows.ids.shape, 127), rows).tolist()
    print(f"{len(parts[0][0]):2} tokens", ("{:11.1f}{:8.1f}" * 3).format(*line))

# %% [markdown]
# The chosen answer is scored alike by all three. In the first exhibit the rejected one pays for its prompt, more for
# a longer one. In the second it pays for the padding that brings it to the length of its neighbour. Lay the masks
# beside the text, and both are plain to see:

# %%
parts = [[CORRECT.encode("dish:")], [CORRECT.tokenise("", "soup")[1]], [CORRECT.tokenise("", "pie")[1]]]
for name in ("right", "rejected-prompt-scored", "padding-scored"):
    rows = broken.get(name, CORRECT).pair_rows(*parts)
    scored = show(rows.ids[1][rows.response[1]].tolist())
    print(f"{name:24} scored of the rejected row: {scored}")

# %% [markdown]
# A colleague who does not read masks reads this. Print it once per data set.

# %%
card("rejected-prompt-scored")
card("padding-scored")

# %% [markdown]
# The first of these threads says it in two lines: the list of masks is twice as long as the list of prompt lengths, and
# `zip` ends with the shorter one. `zip(..., strict=True)` would have said so, too.

# %% [markdown]
# ## Nuts or cuts
#
# Two answers that differ in their first letter, to which the model gives 0.9 and 0.1; after that every letter is
# certain. And a third answer, `nut`, which is the first without its last letter. **Predict** both wrong
# columns.

# %%
answers = [CORRECT.tokenise("", word)[1] for word in ("nuts", "cuts", "nut")]
rows = CORRECT.pair_rows([[2]] * 3, answers, answers)
logits = torch.nn.functional.one_hot(rows.ids.roll(-1, dims=1), 128) * 50.0  # certain of the next token
logits[:, 0] = torch.full((128,), -50.0)
logits[:, 0, [ord("n") + 1, ord("c") + 1]] = torch.tensor([0.9, 0.1]).log()
print("answer   right   exhibit 1   exhibit 2")
for row, word in enumerate(("nuts", "cuts", "nut")):
    names = (CORRECT, broken["first-token-dropped"], broken["mean-over-tokens"])
    values = [code.sequence_logp(logits, rows)[row].item() + 0.0 for code in names]
    print(f"{word:6} {values[0]:7.3f} {abs(values[1]):11.3f} {values[2]:11.3f}")

# %% [markdown]
# Exhibit 1 sees no difference between nuts and cuts: margin 0, gradient 0, and the pair that matters most teaches
# nothing. Exhibit 2 gives each answer a probability that depends on its length; lesson 04 shows what DPO makes of that.

# %%
card("first-token-dropped")
card("mean-over-tokens")

# %% [markdown]
# The second is sometimes meant, as in methods that normalise by length and say so. In the thread it was a *default*, in
# a library of loss functions, under the name of DPO.

# %% [markdown]
# # Third wing: the policy and its reference

# %% [markdown]
# ## Before the first step
#
# At the first step the policy *is* the reference. So the margin of every pair is 0 and the loss is $\ln 2 = 0.693$.
# This one line of a log finds three of the exhibits at once. Here it is five times, for the same
# pair and a policy that was fine-tuned before. **Predict** for each what is wrong.

# %%
policy = CORRECT.ToyPolicy(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]]), dropout=0.5)
x, chosen, rejected = torch.tensor([0]), torch.tensor([0]), torch.tensor([1])
torch.manual_seed(0)
for name in ("right", "adapter-left-out", "dropout-left-on", "dropout-left-on", "loss-turned-round"):
    code = broken.get(name, CORRECT)
    margin = code.paired_margin(policy, code.frozen(policy), x, chosen, rejected, beta=0.5)
    even = torch.zeros(1, 2)
    loss = code.dpo_loss(torch.stack([0 * margin, margin], dim=1), even, torch.ones(1), 1.0)
    print(f"{name:18} margin {margin.item() + 0.0:6.3f}, loss {loss.item():6.3f}")

# %% [markdown]
# *adapter-left-out* compares with the base model, which the policy left behind in its first fine-tuning. *dropout-left-on*
# reads the two answers through two different random networks; the second reading of the same pair differs. And a
# negative loss speaks for itself, if somebody looks: a cross-entropy is never below 0.

# %%
for key in ("adapter-left-out", "dropout-left-on", "loss-turned-round"):
    card(key)

# %% [markdown]
# ## A margin that is too modest
#
# The policy has raised the odds of the chosen answer by $e^2$. **Predict** the margin by hand for each $\beta$.

# %%
moved, start = CORRECT.ToyPolicy(torch.tensor([[2.0, 0.0]])), CORRECT.ToyPolicy(torch.zeros(1, 2))
for beta in (1.0, 0.5, 0.1):
    margins = [
        code.paired_margin(moved, start, x, chosen, rejected, beta=beta).item()
        for code in (CORRECT, broken["beta-twice"])
    ]
    print(f"beta {beta}: right {margins[0]:.3f}, exhibit {margins[1]:.3f}")

# %% [markdown]
# At $\beta = 1$ the mistake is invisible. **A test with a 1 in it tests little**: 1 squared is 1, a mean over one item is its
# sum, and a batch of one row needs no padding. This mistake was in a log, so training was right, and every plot of
# margins was wrong.

# %%
card("beta-twice")

# %% [markdown]
# ## The option that nobody read
#
# **Predict** what each program prints.

# %%
for name, code in (("exhibit", broken["option-ignored"]), ("right", CORRECT)):
    try:
        print(f"{name}:", code.configure(rouns=100))
    except CORRECT.InputError as refusal:
        print(f"{name}: refused, {refusal}")

# %% [markdown]
# A typing error, and the run takes its default of 6 rounds. Its log, its plots and its folder look like those of any
# other run.

# %%
card("option-ignored")

# %% [markdown]
# In the thread a wrapper took options that the trainer alone would have refused, and dropped them on the way.

# %% [markdown]
# ## Who catches what
#
# A row for each of our tests, a column for each exhibit, a mark where the test fails. A test that marks a whole
# row is a good alarm and a poor diagnosis; a column with one mark hangs by a thread.

# %%
caught = torch.tensor([[fails(test, item.code()) for item in EXHIBITS] for test in TESTS])
print("exhibits caught:", int(caught.any(dim=0).sum()), "of", len(EXHIBITS))
print("exhibits that hang by one test:", int((caught.sum(dim=0) == 1).sum()))
print("the busiest test catches", int(caught.sum(dim=1).max()))
assert caught.any(dim=0).all() and caught.any(dim=1).all()

# %% [markdown]
# The same as a picture:

# %% alt="A grid with a row for each reference test and a column for each exhibit. Every column has at least one mark and every row has at least one. Most marks lie near the diagonal; the test of the first step has the most."
with house_style():
    figure, ax = plt.subplots(figsize=(15, 9), layout="constrained")
    row, column = caught.nonzero().T
    ax.scatter(column, row, s=260, marker="s", color=RUN)
    ax.set_xticks(range(len(EXHIBITS)), [item.key for item in EXHIBITS], rotation=50, ha="right")
    names = [test.__name__.removeprefix("test_").replace("_", " ") for test in TESTS]
    ax.set_yticks(range(len(TESTS)), names)
    ax.set(xlim=(-0.6, len(EXHIBITS) - 0.4), ylim=(len(TESTS) - 0.4, -0.6))
    ax.set_title("reference tests (rows) and the exhibits they catch (columns)", loc="left")

# %% [markdown]
# The diagonal is the plain case, one test for one mistake. The row *the first step begins at even odds* is the cheapest
# alarm there is: run it before every training run, on the real model and the first batch.

# %% [markdown]
# ## Your turn
#
# Write a file of plain tests. Each takes one argument, `code`:
#
# ```python
# def test_the_multiplier_stops_at_zero(code):
#     assert code.Multiplier(1, eta=2).step(-9, 0) == 0
# ```
#
# [The page of the museum](../../docs/museum.md) lists what can be called. While you write, `python -m pytest -p
# cdpo_edu.museum.fixture my_tests.py` runs them on the correct code. The mark comes from
#
# ```
# cdpo-edu museum run my_tests.py
# ```
#
# All tests must pass on the correct code, or there are no points. Then each exhibit is a point, if at least one
# test fails on it. Here is the mark of three tests that many people would write first. **Predict** the
# score.

# %%
import tempfile
from pathlib import Path

from cdpo_edu.museum import run_museum

FIRST = """
import torch
def test_the_step(code):
    assert abs(code.Multiplier(1.0, eta=1.0).step(1.0, 0.0) - 2.0) < 1e-6
def test_the_loss_is_positive(code):
    assert code.dpo_loss(torch.zeros(1, 2), torch.zeros(1, 2), torch.ones(1), 1.0).item() > 0
def test_the_mean_cost(code):
    assert code.expected_cost(code.Answers(torch.ones(1, 1), torch.ones(1, 1))) == 1.0
"""

# %% [markdown]
# `run_museum` is what the command calls:

# %%
path = Path(tempfile.mkdtemp(), "first_tests.py")
path.write_text(FIRST)
report = run_museum(path, seconds=30)
print("score:", report.score, "of", report.max_score)
for found in report.found:
    if found.caught:
        print(found.describe())
assert report.score == 1

# %% [markdown]
# One point, though all three look at places where there *is* a mistake. One step does not show what a second would; a
# violation of 1 is the one at which Adam's step is right; one answer with equal reward and cost hides which was read
# and whether it was summed. Change the numbers, and the same three tests catch five more.

# %%
BETTER = FIRST.replace("step(1.0, 0.0) - 2.0", "step(-3.0, 0.0)").replace(
    "torch.ones(1, 1), torch.ones(1, 1))) == 1.0", "torch.zeros(1, 2), torch.ones(1, 2))) == 1.0"
)
TWICE = """
def test_two_steps(code):
    multiplier = code.Multiplier(1.0, eta=1.0)
    assert [multiplier.step(0.5, 0.0), multiplier.step(0.25, 0.0)] == [1.5, 1.75]
"""
path.write_text(BETTER + TWICE)
report = run_museum(path, seconds=30)
print("score:", report.score, "of", report.max_score, "-", *(f.key for f in report.found if f.caught))
assert report.score == 6

# %% [markdown]
# The same places, other numbers. What made the difference each time: no 1 where something might be squared or divided
# away, no equal values where two might be confused, and two steps where a state might be lost.

# %% [markdown]
# ## What would falsify this?
#
# - A test that fails on the correct code: then the museum is wrong, or the test. The arithmetic in the test decides.
# - An exhibit that no test can tell from the correct code: then it would be no mistake. The grid above has no empty
#   column.
# - Points for nothing. A file that only asserts `True` must score 0, which the package's own tests check, together
#   with files that hang, print without end, or end the process.

# %% [markdown]
# ## Limits of this lesson
#
# - The exhibits are the smallest code that has the mistake. In their homes the mistakes stood among hundreds of lines.
# - We read the threads and the files, and did not run the programs. Several of the mistakes have been mended since.
#   That they were found and written up is to the credit of those who did.
# - A mark is not a proof. Tests that catch all twenty can miss the twenty-first.

# %% [markdown]
# ## References
#
# Each exhibit with every place where it was reported or read:

# %%
for item in EXHIBITS:
    print(
        f"{item.key:23}",
        " ".join(a.removeprefix("https://").removeprefix("github.com/") for a in item.threads),
    )

# %% [markdown]
# - R. A. DeMillo, R. J. Lipton, F. G. Sayward. *Hints on Test Data Selection: Help for the Practicing Programmer.*
#   Computer 11 (4), 1978: tests judged by the planted mistakes that they find.
# - M. G. Azar and others. *A General Theoretical Paradigm to Understand Learning from Human Preferences.* 2023, arXiv
#   2310.12036: what deterministic labels do to DPO.
