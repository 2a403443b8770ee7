from dataclasses import asdict, fields, replace

import jax
import numpy as np
import pytest

from mecpart.dnn.workload import Workload
from mecpart.model.network import make_network
from mecpart.model.rules import AS_PRINTED, LOADED, RULES, Rules
from mecpart.model.scenario import SCENARIOS, check_scenario

NETWORK = make_network([3e9, 6e9])
WORKLOAD = Workload(*np.ones((3, 2), np.float32), np.float32(1), ("first", "second"), "mine")
NAMES = [rule.name for rule in fields(Rules)][1:]


class TestRules:
    def test_the_paper_adds_nothing_and_loaded_all(self):
        assert {**asdict(AS_PRINTED)} == {"name": "as_printed", **dict.fromkeys(NAMES, False)}
        assert {**asdict(LOADED)} == {"name": "loaded", **dict.fromkeys(NAMES, True)}

    def test_every_scenario_has_some(self):
        assert RULES.keys() == SCENARIOS.keys()
        assert {name: build(WORKLOAD, NETWORK).rules for name, build in SCENARIOS.items()} == RULES

    @pytest.mark.parametrize("scenario", SCENARIOS)
    @pytest.mark.parametrize("rule", NAMES)
    def test_a_single_one_can_be_switched(self, scenario, rule):
        for value in (True, False, np.bool_(True), np.bool_(False)):
            switched = SCENARIOS[scenario](WORKLOAD, NETWORK, **{rule: value})
            assert switched.name == scenario
            assert switched.rules == replace(RULES[scenario], **{rule: bool(value)})
            assert hash(switched.rules) == hash(replace(RULES[scenario], **{rule: bool(value)}))

    def test_slots_couple_where_there_are_queues(self):
        assert [replace(LOADED, queues=queues).slots_couple for queues in (False, True)] == [False, True]

    @pytest.mark.parametrize("rule", NAMES)
    def test_what_is_neither_true_nor_false_is_refused(self, refused, rule):
        for build in SCENARIOS.values():
            with refused(rule, "True or False", "'yes'"):
                build(WORKLOAD, NETWORK, **{rule: "yes"})
            with refused(rule, "before anything is compiled", "bool"):
                jax.jit(lambda value, build=build: build(WORKLOAD, NETWORK, **{rule: value}))(True)

    def test_rules_of_no_scenario_are_refused(self, refused):
        scenario = SCENARIOS["loaded"](WORKLOAD, NETWORK)
        with refused("scenario.rules.name", "'mine'", "'as_printed', 'loaded'"):
            check_scenario(replace(scenario, rules=replace(LOADED, name="mine")))
        with refused("scenario.rules must be a mecpart.Rules", "'loaded'"):
            check_scenario(replace(scenario, rules="loaded"))
