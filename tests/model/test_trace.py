import re
from dataclasses import replace

import numpy as np
import pytest
from instances import round_problem

from mecpart.model.delay import evaluate_plan
from mecpart.model.trace import trace_from_csv

WIDE = "slot,server_1_bytes_per_s,server_2_bytes_per_s\n0,1e6,2e6\n1,1.5e6,0\n2,500000,3e6\n"
RATES = [[1e6, 2e6], [1.5e6, 0], [5e5, 3e6]]
LONG = "server,bytes_per_s,slot\n1,1e6,7\n2,2e6,7\n2,0,8\n1,1.5e6,8\n1,500000,9\n2,3e6,9\n"


@pytest.fixture
def trace(tmp_path):
    def read(text, **options):
        path = tmp_path / "rates.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return trace_from_csv(path, **options)

    return read


@pytest.mark.parametrize("text", [WIDE, LONG, WIDE.replace("\n", "\r\n\r\n"), "\ufeff" + WIDE.replace(",", " , ")])
def test_a_row_for_each_slot_or_for_each_slot_and_server(trace, text):
    slots = trace(text)
    np.testing.assert_array_equal(slots.device_rate, np.float32(RATES))
    assert slots.backlog is slots.tasks is None


def test_tasks(trace):
    slots = trace("tasks,slot,server_1_bytes_per_s\n60,1,1e6\n0,2,2e6\n")
    np.testing.assert_array_equal(slots.tasks, [60, 0])
    np.testing.assert_array_equal(slots.device_rate, [[1e6], [2e6]])


def test_a_slot_has_the_rate_that_was_measured_last(trace):
    text = "time_s,server_1_bytes_per_s\n100,1\n101.5,2\n104,3\n109.9,4\n110,5\n"
    np.testing.assert_array_equal(trace(text, slot_seconds=5).device_rate, [[1], [3], [5]])  # at 100, 105 and 110 s
    np.testing.assert_array_equal(trace(text, slot_seconds=2).device_rate[:, 0], [1, 2, 3, 3, 3, 5])
    fine = "time_s,server_1_bytes_per_s\n" + "".join(f"{k / 10},{k}\n" for k in range(1, 51))
    np.testing.assert_array_equal(trace(fine, slot_seconds=0.1).device_rate[:, 0], range(1, 51))


def test_each_slot_goes_where_slots_go(trace):
    scenario, slot = round_problem()
    slots = trace("slot,server_1_bytes_per_s,server_2_bytes_per_s\n1,1,2\n2,4,8\n")
    for rate in np.asarray(slots.device_rate):
        delay = evaluate_plan(scenario, replace(slot, device_rate=np.tile(rate, (3, 1))), [0, 2, 2]).total_delay
        assert evaluate_plan(scenario, replace(slots, device_rate=rate), [0, 2, 2]).total_delay == delay


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a column slot or time_s.*got no header"),
        ("slot,rate\n1,2\n", "got slot, rate"),
        ("slot,server_1_bytes_per_s,server_3_bytes_per_s\n1,2,3\n", "got slot, server_1"),
        ("slot,slot,server,bytes_per_s\n1,1,1,1\n", "each once; got slot, slot"),
        ("slot,server,bytes_per_s,tasks\n1,1,1,1\n", "with slot also tasks"),
        (b"slot,server,bytes_per_s\n1,1,\xff\n", "CSV file in UTF-8"),
        ("slot,server_1_bytes_per_s\n", "rows below its header; got none"),
        ("slot,server_1_bytes_per_s\n1,2\n2\n", r"row 2 of .* 2 columns; got 1: \['2'\]"),
        (WIDE.replace("1.5e6", "-1"), "column 'server_1_bytes_per_s' in row 2 of .* at least 0; got '-1'"),
        (WIDE.replace("1.5e6", "nan"), "'server_1_bytes_per_s' in row 2 of .* finite number of at least 0; got 'nan'"),
        (WIDE.replace("1.5e6", "1e39"), "'server_1_bytes_per_s' in row 2 of .* got '1e39'"),
        (WIDE.replace("1.5e6", ""), "'server_1_bytes_per_s' in row 2 of .* got ''"),
        (WIDE.replace("\n1,", "\n1.5,"), "column 'slot' in row 2 of .* a whole number of at least 0; got '1.5'"),
        (WIDE.replace("\n2,", "\n3,"), "column 'slot' of .* rise by one from slot to slot; got 3 after 1"),
        (WIDE.replace("\n2,", "\n1,"), "rise by one from slot to slot; got 1 after 1"),
        (LONG.replace("\n2,0,8", "\n1,0,8"), "row 4 of .* another time or server; got 8 and 1 again"),
        (LONG.replace("\n2,0,8", ""), "a rate of each of 2 servers at 8; got none of 2"),
        (LONG.replace("\n2,0,8", "\n0,0,8"), "column 'server' in row 3 of .* whole number of at least 1; got '0'"),
        (LONG.replace("\n2,0,8", "\n1e12,0,8"), "column 'server' of .* without a gap; got 1000000000000"),
    ],
)
def test_refuses_what_is_no_trace(trace, text, message):
    with pytest.raises(ValueError, match=message) as refusal:
        trace(text)
    assert re.search(r"rates\.csv", str(refusal.value))


def test_refuses_times_without_the_length_of_a_slot(trace):
    times = WIDE.replace("slot", "time_s")
    with pytest.raises(ValueError, match="slot_seconds must be given for times, and for nothing else; got None"):
        trace(times)
    with pytest.raises(ValueError, match="slot_seconds must be given for times, and for nothing else; got 5"):
        trace(WIDE, slot_seconds=5)
    with pytest.raises(ValueError, match="slot_seconds must be finite and above 0; got 0"):
        trace(times, slot_seconds=0)
    with pytest.raises(ValueError, match="slot_seconds must have shape"):
        trace(times, slot_seconds=[1])
    with pytest.raises(ValueError, match=r"at most 1000000 slots of 1e-09 s; got 2e\+09"):
        trace(times, slot_seconds=1e-9)
    with pytest.raises(ValueError, match=r"column 'time_s' of .* must rise; got 1 after 1"):
        trace(times.replace("\n2,", "\n1,"), slot_seconds=1)
