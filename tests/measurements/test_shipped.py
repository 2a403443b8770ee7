"""The measurements that come with the package: whole, small, with their sources; and what others computed from them."""

import csv

import numpy as np
import pytest

import mecpart
from mecpart.locations import data_folder
from mecpart.measurements.shipped import measured_data

FOLDER = data_folder() / "measured"
LISTED = measured_data()


def test_every_file_has_a_source_in_each_row_and_they_are_small():
    files = sorted(FOLDER.glob("*.csv"))
    assert len(files) > 10
    for path in files:
        with path.open(encoding="utf-8") as file:
            assert all(row["source"] for row in csv.DictReader(file)), path.name
    assert sum(path.stat().st_size for path in files) <= 600_000
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in files if path.name not in readme] == []


def test_what_there_is():
    assert list(LISTED) == ["name", "network", "blocks", "nodes", "links", "source"]
    peers = {"dnnpipe", "msr", "paretopipe_pi_to_gpu", "paretopipe_pi_to_pi", "pipeedge", "scission"}
    assert peers <= set(LISTED.name)
    assert (LISTED.name == "scission").sum() == 18
    assert LISTED.query("name == 'scission'").blocks.sum() == 546
    vgg19 = LISTED.query("name == 'scission' and network == 'vgg19'").squeeze()
    assert (vgg19.blocks, vgg19.nodes) == (25, "raspi4, 2500, vm2Core, 6700k(GPU), 6700k(NoGPU)")
    assert vgg19.links == "usual, wired"


@pytest.mark.parametrize(("name", "network"), LISTED[["name", "network"]].to_numpy().tolist())
def test_all_are_read(name, network):
    found = measured_data(name, network)
    row = LISTED.query("name == @name and network == @network").squeeze()
    assert found.times.num_blocks == row.blocks
    assert ", ".join(found.times.names) == row.nodes
    assert found.links is None or found.links.names == found.times.names
    assert found.memory is None or found.memory.shape == (found.times.num_nodes,)


def test_scission_has_the_delay_of_its_own_example():
    """Its README: 9.0106 s by blocks 0-6 on raspi4, 7-11 on vm2Core and the rest on 6700k(GPU), mobile links."""
    times, links, _ = measured_data("scission", "vgg19")
    seconds, names = np.asarray(times.seconds, float), times.workload.block_names
    first, second = names.index("7"), names.index("12")
    device, edge, cloud = map(times.names.index, ("raspi4", "vm2Core", "6700k(GPU)"))
    latency, rate = np.asarray(links.latency), np.asarray(links.rate)
    total = seconds[:first, device].sum() + seconds[first:second, edge].sum() + seconds[second:, cloud].sum()
    for cut, ends in ((first, (device, edge)), (second, (edge, cloud))):
        total += latency[ends] + float(times.workload.input_bytes[cut]) / rate[ends]
    assert round(total, 4) == 9.0106
    assert round(1e-6 * float(times.workload.input_bytes[first] + times.workload.input_bytes[second]), 4) == 2.4087
    wired = measured_data("scission", "vgg19", links="wired").links
    assert wired.rate[device, edge] == 2.5e6


def test_paretopipe_has_the_times_that_relatives_have():
    """Where the first parts only rise, what they add up to are the seconds in the table of splits."""
    with (FOLDER / "paretopipe_splits.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if (row["network"], row["testbed"]) == ("resnet18", "pi_to_gpu")]
    times, links, _ = measured_data("paretopipe_pi_to_gpu", "ResNet18")
    first = [float(row["first_part_seconds"]) for row in rows]
    assert first == sorted(first)
    np.testing.assert_allclose(np.cumsum(times.seconds[:-1, 0]), first, rtol=1e-5)
    sent = np.asarray(times.workload.input_bytes)[1:] / np.asarray(links.rate)[0, 1]
    np.testing.assert_allclose(sent, [float(row["transfer_seconds"]) for row in rows], rtol=1e-6)


def test_dnnpipe_and_pipeedge_have_the_memory_of_their_nodes():
    vit = measured_data("dnnpipe")
    np.testing.assert_array_equal(vit.memory, np.float32([8998e6, 1452e6, 562e6, 582e6]))
    assert (vit.times.num_blocks, vit.links) == (273, None)
    assert measured_data("pipeedge", "google/vit-large-patch16-224").memory.tolist() == [2048 * 2**20, 8192 * 2**20]


def test_what_there_is_not_is_refused():
    with pytest.raises(ValueError, match=r"name must be one of .*'scission'; got 'mine'"):
        measured_data("mine")
    with pytest.raises(ValueError, match=r"network must be one of .*'vgg19'.*; got 'mine'"):
        measured_data("scission", "mine")
    with pytest.raises(ValueError, match=r"network must be one of those in .*; got None of"):
        measured_data("scission")
    with pytest.raises(ValueError, match="links must be one of 'wired'; got 'none'"):
        measured_data("scission", "vgg19", links="none")
    with pytest.raises(ValueError, match="name must be given for one network or links"):
        mecpart.measured_data(network="vgg19")
