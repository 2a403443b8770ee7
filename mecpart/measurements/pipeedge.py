"""What PipeEdge's scheduler reads: YAML files of models, of types of devices, and of the hosts of each type.

Y. Hu, C. Imes et al., "PipeEdge: Pipeline Parallelism for Large-Scale Model Inference on Heterogeneous Edge Devices",
DSD 2022, github.com/usc-isi/PipeEdge.
"""

import os

import numpy as np

from mecpart.measurements.entries import Entry, yaml_entries
from mecpart.measurements.files import Measurements, as_array, block_times, check_network, chosen_network, links_between
from mecpart.validation import check_count, check_path

#: Its Mbit and its MB, as in its `schedule.cpp`.
_MEGA = 2**20

_BYTES = {"torch.float64": 8, "torch.float32": 4, "torch.float16": 2, "torch.bfloat16": 2, "torch.int8": 1}


def from_pipeedge(
    models: str | os.PathLike,
    device_types: str | os.PathLike,
    devices: str | os.PathLike | None = None,
    network: str | None = None,
    *,
    batch: int | None = None,
) -> Measurements:
    """Block times, links and memory from the three files of PipeEdge's scheduler; a task is one of its microbatches.

    **Arguments:**

    - `models`: `models.yml`: layers, memory and parameters in and out of each model.
    - `device_types`: `device_types.yml`: bandwidth, memory and times of each type of device.
    - `devices`: `devices.yml`: the names of the hosts of each type; by default one of each type, by its name.
    - `network`: one of the models; needed where several have been profiled.
    - `batch`: inputs in a microbatch; needed where a model has been profiled with several on one device.

    **Returns:** times of those hosts whose type has been profiled, with memory of the layers; links of the smaller
    bandwidth of both ends, without latency; memory of the hosts. A Mbit is 2^20 bits and a MB 2^20 bytes, as there.

    **Raises:** `ValueError` that names the file and the line of what is missing, superfluous or not allowed.
    """
    for name, path in {"models": models, "device_types": device_types, "devices": devices}.items():
        if path is not None or name != "devices":
            check_path(name, path)
    check_network(network)
    if batch is not None:
        check_count("batch", batch)
    known, types = yaml_entries(models), yaml_entries(device_types)
    profiled = {name: _profiles(entry, batch) for name, entry in types.items().items()}
    networks = [name for name in known.items() if any(name in profiles for profiles in profiled.values())]
    network = chosen_network(network, networks, models)
    model = known[network]
    layers = model["layers"].whole(minimum=1)
    hosts = {name: name for name in profiled} if devices is None else _hosts(yaml_entries(devices), profiled)
    hosts = {host: kind for host, kind in hosts.items() if network in profiled[kind]}
    if len(hosts) < 2:
        raise types.refused(f"of at least two devices with times of {network!r}, each on a line of its own")

    used = {kind: profiled[kind][network] for kind in hosts.values()}
    first, *others = used.values()
    for profile in others:
        for entry in ("batch_size", "dtype"):
            if profile[entry].value != first[entry].value:
                raise profile[entry].refused(f"the {first[entry].value!r} of {first[entry].where}")
    if first["dtype"].value not in _BYTES:
        raise first["dtype"].refused(f"one of {', '.join(_BYTES)}")
    size = first["batch_size"].whole(minimum=1) * _BYTES[first["dtype"].value]
    seconds = {kind: profile["time_s"].numbers(layers) for kind, profile in used.items()}
    times = block_times(
        np.stack([seconds[kind] for kind in hosts.values()], axis=1),
        network=network,
        blocks=[f"layer {number}" for number in range(1, layers + 1)],
        names=hosts,
        input_bytes=size * model["parameters_in"].whole(),
        output_bytes=size * model["parameters_out"].numbers(layers),
        memory_bytes=_MEGA * model["mem_MB"].numbers(layers),
    )
    rate = {host: types[kind]["bw_Mbps"].number() * _MEGA / 8 for host, kind in hosts.items()}
    pairs = {
        (start, end): (types[hosts[start]], 0.0, min(rate[start], rate[end]), None)
        for start in hosts
        for end in hosts
        if start != end
    }
    memory = [types[kind]["mem_MB"].number() * _MEGA for kind in hosts.values()]
    return Measurements(times, links_between(tuple(hosts), pairs), as_array(memory))


def _profiles(device: Entry, batch: int | None) -> dict[str, Entry]:
    """The profile of each model on a type of device, of one size of a microbatch."""
    found, profiles = {}, device["model_profiles"]
    for name, listed in profiles.items().items() if profiles.value is not None else ():
        fitting = [each for each in listed.entries() if batch in (None, each["batch_size"].whole(minimum=1))]
        if len(fitting) > 1:
            raise listed.refused(f"one profile of {name!r}, or of each batch one, and batch say which")
        if fitting:
            found[name] = fitting[0]
    return found


def _hosts(devices: Entry, types: dict) -> dict[str, str]:
    """The type of each host."""
    hosts: dict[str, str] = {}
    for kind, listed in devices.items().items():
        if kind not in types:
            raise ValueError(f"{listed.where} must be of a type among {', '.join(types)}; got {kind!r}")
        for host in listed.entries() if listed.value is not None else ():
            if host.text() in hosts:
                raise host.refused("a host that no other line names")
            hosts[host.text()] = kind
    return hosts
