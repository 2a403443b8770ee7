"""What the paper says of training: Fig. 6, and the three panels of Fig. 7."""

from collections.abc import Iterator
from typing import Any

from mecpart.comparison.claim import Claim
from mecpart.comparison.measures import Advantage, Reduction, Settling
from mecpart.comparison.paper import BASELINES, LEARNED, PROPOSED, published
from mecpart.comparison.rule import POSITIVE, Region, about, same_within


def training_claims() -> Iterator[Claim]:
    """All of them, in the paper's order."""
    yield from _convergence()
    compared = [*_learning_rates(), *_workers()]
    yield from compared
    # "The same" is less than anything that the paper makes something of beside it, such as 18200 against 18250.
    told = [claim.published_value() for claim in compared if claim.region == POSITIVE]
    yield from _batches(same_within(min(told)))


def _convergence() -> Iterator[Claim]:
    """Fig. 6: where the learning curves end, and how soon."""
    figure: dict[str, Any] = {"figures": ("fig6",), "notebook": "fig6"}
    for other in BASELINES:
        yield Claim(
            f"Proposed ends with a higher mean reward than {other}",
            "Fig. 6",
            measure=Advantage("reward", (other,), x="last"),
            region=POSITIVE,
            **figure,
        )
    level = published("fig6").set_index("method")["reward"]
    for other in LEARNED:
        percent = round(float(100 * (level[other] - level[PROPOSED]) / level[other]), 2)
        yield Claim(
            f"Proposed ends with a mean cost (negative reward) {percent} % below {other}'s",
            "text on Fig. 6",
            measure=Reduction("reward", (other,), x="last"),
            region=about(percent),
            published=percent,
            **figure,
        )
    for other in LEARNED:
        yield Claim(
            f"Greedy ends with a higher mean reward than {other}",
            "Fig. 6",
            measure=Advantage("reward", (other,), "Greedy", x="last"),
            region=POSITIVE,
            **figure,
        )
    yield _settles_by(PROPOSED, PROPOSED, 400, "text on Fig. 6", "fig6")
    yield Claim(
        "Proposed settles sooner than Distributed DQN (about 400 against 2000 episodes)",
        "text on Fig. 6",
        measure=Settling(PROPOSED, other="Distributed DQN"),
        region=POSITIVE,
        published=1600.0,
        **figure,
    )


def _learning_rates() -> Iterator[Claim]:
    for actor, critic in ((0.01, 0.001), (0.001, 0.01), (0.001, 0.001)):
        claim = f"Learning rates 0.01 and 0.01 end higher than {actor} and {critic}"
        yield _ends_above("lr=0.01 lr_v=0.01", f"lr={actor} lr_v={critic}", claim, "fig7a")


def _workers() -> Iterator[Claim]:
    for count in (6, 4, 2):
        yield _ends_above("workers=8", f"workers={count}", f"Eight workers end higher than {count}", "fig7b")
    yield _settles_by("workers=8", "Proposed with eight workers", 200, "Fig. 7b", "fig7b")


def _batches(same: Region) -> Iterator[Claim]:
    yield _settles_by("batch=64", "Proposed with batches of 64", 200, "Fig. 7c", "fig7c")
    yield _settles_by("batch=32", "Proposed with batches of 32", 1100, "Fig. 7c", "fig7c")
    for size in (32, 16, 8):
        yield Claim(
            f"Batches of 64 settle sooner than batches of {size} (about 200 against 1100 episodes)",
            "Fig. 7c",
            ("fig7c",),
            Settling("batch=64", other=f"batch={size}"),
            POSITIVE,
            "fig7",
            published=900.0,
        )
    for size in (32, 16, 8):
        yield _ends_above("batch=64", f"batch={size}", f"Batches of 64 and of {size} end the same", "fig7c", same)


def _settles_by(curve: str, name: str, episode: int, where: str, figure: str) -> Claim:
    return Claim(
        f"{name} settles by about episode {episode} of 3000",
        where,
        (figure,),
        Settling(curve, episodes=3000),
        about(float(episode)),
        figure.rstrip("abc"),
        published=float(episode),
    )


def _ends_above(curve: str, other: str, claim: str, figure: str, region: Region = POSITIVE) -> Claim:
    """One curve of Fig. 7 against another, by their final rewards."""
    measure = Advantage("reward", (other,), curve, x="last", reference=other)
    return Claim(claim, f"Fig. {figure.removeprefix('fig')}", (figure,), measure, region, "fig7")
