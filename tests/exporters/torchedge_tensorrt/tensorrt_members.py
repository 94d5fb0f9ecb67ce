"""Which members NVIDIA's Python module has, from which version on and up to which.

Read from NVIDIA's own modules of 8.6.1, 10.0.1, 10.3.0, 10.16.1, 11.0.0 and 11.4.0, and for 8.0 to
8.5 from their headers and samples. What came between two of these counts from the newer one on, and
what no source gives to 8.0 to 8.5 counts from 8.6 on: rather a member too few than one too many.
"""

from collections import namedtuple

Version = tuple  # of numbers; this file and the fakes also run under a board's Python 3.6

# A member of a class; of the module itself where the class is "module".
Member = namedtuple("Member", "owner name since before")


# From, up to and without: the members of a class.
_ROWS = """
8.0 99 module: __version__ Logger Runtime Builder OnnxParser init_libnvinfer_plugins
8.0 11 module: IInt8Calibrator IInt8EntropyCalibrator IInt8EntropyCalibrator2 IInt8MinMaxCalibrator
8.0 11 module: IInt8LegacyCalibrator CalibrationAlgoType QuantizationFlag
8.0 10 module: UffParser CaffeParser
10.0 99 module: IProgressMonitor

8.0 99 Logger: WARNING ERROR INFO VERBOSE

8.0 11 NetworkDefinitionCreationFlag: EXPLICIT_BATCH
10.0 99 NetworkDefinitionCreationFlag: STRONGLY_TYPED
10.16 99 NetworkDefinitionCreationFlag: PREFER_AOT_PYTHON_PLUGINS

8.0 99 Builder: create_network create_builder_config build_serialized_network num_DLA_cores
8.0 99 Builder: max_DLA_batch_size is_network_supported
8.6 99 Builder: max_threads
8.0 10 Builder: build_engine max_batch_size
8.0 11 Builder: platform_has_fast_int8 platform_has_fast_fp16 platform_has_tf32
10.16 99 Builder: build_engine_with_config build_serialized_network_to_stream

8.0 99 IBuilderConfig: set_flag default_device_type DLA_core engine_capability create_timing_cache
8.0 99 IBuilderConfig: set_timing_cache get_timing_cache profiling_verbosity avg_timing_iterations
8.0 10 IBuilderConfig: max_workspace_size min_timing_iterations
8.0 11 IBuilderConfig: int8_calibrator set_calibration_profile set_quantization_flag
8.0 11 IBuilderConfig: algorithm_selector
8.4 99 IBuilderConfig: set_memory_pool_limit
8.6 99 IBuilderConfig: builder_optimization_level hardware_compatibility_level max_aux_streams
8.6 99 IBuilderConfig: set_preview_feature
10.3 99 IBuilderConfig: runtime_platform
10.16 99 IBuilderConfig: max_num_tactics tiling_optimization_level

8.0 11 BuilderFlag: FP16 INT8
8.0 99 BuilderFlag: DEBUG GPU_FALLBACK REFIT DISABLE_TIMING_CACHE TF32 SPARSE_WEIGHTS
8.0 10 BuilderFlag: STRICT_TYPES
8.2 11 BuilderFlag: OBEY_PRECISION_CONSTRAINTS PREFER_PRECISION_CONSTRAINTS
8.2 99 BuilderFlag: DIRECT_IO
8.6 99 BuilderFlag: VERSION_COMPATIBLE EXCLUDE_LEAN_RUNTIME SAFETY_SCOPE
8.6 11 BuilderFlag: FP8
10.0 99 BuilderFlag: ERROR_ON_TIMING_CACHE_MISS STRIP_PLAN WEIGHT_STREAMING
10.0 11 BuilderFlag: BF16 WEIGHTLESS
10.3 11 BuilderFlag: INT4
10.16 99 BuilderFlag: EDITABLE_TIMING_CACHE DISTRIBUTIVE_INDEPENDENCE
10.16 11 BuilderFlag: FP4

8.6 99 HardwareCompatibilityLevel: AMPERE_PLUS
10.16 99 HardwareCompatibilityLevel: SAME_COMPUTE_CAPABILITY
10.3 99 RuntimePlatform: WINDOWS_AMD64
8.0 99 EngineCapability: STANDARD DLA_STANDALONE
8.0 99 DeviceType: GPU DLA
8.2 99 ProfilingVerbosity: DETAILED
8.0 99 ProfilingVerbosity: NONE
8.2 99 LayerInformationFormat: ONELINE JSON
8.4 99 MemoryPoolType: WORKSPACE DLA_MANAGED_SRAM
8.6 99 MemoryPoolType: TACTIC_DRAM
10.0 99 MemoryPoolType: TACTIC_SHARED_MEMORY
8.0 11 TacticSource: CUBLAS CUBLAS_LT CUDNN
8.6 99 TacticSource: EDGE_MASK_CONVOLUTIONS JIT_CONVOLUTIONS

8.0 99 DataType: INT8
8.6 99 DataType: UINT8 FP8
10.0 99 DataType: INT4 BF16 INT64
10.16 99 DataType: FP4 E8M0

8.0 11 ITensor: dynamic_range set_dynamic_range
8.0 11 ILayer: precision set_output_type
8.6 99 ILayer: metadata
8.0 99 IQuantizeLayer: axis
10.0 99 IQuantizeLayer: to_type
10.16 99 IQuantizeLayer: block_shape

8.0 99 INetworkDefinition: add_quantize add_dequantize has_implicit_batch_dimension
8.0 10 INetworkDefinition: add_fully_connected
10.0 99 INetworkDefinition: mark_debug get_flag
10.16 99 INetworkDefinition: add_dynamic_quantize

8.0 99 ICudaEngine: create_execution_context serialize refittable num_layers
8.0 10 ICudaEngine: num_bindings get_binding_name get_binding_shape binding_is_input max_batch_size
8.0 11 ICudaEngine: device_memory_size create_execution_context_without_device_memory
8.2 99 ICudaEngine: create_engine_inspector
8.5 99 ICudaEngine: num_io_tensors get_tensor_name get_tensor_mode get_tensor_dtype get_tensor_shape
8.5 99 ICudaEngine: get_tensor_profile_shape
8.6 99 ICudaEngine: hardware_compatibility_level
10.0 99 ICudaEngine: create_serialization_config
10.3 99 ICudaEngine: device_memory_size_v2
10.16 99 ICudaEngine: get_engine_stat

8.0 99 IExecutionContext: execute_v2 profiler set_optimization_profile_async
8.0 10 IExecutionContext: execute execute_async execute_async_v2 set_binding_shape
8.5 99 IExecutionContext: execute_async_v3 set_tensor_address set_input_shape infer_shapes
8.6 99 IExecutionContext: report_to_profiler enqueue_emits_profile nvtx_verbosity

8.0 99 Runtime: deserialize_cuda_engine DLA_core num_DLA_cores
8.6 99 Runtime: engine_host_code_allowed load_runtime
8.2 99 EngineInspector: get_engine_information

8.0 99 OnnxParser: parse parse_from_file num_errors get_error
8.0 11 OnnxParser: supports_model
8.6 99 OnnxParser: get_used_vc_plugin_libraries set_flag
10.3 99 OnnxParser: supports_model_v2 num_subgraphs
8.6 99 OnnxParserFlag: NATIVE_INSTANCENORM
10.16 99 OnnxParserFlag: ENABLE_UINT8_AND_ASYMMETRIC_QUANTIZATION_DLA REPORT_CAPABILITY_DLA
10.16 99 OnnxParserFlag: ADJUST_FOR_DLA

8.0 99 ITimingCache: combine serialize
10.16 99 ITimingCache: query
"""


def _version(text: str) -> Version:
    return tuple(int(part) for part in text.split("."))


def _members() -> tuple[Member, ...]:
    found = []
    for line in filter(None, _ROWS.splitlines()):
        interval, _, names = line.partition(": ")
        since, before, owner = interval.split(" ")
        found += [Member(owner, n, _version(since), _version(before)) for n in names.split(" ")]
    return tuple(found)


MEMBERS = _members()


def members_of(owner: str, version: Version) -> list[str]:
    """Names that a class has in a version, oldest first."""
    return [m.name for m in MEMBERS if m.owner == owner and m.since <= version < m.before]


def classes_in(version: Version) -> list[str]:
    """Classes that have a member in a version."""
    owners = [m.owner for m in MEMBERS if m.since <= version < m.before]
    return sorted(set(owners) - {"module"})
