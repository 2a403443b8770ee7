"""Files as other programs leave them, made here: small, with numbers that are easy to add up."""

import json
import pickle


class LayerBenchmark:
    """The class by whose name Scission's pickles call their records."""

    def __init__(self, **given):
        vars(self).update(given)


def scission_pickle(seconds=(0.5, 0.25), protocol=3, **changed):
    """A machine's pickle, with one network of two blocks."""
    layers = [(0, 1), (2, 2)]
    records = [
        {"model": "net", "device": "", "input_layer": first, "output_layer": last, "second_prediction": took,
         "output_size": size}
        for (first, last), took, size in zip(layers, seconds, (1128, 168), strict=True)
    ]  # fmt: skip
    records[1] |= changed
    return pickle.dumps({"net": [LayerBenchmark(**record) for record in records]}, protocol)


SCISSION_LINKS = "source,destination,ping(ms),bandwidth(mbps)\r\npi,tower,   10,  8\r\npi,big,   20,  4\r\n"


def scission_folder(folder, protocol=3, **machines):
    machines = {"device-pi": (0.5, 0.25), "edge-tower": (0.25, 0.125), "cloud-big": (0.01, 0.02)} | machines
    for name, seconds in machines.items():
        (folder / f"{name}.dat").write_bytes(
            seconds if isinstance(seconds, bytes) else scission_pickle(seconds, protocol)
        )
    (folder / "network_stats.csv").write_text(SCISSION_LINKS)
    return folder


PIPEEDGE = {
    "models": """\
DummyModel:
  layers: 0
  mem_MB: []
  parameters_in: 0
  parameters_out: []
vit:
  layers: 2
  mem_MB: [1.5, 2]
  parameters_in: 100
  parameters_out: [50,
    10]
""",
    "device_types": """\
Dummy:
  bw_Mbps: 0
  mem_MB: 0
  model_profiles:
slow:
  bw_Mbps: 8
  mem_MB: 64
  model_profiles:
    vit:
    - batch_size: 8
      dtype: torch.float32
      time_s: [0.5, 1.0e-01]
fast:
  bw_Mbps: 80
  mem_MB: 128
  model_profiles:
    vit:
    - {batch_size: 8, dtype: torch.float32, time_s: [0.25, 0.125]}
""",
    "devices": "Dummy: []\nslow:\n- s-0\n- s-1\nfast:\n- f-0\n",
}


def pipeedge_files(folder, **changed):
    paths = {}
    for name, text in (PIPEEDGE | changed).items():
        paths[name] = folder / f"{name}.yml"
        paths[name].write_text(text)
    return paths


def msr_graph():
    """A mask (node 9) that all read; a conv, a residual unit of two branches, a dead end, and an output."""
    took = {1: 1.0, 2: 2.0, 3: 4.0, 4: 8.0, 5: 16.0, 6: 32.0, 9: 0.0}  # ms
    nodes = [
        {"id": at, "name": f"node{at}", "supportedOnFpga": 1, "cpuLatency": 10 * ms, "fpgaLatency": ms,
         "isBackwardNode": 0, "colorClass": at, "size": 100.0 * at}
        for at, ms in took.items()
    ]  # fmt: skip
    edges = [(1, 2, 1000.0), (2, 3, 2000.0), (2, 4, 2000.0), (3, 4, 500.0), (4, 5, 4000.0), (4, 6, 4000.0)]
    edges += [(9, at, 0.0) for at in (2, 4, 6)]
    listed = [{"sourceId": a, "destId": b, "cost": size / 1e6, "size": size} for a, b, size in edges]
    nodes = [nodes[at] for at in (3, 6, 0, 1, 2, 4, 5)]  # in no order
    return {"maxSizePerFPGA": 1e9, "maxFPGAs": 2, "maxCPUs": 1, "nodes": nodes, "edges": listed}


def msr_file(folder, graph=None):
    path = folder / "graph.json"
    path.write_text(json.dumps(msr_graph() if graph is None else graph))
    return path


SPLITS = """\
Model name,Split point,Partition 1 exec time (s),Partition 2 exec time (s),Network Transfer Time (s)
Net,2,0.5,0.75,0.25
Net,1,0.25,1.0,0.5
Other,1,1,1,1
Net,3,0.375,0.25,0.125
"""
METRICS = "Block,FLOPs (G),Param Memory (MB),Activation Size (MB)\n0,2,1,4\n1,4,0.5,2\n2,0,0,1\n"

DNNPIPE = {
    "device_config": {"N": 2, "C": [1, 0.25], "M": [8, 2]},
    "model_config": {"U": 3, "E": [1.0, 2.0, 4.0], "R": [0.5, 0, 1]},
}
