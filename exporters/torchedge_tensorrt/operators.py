"""Operators that TensorRT's ONNX parser reads, by version.

From ``docs/operators.md`` of onnx/onnx-tensorrt for TensorRT 8.4, 8.5 and 10.15. A version between
two tables is held to the older one.
"""

from torchedge_tensorrt.jetpacks import Version

__all__ = ["readable_operators"]

_SINCE_8_0 = """
Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast Ceil
Celu Clip Concat Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum DepthToSpace
DequantizeLinear Div Dropout Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor Gather
GatherElements GatherND Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GRU
HardSigmoid Identity If ImageScaler InstanceNormalization IsNaN LeakyRelu Less LessOrEqual Log
LogSoftmax Loop LRN LSTM LpNormalization LpPool MatMul Max MaxPool Mean Min Mul Neg
NonMaxSuppression Not Or Pad ParametricSoftplus Pow PRelu QuantizeLinear RandomUniform
RandomUniformLike Range ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean
ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize ReverseSequence RNN Round
ScaledTanh Scan Scatter ScatterElements ScatterND Selu Shape Sigmoid Sign Sin Sinh Size Slice
Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile TopK
Transpose Unsqueeze Upsample Where Xor
"""
_SINCE_8_5 = """
GridSample HardSwish MeanVarianceNormalization Mod NonZero OneHot RandomNormal RandomNormalLike
Reciprocal RoiAlign Shrink Trilu
"""
_SINCE_10 = """
Attention BlackmanWindow CastLike DeformConv Gelu GroupNormalization HammingWindow HannWindow
Hardmax IsInf LayerNormalization Mish RMSNormalization RotaryEmbedding STFT
"""
_TABLES: tuple[tuple[Version, str], ...] = (
    ((8, 0, 0), _SINCE_8_0),
    ((8, 5, 0), _SINCE_8_5),
    ((10, 0, 0), _SINCE_10),
)


def readable_operators(tensorrt: Version) -> frozenset[str]:
    """Names in ONNX's own domain.

    Example:
        >>> ["HardSwish" in readable_operators(v) for v in ((8, 2, 1), (8, 5, 2))]
        [False, True]
    """
    tables = (names.split() for since, names in _TABLES if tensorrt >= since)
    return frozenset(name for table in tables for name in table)
