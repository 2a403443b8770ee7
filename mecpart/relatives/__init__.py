"""Other published learned partitioners and offloaders, restated as one kind of problem and measured by one harness.

Each module restates the cost model of one publication, and says what it takes over and what it leaves out:

| module | publication | what is chosen in a frame | what the frame draws |
|---|---|---|---|
| `droo` | DROO: Huang, Bi and Zhang, IEEE TMC 19(11), 2020 | which of N users offload | channel gains |
| `neurosurgeon` | Neurosurgeon (Kang et al. 2017), ANS (Zhang et al. 2021) | the cut | link rate, server speed |
| `splitrl` | SplitRL (Shrestha 2024) on the testbed of ParetoPipe | the cut of a pipeline | the network to cut |

In all of them frames do not couple: what is done in one changes nothing in the next. So each is a contextual bandit,
and its exact optimum a search over the plans of one frame.
"""

from mecpart.relatives.droo import droo
from mecpart.relatives.harness import Relative, assess
from mecpart.relatives.neurosurgeon import neurosurgeon
from mecpart.relatives.splitrl import splitrl

__all__ = ["Relative", "assess", "droo", "neurosurgeon", "splitrl"]
