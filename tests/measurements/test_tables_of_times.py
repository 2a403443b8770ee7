"""Block times and links as CSV files: what is read, that it is written back the same, and what is refused where."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from mecpart.dnn.workload import Workload
from mecpart.measurements.files import links_from_csv, links_to_csv, times_from_csv, times_to_csv
from mecpart.model.devices import BlockTimes, Links

BLOCKS = """\
network,block,node,seconds,output_bytes,memory_bytes,source
small,input,,,3072,,me
small,first,phone,0.5,4096,100,me
small,first,cloud,0.1,4096,100,me
small,second,phone,inf,40,7.5,me
small,second,cloud,0.25,40,7.5,me
"""
LINKS = """\
source_node,destination_node,latency_s,rate_bytes_per_s
phone,cloud,0.02,1e6
cloud,phone,0.03,2.5e5
"""


@pytest.fixture
def read(tmp_path):
    def of(text, function=times_from_csv, **options):
        path = tmp_path / "mine.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return function(path, **options)

    return of


def same(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_stands_in_a_file_of_block_times(read):
    times = read(BLOCKS)
    np.testing.assert_array_equal(times.seconds, np.float32([[0.5, 0.1], [np.inf, 0.25]]))
    assert times.names == ("phone", "cloud")
    assert times.spread is times.watts is None
    np.testing.assert_array_equal(times.memory_bytes, [100, 7.5])
    workload = times.workload
    assert (workload.name, workload.block_names) == ("small", ("first", "second"))
    np.testing.assert_array_equal(workload.input_bytes, [3072, 4096])
    assert workload.output_bytes == 40
    assert not workload.macs.any()


def test_the_bytes_of_the_input_may_be_given(read):
    assert read(BLOCKS, input_bytes=7).workload.input_bytes[0] == 7
    without = BLOCKS.replace("small,input,,,3072,,me\n", "")
    assert read(without, input_bytes=7).workload.input_bytes[0] == 7
    with pytest.raises(ValueError, match=r"input_bytes must be given, or a row .* line 2 of .*; got neither"):
        read(without)


def test_the_order_of_rows_is_that_of_blocks_and_nodes(read):
    rows = BLOCKS.splitlines(keepends=True)
    same(read(BLOCKS), read("".join([rows[0], rows[2], rows[4], rows[3], rows[5], "\n", rows[1]])))


def test_one_of_several_networks(read):
    both = BLOCKS + BLOCKS.partition("\n")[2].replace("small", "large").replace("0.5", "5")
    assert read(both, network="large").seconds[0, 0] == 5
    same(read(both, network="small"), read(BLOCKS))
    with pytest.raises(ValueError, match=r"network must be one of those in .*; got None of \['small', 'large'\]"):
        read(both)
    with pytest.raises(ValueError, match="network must be one of 'small', 'large'; got 'huge'"):
        read(both, network="huge")
    with pytest.raises(ValueError, match=r"column 'seconds' in line 10 of .*mine\.csv"):
        read(both.replace("inf", "fast").replace("fast", "inf", 1), network="small")


def some_times(rng, name, known):
    blocks, nodes = 4, 3
    numbers = lambda *shape: np.float32(10 ** rng.uniform(-12, 12, shape))  # noqa: E731
    seconds = numbers(blocks, nodes)
    seconds[1, 2] = np.inf
    workload = Workload(
        numbers(blocks) if known else np.zeros(blocks, np.float32), numbers(blocks),
        numbers(blocks) if known else np.zeros(blocks, np.float32), numbers()[()], tuple("abcd"), name,
    )  # fmt: skip
    more = (numbers(blocks, nodes), numbers(blocks), np.float32([0, 1.5, 1e-3])) if known else (None,) * 3
    return BlockTimes(seconds, workload, ("x, y", '"z"', "2500"), *more)


@pytest.mark.parametrize("known", [True, False])
def test_times_are_read_as_they_were_written(tmp_path, known):
    rng = np.random.default_rng(0)
    given = [some_times(rng, name, known) for name in ("one", "two")]
    path = times_to_csv(tmp_path / "times.csv", given, batch=8, source="a, b")
    for each in given:
        found = times_from_csv(path, network=each.workload.name)
        same(found, each)
        assert (found.names, found.workload.block_names) == (each.names, each.workload.block_names)
    again = times_to_csv(
        tmp_path / "again.csv",
        [times_from_csv(path, network=name) for name in ("one", "two")],
        batch=8,
        source="a, b",
    )
    assert again.read_text() == path.read_text()


@pytest.mark.parametrize("spread", [True, False])
def test_links_are_read_as_they_were_written(tmp_path, spread):
    rng = np.random.default_rng(1)
    latency, rate, noise = np.float32(10 ** rng.uniform(-9, 9, (3, 3, 3))) * (1 - np.eye(3, dtype=np.float32))
    rate[2] = 0
    links = Links(latency, rate, noise if spread else None, ("a", "b", "c"))
    path = links_to_csv(tmp_path / "links.csv", links, source="me")
    same(links_from_csv(path), links)
    assert links_from_csv(path).names == links.names


def test_what_stands_in_a_file_of_links(read):
    links = read(LINKS, links_from_csv)
    assert links.names == ("phone", "cloud")
    np.testing.assert_array_equal(links.latency, np.float32([[0, 0.02], [0.03, 0]]))
    np.testing.assert_array_equal(links.rate, [[0, 1e6], [2.5e5, 0]])
    one_way = read(LINKS.rsplit("cloud", 1)[0], links_from_csv)
    np.testing.assert_array_equal(one_way.rate, [[0, 1e6], [0, 0]])


def test_what_cannot_be_written_is_refused(tmp_path):
    times = some_times(np.random.default_rng(0), "one", True)
    with pytest.raises(ValueError, match=r"each name in times must be a text of printable .*; got ' a'"):
        times_to_csv(tmp_path / "a.csv", replace(times, names=(" a", "b", "c")))
    with pytest.raises(ValueError, match=r"times must be of different networks; got \['one', 'one'\]"):
        times_to_csv(tmp_path / "a.csv", [times, times])
    with pytest.raises(ValueError, match=r"links\.names must have the name of each node; got none"):
        links_to_csv(tmp_path / "a.csv", Links(np.ones((2, 2)), np.ones((2, 2))))
    assert not list(tmp_path.iterdir())


def with_column(name, *values):
    """A file of block times with another last column."""
    first, *lines = BLOCKS.replace("source", name).splitlines()
    changed = [line.replace(",me", f",{value}") for line, value in zip(lines, values, strict=True)]
    return "\n".join([first, *changed, ""])


BAD_BLOCKS = [
    ("", "line 1 of .* must have the columns network, block, .*; got no header"),
    (BLOCKS.replace("seconds", "second"), "line 1 of .* got network, block, node, second,"),
    (BLOCKS.replace("memory_bytes", "block"), "line 1 of .* each once"),
    (BLOCKS.partition("\n")[0], "line 1 of .* rows below it; got none"),
    (BLOCKS.replace("0.25,40", "0.25"), "line 6 of .* must have 7 entries; got 6"),
    (BLOCKS.replace("0.25,40,", "0.25,40"), "line 6 of .* must have 7 entries; got 6"),
    (BLOCKS.replace("0.5", "-0.5"), "column 'seconds' in line 3 of .* at least 0.* got '-0.5'"),
    (BLOCKS.replace("0.5", "nan"), "column 'seconds' in line 3 of .* got 'nan'"),
    (BLOCKS.replace("0.5", ""), "column 'seconds' in line 3 of .* got ''"),
    (BLOCKS.replace("0.5", "1e-300"), "column 'seconds' in line 3 of .* also in float32; got '1e-300'"),
    (BLOCKS.replace("4096", "inf"), "column 'output_bytes' in line 3 of .* finite"),
    (BLOCKS.replace("cloud,0.1,4096", "cloud,0.1,4097"), "'output_bytes' in line 4 of .* the '4096' of line 3"),
    (BLOCKS.replace("0.25,40,7.5", "0.25,40,"), "column 'memory_bytes' in line 6 of .* the '7.5' of line 5"),
    (BLOCKS.replace("0.25,40,7.5", "0.25,40,x"), "column 'memory_bytes' in line 6 of .* got 'x'"),
    (BLOCKS.replace("second,cloud", "second,phone"), "line 6 of .* another block or node; got 'second' on 'phone'"),
    (BLOCKS.replace("second,cloud", "third,cloud"), "line 4 of|line 5 of .* a row beside it for node 'cloud'"),
    (BLOCKS.replace("0.25", "inf"), "line 5 of .* finite once; got inf for 'second'"),
    (BLOCKS.replace("second,cloud", "second,"), "column 'node' in line 6 of .* must be a text"),
    (BLOCKS.replace("second,cloud", "\x07,cloud"), "column 'block' in line 6 of .* printable"),
    (BLOCKS.replace("\nsmall,first,phone", "\n,first,phone"), "column 'network' in line 3 of"),
    (BLOCKS.replace("input,,,3072", "input,,0.5,3072"), "line 2 of .* only one of block 'input', with output_bytes"),
    (BLOCKS.replace("input,,,3072", "input,,,"), "column 'output_bytes' in line 2 of"),
    (BLOCKS + "small,input,,,3072,,me\n", "line 7 of .* only one of block 'input'"),
    ("".join(BLOCKS.splitlines(keepends=True)[:2]), "mine.csv"),
    (with_column("spread", "", 1, 1, "", 1), "column 'spread' in line 5 of .* empty in all rows of a network"),
    (with_column("spread", "", 1, 1, "-1", 1), "column 'spread' in line 5 of .* got '-1'"),
    (with_column("watts", "", 1, 2, 1, 3), "column 'watts' in line 6 of .* the '2' of line 4"),
    (with_column("batch", "", 1, 1, 2, 1), "column 'batch' in line 5 of .* the '1' of line 3"),
    (BLOCKS.encode().replace(b"first", b"\xff"), "CSV file in UTF-8; .* position"),
    (BLOCKS.replace("second,", '"sec"ond,'), "CSV file in UTF-8; .* line 5"),
    (BLOCKS + '"', "CSV file in UTF-8; .* line 7"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), BAD_BLOCKS)
def test_block_times_that_are_none_are_refused_with_file_and_line(read, text, message):
    with pytest.raises(ValueError, match=message) as refusal:
        read(text, input_bytes=None)
    assert "mine.csv" in str(refusal.value)


BAD_LINKS = [
    (LINKS.replace("cloud,phone", "phone,phone"), "line 3 of .* two nodes and no pair twice; got 'phone' to 'phone'"),
    (LINKS.replace("cloud,phone", "phone,cloud"), "line 3 of .* no pair twice; got 'phone' to 'cloud'"),
    (LINKS.replace("0.03", "-1"), "column 'latency_s' in line 3 of"),
    (LINKS.replace("2.5e5", "inf"), "column 'rate_bytes_per_s' in line 3 of .* finite"),
    (LINKS.replace("cloud,phone", ",phone"), "column 'source_node' in line 3 of"),
    (LINKS.replace("_s\n", "_s,spread\n").replace("1e6", "1e6,0.5").replace("2.5e5", "2.5e5,"), "'spread' in line 3"),
    (LINKS.replace("latency_s", "latency_ms"), "line 1 of .* must have the columns source_node"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), BAD_LINKS)
def test_links_that_are_none_are_refused_with_file_and_line(read, text, message):
    with pytest.raises(ValueError, match=message) as refusal:
        read(text, links_from_csv)
    assert "mine.csv" in str(refusal.value)
