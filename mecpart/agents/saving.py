"""Trained policies as files: arrays and plain values in the npz format of NumPy, without pickle.

The entry `header` is JSON: `format`, the `mecpart` that wrote it, the `kind` of the policy, and its `values`, which are
numbers and texts; every other entry is an array. Both are named by where they belong, as in `scenario/network/speed`.
"""

import json
import os
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

import mecpart
from mecpart.agents.learning import Policy
from mecpart.agents.networks import HEADS, MAX_JOINT_PLANS, SHARING, PartitionNetwork
from mecpart.agents.price_search import PricePolicy
from mecpart.dnn.workload import Workload
from mecpart.files import write_atomically
from mecpart.model.devices import BlockTimes, Links
from mecpart.model.network import Network
from mecpart.model.rules import Rules
from mecpart.model.scenario import Scenario, check_scenario
from mecpart.validation import (
    check_choice,
    check_count,
    check_flag,
    check_number,
    check_path,
    is_concrete,
    shown,
)

#: The version of the format; a file of another one is refused.
FORMAT = 1

# One of them takes the observation, and so tells its length; the last one in a network without hidden layers.
_FIRST_LAYERS = ("actor_0", "shared_0", "policy")

_OF_NETWORK = ("num_blocks", "num_nodes", "hidden", "heads", "sharing", "critic")


def save_policy(path: str | os.PathLike, policy: Policy | PricePolicy) -> None:
    """Write a trained policy, with all that it needs to make plans, to a file that is whole or not there.

    **Arguments:** `path`: of the file, by custom `*.npz`; its folder is made. `policy`: that of a `TrainResult`.

    **Raises:** `ValueError` for what is no policy of this package, several of them stacked, or one that is traced;
    `OSError` where the file cannot be written.
    """
    check_path("path", path)
    if not isinstance(policy, Policy | PricePolicy):
        raise ValueError(
            "policy must be a Policy or a PricePolicy, which mecpart.agents.make_train's train returns; a policy of "
            f"your own is yours to save; got {shown(policy)}"
        )
    if not is_concrete(policy):
        raise ValueError(f"policy must be known; save it outside of jit and vmap; got {shown(policy)}")
    _check(policy, "policy")
    # What is not there (times and links of measured devices, most often) is left out.
    held = {name: value for name, value in flatten_dict(_taken_apart(policy), sep="/").items() if value is not None}
    values = {name: value for name, value in held.items() if isinstance(value, str | int | float | tuple)}
    arrays = {name: np.asarray(value) for name, value in held.items() if name not in values}
    header = {"format": FORMAT, "mecpart": mecpart.__version__, "kind": type(policy).__name__, "values": values}

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:  # given a path, NumPy adds a suffix to it
            np.savez(file, allow_pickle=False, header=np.array(json.dumps(header)), **arrays)

    write_atomically(Path(path), write)


def load_policy(path: str | os.PathLike) -> Policy | PricePolicy:
    """The policy that `save_policy` wrote: it makes the same plans.

    Nothing in the file is run, and what it says is checked as if it were given by hand.

    **Raises:** `ValueError` that names the file where it is damaged, or none that `save_policy` wrote; `OSError` where
    it cannot be read.
    """
    check_path("path", path)
    with open(path, "rb") as file:
        try:
            header, arrays = _read(file)
            held = unflatten_dict({name: _plain(value) for name, value in header["values"].items()} | arrays, sep="/")
            policy = _put_together(header["kind"], held)
            _check(policy, "policy")
        except OSError:
            raise
        except Exception as error:  # NumPy and zipfile raise a dozen kinds over bytes that are not what they were
            why = " ".join(f"{type(error).__name__}: {error}".split())
            raise ValueError(
                f"path must be a file that mecpart.save_policy wrote; {path} is none, or damaged ({why})"
            ) from error
    return policy


def _read(file) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The header and the arrays of a file."""
    with zipfile.ZipFile(file) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise ValueError("compressed entries, which may be of any size when they are read")
    file.seek(0)
    with np.load(file, allow_pickle=False) as archive:
        arrays = dict(archive)  # reads all of them, and compares their checksums
    header = json.loads(str(arrays.pop("header")))
    if header["format"] != FORMAT:
        raise ValueError(f"format {header['format']!r} of mecpart {header['mecpart']!r}; this one reads {FORMAT}")
    return header, arrays


def _plain(value):
    return tuple(value) if isinstance(value, list) else value


def _taken_apart(policy: Policy | PricePolicy) -> dict[str, Any]:
    """What a policy is made of: nested dictionaries of arrays and plain values."""
    if isinstance(policy, PricePolicy):
        return {"weights": policy.weights, "scenario": asdict(policy.scenario)}
    network = {name: getattr(policy.network, name) for name in _OF_NETWORK}
    return {"parameters": policy.parameters, "available": policy.available, "network": network}


def _put_together(kind: str, held: dict[str, Any]) -> Policy | PricePolicy:
    """The policy of `kind` that `_taken_apart` takes apart into `held`."""
    check_choice("kind", kind, (Policy.__name__, PricePolicy.__name__))
    held = jax.tree.map(lambda leaf: jnp.asarray(leaf) if isinstance(leaf, np.ndarray) else leaf, held)
    if kind == Policy.__name__:
        return Policy(**held | {"network": PartitionNetwork(**held["network"])})
    return PricePolicy(**held | {"scenario": Scenario(**_parts_of(held["scenario"]))})


def _parts_of(held: dict[str, Any]) -> dict[str, Any]:
    """The fields of a record, those that are records themselves made of theirs."""
    kinds = {"workload": Workload, "network": Network, "rules": Rules, "times": BlockTimes, "links": Links}
    return {name: kinds[name](**_parts_of(value)) if name in kinds else value for name, value in held.items()}


def _check(policy: Policy | PricePolicy, name: str) -> None:
    """Raise `ValueError` where the arrays of a policy are not those that its network or its scenario has."""
    if isinstance(policy, PricePolicy):
        check_scenario(policy.scenario, f"{name}.scenario")
        check_number(f"{name}.weights", policy.weights, shapes=((2 * policy.scenario.num_nodes,),))
        return
    network = policy.network
    for count in ("num_blocks", "num_nodes"):
        check_count(f"{name}.network.{count}", getattr(network, count))
    for width in network.hidden:
        check_count(f"{name}.network.hidden", width)
    check_choice(f"{name}.network.heads", network.heads, HEADS)
    check_choice(f"{name}.network.sharing", network.sharing, SHARING)
    check_flag(f"{name}.network.critic", network.critic)
    if network.heads == "joint":  # the first check, for a power that would take years to compute
        check_count(f"{name}.network.num_blocks", network.num_blocks, maximum=MAX_JOINT_PLANS.bit_length())
        check_count(f"plans of {name}.network", network.num_nodes**network.num_blocks, maximum=MAX_JOINT_PLANS)
    kernels = [np.shape(policy.parameters["params"].get(name, {}).get("kernel")) for name in _FIRST_LAYERS]
    features = next((shape[0] for shape in kernels if len(shape) == 2), 1)
    key, observation = jax.eval_shape(jax.random.key, 0), jax.ShapeDtypeStruct((features,), jnp.float32)
    expected = jax.eval_shape(network.initialise, key, observation)
    nodes = (network.num_nodes,)
    of_each_block = (network.num_blocks, *nodes, *nodes)  # on measured devices
    allowed = of_each_block if np.ndim(policy.available) > 1 else nodes
    wanted = {"parameters": expected, "available": jax.ShapeDtypeStruct(allowed, bool)}
    found = {"parameters": policy.parameters, "available": policy.available}

    def described(tree):
        leaves = flatten_dict(jax.tree.map(lambda leaf: f"{np.shape(leaf)} {leaf.dtype}", tree), sep="/")
        return set(leaves.items())

    if wrong := described(found) ^ described(wanted):
        raise ValueError(
            f"{name} must be one policy, with the arrays that its network has; these differ: "
            + ", ".join(sorted(f"{entry} {what}" for entry, what in wrong))
        )
