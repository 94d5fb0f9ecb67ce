"""What a board prints and writes, by hand in the grammar of the real trtexec."""

from typing import Any

LAYERS_BEFORE_11: dict[str, Any] = {
    "Layers": [
        {
            "Name": "QuantizeLinear_0",
            "LayerType": "Reformat",
            "Inputs": [{"Name": "input_0", "Format/Datatype": "Row major linear FP32"}],
            "Outputs": [
                {
                    "Name": "val_0",
                    "Location": "Device",
                    "Dimensions": [1, 1, 8, 8],
                    "Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format",
                }
            ],
        },
        {
            "Name": "conv1 + QuantizeLinear_1 + Conv_2",
            "LayerType": "CaskConvolution",
            "Inputs": [{"Name": "val_0", "Format/Datatype": "Row major Int8 format"}],
            "Outputs": [{"Name": "conv", "Format/Datatype": "Row major Int8 format"}],
            "Weights": {"Type": "Int8", "Count": 36},
        },
        {
            "Name": "pool",
            "LayerType": "CaskPooling",
            "Inputs": [{"Name": "conv", "Format/Datatype": "Row major Int8 format"}],
            "Outputs": [{"Name": "mean", "Format/Datatype": "Row major linear FP16 format"}],
        },
        {
            "Name": "linear",
            "LayerType": "CaskGemmConvolution",
            "Inputs": [{"Name": "mean_q", "Format/Datatype": "Row major Int8 format"}],
            "Outputs": [{"Name": "output_0", "Format/Datatype": "Row major linear FP32"}],
            "Weights": {"Type": "Int8", "Count": 18},
        },
    ],
    "Bindings": ["input_0", "output_0"],
}

LAYERS_FROM_11: dict[str, Any] = {
    "Layers": [
        {
            "Name": "QuantizeLinear_0",
            "LayerType": "Reformat",
            "Outputs": [{"Name": "val_0", "Format": "Row major linear", "Datatype": "Int8"}],
        },
        {
            "Name": "conv1",
            "LayerType": "CaskConvolution",
            "Inputs": [{"Name": "val_0", "Format": "Row major linear", "Datatype": "Int8"}],
            "Outputs": [{"Name": "conv", "Format": "Row major linear", "Datatype": "Float"}],
            "Weights": {"Type": "Int8", "Count": 36},
        },
        {
            "Name": "linear",
            "LayerType": "gemm",
            "Inputs": [{"Name": "conv_q", "Format": "Row major linear", "Datatype": "Int8"}],
            "Outputs": [{"Name": "output_0", "Format": "Row major linear", "Datatype": "Float"}],
        },
    ],
    "I/O Tensors": ["input_0", "output_0"],
}

TIMES_8_2 = """\
&&&& RUNNING TensorRT.trtexec [TensorRT v8201] # trtexec --loadEngine=model.engine
[03/04/2025-10:11:12] [I] Average on 100 runs - GPU latency: 1.51 ms - Host latency: 1.6 ms \
(end to end 3.02 ms, enqueue 0.4 ms)
[03/04/2025-10:11:12] [I] === Performance summary ===
[03/04/2025-10:11:12] [I] Throughput: 655.308 qps
[03/04/2025-10:11:12] [I] Latency: min = 1.55 ms, max = 2.5 ms, mean = 1.61 ms, \
median = 1.6 ms, percentile(99%) = 2.1 ms
[03/04/2025-10:11:12] [I] End-to-End Host Latency: min = 2.9 ms, max = 4.5 ms, mean = 3.1 ms, \
median = 3.02 ms, percentile(99%) = 3.9 ms
[03/04/2025-10:11:12] [I] Enqueue Time: min = 0.3 ms, max = 0.9 ms, mean = 0.41 ms, \
median = 0.4 ms, percentile(99%) = 0.7 ms
[03/04/2025-10:11:12] [I] H2D Latency: min = 0.05 ms, max = 0.09 ms, mean = 0.061 ms, \
median = 0.06 ms, percentile(99%) = 0.08 ms
[03/04/2025-10:11:12] [I] GPU Compute Time: min = 1.46 ms, max = 2.4 ms, mean = 1.52 ms, \
median = 1.51 ms, percentile(99%) = 2.02 ms
[03/04/2025-10:11:12] [I] D2H Latency: min = 0.02 ms, max = 0.05 ms, mean = 0.031 ms, \
median = 0.03 ms, percentile(99%) = 0.04 ms
[03/04/2025-10:11:12] [I] Total Host Walltime: 3.00622 s
[03/04/2025-10:11:12] [I] Total GPU Compute Time: 2.99449 s
[03/04/2025-10:11:12] [I] Explanations of the performance metrics are printed in the verbose logs.
[03/04/2025-10:11:12] [I]
&&&& PASSED TensorRT.trtexec [TensorRT v8201] # trtexec --loadEngine=model.engine
"""

TIMES_10_3 = """\
&&&& RUNNING TensorRT.trtexec [TensorRT v100300] # trtexec --loadEngine=model.engine
[05/06/2025-10:11:12] [I] === Performance summary ===
[05/06/2025-10:11:12] [I] Throughput: 1288.25 qps
[05/06/2025-10:11:12] [I] Latency: min = 0.79 ms, max = 1.4 ms, mean = 0.81 ms, \
median = 0.8 ms, percentile(90%) = 0.83 ms, percentile(95%) = 0.9 ms, percentile(99%) = 1.1 ms
[05/06/2025-10:11:12] [I] Enqueue Time: min = 0.00146484 ms, max = 0.02 ms, mean = 0.007 ms, \
median = 0.006 ms, percentile(90%) = 0.01 ms, percentile(95%) = 0.011 ms, \
percentile(99%) = 0.015 ms
[05/06/2025-10:11:12] [I] H2D Latency: min = 0 ms, max = 0 ms, mean = 0 ms, \
median = 0 ms, percentile(90%) = 0 ms, percentile(95%) = 0 ms, percentile(99%) = 0 ms
[05/06/2025-10:11:12] [I] GPU Compute Time: min = 0.75 ms, max = 1.3 ms, mean = 0.77 ms, \
median = 0.76 ms, percentile(90%) = 0.79 ms, percentile(95%) = 0.85 ms, percentile(99%) = 1.02 ms
[05/06/2025-10:11:12] [I] D2H Latency: min = 0.02 ms, max = 0.04 ms, mean = 0.021 ms, \
median = 0.02 ms, percentile(90%) = 0.03 ms, percentile(95%) = 0.03 ms, percentile(99%) = 0.04 ms
[05/06/2025-10:11:12] [I] Total Host Walltime: 3.00175 s
[05/06/2025-10:11:12] [I] Total GPU Compute Time: 2.99267 s
[05/06/2025-10:11:12] [W] * Throughput may be bound by Enqueue Time rather than GPU Compute \
and the GPU may be under-utilized.
[05/06/2025-10:11:12] [W]   If not already in use, --useCudaGraph may increase the throughput.
[05/06/2025-10:11:12] [W] * GPU compute time is unstable, with coefficient of variance = 3.2%.
&&&& PASSED TensorRT.trtexec [TensorRT v100300] [b30] # trtexec --loadEngine=model.engine
"""

FAILED_RUN = """\
&&&& RUNNING TensorRT.trtexec [TensorRT v8502] # trtexec --loadEngine=model.engine
[05/06/2025-10:11:12] [E] Error[1]: [stdArchiveReader.cpp::42] Serialization assertion failed.
[05/06/2025-10:11:12] [E] Engine deserialization failed
&&&& FAILED TensorRT.trtexec [TensorRT v8502] # trtexec --loadEngine=model.engine
"""
