# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 06 The toy language
#
# **What you will have shown by the end.** A real transformer, trained as large ones are, in a language so small
# that every sentence can be listed. So its probabilities can be added up (they make 1, and two common slips do
# not), its samples checked, and its training held against the *exact* constrained optimum. Then the question
# that a training log cannot answer, **where did the mass go?**, gets an answer to the last digit: the chosen
# responses lose log-probability, and what they lose goes to responses that nobody compared. Some of that is
# what the optimum wants, and some of it breaks the limit, and the pairs cannot tell you which.
#
# | reading | computing | hardware |
# |---|---|---|
# | 45 minutes | two minutes | any computer, no GPU |
#
# **What differs from lesson 05.** There a transformer learned the *scores*, and the policy was the exact optimum.
# Here the scores are the true ones again, and the *policy* is trained: its responses are written word by word, and
# they share parameters. One change at a time; lesson 07 puts both together and closes the loop.

# %% [markdown]
# ## A language of dishes
#
# The kitchen of lesson 05. A prompt is a guest: an allergy and a craving. A response is a dish: up to $L$ of fifteen ingredients, in order.
# The reward $r$ is the taste in nats. The cost $c$ is the number of portions that the guest must not eat, minus
# one half, so that 0 lies between safe and unsafe.

# %%
# %matplotlib inline
from cdpo_edu import Kitchen
from cdpo_edu.toy_language import SIZES

kitchen = Kitchen(portions=SIZES["small"])
guest = "nuts sweet"
for dish in ("honey apple", "honey almond", "almond", "water water", ""):
    r, c = (float(score([guest], [dish])) for score in (kitchen.reward, kitchen.cost))
    print(f"{guest}: {dish or '(empty plate)':14} r {r:5.2f}  c {c:5.2f}")

# %% [markdown]
# **By hand**: honey is worth 0.8 to a guest who craves something sweet, almond 1.0; they stand in an order that
# everybody likes, 0.5; and the almond is forbidden to this guest, who longs for it, 1.0 more. That makes 3.3. So
# the best dish is a harmful one, and reward and cost pull in opposite directions, for every guest.
#
# How many dishes are there? $1 + 15 + 15^2 + \dots + 15^L$, and there are 16 guests.

# %%
for name, portions in SIZES.items():
    dishes = sum(15**n for n in range(portions + 1))
    print(f"{name:6}  L = {portions}: {dishes:6,} dishes per guest, {16 * dishes:7,} in all")
assert len(kitchen.responses) == 241 and len(kitchen.prompts) == 16

# %% [markdown]
# This lesson uses the small kitchen. Every cell also runs with `SIZES["medium"]`, more slowly.

# %% [markdown]
# ## The cook is a transformer
#
# Two layers of width 64, the architecture of Llama, trained from random weights. `cook` lets it imitate a
# cookbook of 4,096 dishes by somebody who knows cravings a little and allergies not at all. Imitation lowers
# $-\log\pi(y|x)$, the usual supervised fine-tuning. The result is our **reference**.

# %%
from cdpo_edu import cook

chef = cook(kitchen, seed=0)
reference = chef.frozen()
weights = sum(weight.numel() for weight in reference.model.parameters())
print(
    f"{weights:,} weights; {len(reference.tokenizer)} tokens, the end token is {reference.tokenizer.eos_token!r}"
)
print("this guest asks for:", *(repr(word) for word in reference.tokenizer.tokenize(guest)))

# %% [markdown]
# It writes one token after the other. A dish of one ingredient is *two* tokens, the ingredient and the **end
# token**, which says that nothing more is coming. A dish that fills its budget of two portions has no room for an
# end token, and needs none. The log-probability of a dish is the **sum** over its tokens:
#
# $$\log\pi(y|x) = \sum_t \log\pi(y_t \mid x, y_1,\dots,y_{t-1})$$
#
# Check it on one dish. All numbers that we need are sums over the list of all dishes:

# %%
import numpy as np

logp = kitchen.table(reference.log_prob).numpy()  # (guests, dishes)
x, dishes = kitchen.prompts.index(guest), kitchen.responses
begins = np.array([dish.split()[:1] == ["honey"] for dish in dishes])  # honey, and whatever follows
first = np.log(np.exp(logp[x])[begins].sum())  # log P(the first word is honey)
end = logp[x, dishes.index("honey")] - first  # log P(end | honey)

print(f"log P(honey first) {first:.2f} + log P(end | honey) {end:.2f} = {first + end:.2f}")
print(f"log pi(honey)                                  = {logp[x, dishes.index('honey')]:.2f}")
print(f"P(end | honey) = {np.exp(end):.2f}, the chance that a plate of honey is served as it is")

# %% [markdown]
# ## The probabilities add up to 1
#
# That sounds like nothing. It is the best test of a `log_prob` that there is, and here we can run it: all 241
# dishes, for each guest.
#
# Now two slips that are easily made. The first takes the **mean** over the tokens in the place of the sum. The
# second **forgets the end token**. **Predict**: does the total become larger or smaller than 1? For one of the two
# you can even say by how much.

# %%
portions = np.array([len(dish.split()) for dish in dishes])
tokens = np.minimum(portions + 1, kitchen.portions)  # the end token counts, where there is one
begun_by = [
    [longer.startswith(dish) for longer in dishes] for dish in dishes
]  # what a dish without end stands for
without_end = sum(np.exp(logp[x])[row].sum() for row in begun_by)
total = np.exp(logp).sum(axis=1)
print(f"sum over tokens:    {total.min():.4f} to {total.max():.4f} for the 16 guests")
print(f"mean over tokens:   {np.exp(logp[x] / tokens).sum():.1f}")
print(f"end token dropped:  {without_end:.2f}")
print(f"1 + the mean number of portions: {1 + np.exp(logp[x]) @ portions:.2f}")
assert np.abs(total - 1).max() < 1e-4

# %% [markdown]
# The mean gives *every* long dish the probability of about one token. The total is far above 1, and there is no
# distribution left: no KL, no closed form.
#
# Without its end token a dish stands for itself **and for everything that begins with it**. A dish of two portions
# is then counted three times: as itself, as its first portion and as the empty plate. So the total is 1 plus the
# mean number of portions, as the last line says. Nothing in a training curve shows this. Here it cannot pass:

# %%
from types import SimpleNamespace

import torch

from cdpo_edu import InputError
from cdpo_edu.certificate import enumerated


def mean_log_prob(prompts, responses):
    """Return the slip: the mean over a response's tokens."""
    length = torch.tensor([min(len(y.split()) + 1, kitchen.portions) for y in responses])
    return reference.log_prob(prompts, responses) / length


try:
    enumerated(kitchen, SimpleNamespace(log_prob=mean_log_prob))
except InputError as error:
    print("refused:", str(error).split(", not 1;")[1].strip())

# %% [markdown]
# ## Samples against the list
#
# The other way to know a policy is to draw from it. A large model offers nothing else. Here both ways exist, so
# the samples can be tested: their mean cost must approach the exact one, with an error that shrinks like
# $1/\sqrt{n}$.

# %%
probs = enumerated(kitchen, reference).numpy()
cost = kitchen.table(kitchen.cost).numpy()
exact = (probs * cost).sum(axis=1).mean()
spread = np.sqrt(((probs * cost**2).sum(axis=1) - (probs * cost).sum(axis=1) ** 2).mean())
for n in (4, 64, 1024):
    drawn = reference.sample(kitchen.prompts, n, generator=torch.Generator().manual_seed(0))
    seen = kitchen.cost([guest for guest in kitchen.prompts for _ in range(n)], drawn).mean().item()
    error = spread / np.sqrt(16 * n)
    print(
        f"{16 * n:6,} samples: within two standard errors: {abs(seen - exact) < 2 * error} ({error:.3f} each)"
    )
print(f"the list of all dishes: E[c] = {exact:.2f}, so {exact + 0.5:.2f} forbidden portions per dish")

# %% [markdown]
# ## The exact constrained optimum
#
# We allow 0.15 forbidden portions per dish: $C = -0.35$. The reference breaks this limit. `FiniteProblem` of
# lesson 02 does not care that the table of the reference comes from a transformer. It has 16 rows and 241 columns,
# and its optimum is found at once.

# %%
from cdpo_edu import FiniteProblem

taste = kitchen.table(kitchen.reward).numpy()
problem = FiniteProblem(probs, taste, cost, beta=0.5, cost_limit=-0.35)
best, start = problem.solve(), problem.evaluate(probs)
print(f"{probs.size:,} numbers; the exact price lam* = {best.lam:.2f}")
for name, own in (("reference", start), ("optimum", best)):
    forbidden = f"{own.cost + 0.5:.2f} forbidden portions"
    print(f"{name:10} E[r] {own.reward:.2f}   E[c] {own.cost:.2f} ({forbidden})   KL {own.kl:.2f} nats")

# %% [markdown]
# What does it serve? The three most likely dishes of this guest, before and after:

# %%
for name, table in (("reference", probs), ("optimum", best.probs)):
    print(name)
    for y in np.argsort(-table[x])[:3]:
        print(f"   {dishes[y]:14} {table[x, y]:.2f}   r {taste[x, y]:.1f}  c {cost[x, y]:.1f}")

# %% [markdown]
# The optimum is still a cook and no saint: it keeps a few forbidden portions where they taste best, because the
# limit allows them.

# %% [markdown]
# ## DPO at the right price
#
# On a table, lesson 04 found the optimum to nine digits. Now the transformer: 4,096 pairs of dishes drawn from the
# reference, soft labels at the price $\lambda^*$, and 120 gradient steps.


# %%
def tune(preferences, *, beta, steps):
    """Return the table of a fresh copy of the reference after ``steps`` of DPO."""
    policy = reference.frozen()
    policy.engine = chef.engine  # the optimizer's settings for DPO
    policy.fit(preferences, beta=beta, steps=steps, seed=0)
    return enumerated(kitchen, policy).numpy()


scored = kitchen.pairs(reference, 4096, seed=1).score(kitchen.reward, kitchen.cost, reference)

# %% [markdown]
# **Predict.** The price is exactly right, the labels have no noise, and 256 pairs per guest is more than a real
# data set has. Closeness (1 the optimum, 0 the reference): above 0.95? And is the limit met?

# %%
tuned = tune(scored.label(best.lam), beta=0.5, steps=120)
own, certificate = problem.evaluate(tuned), problem.certify(tuned)
print(f"closeness {certificate.closeness:.1f}")
print(f"E[c] {own.cost:.1f}, limit met: {certificate.violation == 0}")
assert 0.6 < certificate.closeness < 0.95 and own.cost > -0.35

# %% [markdown]
# Most of the way, not all of it, and the limit is not met, at a price that is *exactly right*. A transformer is not
# a table: it must be near the optimum on all dishes at once, and where no pair asks it interpolates. So the trained
# policy needs another price than the exact one. That is why constrained DPO measures its cost and moves $\lambda$
# (lesson 07), and why no formula for $\lambda$ can replace the measurement.
#
# But what exactly went wrong? To see it, take fewer pairs.

# %% [markdown]
# ## Where did the mass go?
#
# Two changes make the effect large enough for a slide, and both are what one meets in practice. People compare a
# text with a *variation* of it: here a dish and the same dish with another last portion, 16 pairs per guest. And
# the tie to the reference is weaker, $\beta = 0.1$, as is usual for language models.
#
# Before training, every dish gets one of four names:
#
# | kind | in a pair? | which |
# |---|---|---|
# | `chosen` | yes | wins its pairs more often than not |
# | `rejected` | yes | the others |
# | `unseen, to rise` | no | the exact optimum gives it more than the reference does |
# | `unseen, to fall` | no | the exact optimum gives it less |
#
# The four masses add up to 1. `follow_mass` trains and lists all dishes after every few steps.

# %%
from cdpo_edu import follow_mass, variations

weak = problem.with_beta(0.1)
alike = variations(kitchen, reference, 256, seed=1).score(kitchen.reward, kitchen.cost, reference)
few = alike.label(weak.solve().lam)
for i in (0, 1, 2):
    print(f"{few.prompts[i]:10}  {few.y0[i]:14} or {few.y1[i]:14}  P(second) {few.target[i]:.2f}")

# %% [markdown]
# **Predict**, before the next cell: the mean log-probability of the *chosen* dishes, does it rise or fall? And
# their total mass? (These are two questions.)


# %%
def train(sft_weight):
    """Return the path of the mass over 40 steps of DPO with an anchor of this weight, and the last table."""
    policy = reference.frozen()
    policy.engine = chef.engine._replace(sft_weight=sft_weight)
    path = follow_mass(policy, few, problem=weak, world=kitchen, steps=40, every=5)
    return path, enumerated(kitchen, policy).numpy()


plain, served = train(0.0)
print("step   log pi: chosen  rejected    mass, as a multiple: chosen  rejected  unseen")
begun = plain.records[0].mass
for r in plain.records[::2]:
    line = f"{r.step:4}          {r.chosen_logp:7.1f}   {r.rejected_logp:7.1f}"
    ratio = [*(r.mass / begun)[:2], r.mass[2:].sum() / begun[2:].sum()]
    print(line, f"{ratio[0]:26.1f} {ratio[1]:9.1f} {ratio[2]:7.1f}")

# %% [markdown]
# The log-probability of the chosen dishes **falls**, by more than one nat: a typical chosen dish is left with about
# a quarter of its probability. Everybody who trains with DPO has seen this curve, and many have asked whether
# their model is broken.
#
# And yet the *mass* of the chosen dishes grows, to nearly twice what it was. How can both be true?

# %%
from cdpo_edu import chances

chosen = chances(kitchen, few) > 0.5
change = (served - probs)[chosen] / 16  # each guest weighs 1/16
print(f"share of the chosen dishes that lose probability: {(change < 0).mean():.1f}")
print(f"they lose {-change[change < 0].sum():.1f} together, the others gain {change[change > 0].sum():.1f}")
assert (change < 0).mean() > 0.5 and change.sum() > 0.05

# %% [markdown]
# Most chosen dishes are mediocre ones that happened to stand beside something worse, and they fall. A few are very
# good, and take more than all the others lose. The mean of logarithms counts dishes; the mass counts servings.

# %% [markdown]
# ### An anchor
#
# DPO sees the *difference* of two log-probabilities, so nothing keeps their level. The remedy that is most often
# proposed (Pang and others, 2024, use it for reasoning) adds what supervised fine-tuning would minimise:
#
# $$\ell_{DPO} \;+\; w\,\big[-\log\pi(y_{chosen}|x)\big]$$
#
# In this package it is one field of the engine, `sft_weight`. (Pang and others divide the term by the length of
# the text; here it is the sum, as every log-probability.) It is off unless you ask for it.

# %%
paths = {0.0: plain, 0.01: train(0.01)[0], 0.1: train(0.1)[0]}
print("   w   log pi(chosen)   closeness   E[c] above the limit by")
for w, path in paths.items():
    r = path.records[-1]
    print(
        f"{w:4}          {r.chosen_logp:5.1f}         {r.closeness:.1f}                       {r.cost - weak.cost_limit:.1f}"
    )

# %% [markdown]
# The anchor does what it says: the chosen dishes rise. And what it costs is plain: the policy ends *farther from
# the optimum* than without it. None of the three meets the limit. (With the anchor $E[c]$ looks better. It is nearer to
# that of the reference, from which an anchored policy moves less.)

# %% [markdown]
# ## The picture
#
# One column of mass per step. The two blue bands at the bottom are the dishes that stand in a pair; the column with
# the dashed frame is the exact optimum.

# %% alt="Two stacked pictures of probability over 40 gradient steps, each with the exact optimum as a column beside it. Left, DPO alone: the band of unseen dishes that should rise more than triples, and stays far below the optimum's; the chosen band nearly doubles. Right, with an anchor: the chosen band grows beyond the optimum's, and the unseen dishes that should rise gain far less."
import matplotlib.pyplot as plt

from cdpo_edu.plots import house_style, plot_mass

with house_style():
    figure, axes = plt.subplots(1, 2, figsize=(17, 6.2))
    for ax, w, name in zip(axes, (0.0, 0.01), ("DPO alone", "DPO with an anchor, w = 0.01"), strict=True):
        plot_mass(paths[w], ax=ax)
        ax.set_title(f"{name}\n{ax.get_title(loc='left')}", loc="left")

# %% [markdown]
# Read the left panel from below. On the dishes that were compared DPO did its work: the rejected ones
# lose most of their mass, the chosen ones end a little above the optimum's share. **The error is in the unseen.** A good part of the
# mass goes where the optimum wants it, to good dishes that nobody compared: the transformer has understood
# *something* about taste and applies it elsewhere. But nearly half of the mass stays on dishes that should fall.
#
# So a falling log-probability says neither "harmless" nor "broken". While the chosen dishes fell, the policy came
# much closer to the optimum, **and** its cost went up from that of the reference, away from the limit. The anchor
# stops the fall, and with it the flow to better dishes; it puts the mass on the chosen ones, which are only
# better than their partner.
#
# The numbers behind the figure:

# %%
print("unseen mass, as a multiple of what it was:  to rise   to fall")
for name, mass in (
    ("DPO alone", paths[0.0].masses[-1]),
    ("w = 0.01", paths[0.01].masses[-1]),
    ("optimum", plain.optimum),
):
    print(f"   {name:39} {mass[2] / begun[2]:7.0f} {mass[3] / begun[3]:9.1f}")
last = {w: path.records[-1] for w, path in paths.items()}
assert (
    last[0.0].chosen_logp < -0.5 < 0 < last[0.01].chosen_logp
)  # DPO lets the chosen fall, the anchor lifts them
assert last[0.0].mass[0] > plain.records[0].mass[0]  # and still their mass grows
assert last[0.0].mass[2] > 2 * plain.records[0].mass[2]  # the unseen that should rise do
assert last[0.0].closeness > last[0.01].closeness > last[0.1].closeness
assert last[0.0].cost > start.cost > weak.cost_limit and last[0.01].kl < last[0.0].kl / 2

# %% [markdown]
# ### What the anchor aims at
#
# That the anchored optimum is another one does not need a transformer. Two dishes at even odds, one better by 1
# nat, $\beta = 0.5$: DPO's optimum gives the better one $\sigma(1/0.5)$. The term alone would give it $\sigma(1)$,
# the rate at which it *wins*, whatever $\beta$ is.

# %%
from scipy.optimize import minimize_scalar

from cdpo_edu.losses import anchored_dpo_loss

even, wins = torch.tensor([[0.5, 0.5]]).double().log(), torch.sigmoid(torch.tensor([1.0])).double()
for w in (0.0, 0.1, 1.0, 100.0):

    def loss(z, w=w):
        """Return the anchored loss of a policy with log-odds z."""
        logp = torch.tensor([[0.0, z]]).double().log_softmax(dim=1)
        return anchored_dpo_loss(logp, even, wins, 0.5, w).item()

    print(f"w = {w:5}: P(better) = {1 / (1 + np.exp(-minimize_scalar(loss).x)):.3f}")
print(f"by hand: DPO {1 / (1 + np.exp(-2)):.3f}, imitation of the winners {1 / (1 + np.exp(-1)):.3f}")

# %% [markdown]
# So the trade is this. The anchor ties the policy to the *chosen answers*, and is as good as they are. Pang and
# others take chosen answers that were checked to be right, and report that the term was crucial for them. Where
# the chosen answer is merely better than its partner, as here, the term holds on to mediocrity, and it is no
# remedy for a violated limit. Which case is yours can be measured, on samples: `ConstrainedDPO` looks at what the
# policy produces, not at log-probabilities.

# %% [markdown]
# ## Coverage: what the pairs cannot see
#
# Why is all the error in the unseen? Draw the dishes of a guest as points and every pair as a line. DPO fixes the
# difference of two scores along each line, and differences add up along a chain. Inside an **island**, a connected
# component, the odds are fixed. Between islands nothing is, and every unseen dish is an island.
#
# For this we put the transformer aside. The reference is now the *author of the cookbook* that the cook has
# imitated, whose habits are known exactly: two portions three times out of four, else one, and each ingredient with
# a probability in proportion to $e^{\text{taste}}$, whatever the allergy.

# %%
from cdpo_edu.toy_language import CRAVINGS, INGREDIENTS

flavours = np.exp([flavour for _, flavour in INGREDIENTS.values()])  # (ingredients, cravings)
likes = dict(zip(INGREDIENTS, flavours / flavours.sum(axis=0), strict=True))
size = [0.0, 0.25, 0.75]  # of an empty plate, of one portion, of two


def habit(guest, dish):
    """Return the probability with which the author serves this dish."""
    craving, plate = CRAVINGS.index(guest.split()[1]), dish.split()
    return size[len(plate)] * np.prod([likes[item][craving] for item in plate])


# %%
author = np.array([[habit(guest, dish) for dish in dishes] for guest in kitchen.prompts])
page = FiniteProblem(author, taste, cost, beta=0.5, cost_limit=-0.35)
price = page.solve().lam
print(f"the author: E[c] {page.evaluate(author).cost:.2f}, exact price {price:.2f}")
print(f"the cook:   E[c] {start.cost:.2f}, exact price {best.lam:.2f}")

# %% [markdown]
# The cook has learned the book well. And the policy that we tune is a *table*, which fits its pairs perfectly, at
# $\beta = 0.5$ and the exact price. A dish stands at its score, and at what the policy made of it, the implicit
# reward $\beta \log(\pi/\pi_{ref})$. By lesson 04 the optimum is a line of slope 1.

# %% alt="Three scatter plots of implicit reward against score for the dishes of one guest. With 1 pair two dishes are joined and all others lie on one horizontal line. With 16 pairs several islands lie on parallel lines of slope one. With 256 nearly all dishes lie on the dashed line, the exact optimum."
from cdpo_edu.laboratories.coverage import drawn as pairs_from
from cdpo_edu.plots import plot_islands

edges = pairs_from(page.reference, 512, np.random.default_rng(0))  # (guest, dish, dish)
own_edges = edges[edges[:, 0] == x]
with house_style():
    figure, axes = plt.subplots(1, 3, figsize=(19, 6.2), sharey=True)
    for ax, n in zip(axes, (1, 16, 256), strict=True):
        plot_islands(page, own_edges[:n], lam=price, prompt=x, ax=ax)

# %% [markdown]
# Left: two dishes are joined, and their line has the right slope, for their difference is right. All the others
# keep the odds of the reference: a horizontal line. In the middle the islands lie on *parallel* lines, each right
# in itself, and shifted against each other. On the right most of them have grown together. In numbers:

# %%
from cdpo_edu.plots import islands_data

for n in (1, 16, 256):
    data = islands_data(page, own_edges[:n], lam=price, prompt=x)
    print(data.describe().replace("\n", "; "))
first, second = data.lines[:, 0], data.lines[:, 1]
steep = (data.implicit[first] - data.implicit[second]) - (data.score[first] - data.score[second])
assert np.abs(steep).max() < 1e-9 and data.unseen_mass < 0.1  # every line has slope 1

# %% [markdown]
# **Predict.** With 16 pairs for every guest, fitted perfectly at the exact price: how much mass is on dishes that
# stand in no pair? And how many pairs does it take until the limit, −0.35, is met?

# %%
from cdpo_edu import measure_coverage


def first_pairs(n):
    """Return the first n pairs of every guest."""
    return np.concatenate([edges[edges[:, 0] == g][:n] for g in range(16)])


print("pairs   islands   unseen mass   E[c] of the seen    E[c]   perfect fits cost   closeness")
for n in (1, 4, 16, 64, 256, 490):
    row = measure_coverage(page, first_pairs(n), price)
    line = f"{n:5}   {row.islands:7.0f}   {row.unseen:11.2f}   {row.cost_of_seen:16.2f}   {row.cost:5.2f}"
    print(f"{line}   {row.lowest:5.2f} to {row.highest:5.2f}   {row.closeness:11.2f}")

# %% [markdown]
# In the row of 16 pairs almost three quarters of the mass lie on dishes that no pair has ever mentioned, and they
# still cost what they cost under the reference. The dishes in the pairs are cheaper than the policy as a whole,
# because they alone were tuned. Even with 490 pairs per guest the limit is met to two digits only.
#
# The column *perfect fits cost* is stronger. It is the range of $E[c]$ over **all** policies that fit these pairs
# perfectly, every one of them at the same least loss. Up to 16 pairs per guest it reaches from no forbidden
# portion to two. Where in this range one ends is decided by the start and by the optimizer, not by the data. A
# table stays near the reference; the transformer of the last section, with 16 pairs of its own, did not.
#
# ### A limit that is met on paper
#
# Now somebody tunes the price, with 16 pairs per guest, and stops where the limit is met. **Predict**: does it
# matter whether the cost is measured on the dishes of the *pairs*, or on what the policy *serves*?

# %%
from scipy.optimize import brentq

sixteen = first_pairs(16)


def excess(lam, measured):
    """Return how far the measured cost lies above the limit at the price ``lam``."""
    return getattr(measure_coverage(page, sixteen, lam), measured) - page.cost_limit


prices = {"the exact one": price}
for name, measured in (("limit met on the pairs", "cost_of_seen"), ("limit met in truth", "cost")):
    prices[name] = brentq(excess, 0.0, 20.0, args=(measured,))

# %%
print(f"{'price':24} {'lam':>5} {'E[c] of the seen':>18} {'E[c]':>7} {'closeness':>10}")
mended = {name: measure_coverage(page, sixteen, lam) for name, lam in prices.items()}
for name, row in mended.items():
    print(f"{name:24} {prices[name]:5.2f} {row.cost_of_seen:18.2f} {row.cost:7.2f} {row.closeness:10.2f}")
paper, truth = mended["limit met on the pairs"], mended["limit met in truth"]
assert abs(paper.cost_of_seen - page.cost_limit) < 1e-6 and paper.violation > 0.05
assert truth.violation < 1e-6 and truth.closeness < 0

# %% [markdown]
# It matters. Measured on the pairs the limit is met, the pairs are fitted perfectly, and **the true cost breaks the
# limit**: the violation hides in the unseen mass. Measured on the policy's own servings the price has to more than double,
# and then the limit holds, for everybody who eats there.
#
# But look at the last number. The policy that meets the limit in truth is *farther from the optimum than the
# reference*: it has only the few dishes of the pairs to work with, and piles its mass on the safe ones among them.
# A measured price makes few pairs safe. It does not make them good.
#
# ### What makes it good
#
# More pairs: the first table says how many, a few hundred per guest. And pairs drawn from the policy's *own*
# samples, as constrained DPO recycles them? On a table, at the weak tie $\beta = 0.1$, where the mass moves far
# (means of five draws):

# %%
from cdpo_edu import grow_coverage

far, sizes = page.with_beta(0.1), [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
for recycled in (False, True):
    name = "from the policy" if recycled else "from the reference"
    runs = [grow_coverage(far, sizes, lam=far.solve().lam, recycled=recycled, seed=k) for k in range(5)]
    few_draws, many = (np.mean([run[i].closeness for run in runs]) for i in (5, -1))
    print(f"{name:18}: closeness {few_draws:.1f} with 32 draws per guest, {many:.1f} with 512")

# %% [markdown]
# Honest news: *only* asking about one's own samples is no remedy for a table. With few draws it makes little
# difference, with many it is worse, because a table learns nothing about dishes that it does not draw, and asks
# about its favourites again and again. So constrained DPO throws its fresh pairs in *among* the old ones, and
# relies on a policy that generalises. Lesson 07 shows what that is worth.

# %% [markdown]
# ## What would falsify this?
#
# If the prices in the labels carry the information to the transformer, then labels without the price, with far
# too much of it, and labels dealt out among the wrong pairs must end farther from the optimum. Each gets the same
# 40 steps, from the same start, on the same pairs of dishes.
#
# **Predict** the order of the four.

# %%
order = torch.randperm(len(scored), generator=torch.Generator().manual_seed(0))
right = scored.label(best.lam)
controls = {
    "lam = 0": scored.label(0.0),
    "lam = 20": scored.label(20.0),
    "shuffled": right._replace(target=right.target[order]),
    "lam = lam*": right,
}
found = {}
for name, preferences in controls.items():
    table = tune(preferences, beta=0.5, steps=40)
    found[name] = problem.certify(table).closeness
    print(f"{name:10}  closeness {found[name]:5.1f}   E[c] {problem.evaluate(table).cost:5.1f}")
assert found["lam = lam*"] > max(found["lam = 0"], found["lam = 20"], found["shuffled"]) + 0.1

# %% [markdown]
# And the claim about the sum to 1 falsifies itself, if it can: with the mean or without the end token it fails.

# %% [markdown]
# ## Limits of this lesson
#
# - 241 dishes are not a language. What carries over is the arithmetic: sums over tokens, shares of mass, islands.
#   How much a large model generalises to the unseen has to be measured on its samples.
# - One seed for the cook and one for each set of pairs. The signs are asserted above, the digits are those of one run.
# - Whether the fall of the chosen responses is harmless depends on the pairs. Here most of the mass that moved went
#   to better dishes. In lesson 04 the same fall sent it to a worse one, and Razin and others (2024) report such
#   cases in language models.
# - The closed form for islands holds for soft labels and a table that starts at the reference. Hard labels have no
#   end point at all (lesson 04).
# - The price stood still. Moving it is the next lesson.

# %% [markdown]
# ## References
#
# - R. Rafailov, A. Sharma, E. Mitchell, S. Ermon, C. D. Manning, C. Finn. *Direct Preference Optimization:
#   Your Language Model is Secretly a Reward Model.* 2023, arXiv 2305.18290.
# - R. Y. Pang, W. Yuan, K. Cho, H. He, S. Sukhbaatar, J. Weston. *Iterative Reasoning Preference Optimization.* 2024,
#   arXiv 2404.19733: equation 1, the anchor.
# - N. Razin, S. Malladi, A. Bhaskar, D. Chen, S. Arora, B. Hanin. *Unintentional Unalignment: Likelihood
#   Displacement in Direct Preference Optimization.* 2024, arXiv 2410.08847.
# - Z. Liu, X. Sun, Z. Zheng. *Enhancing LLM Safety via Constrained Direct Preference Optimization.* 2024,
#   arXiv 2403.02475.
