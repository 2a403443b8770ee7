"""`PartitionEnv` for the reinforcement-learning libraries of others; each module needs its library, an optional extra.

| module | for | extra |
|---|---|---|
| `mecpart.adapters.gymnasium` | Gymnasium, and what builds on it, such as CleanRL | `mecpart[gymnasium]` |
| `mecpart.adapters.stable_baselines3` | Stable-Baselines3 | `mecpart[gymnasium]` and `stable-baselines3` |
| `mecpart.adapters.gymnax` | gymnax, and what builds on it, such as Rejax | `mecpart[gymnax]` |

`import mecpart` imports none of them; the first two are imported where they are first used.
"""

from mecpart.on_demand import import_on_demand

__all__ = ["gymnasium", "gymnax"]

__getattr__, __dir__ = import_on_demand(__name__, {name: [] for name in __all__})
