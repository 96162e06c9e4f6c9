# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Assignment 01: the dual step
#
# **What you will have done by the end.** You will have written the one line that makes DPO constrained: the
# step of the multiplier $\lambda$, the price of harm.

# %% [markdown]
# Type the id under which you hand in. It decides the instances that you see.

# %% student="id"
STUDENT = "your id"

# %% given="desk"
from cdpo_edu.classroom import Desk

desk = Desk(STUDENT, course="public")

# %% [markdown] exercise="dual_step" variant="standard"
# ## The dual step
#
# The policy's expected cost is $E[c]$ and it must stay at or below the limit $C$. Dual gradient descent moves the
# multiplier and then projects it to the allowed side:
#
# $$\lambda \leftarrow \max\bigl(0,\; \lambda + \alpha\,(E[c] - C)\bigr)$$

# %% [markdown] exercise="dual_step" variant="safety"
# ## The dual step, with safety
#
# Here the numbers measure **safety**, not harm: the policy's expected safety $E[s]$ is the argument `cost`, and
# it must stay at or *above* the limit. The multiplier is the price of a lack of safety, and it is never negative.
# Write down the step for this sign yourself.


# %% answer="dual_step" variant="standard"
def dual_step(lam, cost, limit, step):
    """Return the multiplier after one step; every argument is a number, lam and step are not negative."""
    ### BEGIN SOLUTION
    return max(0.0, lam + step * (cost - limit))
    ### END SOLUTION


# %% answer="dual_step" variant="safety"
def dual_step(lam, cost, limit, step):
    """Return the multiplier after one step; every argument is a number, lam and step are not negative."""
    ### BEGIN SOLUTION
    return max(0.0, lam + step * (limit - cost))
    ### END SOLUTION


# %% check="dual_step"
desk.check("dual_step", dual_step)
