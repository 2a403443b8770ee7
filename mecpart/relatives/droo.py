"""DROO: which users offload in wireless-powered mobile-edge computing.

L. Huang, S. Bi and Y. J. Zhang, "Deep Reinforcement Learning for Online Computation Offloading in Wireless Powered
Mobile-Edge Computing Networks", IEEE Transactions on Mobile Computing 19(11), 2020, doi 10.1109/TMC.2019.2928811; the
time split after S. Bi and Y. J. Zhang, IEEE Transactions on Wireless Communications 17(6), 2018. Constants as in the
authors' code, github.com/revenol/DROO (MIT, commit 563d6c7), the gains as in its data set, whose optima
`tests/relatives/test_droo.py` meets.

An access point broadcasts energy for a share a of a frame; then the users that offload send one after the other, for
shares tau_j with a + sum tau_j <= 1. With channel gains h, the weighted sum of bits computed per second is

    Q = sum over local i of w_i A_i a^(1/3) + sum over offloading j of w_j B tau_j ln(1 + c_j a / tau_j)

    A_i = (mu P)^(1/3) (h_i / k)^(1/3) / phi,    c_j = mu P h_j^2 / N0,    B = bandwidth / (v_u ln 2)

Taken over: all of this, binary offloading, weights 1 and 1.5 in turn, Rayleigh fading drawn afresh for every frame.
Left out: the imitation of the best of K candidates by which DROO trains (the harness's learner takes its place; its
order-preserving quantisation is `Relative.search`), the adaptive K, and users that come, go or change their weights.
"""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from mecpart.relatives.harness import Relative
from mecpart.validation import check_count

POWER = 3.0  # P, W, of the access point
HARVESTING = 0.7  # mu, the efficiency of harvesting
CYCLES_PER_BIT = 100.0  # phi
ENERGY_COEFFICIENT = 1e-26  # k, J s^2/cycle^3
NOISE = 1e-10  # N0, W
BANDWIDTH = 2e6  # Hz
OVERHEAD = 1.1  # v_u, bits sent for one bit of a task
WEIGHTS = (1.0, 1.5)  # of users in turn
CARRIER = 915e6  # Hz
ANTENNA_GAIN = 3.0  # of the data set: its mean gains are those of 3, to within 1 %
PATH_LOSS = 2.8  # exponent
DISTANCES = (2.5, 0.3)  # m, of the first user, and how much further each next one is

_BITS_PER_SECOND = BANDWIDTH / (OVERHEAD * math.log(2))  # B
_LOCAL = (HARVESTING * POWER / ENERGY_COEFFICIENT) ** (1 / 3) / CYCLES_PER_BIT
_SIGNAL = HARVESTING * POWER / NOISE


def droo(num_users: int = 10) -> Relative:
    """The problem with `num_users` users: a plan says of each whether it offloads (1) or computes itself (0).

    The state is the channel gains, [users]; the cost minus the weighted sum of computation rates, Mbit/s. Rules:
    "User by user" offloads one user after the other where that gains something over all before it; "Ranked by gain"
    takes the users by weight times gain, and of the N + 1 beginnings of that order the best.

    **Raises:** `ValueError` unless `num_users` is a whole number from 1 to 12 (all plans are enumerated).
    """
    num_users = check_count("num_users", num_users, maximum=12)
    mean_gain = mean_gains(num_users)
    weight = jnp.asarray(np.resize(WEIGHTS, num_users), jnp.float32)

    def cost(gain, offload):
        return -time_split(gain, offload)[0] / 1e6

    def best_beginning(gain, preference):
        rank = jnp.argsort(jnp.argsort(-preference))
        beginnings = (rank < jnp.arange(num_users + 1)[:, None]).astype(jnp.int32)
        return jnp.min(jax.vmap(cost, (None, 0))(gain, beginnings))

    def user_by_user(gain):
        def consider(best, user):
            plan, least = best
            other = plan.at[user].set(1)
            reached = cost(gain, other)
            better = reached < least
            return (jnp.where(better, other, plan), jnp.where(better, reached, least)), None

        nobody = jnp.zeros(num_users, jnp.int32)
        return jax.lax.scan(consider, (nobody, cost(gain, nobody)), jnp.arange(num_users))[0][1]

    return Relative(
        name="DROO",
        cost_name="minus the weighted computation rate [Mbit/s]",
        plans=jnp.array(list(itertools.product((0, 1), repeat=num_users)), jnp.int32),
        draws=num_users,
        draw=lambda noise: -mean_gain * jnp.log1p(-noise),
        observe=lambda gain: gain / mean_gain,
        cost=cost,
        rules={"User by user": user_by_user, "Ranked by gain": lambda gain: best_beginning(gain, weight * gain)},
        search=lambda gain, logits: best_beginning(gain, logits[:, 1] - logits[:, 0]),
    )


def mean_gains(num_users: int) -> Float[Array, " users"]:
    """Mean channel power gain of each user by free-space path loss, A (light / (4 pi f d))^2.8."""
    distance = DISTANCES[0] + DISTANCES[1] * np.arange(num_users)
    return jnp.asarray(ANTENNA_GAIN * (3e8 / (4 * np.pi * CARRIER * distance)) ** PATH_LOSS, jnp.float32)


def time_split(
    gain: Float[Array, " users"], offload: Int[Array, " users"]
) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, " users"]]:
    """The best split of a frame between the broadcast and the users that offload, to float32.

    Q is concave and the frame its one constraint, so its price v decides all. With z_j = c_j a / tau_j, a user sends
    until ln(1 + z_j) - z_j / (1 + z_j) = v / (w_j B); the broadcast lasts a = (A / (3 (v - b)))^(3/2), where A sums
    w_i A_i over local users and b sums w_j B c_j / (1 + z_j) over the others. A higher v means a shorter
    frame: the v at which it is one frame is found by bisection.

    **Arguments:** `gain`: h, above 0; `offload`: 1 for users that offload, 0 for those that compute themselves.

    **Returns:** the weighted sum of computation rates, bit/s; the share of the broadcast; the share of each user.
    """
    kinds = np.resize(
        np.eye(len(WEIGHTS)), (gain.shape[-1], len(WEIGHTS))
    )  # [users, weights]; of one kind all act alike
    weight = jnp.asarray(WEIGHTS, jnp.float32)
    signal = _SIGNAL * gain**2
    sending = (offload * signal) @ kinds
    local = ((1 - offload) * _LOCAL * jnp.cbrt(gain)) @ kinds @ weight / _BITS_PER_SECOND

    def respond(price):
        """(share of the broadcast, time of the users that offload over it, ln(1 + z) [weights]) at a price over B."""
        exponent = _inverse(price / weight)
        times = jnp.sum(sending / jnp.expm1(exponent))
        worth = price - jnp.sum(weight * sending * jnp.exp(-exponent))
        ratio = local / (3 * jnp.where(worth > 0, worth, 1))
        return jnp.where(worth > 0, ratio * jnp.sqrt(ratio), jnp.inf), times, exponent

    def halve(bracket, _):
        low, high = bracket
        middle = (low + high) / 2
        broadcast, times, _ = respond(middle)
        too_cheap = broadcast * (1 + times) > 1
        return (jnp.where(too_cheap, middle, low), jnp.where(too_cheap, high, middle)), None

    # v is at most Q, and Q at most what all local users get of a whole frame plus one sender's (1 - a) ln(1 + ...).
    most = local + max(WEIGHTS) * (jnp.log1p(jnp.sum(sending)) + 1)
    (_, price), _ = jax.lax.scan(halve, (jnp.zeros_like(most), most), length=24)
    _, times, exponent = respond(price)
    broadcast = 1 / (1 + times)
    rate = local * jnp.cbrt(broadcast) + broadcast * jnp.sum(weight * sending * exponent / jnp.expm1(exponent))
    shares = broadcast * offload * signal / (kinds @ jnp.expm1(exponent))
    return rate * _BITS_PER_SECOND, broadcast, shares


def _inverse(value: Float[Array, " weights"]) -> Float[Array, " weights"]:
    """The u > 0 with u - 1 + exp(-u) = value, which is convex: Newton's method from above, to rounding."""
    u = jnp.minimum(value + 1, value + jnp.sqrt(2 * value))
    for _ in range(4):
        u -= (u - 1 + jnp.exp(-u) - value) / -jnp.expm1(-u)
    return u
