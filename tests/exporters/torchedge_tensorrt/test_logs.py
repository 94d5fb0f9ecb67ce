import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.exporters.torchedge_tensorrt.device_outputs import (
    FAILED_RUN,
    LAYERS_BEFORE_11,
    LAYERS_FROM_11,
    TIMES_8_2,
    TIMES_10_3,
)
from torchedge_tensorrt import logs
from torchedge_tensorrt.device_scripts import benchmark as on_board

TIMES_7 = """\
&&&& RUNNING TensorRT.trtexec # trtexec --loadEngine=model.engine
[03/04/2021-10:11:12] [I] Host Latency
[03/04/2021-10:11:12] [I] min: 3.65 ms (end to end 3.67 ms)
[03/04/2021-10:11:12] [I] median: 3.75 ms (end to end 3.8 ms)
[03/04/2021-10:11:12] [I] percentile: 3.95 ms at 99% (end to end 4.1 ms at 99%)
[03/04/2021-10:11:12] [I] throughput: 0 qps
[03/04/2021-10:11:12] [I] walltime: 3.01 s
[03/04/2021-10:11:12] [I] GPU Compute
[03/04/2021-10:11:12] [I] min: 3.5 ms
[03/04/2021-10:11:12] [I] median: 3.6 ms
[03/04/2021-10:11:12] [I] percentile: 3.8 ms at 99%
[03/04/2021-10:11:12] [I] total compute time: 2.99 s
&&&& PASSED TensorRT.trtexec
"""
NANO = "RAM 2300/3956MB (lfb 2x1MB) IRAM 0/252kB(lfb 252kB) CPU [12%@1479,off,off,3%@1479] \
EMC_FREQ 0% GR3D_FREQ 99%@921 PLL@38C CPU@41.5C PMIC@100C GPU@39C \
POM_5V_IN 4321/4100 POM_5V_GPU 1500/1400 POM_5V_CPU 600/580"
XAVIER = "RAM 3000/31918MB CPU [1%@1190,off] GR3D_FREQ 0% GPU@35C \
GPU 310/300 CPU 620/610 SOC 930/920 CV 0/0 VDDRQ 155/150 SYS5V 1480/1470"
AGX_ORIN = "04-11-2025 10:00:00 RAM 4000/62800MB GR3D_FREQ 12%@[1300,1300] CV0@-256C CPU@44.5C \
VDD_GPU_SOC 2400mW/2300mW VDD_CPU_CV 400mW/390mW VIN_SYS_5V0 4000mW/3990mW NC 0mW/0mW \
VDDQ_VDD2_1V8AO 300mW/300mW"
ORIN_NANO = "RAM 3400/7620MB GR3D_FREQ 63%@[621] cpu@50.1C gpu@49.5C \
VDD_IN 4800mW/4700mW VDD_CPU_GPU_CV 520mW/500mW VDD_SOC 1470mW/1460mW"
THOR = "RAM 9000/125000MB GR3D_FREQ @[1000,1000,1000] cpu@52.9C/53.5C \
VDD_GPU 0mW/0mW/0mW VDD_CPU_SOC_MSS 5139mW/5100mW/5200mW VIN 21000mW/20900mW/22000mW"
TX2 = "RAM 1000/7800MB GR3D_FREQ 0%@114 GPU@33.5C VDD_IN 2800/2750 VDD_SYS_GPU 150/150"
TEXTS = [TIMES_7, TIMES_8_2, TIMES_10_3, FAILED_RUN, NANO, XAVIER, AGX_ORIN, ORIN_NANO, THOR, TX2]
TEXTS += [json.dumps(LAYERS_BEFORE_11), json.dumps(LAYERS_FROM_11)]
PROFILE = (
    '[{"count": 7}, {"name": "a", "timeMs": 7, "averageMs": 1, "percentage": 100}, {"name": "b"}]'
)
MODES = "NVPM WARN: Fan mode is not set\nNV Power Mode: MODE_15W_6CORE\n2\n"
TEXTS += [PROFILE, MODES]


def test_the_layout_of_tensorrt_7_is_read() -> None:
    assert logs.trtexec(TIMES_7) == {
        "latency_min_ms": 3.65,
        "latency_median_ms": 3.75,
        "latency_p99_ms": 3.95,
        "gpu_compute_time_min_ms": 3.5,
        "gpu_compute_time_median_ms": 3.6,
        "gpu_compute_time_p99_ms": 3.8,
        "throughput_per_s": 0,
        "walltime_s": 3.01,
    }


@pytest.mark.parametrize(
    ("line", "total_mw", "rails"),
    [
        (NANO, 4321, 3),
        (TX2, 2800, 2),
        (XAVIER, 310 + 620 + 930 + 0 + 155 + 1480, 6),
        (AGX_ORIN, 2400 + 400 + 4000, 5),
        (ORIN_NANO, 4800, 3),
        (THOR, 21000, 3),
    ],
)
def test_the_power_of_each_board_is_the_sum_of_its_own_rails(
    line: str, total_mw: int, rails: int
) -> None:
    found = logs.tegrastats(line)
    assert len(found["power_mw"]) == rails
    assert on_board.total_power_mw(found["power_mw"])[0] == total_mw


@pytest.mark.parametrize(
    ("line", "load", "clock"),
    [
        (NANO, 99, 921),
        (XAVIER, 0, None),
        (AGX_ORIN, 12, 1300),
        (ORIN_NANO, 63, 621),
        (THOR, None, 1000),
    ],
)
def test_load_and_clock_of_the_gpu_are_read_where_they_are_said(
    line: str, load: int | None, clock: int | None
) -> None:
    found = logs.tegrastats(line)
    assert (found.get("gpu_load_percent"), found.get("gpu_clock_mhz")) == (load, clock)


def test_a_sensor_that_is_off_has_no_temperature() -> None:
    assert logs.tegrastats(AGX_ORIN)["temperature_c"] == {"CPU": 44.5}


def test_a_power_mode_is_read_behind_warnings() -> None:
    assert logs.nvpmodel(MODES) == ("MODE_15W_6CORE", 2)


def test_layers_are_counted_in_both_forms_of_the_export() -> None:
    assert logs.int8_share(json.dumps(LAYERS_BEFORE_11)) == (2, 4)
    assert logs.int8_share(json.dumps(LAYERS_FROM_11)) == (1, 3)


def test_a_profile_leaves_out_its_count_and_layers_without_times() -> None:
    (layer,) = logs.exported_profile(PROFILE)
    assert (layer.name, layer.average_ms, layer.percentage) == ("a", 1, 100)


def test_times_are_summed_up_from_gpu_times() -> None:
    found = logs.exported_times(
        json.dumps([{"computeMs": i, "latencyMs": 99} for i in (1, 2, 3, 4)])
    )
    assert found is not None
    assert (found.queries, found.median_ms, found.mean_ms) == (4, 2.5, 2.5)
    assert logs.exported_times("[") is None


def read_by_all(text: str) -> None:
    logs.trtexec(text)
    logs.tegrastats(text)
    logs.nvpmodel(text)
    logs.exported_times(text)
    logs.exported_profile(text)
    logs.int8_share(text)


@given(st.sampled_from(TEXTS), st.data())
def test_no_parser_fails_on_a_log_that_was_cut_short_and_changed(
    text: str, data: st.DataObject
) -> None:
    end = data.draw(st.integers(0, len(text)))
    at = data.draw(st.integers(0, end))
    read_by_all(text[:at] + data.draw(st.text(max_size=8)) + text[at:end])


@given(st.text())
def test_no_parser_fails_on_any_text(text: str) -> None:
    read_by_all(text)


@given(
    st.recursive(
        st.none() | st.floats() | st.text(),
        lambda c: (
            st.lists(c)
            | st.dictionaries(
                st.sampled_from(["Layers", "Outputs", "computeMs", "name", "averageMs"]), c
            )
        ),
    )
)
def test_no_parser_fails_on_any_json(value: object) -> None:
    read_by_all(json.dumps(value))


def test_power_is_integrated_over_time_and_not_over_samples() -> None:
    samples = [(0.0, 1000.0), (1.0, 1000.0), (1.1, 5000.0), (2.0, 5000.0), (9.0, 0.0)]
    area = 1000 * 1.0 + 3000 * 0.1 + 5000 * 0.9
    assert on_board.mean_power_mw(samples, 0.0, 2.0) == pytest.approx(area / 2.0)
    assert on_board.mean_power_mw(samples, 3.0, 4.0) is None
