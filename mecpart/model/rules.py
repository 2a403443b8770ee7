"""The rules by which tasks are served and charged: where the scenarios differ, each question on its own."""

from dataclasses import dataclass, fields

from mecpart.validation import check_flag, check_text, is_concrete, shown


@dataclass(frozen=True)
class Rules:
    """What a scenario adds to the paper's equations, each rule a yes or no (static: they decide what is compiled).

    - `name`: of the scenario whose rules they are, a key of `SCENARIOS`, also where single ones are switched.
    - `queues`: a node is free only when all that was given to it in earlier slots is done: first in, first out.
    - `return_charged`: the result returns to the device over the last block's link, which counts as transmission of the
      last block; otherwise it is there for free.
    - `local_input_charged`: a local block after an edge block pays the transmission of its input, as Eq. 5 says;
      otherwise it pays none, as Eq. 9 reads.
    - `streams`: the tasks of a slot follow each other through the blocks, so that nodes and links work at the same time
      on different tasks; otherwise all of them move from block to block as one lump.

    **Raises:** `ValueError` for a name that is no text, for a rule that is neither True nor False, and for queues and
    streams together: what a stream leaves to the next slot is not defined.
    """

    name: str
    queues: bool
    return_charged: bool
    local_input_charged: bool
    streams: bool = False

    def __post_init__(self):
        check_text("name", self.name)
        for rule in fields(self)[1:]:
            value = getattr(self, rule.name)
            check_flag(rule.name, value)
            if not is_concrete(value):
                raise ValueError(f"{rule.name} must be known before anything is compiled; got {shown(value)}")
            object.__setattr__(self, rule.name, bool(value))
        if self.queues and self.streams:
            raise ValueError(
                "queues and streams must not both be True: no queue outlasts the slot of a stream; got both"
            )

    @property
    def slots_couple(self) -> bool:
        """Whether what is done in a slot matters to later ones, so that the best plan of each is not the best of all.

        Where slots do not couple, `optimal_plan` is the optimum of the whole episode.
        """
        return self.queues


#: Eqs. 3-9 with nothing added.
AS_PRINTED = Rules("as_printed", queues=False, return_charged=False, local_input_charged=False)

#: With queues, and the way back to the devices.
LOADED = Rules("loaded", queues=True, return_charged=True, local_input_charged=True)

#: With tasks that follow each other through the blocks, and the way back to the devices.
PIPELINED = Rules("pipelined", queues=False, return_charged=True, local_input_charged=True, streams=True)

#: The rules of every scenario, by its name.
RULES = {rules.name: rules for rules in (AS_PRINTED, LOADED, PIPELINED)}
