"""The rule of all verdicts, in one place.

A claim names the open region in which the measured quantity must lie:

* a direction ("A is below B", "falls with N") names all numbers of that sign;
* a percentage p names the numbers between p/2 and 2p. Absolute seconds are no target (the paper prints four
  values for one setting), so a reduction is held to its sign and to a factor of two, not to its digits;
* a direction that nothing but noise can give, since what is swept has no part in a method's plans but through its
  reward, names the numbers beyond half of what is published: no trend is not a trend of either sign, and that there is
  none can be shown (equivalence, Schuirmann 1987: both one-sided tests against plus and minus that margin), while a
  sign would be a matter of luck;
* "the same" names the numbers that are nearer to 0 than the least difference that the paper makes something of in
  quantities of the same kind. That it is the same is the same test of equivalence.

The verdict is *reproduced* if the whole interval lies inside the region, *not reproduced* if the whole
interval lies outside, and *undecided* if it straddles the border, if the quantity is undefined, or with
fewer than five seeds: even if all agree, a one-sided sign test cannot reach 5 % with four (2^-4 = 0.0625).
Each row gives the smallest difference that its number of seeds could have detected, which says what an
undecided row is worth. How rows become facts stands at the head of `facts.py`.
"""

import math

from mecpart.comparison.statistics import Estimate

#: Seeds below which there is no verdict.
FEWEST_SEEDS = 5

#: An open interval, (low, high), in which a claim says that a quantity lies.
Region = tuple[float, float]
#: "More than."
POSITIVE: Region = (0.0, math.inf)
#: "Less than."
NEGATIVE: Region = (-math.inf, 0.0)


def verdict(measured: Estimate, region: Region) -> str:
    """Verdict on a claim that the quantity lies in the open `region`, by the rule of this package."""
    if measured.num_seeds < FEWEST_SEEDS or math.isnan(measured.low) or math.isnan(measured.high):
        return "undecided"
    if region[0] < measured.low and measured.high < region[1]:
        return "reproduced"
    if measured.high <= region[0] or measured.low >= region[1]:
        return "not reproduced"
    return "undecided"


def about(percent: float) -> Region:
    """The region of a claimed percentage: the same sign, and within a factor of two."""
    low, high = sorted((percent / 2, 2 * percent))
    return low, high


def direction(published: float) -> Region:
    """The region of a claimed direction: the sign of what is published."""
    return POSITIVE if published > 0 else NEGATIVE


def beyond(published: float) -> Region:
    """The region of a direction that is not to be had by noise: more than half of what is published."""
    return (published / 2, math.inf) if published > 0 else (-math.inf, published / 2)


def same_within(margin: float) -> Region:
    """The region of "the same"."""
    return -margin, margin


def region_words(region: Region) -> str:
    """Where something must lie, in words."""
    low, high = region
    if math.isinf(high):
        return f"above {low:.4g}"
    return f"below {high:.4g}" if math.isinf(low) else f"between {low:.4g} and {high:.4g}"
