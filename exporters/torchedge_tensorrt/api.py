"""What this package uses of NVIDIA's Python module, typed by its stubs.

A protocol, because the module is handed around and there is one for each version. mypy holds every
use against the stubs of ``tensorrt-stubs``, which are of one version; what another version lacks is
asked for with ``hasattr``, and fakes of six versions are run in the tests.
"""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import tensorrt as trt

__all__ = ["Members", "TensorRT"]


class Members(Protocol):
    """What the stubs' module itself is held against: mypy compares no names with underscores."""

    @property
    def Builder(self) -> "type[trt.Builder]": ...
    @property
    def BuilderFlag(self) -> "type[trt.BuilderFlag]": ...
    @property
    def DeviceType(self) -> "type[trt.DeviceType]": ...
    @property
    def IInt8EntropyCalibrator2(self) -> "type[trt.IInt8EntropyCalibrator2]": ...
    @property
    def LayerInformationFormat(self) -> "type[trt.LayerInformationFormat]": ...
    @property
    def Logger(self) -> "type[trt.Logger]": ...
    @property
    def MemoryPoolType(self) -> "type[trt.MemoryPoolType]": ...
    @property
    def NetworkDefinitionCreationFlag(
        self,
    ) -> "type[trt.NetworkDefinitionCreationFlag]": ...
    @property
    def OnnxParser(self) -> "type[trt.OnnxParser]": ...
    @property
    def OnnxParserFlag(self) -> "type[trt.OnnxParserFlag]": ...
    @property
    def ProfilingVerbosity(self) -> "type[trt.ProfilingVerbosity]": ...
    @property
    def Runtime(self) -> "type[trt.Runtime]": ...


class TensorRT(Members, Protocol):
    """The module ``tensorrt``, of any version from 8 to 11."""

    @property
    def __version__(self) -> str: ...
