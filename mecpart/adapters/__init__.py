"""`PartitionEnv` for the reinforcement-learning libraries of others; each module needs its library, an optional extra.

| module | for | extra |
|---|---|---|
| `mecpart.adapters.gymnasium` | Gymnasium, and what builds on it, such as CleanRL | `mecpart[gymnasium]` |
| `mecpart.adapters.stable_baselines3` | Stable-Baselines3 | `mecpart[gymnasium]` and `stable-baselines3` |
| `mecpart.adapters.gymnax` | gymnax, and what builds on it, such as Rejax | `mecpart[gymnax]` |

`import mecpart` imports none of them; the first two are imported where they are first used.
"""

import importlib

__all__ = ["gymnasium", "gymnax"]


def __getattr__(name: str):
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
