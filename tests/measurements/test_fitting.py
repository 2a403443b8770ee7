"""Devices fitted to block times: made-up ones are found again, exactly."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize, nnls

import mecpart
from mecpart.measurements.fitting import TERMS, fit_times
from mecpart.model.devices import BlockTimes

VGG16 = mecpart.workload("vgg16", 21)
RESNET32 = mecpart.workload("resnet32", 18)
#: Seconds of overhead, per mac, per byte and per byte of parameters: of a slow device, a fast one, and one that is all
#: overhead.
DEVICES = np.array([[2e-4, 5e-6, 1e-3], [4e-9, 1e-11, 0.0], [1e-9, 3e-11, 0.0], [5e-10, 0.0, 0.0]])
NAMES = ("slow", "fast", "remote")


def made_up(workload, devices=DEVICES):
    """By hand: what each of the devices takes for each block."""
    entering = np.asarray(workload.input_bytes, float)
    leaving = np.array([*entering[1:], workload.output_bytes], float)
    known = [np.asarray(values, float) for values in (workload.macs, workload.parameter_bytes)]
    per_block = [np.ones_like(entering), known[0], entering + leaving, known[1]]
    seconds = sum(np.outer(amount, each) for amount, each in zip(per_block, devices, strict=True))
    return BlockTimes(seconds, workload, NAMES)


def per_amount(fit):
    return [fit.overhead, fit.seconds_per_mac, fit.seconds_per_byte, fit.seconds_per_parameter_byte]


class TestMadeUp:
    @pytest.mark.parametrize("several", [False, True])
    def test_are_found_again(self, several):
        fit = fit_times([made_up(VGG16), made_up(RESNET32)] if several else made_up(VGG16), terms=TERMS)
        np.testing.assert_allclose(per_amount(fit), DEVICES, rtol=1e-4, atol=1e-15)
        assert fit.names == NAMES
        assert fit.sigma.max() < 1e-6

    def test_tell_the_times_of_another_network(self):
        predicted = fit_times(made_up(VGG16), terms=TERMS).predict(RESNET32)
        assert predicted.workload is RESNET32
        np.testing.assert_allclose(predicted.seconds, made_up(RESNET32).seconds, rtol=1e-4)

    @pytest.mark.parametrize("terms", [("macs",), ("overhead", "macs"), ("bytes", "overhead"), TERMS[:3]])
    def test_of_fewer_terms(self, terms):
        kept = DEVICES * [[term in terms] for term in TERMS]
        times = made_up(VGG16, kept).select([0, 1])
        fit = fit_times(times, terms=terms) if terms != TERMS[:3] else fit_times(times)
        np.testing.assert_allclose(per_amount(fit), kept[:, :2], rtol=1e-4, atol=1e-15)

    def test_where_a_block_cannot_run_or_takes_no_time(self):
        times = made_up(VGG16)
        seconds = np.array(times.seconds)
        seconds[3, 0], seconds[5, 1] = np.inf, 0
        fit = fit_times(replace(times, seconds=jnp.asarray(seconds)), terms=TERMS)
        np.testing.assert_allclose(per_amount(fit), DEVICES, rtol=1e-4, atol=1e-15)

    def test_what_times_do_not_know_of_their_blocks_is_given(self):
        times = made_up(VGG16)
        blank = replace(times, workload=replace(VGG16, macs=jnp.zeros(21)))
        with pytest.raises(ValueError, match="workload must have macs where they are one of terms; got 0 for every"):
            fit_times(blank)
        np.testing.assert_array_equal(fit_times(blank, VGG16).seconds_per_mac, fit_times(times).seconds_per_mac)


class TestNoise:
    def test_sigma_is_the_relative_error(self):
        noise = np.random.default_rng(0).normal(1, 0.05, (21, 3))
        times = made_up(VGG16, DEVICES * [[1], [1], [1], [0]])
        fit = fit_times(replace(times, seconds=times.seconds * noise))
        assert fit.sigma == pytest.approx([0.05] * 3, rel=0.35)
        predicted = fit.predict(VGG16)
        np.testing.assert_allclose(predicted.spread, fit.sigma * predicted.seconds, rtol=1e-6)

    def test_is_the_least_error_of_the_logarithm(self):
        """Against a general minimiser from several starts, where a term would be below 0."""
        draw = np.random.default_rng(1)
        seconds = draw.uniform(1e-3, 4e-3, (21, 2))
        fit = fit_times(BlockTimes(seconds, VGG16, ("a", "b")))
        amounts = np.asarray(made_up(VGG16, np.eye(4)[:, :3]).seconds, float)
        scale = amounts.max(axis=0)
        for node in range(2):

            def error(x, node=node):
                return np.sum(np.log(amounts / scale @ x / seconds[:, node]) ** 2)

            starts = 1e-3 * 10 ** draw.uniform(-2, 2, (5, 3))
            found = [minimize(error, x, bounds=[(1e-12, None)] * 3, method="Nelder-Mead").fun for x in starts]
            best = error(np.array(per_amount(fit))[:3, node] * scale)
            assert best <= min(found) * (1 + 1e-6)
            assert fit.sigma[node] == pytest.approx(np.sqrt(best / 18), rel=1e-4)

    def test_blocks_of_nothing_that_is_fitted_tell_nothing(self):
        """Pooling has no macs; its time is no reason to find a speed slower or faster."""
        times = made_up(VGG16, DEVICES * [[0], [1], [0], [0]]).select([0, 1])
        idle = np.asarray(VGG16.macs) == 0
        assert idle.any()
        fit = fit_times(replace(times, seconds=np.where(idle[:, None], 1.0, times.seconds)), terms=("macs",))
        np.testing.assert_allclose(fit.seconds_per_mac, DEVICES[1, :2], rtol=1e-5)


class TestReal:
    """Of six networks on this project's own machine, each told by the other five (`data/measured`)."""

    NODE = "EPYC, 1 core, ONNX Runtime"

    def error(self, terms):
        """The mean relative error over the layers of all networks."""
        networks = ["alexnet", "nin", "resnet32", "vgg16", "resnet50", "mobilenet_v2"]
        tables = [mecpart.measured_data("mecpart", name).times for name in networks]
        tables = [replace(each, seconds=each.seconds[:, [0]], names=each.names[:1], spread=None) for each in tables]
        assert {each.names for each in tables} == {(self.NODE,)}
        found = []
        for out in tables:
            fit = fit_times([each for each in tables if each is not out], terms=terms)
            found.append(np.abs(np.asarray(fit.predict(out.workload).seconds / out.seconds - 1)))
        return np.concatenate(found).mean()

    def test_each_term_tells_more_of_networks_that_were_not_measured(self):
        speed, overhead, all_three = (self.error(TERMS[1:2]), self.error(TERMS[:2]), self.error(TERMS[:3]))
        assert speed > overhead > all_three
        assert all_three < 0.7 * speed

    def test_layers_of_scission_that_were_held_out_are_not_all_told_too_short(self):
        """As they are by least squares of the relative error, in place of which the logarithm's was chosen by this."""
        listed = mecpart.measured_data().query("name == 'scission'")
        tables = [mecpart.measured_data("scission", name).times for name in listed.network]
        amounts, seconds = [], []
        for at, table in enumerate(tables):  # nobody knows their operations: seconds on another machine stand for them
            all_seconds = np.asarray(table.seconds, float)
            work, sizes = 1e9 * all_seconds[:, 2], [*table.workload.input_bytes, table.workload.output_bytes]
            amounts.append(np.stack([np.ones(len(work)), work, np.convolve(sizes, [1, 1], "valid")], axis=1))
            seconds.append(all_seconds[:, [0, 3]])
            tables[at] = replace(table, workload=replace(table.workload, macs=jnp.asarray(work))).select([0, 3])
        ours, theirs = [], []
        for out, table in enumerate(tables):
            kept = [at for at in range(len(tables)) if at != out]
            told = fit_times([tables[at] for at in kept]).predict(table.workload).seconds
            ours.append(np.log(np.asarray(told, float) / seconds[out]))
            for node in range(2):
                relative = np.concatenate([amounts[at] / seconds[at][:, node, None] for at in kept])
                scale = relative.max(axis=0)
                found = nnls(relative / scale, np.ones(len(relative)))[0] / scale
                theirs.append(np.log(amounts[out] @ found / seconds[out][:, node]))
        ours, theirs = np.concatenate(ours).ravel(), np.concatenate(theirs)
        assert np.sqrt(np.mean(ours**2)) < 0.6 * np.sqrt(np.mean(theirs**2))
        assert abs(np.median(ours)) < 0.25 < -np.median(theirs)


class TestRefused:
    @pytest.mark.parametrize(
        ("times", "more", "message"),
        [
            (None, {}, "times must be a mecpart.BlockTimes, or several in a list; got None"),
            ([], {}, "times must be a mecpart.BlockTimes, or several in a list"),
            (
                made_up(VGG16),
                {"terms": ("flops",)},
                "each of terms must be one of 'overhead', 'macs', 'bytes', 'parameters'; got",
            ),
            (made_up(VGG16), {"terms": "macs"}, "terms must be some of overhead, macs, bytes, parameters; got 'macs'"),
            (made_up(VGG16), {"workload": RESNET32}, "workload must be of the 21 blocks of one network; got 18"),
            ([made_up(VGG16), made_up(VGG16).select([1, 0])], {}, "times must be of the same nodes; got"),
            (made_up(mecpart.workload("vgg16", 2)), {}, "times must be of at least 3 blocks on each node"),
        ],
    )
    def test_by_name(self, times, more, message):
        with pytest.raises(ValueError, match=message):
            fit_times(times, **more)

    def test_no_workload(self):
        with pytest.raises(ValueError, match=r"workload must be a mecpart\.Workload"):
            fit_times(made_up(VGG16)).predict("vgg16")
