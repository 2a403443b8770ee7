import json
import pickle
from dataclasses import asdict, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from measured_devices import drawn

import mecpart
from mecpart.agents import Policy, PricePolicy, agent_config, stages
from mecpart.model.scenario import check_scenario
from mecpart.model.ways import allowed_nodes

KEY = jax.random.key(3)
LEARNERS = {
    "Proposed": {"hidden": (8,)},
    "A3C": {"hidden": (8, 4)},
    "Distributed DQN": {"hidden": (8,)},
    "Learned prices": {},
    "joint": {"heads": "joint", "sharing": "hard", "hidden": ()},
}


def policy_of(name, scenario):
    """Before any training: what `save_policy` has to keep is all there; no two parameters are the same."""
    config = agent_config(name if name in mecpart.agents.AGENTS else "Proposed", **LEARNERS[name])
    learner = stages(config)
    policy = learner.policy(config, learner.init(config, KEY, scenario), scenario)
    own = policy.weights if isinstance(policy, PricePolicy) else policy.parameters
    leaves, layout = jax.tree.flatten(own)
    drawn = np.random.default_rng(0)
    own = layout.unflatten([jnp.asarray(drawn.uniform(-1, 1, leaf.shape), jnp.float32) for leaf in leaves])
    return replace(policy, weights=jnp.abs(own)) if isinstance(policy, PricePolicy) else replace(policy, parameters=own)


@pytest.fixture(scope="module")
def loaded(scenario):
    deadline = [0.1, 0.2, 0.3]
    return mecpart.loaded(scenario.workload, scenario.network, 5.0, deadline, arrivals="poisson", num_slots=10)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "policies" / "trained.npz"


def entries(path):
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)


def rewrite(path, change=lambda header: None, **arrays):
    """The same file with its header changed, or other arrays; None takes one out."""
    kept = entries(path)
    header = json.loads(str(kept["header"]))
    change(header)
    kept |= {"header": np.array(json.dumps(header))} | arrays
    with path.open("wb") as file:
        np.savez(file, **{name: array for name, array in kept.items() if array is not None})


@pytest.mark.parametrize("name", LEARNERS)
def test_what_is_read_makes_the_same_plans(name, loaded, path):
    policy = policy_of(name, loaded)
    mecpart.save_policy(path, policy)
    found = mecpart.load_policy(str(path))
    assert type(found) is type(policy)
    for one, two in zip(jax.tree.leaves(policy), jax.tree.leaves(found), strict=True):
        np.testing.assert_array_equal(one, two)
        assert one.dtype == two.dtype
    features = mecpart.PartitionEnv().observation_size(loaded)
    seen = jax.random.uniform(jax.random.key(1), (50, features))
    plans = jax.jit(lambda policy: policy(seen))  # compiled once: what is static is equal
    np.testing.assert_array_equal(plans(policy), plans(found))
    assert plans._cache_size() == 1
    assert len(np.unique(plans(found), axis=0)) > 1


def test_the_scenario_of_learned_prices_is_kept_with_its_rules_and_names(loaded, path):
    mecpart.save_policy(path, policy_of("Learned prices", loaded))
    found = mecpart.load_policy(path).scenario
    check_scenario(found)
    assert (found.rules, found.arrivals, found.num_slots) == (loaded.rules, "poisson", 10)
    assert found.workload.name == "alexnet"
    assert found.workload.block_names == loaded.workload.block_names
    one, other = (asdict(jax.tree.map(np.asarray, scenario)) for scenario in (found, loaded))
    np.testing.assert_equal(one, other)


def test_measured_devices_are_kept(path):
    times, links, _ = mecpart.measured_data("scission", "vgg19")
    given = mecpart.measured(times.cut(3), links, rules="loaded", num_slots=4)
    mecpart.save_policy(path, policy_of("Learned prices", given))
    found = mecpart.load_policy(path).scenario
    assert found.times.names == times.names
    np.testing.assert_equal(*(asdict(jax.tree.map(np.asarray, scenario)) for scenario in (found, given)))


def test_what_can_follow_on_measured_devices_is_kept(path):
    policy = policy_of("Proposed", drawn(1))
    mecpart.save_policy(path, policy)
    np.testing.assert_array_equal(mecpart.load_policy(path).available, allowed_nodes(drawn(1)))
    rewrite(path, available=np.ones((3, 3, 3), bool))
    with pytest.raises(ValueError, match="available"):
        mecpart.load_policy(path)


def test_the_format_is_plain_arrays_and_a_header(scenario, path):
    policy = policy_of("Proposed", scenario)
    mecpart.save_policy(path, policy)
    found = entries(path)
    header = json.loads(str(found.pop("header")))
    assert header == {
        "format": 1,
        "mecpart": mecpart.__version__,
        "kind": "Policy",
        "values": {
            "network/num_blocks": 3,
            "network/num_nodes": 4,
            "network/hidden": [8],
            "network/heads": "branches",
            "network/sharing": "soft",
            "network/critic": True,
        },
    }
    np.testing.assert_array_equal(
        found["parameters/params/actor_0/kernel"], policy.parameters["params"]["actor_0"]["kernel"]
    )
    assert found["available"].tolist() == [True, True, False, True]


@pytest.mark.parametrize("name", ["Proposed", "Learned prices"])
def test_damage_is_found_or_does_no_harm(name, loaded, path):
    """Wherever a file ends too early, and whichever bit is another one; some bits, as those of a date, say nothing."""
    policy = policy_of(name, loaded)
    mecpart.save_policy(path, policy)
    whole = path.read_bytes()
    for end in np.linspace(0, len(whole) - 1, 30).astype(int):
        path.write_bytes(whole[:end])
        with pytest.raises(ValueError, match=r"trained\.npz is none, or damaged"):
            mecpart.load_policy(path)
    refused = 0
    for bit in np.random.default_rng(0).integers(0, 8 * len(whole), 150):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            found = mecpart.load_policy(path)
        except ValueError:
            refused += 1
        else:
            for one, two in zip(jax.tree.leaves(policy), jax.tree.leaves(found), strict=True):
                np.testing.assert_array_equal(one, two)
    assert refused > 75


class Hostile:
    """Unpickled, it would leave a trace."""

    ran = False

    def __reduce__(self):
        return setattr, (Hostile, "ran", True)


def test_nothing_in_a_file_is_run(scenario, path):
    mecpart.save_policy(path, policy_of("Proposed", scenario))
    whole = path.read_bytes()
    path.write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(ValueError, match="damaged"):
        mecpart.load_policy(path)
    for name in ("header", "available", "more"):
        path.write_bytes(whole)
        with path.open("rb") as file, np.load(file) as archive:
            arrays = dict(archive) | {name: np.array([Hostile()], object)}
        with path.open("wb") as file:
            np.savez(file, allow_pickle=True, **arrays)
        with pytest.raises(ValueError, match="allow_pickle=False"):
            mecpart.load_policy(path)
    assert not Hostile.ran


def test_compressed_entries_are_refused(scenario, path):
    """A small file could unfold to more than there is memory."""
    mecpart.save_policy(path, policy_of("Proposed", scenario))
    arrays = entries(path)
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)
    with pytest.raises(ValueError, match="compressed"):
        mecpart.load_policy(path)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"network/hidden": [16]}, "actor_0/kernel"),
        ({"network/hidden": [8, 8]}, "actor_1/kernel"),
        ({"network/hidden": 8}, "TypeError"),
        ({"network/hidden": [8.5]}, "hidden must be a whole number"),
        ({"network/num_nodes": 5}, "policy/kernel"),
        ({"network/num_blocks": 0}, "num_blocks must be"),
        ({"network/heads": "sequential"}, "actor_question"),
        ({"network/heads": "branch"}, "'branch'"),
        ({"network/heads": "joint", "network/num_blocks": 9}, "plans of policy.network"),
        ({"network/heads": "joint", "network/num_blocks": 10**9, "network/num_nodes": 10**9}, "num_blocks must be"),
        ({"network/sharing": "hard"}, "shared_0"),
        ({"network/critic": False}, "shared_0"),
        ({"network/critic": 1}, "critic must be True or False"),
        ({"network/depth": 2}, "depth"),
        ({"greeting": "hello"}, "greeting"),
    ],
)
def test_values_that_do_not_fit_the_arrays(changes, why, scenario, path):
    mecpart.save_policy(path, policy_of("Proposed", scenario))
    rewrite(path, lambda header: header["values"].update(changes))
    with pytest.raises(ValueError, match=why):
        mecpart.load_policy(path)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"format": 2, "mecpart": "9.9"}, "format 2 of mecpart '9.9'; this one reads 1"),
        ({"kind": "Oracle"}, "'Oracle'"),
        ({"kind": "PricePolicy"}, "scenario"),
        ({"values": []}, "AttributeError"),
    ],
)
def test_another_header(changes, why, scenario, path):
    mecpart.save_policy(path, policy_of("Proposed", scenario))
    rewrite(path, lambda header: header.update(changes))
    with pytest.raises(ValueError, match=why):
        mecpart.load_policy(path)


def test_other_arrays(scenario, path):
    mecpart.save_policy(path, policy_of("Proposed", scenario))
    whole = path.read_bytes()
    for arrays, why in (
        ({"available": None}, "available"),
        ({"available": np.ones(4)}, "available"),
        ({"more": np.ones(4)}, "more"),
        ({"parameters/params/value/bias": np.zeros(1, int)}, "value/bias"),
        ({"header": np.zeros(3)}, "JSONDecodeError"),
    ):
        path.write_bytes(whole)
        rewrite(path, **arrays)
        with pytest.raises(ValueError, match=why):
            mecpart.load_policy(path)


@pytest.mark.parametrize(
    ("entry", "value", "why"),
    [
        ("scenario/network/speed", np.array([3e9, -1, 0, 5e9]), "speed"),
        ("scenario/release_rate", np.array(np.nan), "release_rate"),
        ("weights", np.zeros(6), "weights must have shape"),
        ("weights", -np.ones(8), "weights must be"),
    ],
)
def test_a_scenario_is_checked_as_if_it_were_made_by_hand(entry, value, why, loaded, path):
    mecpart.save_policy(path, policy_of("Learned prices", loaded))
    rewrite(path, **{entry: value})
    with pytest.raises(ValueError, match=why):
        mecpart.load_policy(path)


def test_what_cannot_be_saved(scenario, path, refused):
    policy = policy_of("Proposed", scenario)
    with refused("policy", "Policy", "<function"):
        mecpart.save_policy(path, lambda observation: observation)
    with pytest.raises(ValueError, match="outside of jit"):
        jax.jit(lambda policy: mecpart.save_policy(path, policy))(policy)
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), policy)
    with pytest.raises(ValueError, match="must be one policy"):
        mecpart.save_policy(path, stacked)
    other = Policy({"params": {}}, policy.available, policy.network)
    with pytest.raises(ValueError, match="must be one policy"):
        mecpart.save_policy(path, other)
    assert not path.exists()


def test_where_it_cannot_be_written_or_read(scenario, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        mecpart.save_policy(tmp_path / "file" / "trained.npz", policy_of("Proposed", scenario))
    with pytest.raises(FileNotFoundError, match="nothing"):
        mecpart.load_policy(tmp_path / "nothing.npz")


def test_any_suffix_will_do(scenario, tmp_path):
    policy = policy_of("Learned prices", scenario)
    mecpart.save_policy(tmp_path / "prices", policy)
    assert [found.name for found in tmp_path.iterdir()] == ["prices"]
    np.testing.assert_array_equal(mecpart.load_policy(tmp_path / "prices").weights, policy.weights)
