# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 08 Methods side by side
#
# **What you will have shown by the end.** Four ways of finding the price lead to one optimum. Where the pairs are
# many, solving the price once on the reference's samples is as good as our loop and cheaper. Where gradient steps
# are few, or samples are few and the tilt is strong, it is **better** in the mean. Where the pairs are few it fails, and so does the method that is told
# the exact price; the loop does not. And you will have found out why, with a method of your own.
#
# | reading | computing | hardware |
# |---|---|---|
# | 40 minutes | two minutes | any computer, no GPU |
#
# **What differs from lesson 07.** There one method was opened up, on one kitchen. Here it is one of several, on
# many small worlds, and nobody's word is taken: the exact optimum judges them all.

# %% [markdown]
# ## What a fair comparison is
#
# Every method meets the same world, the same reference, the same scored pairs. Every method has the same budget of
# **gradient steps** and of **answers**, drawn and scored, for its *whole* fit. If it tries eight prices and keeps
# one, the other seven are paid for too: each trial has an eighth of the steps and an eighth of the answers.
#
# A contender is anything that is called as below, tunes the policy, and hands in a bill.

# %%
# %matplotlib inline
import torch

from cdpo_edu.bandit import SafetyBandit, Table, TabularPolicy
from cdpo_edu.certificate import enumerated, world_problem
from cdpo_edu.league import League, Play, Terms

TERMS = Terms("bandit", tuple(range(6)), beta=0.5, cost_limit=0.0, steps=1200, samples=3584)
PLENTY = 4000  # pairs


def setup(seed, pairs, noise):
    """Return a world's reference and its pairs; ``noise`` spoils the cost that methods see."""
    world = SafetyBandit.demo(seed)
    error = torch.randn(world.cost.values.shape, generator=torch.Generator().manual_seed(seed)).double()
    seen = Table(world.cost.values + noise * error)
    policy = TabularPolicy.like(world)
    return policy, world.pairs(pairs, seed=seed + 1).score(world.reward, seen, policy.frozen())


# %% [markdown]
# A world here is a bandit: four prompts, six responses each. `demo(seed)` draws it so that the better response tends to be
# the more harmful one. Every seed is another world, so an interval over six seeds holds the spread between worlds.
#
# The judge is exact. *Closeness* is $1 - KL(\pi\|\pi^*)/KL(\pi_{ref}\|\pi^*)$: 1 is the constrained optimum, 0 is as
# far as the reference, and below 0 is farther. *Violation* is $\max(0, E[c] - C)$ by the **true** cost. Both are sums
# over all responses. No method's own samples are believed.

# %%


def one_play(name, entry, seed, terms, pairs=PLENTY, noise=0.0):
    """Let one method play on one seed's world, and judge it by the true scores."""
    policy, scored = setup(seed, pairs, noise)
    keywords = {key: getattr(terms, key) for key in ("beta", "cost_limit", "steps", "samples")}
    method = entry(policy, **keywords, seed=seed).fit(scored)
    _, truth = setup(seed, 2, 0.0)
    problem = world_problem(truth, beta=terms.beta, cost_limit=terms.cost_limit)
    probs = enumerated(truth.world, policy).numpy()
    verdict, cost = problem.certify(probs), problem.evaluate(probs).cost
    found = (verdict.closeness, verdict.violation, cost, method.lam_, problem.solve().lam)
    return Play(name, seed, *found, method.spent_)


# %% [markdown]
# And a table of all of them, with means over the seeds. Closeness is shown in tenths and the violation too: differences
# smaller than that are not what this lesson is about. `cdpo-edu league` prints the digits.

# %%


def standings(entries, terms=TERMS, **situation):
    """Let every entry play on every seed; print and return one row per method."""
    plays = [
        one_play(name, entry, seed, terms, **situation)
        for name, entry in entries.items()
        for seed in terms.seeds
    ]
    rows = League(terms, tuple(plays)).standings()
    print("method               closeness  violation  trials")
    for row in rows:
        close, over = row.closeness.value, row.violation.value
        print(f"{row.method:20} {close:9.1f} {over:10.1f} {row.trials:7.0f}")
    return {row.method: row for row in rows}


# %% [markdown]
# ## The oracle nobody has
#
# The first two entries are no contenders. They are the ends of the scale. *Reward alone* is DPO at the price nought. *Exact lam*
# relabels the pairs by
#
# $$P(y_1 \succ y_0) = \sigma\big(r_1 - r_0 - \lambda^*(c_1 - c_0)\big)$$
#
# with the exact $\lambda^*$, and trains once. It **knows beforehand** the answer to the question, read off the listed world; finding the price **costs** it
# nothing. What it misses is the training's share.

# %%
from cdpo_edu.league import METHODS

oracle = {name: METHODS[name] for name in ("reward alone", "exact lam")}
ends = standings(oracle)
assert ends["exact lam"].closeness.value > 0.99 and ends["reward alone"].violation.value > 0.3

# %% [markdown]
# So with the right price one DPO run is enough on this tier. *All* that the contenders can differ in is how they get it.

# %% [markdown]
# ## A fixed price is a grid search in disguise
#
# "We set $\lambda = 1$" sounds like a method without tuning. But where did the 1 come from? `FixedLam` makes it visible: it
# trains at each price of a grid, measures each policy, and keeps the best that meets the limit. It **knows beforehand**
# a range in which the price lies. Finding it **costs** one training run per grid point.
#
# **Predict**: four prices, 0.5, 1, 2, 4. The exact ones lie about 1. How close does the best of the four come? Write your
# guess down.

# %%
guess = 0.9  # <- your guess at the closeness of four trials, before you run the next cell

# %%
grids = standings({name: METHODS[name] for name in ("fixed lam, 4 tried", "fixed lam, 8 tried")})
four, eight = (row.closeness.value for row in grids.values())
print(f"you guessed {guess}, off by {abs(guess - four):.1f}")
assert four < 0.6 < eight and max(row.violation.value for row in grids.values()) < 0.05

# %% [markdown]
# The limit is met, and most of the way is lost. Where the price 1 misses the limit, if only by a hair, the grid must take 2,
# and that is far too much. A finer grid helps, and costs eight trainings. On a table training is cheap and steps are
# plentiful; for a language model eight trials mean an eighth of the training each.

# %% [markdown]
# ## SACPO: two alignments in a row
#
# The optimum can be reached in two tilts (Wachi and others 2024, theorem 1):
#
# $$\pi_r \propto \pi_{ref}\,e^{r/\beta}, \qquad \pi \propto \pi_r\,e^{-c/(\beta/\lambda)}.$$
#
# First DPO on reward with $\beta$; then DPO on safety, anchored to what the first left, with temperature $\beta/\lambda$.
# Reward and cost are never added up, so the two sets of comparisons may come from different people about different
# answers. That is its strength, and no other method here has it. It **knows beforehand** a grid of $\lambda$, like a fixed price,
# and finding the price **costs** one second stage per grid point; the first is shared.
#
# **Predict**: on the same four prices, will two stages do better or worse than one? And does their order matter?

# %%
orders = ("SACPO, reward first", "SACPO, safety first")
stepwise = standings({name: METHODS[name] for name in orders})
distance = max(abs(row.closeness.value - four) for row in stepwise.values())
print("all three differ by less than a thousandth:", distance < 0.001)
assert distance < 0.001

# %% [markdown]
# The same, to the digits: the theorem, seen. Where training is exact, the stages commute and add up to one tilt. SACPO is no other
# *solution*. It is another *route*, for those who have no scores to add, and it brings along the grid.

# %% [markdown]
# ## MoCAN: the price from samples, once
#
# Draw answers of the reference, score them, and minimise the *sampled* dual (Huang and others 2024):
#
# $$\hat D(\lambda) = \beta\,\frac1X\sum_x \log \frac1n\sum_{i} e^{(r_i - \lambda c_i)/\beta} + \lambda C.$$
#
# Then label at that price, and train once. You met it in lesson 07 as the first change. It **knows beforehand** nothing; finding
# the price **costs** answers, and no training at all. Our loop starts there and goes on, six rounds, each measured.
#
# **Predict**: which of the two ends closer to the optimum, with 3,584 answers per prompt?

# %%
pair = {name: METHODS[name] for name in ("MoCAN", "C-DPO")}
ample = standings(pair)
lost = {name: 1 - row.closeness.value for name, row in ample.items()}
print("both lose less than a hundredth:", max(lost.values()) < 0.01)
print("MoCAN used fewer gradient steps:", ample["MoCAN"].steps < ample["C-DPO"].steps)
assert max(lost.values()) < 0.01 and ample["MoCAN"].steps < ample["C-DPO"].steps

# %% [markdown]
# A draw, and MoCAN is the simpler one. If pairs, samples and steps are plentiful, *use it*: five rounds more buy nothing that can be
# seen. So the comparison has to go where something is scarce.

# %% [markdown]
# ## When samples are few and the tilt is strong
#
# Now 28 answers per prompt for everything, and $\beta = 0.1$: a small $\beta$ lets the policy move far from the reference. MoCAN spends all on one estimate. Our loop must divide them: round 0 and six rounds,
# four answers each.
#
# **Predict**: who suffers more?

# %%
field = {name: METHODS[name] for name in ("fixed lam, 8 tried", "MoCAN", "C-DPO", "exact lam")}
few_samples = standings(field, TERMS._replace(samples=28, beta=0.1))
loop, shot = few_samples["C-DPO"], few_samples["MoCAN"]
print("MoCAN is closer than C-DPO:", shot.closeness.value > loop.closeness.value)
print("and breaks the limit less:", shot.violation.value < loop.violation.value)
assert shot.closeness.value > 0.97 > loop.closeness.value > 0.5

# %% [markdown]
# We do, in the mean over these worlds; the figure below shows how wide the intervals are. One estimate from 28 answers
# is worth more than seven from four. A measurement of four answers moves the
# price by its noise, and the next round has to repair it with four more. **Try** it at $\beta = 0.5$: do the intervals still tell the two apart?

# %% [markdown]
# ## When steps are few
#
# Twelve gradient steps in all. MoCAN has them in one piece; the loop has two per round.

# %%
few_steps = standings(pair | {"exact lam": METHODS["exact lam"]}, TERMS._replace(steps=12))
assert few_steps["MoCAN"].closeness.value > 0.99 > 0.8 > few_steps["C-DPO"].closeness.value

# %% [markdown]
# Worse again. Two steps a round do not fit a policy, and a price that is corrected by a policy which is not there yet is
# corrected wrongly. (The optimiser of this tier starts anew in every round, which makes short rounds worse than they need
# to be.)

# %% [markdown]
# ## When pairs are few
#
# Back to plenty of steps and answers, but **twelve pairs**, three per prompt. Most responses stand in no pair, or in pairs that do
# not connect with the others.
#
# **Predict**, for MoCAN, for our loop, and for the method that is *told* the exact price: who ends at the optimum? Put
# them in order before you go on.

# %%
order = ["exact lam", "C-DPO", "MoCAN"]  # <- your order, the closest first

# %%
contenders = field | {"SACPO, reward first": METHODS["SACPO, reward first"]}
few_pairs = standings(contenders, pairs=12)
ranked = sorted(order, key=lambda name: -few_pairs[name].closeness.value)
print("the closest is", ranked[0], "- your guess:", order[0])
told, loop, shot = (few_pairs[name] for name in ("exact lam", "C-DPO", "MoCAN"))
assert loop.closeness.value > 0.99 and loop.closeness.low > told.closeness.value
assert abs(told.closeness.value - shot.closeness.value) < 0.01

# %% [markdown]
# Knowing the exact price did not help. **A price is right for the best policy of that price, and nobody trained that
# policy**: pairs that leave responses unconnected leave their odds where the reference had them (lesson 04, and lesson 06
# on the transformer). MoCAN found the price, and misses as the oracle does.

# %% [markdown]
# ## The signature figure
#
# The same methods in two situations. Top left is best: at the optimum, and not over the limit. Bars are 95 % intervals over
# the six worlds.

# %% alt="Two panels of closeness against violation. Few pairs: C-DPO alone sits at the top left corner, at the optimum and hardly over the limit; MoCAN and the exact multiplier lie together well below. Few samples: MoCAN and the exact multiplier are near the top left; C-DPO lies lower, with wide intervals."
import matplotlib.pyplot as plt

from cdpo_edu.plots import house_style, plot_standings

with house_style():
    figure, (left, right) = plt.subplots(1, 2, figsize=(17, 7.5), sharey=True, sharex=True)
plot_standings([*few_pairs.values()], title="12 pairs, 3,584 answers per prompt", ax=left)
plot_standings([*few_samples.values()], title="4,000 pairs, 28 answers per prompt, β = 0.1", ax=right)
_ = right.set_ylabel("")

# %% [markdown]
# The blue mark leaves its corner. The loop's strength is not a better price but a policy that is *looked at*; its weakness is that looking
# costs answers. The numbers of the figure:

# %%
from cdpo_edu.plots import standings_data

for title, rows in (("12 pairs", few_pairs), ("28 answers", few_samples)):
    drawn = standings_data([*rows.values()])
    for k, name in enumerate(drawn.methods):
        low, high = drawn.closeness[k, 1:]
        print(f"{title:10} {name:20} closeness {drawn.closeness[k, 0]:.1f} in [{low:.1f}, {high:.1f}]")
        assert drawn.closeness[k, 0] == rows[name].closeness.value
        assert drawn.violation[k, 0] == rows[name].violation.value

# %% [markdown]
# ## A method of your own
#
# *Which part* of the loop rescued the twelve pairs: the rounds, or the third change of lesson 07, the scored answers that
# become pairs? Make a method that has only the second: MoCAN, but what it drew and scored is trained on too. It is paid for
# already.

# %%
from cdpo_edu import ScoreTable, measure
from cdpo_edu.evaluate import recycled
from cdpo_edu.methods import Spent

_, twelve = setup(0, 12, 0.0)
eight_each = measure(twelve.reference, twelve, n=8, generator=torch.Generator().manual_seed(0))
fresh = recycled(eight_each, twelve)
print(f"{len(twelve)} pairs were given; 8 scored answers per prompt make {len(fresh)} more")

# %% [markdown]
# `recycled` compares the answers of a prompt in sets of eight, equal ones left out. The bill, `Spent`, takes steps, answers drawn,
# answers scored, and trials; an untruthful bill is the one cheat that the league cannot see.

# %%


class OwnAnswers:
    def __init__(self, policy, *, beta, cost_limit, steps, samples, seed=0):
        self.policy, self.beta, self.limit = policy, beta, cost_limit
        self.steps, self.samples, self.seed, self.history_ = steps, samples, seed, []

    def fit(self, scored):
        generator = torch.Generator().manual_seed(self.seed)
        drawn = measure(scored.reference, scored, n=self.samples, generator=generator)
        self.lam_ = ScoreTable(drawn.reward, drawn.cost).one_shot_lam(self.limit, beta=self.beta).lam
        labels = scored.extended(recycled(drawn, scored)).label(self.lam_)
        done = self.policy.fit(labels, beta=self.beta, steps=self.steps, seed=self.seed)
        self.spent_ = Spent(done.grad_steps, drawn.cost.numel(), drawn.cost.numel(), 1)
        return self


# %% [markdown]
# **Predict**: twelve pairs again. Does it end where MoCAN does, or where the loop does?

# %%
own = standings({"my own": OwnAnswers}, pairs=12)["my own"]
print("loses less than a hundredth:", 1 - own.closeness.value < 0.01)
assert own.closeness.value > 0.99

# %% [markdown]
# Where the loop does. So on this tier it was **not** the moving price that rescued us. It was training on scored answers, and any
# method may do that: a dozen lines make MoCAN as good as the loop, for one training run. A comparison that had stopped at the figure
# would have praised the wrong part.
#
# The contract is exactly that of `league`, which plays your class beside all others, and from a file with
# `cdpo-edu league --method FILE.py:Class` (`docs/your_own_method.md`):

# %%
from cdpo_edu.league import league

result = league("bandit", {"my own": OwnAnswers, "MoCAN": METHODS["MoCAN"]}, seeds=(0, 1))
for row in result.standings():
    print(f"{row.method:8} closeness above 0.99: {row.closeness.value > 0.99}, trials {row.trials:.0f}")

# %% [markdown]
# ## When scores are noisy
#
# Now the cost that everybody sees is the true one plus an error of 0.3 per response, drawn once, as a learned cost has it. The
# judge keeps the true cost.
#
# **Predict**: which method notices?

# %%
noisy = standings(field | {"my own": OwnAnswers}, noise=0.3)
best_three = [noisy[name].closeness.value for name in ("MoCAN", "C-DPO", "exact lam")]
print("the three differ by less than 0.05:", max(best_three) - min(best_three) < 0.05)
print("each is over the true limit:", min(noisy[n].violation.value for n in ("MoCAN", "C-DPO")) > 0.02)
assert max(best_three) - min(best_three) < 0.05 and max(best_three) < 0.97

# %% [markdown]
# None. They all measure with the same spoiled ruler, and agree with each other, which is no evidence. More rounds, more samples, more
# trials do not touch an error of the *score* (lesson 05). That the grid breaks the limit less is luck of its safe side: it was
# too careful to begin with.

# %% [markdown]
# ## What would falsify this?
#
# If training on the scored answers is what rescued the loop, then the loop without it must fail as MoCAN does, rounds or not. If
# the price matters at all, a huge one must fail in spite of all pairs. And pairs whose labels were dealt out among the wrong
# pairs must help nobody.

# %%
from functools import partial

from cdpo_edu.methods import FixedLam


class NoRecycling(METHODS["C-DPO"]):
    def __init__(self, policy, **settings):
        super().__init__(policy, **settings)
        self.loop.recycle = False


controls = {"no recycling": NoRecycling, "lam = 20": partial(FixedLam, lam=20.0)}
failed = standings(controls, pairs=12)
assert failed["no recycling"].closeness.value < 0.9 and failed["lam = 20"].closeness.value < 0

# %% [markdown]
# The rounds without the answers stay down with MoCAN in closeness, though the price moves. What the rounds alone do is to
# bring the *cost* to the limit: an unfit policy, priced so that it is allowed. Now the labels, shuffled among the pairs:

# %%
world_policy, scored = setup(0, PLENTY, 0.0)
problem = world_problem(scored, beta=0.5, cost_limit=0.0)
right = scored.label(problem.solve().lam)
mixed = torch.randperm(len(scored), generator=torch.Generator().manual_seed(0))
for name, target in (("right labels", right.target), ("shuffled", right.target[mixed])):
    policy = world_policy.frozen()
    policy.fit(right._replace(target=target), beta=0.5, steps=1200, seed=0)
    closeness = problem.certify(enumerated(scored.world, policy).numpy()).closeness
    print(f"{name:13} closeness above 0.9: {closeness > 0.9}, above 0.5: {closeness > 0.5}")
    assert (closeness > 0.9) == (closeness > 0.5) == (name == "right labels")

# %% [markdown]
# ## Limits of this lesson
#
# - A table, trained to convergence by an exact optimiser. A transformer is never quite the policy of its price, however many pairs it
#   has; there, a price that is corrected by measuring may pay. `docs/benchmarks.md` plays the toy language.
# - These are *this package's* versions, on soft labels from scores. SACPO's authors take people's labels and average weights in a variant;
#   MoCAN's draw Bernoulli labels. Nothing here repeats or refutes the figures of their papers, which are of 7B models.
# - Equal budgets are one choice. Whoever has scores for free and pays for steps should weigh otherwise.
# - Six worlds of one family. The intervals say how much these worlds differ, and nothing about other families.

# %% [markdown]
# ## References
#
# - Z. Liu, X. Sun, Z. Zheng. *Enhancing LLM Safety via Constrained Direct Preference Optimization.* 2024,
#   arXiv 2403.02475: the relabelled step and the loop.
# - A. Wachi and others. *Stepwise Alignment for Constrained Language Model Policy Optimization.* 2024,
#   arXiv 2404.11049: SACPO, theorem 1.
# - X. Huang and others. *One-Shot Safety Alignment for Large Language Models via Optimal Dualization.* 2024,
#   arXiv 2405.19544: MoCAN.
