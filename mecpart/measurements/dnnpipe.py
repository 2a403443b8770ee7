"""What DNNPipe reads: a JSON file with the times of a network's units, and the speed and memory of devices.

DNNPipe, github.com/SNU-RTOS/DNNPipe.
"""

import os

import numpy as np

from mecpart.measurements.entries import json_entries
from mecpart.measurements.files import Measurements, as_array, block_times
from mecpart.validation import check_path, check_text


def from_dnnpipe(path: str | os.PathLike, *, network: str = "network") -> Measurements:
    """Block times and memory from the `config.json` of DNNPipe, which counts no transfers and so has no links.

    **Arguments:** `path`: of the file, whose times are ms of the first device; that of another is by its relative speed
    as many times as long; `network`: its name, which is not in the file.

    **Returns:** times of `device 1` and so on, blocks `unit 1` and so on, without bytes; memory of blocks and devices,
    where a MB is 10^6 bytes, which decides nothing.

    **Raises:** `ValueError` that names the file and the entry (or line) that is missing or not allowed.
    """
    check_path("path", path)
    check_text("network", network)
    config = json_entries(path)
    devices, model = config["device_config"], config["model_config"]
    count, units = devices["N"].whole(minimum=2), model["U"].whole(minimum=1)
    speeds = [entry.number(exclusive=True) for entry in devices["C"].entries(count)]
    times = block_times(
        model["E"].numbers(units)[:, None] / 1e3 / np.array(speeds),
        network=network,
        blocks=[f"unit {number}" for number in range(1, units + 1)],
        names=[f"device {number}" for number in range(1, count + 1)],
        input_bytes=0,
        output_bytes=np.zeros(units),
        memory_bytes=model["R"].numbers(units) * 1e6,
    )
    return Measurements(times, memory=as_array(devices["M"].numbers(count) * 1e6))
