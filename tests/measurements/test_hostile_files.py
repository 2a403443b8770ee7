"""Files that are cut off, damaged or made to do harm: each an error that says where, and nothing in them is run."""

import json
import os
import pickle
import re
import struct
from functools import partial
from itertools import pairwise

import peers
import pytest

from mecpart.measurements import entries
from mecpart.measurements.dnnpipe import from_dnnpipe
from mecpart.measurements.files import links_from_csv, times_from_csv
from mecpart.measurements.msr import from_msr
from mecpart.measurements.paretopipe import from_paretopipe
from mecpart.measurements.pipeedge import from_pipeedge
from mecpart.measurements.scission import from_scission


class Harm:
    """What is run where a pickle of it is loaded."""

    def __reduce__(self):
        return eval, ("__import__('os').mkdir('harmed')",)


def cut_off(data: bytes, times: int):
    """The file without its end, at so many places."""
    return {f"cut at {len(data) * at // times}": data[: len(data) * at // times] for at in range(times)}


def pickles():
    whole = peers.scission_pickle()
    proto = b"\x80\x03"
    value = b"X\x03\x00\x00\x00net"

    def within(inside: bytes) -> bytes:
        """A pickle of {"net": ...}."""
        return proto + b"}" + value + inside + b"s."

    record = b"c__main__\nLayerBenchmark\n)\x81}"
    many = b"]q\x00" + b"".join(b"](" + b"h%c" % at * 10 + b"eq%c" % (at + 1) for at in range(60))
    system = b"cos\nmkdir\n(X\x06\x00\x00\x00harmedtR"
    yield from cut_off(whole, 20).items()
    yield from {
        "harm as an object": pickle.dumps({"net": [Harm()]}),
        "harm of protocol 0": pickle.dumps({"net": [Harm()]}, 0),
        "harm of protocol 4": pickle.dumps(Harm(), 4),
        "a call": within(system),
        "a call by INST": within(b"(X\x06\x00\x00\x00harmedios\nmkdir\n"),
        "a call by OBJ": within(b"(cos\nmkdir\nX\x06\x00\x00\x00harmedo"),
        "a call by NEWOBJ": within(b"cos\nmkdir\nX\x06\x00\x00\x00harmed\x85\x81"),
        "a call by NEWOBJ_EX": within(b"cos\nmkdir\n)}\x92"),
        "a call by name on the stack": within(b"X\x02\x00\x00\x00osX\x05\x00\x00\x00mkdir\x93)R"),
        "a call by an extension": within(b"\x82\x01)R"),
        "a persistent id": within(b"Pharmed\n"),
        "a persistent id on the stack": within(b"X\x01\x00\x00\x00aQ"),
        "the class with an argument": within(b"c__main__\nLayerBenchmark\nX\x01\x00\x00\x00a\x85\x81"),
        "a class that is called": within(b"c__main__\nLayerBenchmark\n)R"),
        "a state of a list": within(b"c__main__\nLayerBenchmark\n)\x81]b"),
        "two states": within(b"c__main__\nLayerBenchmark\n)\x81}X\x01\x00\x00\x00aK\x01sb}X\x01\x00\x00\x00aK\x01sb"),
        "the class itself": within(b"c__main__\nLayerBenchmark\n"),
        "a memo bomb": within(many),
        "a list within itself": within(b"]q\x00h\x00a"),
        "many lists within each other": within(b"]" * 100_000 + b"a" * 99_999),
        "many marks": within(b"(" * 100_000),
        "a text longer than the file": within(b"X\xff\xff\xff\x7fabc"),
        "a text of many terabytes": within(b"\x8d" + struct.pack("<Q", 2**62) + b"abc"),
        "a huge number": within(b"\x8b\xff\xff\xff\x7f1"),
        "a number of 10,000 digits": within(b"I" + b"9" * 10_000 + b"\n"),
        "bytes": within(b"C\x03abc"),
        "a bytearray": within(b"\x96" + struct.pack("<Q", 3) + b"abc"),
        "a buffer": within(b"\x97"),
        "a set": within(b"\x8f"),
        "an empty memo": within(b"h\x07"),
        "nothing on the stack": proto + b"s.",
        "two values": proto + b"}}.",
        "something after the end": whole + b"cos\n",
        "a key that is no text": proto + b"}K\x01]s.",
        "a key twice": proto + b"}" + value + b"]s" + value + b"]s.",
        "an unknown opcode": within(b"\xff"),
        "a protocol twice": within(proto + b"]"),
        "no protocol": whole[2:],
        "text that is none": within(b"X\x02\x00\x00\x00\xff\xfe"),
        "no blocks": within(b"]"),
        "no list": within(b"K\x01"),
        "a record without entries": within(b"]" + record + b"ba"),
        "no network": proto + b"}.",
        "a list outside": proto + b"].",
        "negative seconds": peers.scission_pickle((0.5, -0.25)),
        "seconds that are none": peers.scission_pickle((0.5, float("nan"))),
        "seconds as a text": peers.scission_pickle(second_prediction="soon"),
        "seconds that are true": peers.scission_pickle(second_prediction=True),
        "layers with a gap": peers.scission_pickle(input_layer=7),
        "layers backwards": peers.scission_pickle(output_layer=0),
        "half a layer": peers.scission_pickle(output_layer=2.5),
        "other bytes than elsewhere": peers.scission_pickle(output_size=99),
        "nothing": b"",
        "a picture": b"\x89PNG\r\n\x1a\n" + bytes(100),
    }.items()


PIPE = peers.PIPEEDGE["device_types"]
_BOMB = "".join(f"{after}: &{after} [*{at}, *{at}, *{at}]\n" for at, after in pairwise("abcdefghi"))
YAML = {
    "a call": "!!python/object/apply:os.mkdir ['harmed']",
    "a call within": PIPE.replace("64", "!!python/object/apply:os.mkdir ['harmed']"),
    "a module": "slow: !!python/module:os",
    "a tag of its own": PIPE.replace("mem_MB: 64", "mem_MB: !mine 64"),
    "bytes": PIPE.replace("mem_MB: 64", "mem_MB: !!binary aGFybWVk"),
    "a date": PIPE.replace("mem_MB: 64", "mem_MB: 2020-01-01"),
    "an alias": PIPE.replace("bw_Mbps: 80", "bw_Mbps: &a 80").replace("mem_MB: 128", "mem_MB: *a"),
    "a bomb": "a: &a [x, x]\n" + _BOMB,
    "a value within itself": "a: &a [*a]\n",
    "many lists within each other": "a: " + "[" * 20_000,
    "a list as a key": "? [a, b]\n: c\n",
    "a key twice": PIPE + "fast:\n  bw_Mbps: 1\n",
    "a tab": PIPE.replace("  mem_MB: 64", "\tmem_MB: 64"),
    "a quote that does not end": PIPE.replace("64", '"64'),
    "two documents": PIPE + "---\na: 1\n",
    "nothing": "",
    "a number": "3",
    "one time too few": PIPE.replace("[0.5, 1.0e-01]", "[0.5]"),
    "a time that is a list": PIPE.replace("[0.5, 1.0e-01]", "[0.5, [1]]"),
    "a negative time": PIPE.replace("0.5", "-0.5"),
    "an infinite time": PIPE.replace("0.5", ".inf"),
    "no times": PIPE.replace("time_s", "times"),
    "another batch": PIPE.replace("batch_size: 8, ", "batch_size: 4, "),
    "an unknown type": PIPE.replace("torch.float32", "torch.float7"),
    "a number of 10,000 digits": PIPE.replace("64", "9" * 10_000),
}  # fmt: skip


def json_files():
    whole = json.dumps(peers.msr_graph()).encode()
    yield from cut_off(whole, 12).items()

    def changed(**given):
        graph = peers.msr_graph()
        for place, value in given.items():
            listed, at, key = place.split("__")
            graph[listed][int(at)][key] = value
        return json.dumps(graph).encode()

    yield from {
        "nan": whole.replace(b"1000.0", b"NaN"),
        "many lists within each other": b'{"nodes": ' + b"[" * 100_000,
        "a key twice": b'{"nodes": [], "nodes": []}',
        "a number of 10,000 digits": whole.replace(b"1000.0", b"9" * 10_000),
        "a number beyond all": whole.replace(b"1000.0", b"1e999"),
        "a list": b"[]",
        "no nodes": b'{"nodes": [], "edges": []}',
        "a node twice": changed(nodes__0__id=9),
        "an edge to nowhere": changed(edges__0__destId=77),
        "a circle": changed(edges__4__destId=1),
        "a graph for training": changed(nodes__3__isBackwardNode=True),
        "edges that differ": changed(edges__1__cost=1.0),
        "other rates": changed(edges__0__cost=7.0),
        "a negative latency": changed(nodes__2__fpgaLatency=-1.0),
        "a size that is a text": changed(nodes__2__size="large"),
        "not in UTF-8": whole.replace(b"node1", b"\xff\xfe"),
    }.items()


def files():
    """Of each file its kind, its name, and what is in it."""
    yield from (("pickle", name, data) for name, data in pickles())
    yield from (("yaml", name, text.encode()) for name, text in YAML.items())
    yield from (("json", name, data) for name, data in json_files())


FILES = list(files())

#: Where an error has to say that something is wrong: a line, a byte, or an entry of a JSON file.
PLACE = re.compile(r"\bline \d+|\bbyte \d+|\bposition \d+|(nodes|edges|maxFPGAs)(\[\d+\])?[. ]")


def test_there_are_enough():
    assert len(FILES) >= 100


@pytest.mark.parametrize(("kind", "name", "data"), FILES, ids=[f"{kind}: {name}" for kind, name, _ in FILES])
def test_what_is_hostile_or_damaged_is_refused_where_it_is(tmp_path, monkeypatch, kind, name, data):
    monkeypatch.chdir(tmp_path)
    if kind == "pickle":
        read, path = partial(from_scission, peers.scission_folder(tmp_path)), tmp_path / "edge-tower.dat"
    elif kind == "yaml":
        files = peers.pipeedge_files(tmp_path)
        read, path = partial(from_pipeedge, **files), files["device_types"]
    else:
        path = peers.msr_file(tmp_path)
        read = partial(from_msr, path)
    read()
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"must|is not") as refusal:
        read()
    told = str(refusal.value)
    assert path.name in told, told
    assert PLACE.search(told), told
    assert len(told) < 1000
    assert not os.path.exists("harmed")


def test_nothing_of_a_pickle_is_looked_up(tmp_path, monkeypatch):
    """The same file runs what is in it where it is loaded."""
    monkeypatch.chdir(tmp_path)
    harm = pickle.dumps({"net": [Harm()]})
    with pytest.raises(ValueError, match="edge-tower"):
        from_scission(peers.scission_folder(tmp_path, **{"edge-tower": harm}))
    assert not os.path.exists("harmed")
    pickle.loads(harm)
    assert os.path.exists("harmed")


def test_files_that_are_too_large_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(entries, "MOST_BYTES", 100)
    with pytest.raises(ValueError, match=r"device-pi\.dat must have at most 100 bytes; .*byte 101"):
        from_scission(peers.scission_folder(tmp_path))
    with pytest.raises(ValueError, match=r"models\.yml must have at most 100 bytes"):
        from_pipeedge(**peers.pipeedge_files(tmp_path))
    with pytest.raises(ValueError, match=r"graph\.json must have at most 100 bytes"):
        from_msr(peers.msr_file(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("U", 4), r"model_config\.E of .* a list of 4 entries; got a list of 3"),
        (("E", [1.0, "x", 2.0]), r"model_config\.E\[1\] of .* got 'x'"),
    ],
)
def test_dnnpipe_files_that_do_not_fit(tmp_path, change, message):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(peers.DNNPIPE | {"model_config": peers.DNNPIPE["model_config"] | dict([change])}))
    with pytest.raises(ValueError, match=message):
        from_dnnpipe(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Net,3", "Net,2", "column 'Split point' in line 5 of .* one of 1 to 3"),
        ("Net,3", "Net,4", "column 'Split point' in line 5 of"),
        ("Net,3", "Net,0", "column 'Split point' in line 5 of .* at least 1"),
        ("Net,3,0.375", "Net,3,-1", "column 'Partition 1 exec time .* in line 5 of"),
        ("Other,1,1,1,1", "Other,1,1,1", "line 4 of .* must have 5 entries; got 4"),
        ("Split point", "Split", "line 1 of .* must have the columns Model name, Split point"),
    ],
)
def test_paretopipe_tables_that_are_none(tmp_path, old, new, message):
    path = tmp_path / "splits.csv"
    path.write_text(peers.SPLITS.replace(old, new))
    with pytest.raises(ValueError, match=message):
        from_paretopipe(path, "Net")


def test_tables_that_are_cut_off_are_refused_unless_they_are_whole(tmp_path):
    """A table that ends between two rows of a network has a gap; one without its last digit is another table."""
    whole = "network,block,node,seconds,output_bytes\n" + "".join(
        f"net,{block},{node},1,2\n" for block in "abc" for node in ("phone", "cloud")
    )
    path = tmp_path / "times.csv"
    complete = {len(whole.split("\n", lines)[-1]) for lines in (2, 3, 5, 7)}  # one node, or whole blocks
    for end in range(len(whole)):
        path.write_text(whole[:end])
        if len(whole) - end in complete or len(whole) - end - 1 in complete or whole[:end][-2:] == ",2":
            continue
        with pytest.raises(ValueError, match=r"line \d+ of .*times\.csv|line \d+: "):
            times_from_csv(path, input_bytes=1)
    links = tmp_path / "links.csv"
    links.write_text("source_node,destination_node,latency_s,rate_bytes_per_s\na,b,1,1\nb,a,1")
    with pytest.raises(ValueError, match="line 3 of"):
        links_from_csv(links)
