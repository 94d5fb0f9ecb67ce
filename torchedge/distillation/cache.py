"""A teacher's answers written once, so that later epochs cost no pass of the teacher."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import Dataset
from typing_extensions import override

from torchedge.arguments import is_whole, require
from torchedge.distillation.answers import FEATURE, OUTPUT, Inputs, SizedDataset, answers, sized
from torchedge.distillation.calls import require_only_the_sample
from torchedge.distillation.fingerprints import fingerprint, sample_digests
from torchedge.distillation.sources import NONE_NAMED, LiveTeacher
from torchedge.distillation.taps import Taps
from torchedge.errors import ArtifactError, DistillationError
from torchedge.exporting.artifact import (
    Artifact,
    Format,
    load_artifact,
    write_artifact,
)
from torchedge.exporting.pipeline import staged_folder
from torchedge.graph.wrappers import without_wrappers
from torchedge.kinds import kinds_checked
from torchedge.reading.tensors import read_tensors

__all__ = ["IndexedDataset", "SizedDataset", "TeacherCache", "cache_teacher"]

_FORMAT = Format("teacher-cache")
_FILE = "teacher.safetensors"


@final
class IndexedDataset(Dataset[tuple[Any, int]]):
    """A dataset whose samples tell their number, by which a cache knows them.

    Args:
        dataset: With a length; its samples may be anything.

    Example:
        >>> from torch.utils.data import TensorDataset
        >>> IndexedDataset(TensorDataset(torch.tensor([5.0, 6.0])))[1]
        ((tensor(6.),), 1)
    """

    def __init__(self, dataset: SizedDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.dataset)

    @override
    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.dataset[index], index


@kinds_checked("teacher", "data", "batch_size")
def cache_teacher(
    teacher: nn.Module,
    data: SizedDataset,
    folder: Path | str,
    *,
    layers: Sequence[str] | str = (),
    batch_size: int = 64,
    overwrite: bool = False,
) -> "TeacherCache":
    """Run the teacher once over a dataset and write what it shows.

    Only where a sample is the same in every epoch: one that augmentation has changed would be
    answered with what the teacher said about another. Takes as much memory as what is written.

    Args:
        teacher: A trained network; run as a copy, in evaluation mode.
        data: Samples that are tensors or arrays, tuples that begin with the network's input, or
            dictionaries with it; or a ``DataLoader``, whose dataset is taken.
        folder: New folder; it appears only when everything is written.
        layers: Layers whose results are kept beside the output.
        batch_size: Of the teacher's passes.
        overwrite: Replace the folder if it exists.

    Raises:
        DistillationError: There are no samples, one has no input, a layer does not exist, or an
            output is no tensor.
        TraceError: The teacher is no network.
        OutputExistsError: The folder exists.

    Example:
        >>> import tempfile
        >>> from torch.utils.data import TensorDataset
        >>> data = TensorDataset(torch.rand(10, 4), torch.zeros(10, dtype=torch.long))
        >>> with tempfile.TemporaryDirectory() as name:
        ...     cache = cache_teacher(nn.Linear(4, 3), data, Path(name) / "teacher")
        ...     len(cache), cache.taps((), torch.tensor([0, 9])).output.shape
        (10, torch.Size([2, 3]))
    """
    way_out = "give a whole number above zero"
    require(is_whole(batch_size) and batch_size > 0, "batch_size", batch_size, way_out)
    names = (layers,) if isinstance(layers, str) else tuple(layers)
    teacher, data = without_wrappers(teacher), sized(data)
    if not len(data):
        raise DistillationError("the dataset is empty; there is nothing to ask the teacher.")
    live = LiveTeacher(teacher)
    live.prepare(names)
    tensors = answers(live, data, batch_size)
    if found := _unusable(tensors):
        raise DistillationError(
            f"the teacher gives answers of which {found}; give one that was trained, and data as "
            "it was trained on."
        )
    with staged_folder(Path(folder), overwrite=overwrite) as staging:
        save_file(tensors, staging / _FILE)
        write_artifact(
            Artifact(
                path=staging,
                format=_FORMAT,
                inputs=(),
                outputs=(),
                made_by=("cache_teacher",),
                details={
                    "teacher": fingerprint(teacher),
                    "samples": len(data),
                    "checked": sample_digests(Inputs(data)),
                },
            )
        )
    return TeacherCache.open(folder, teacher=teacher, data=data)


@final
class TeacherCache:
    """What a teacher showed for each sample of a dataset; stands in a DistillationModule for it.

    The loader's dataset must be :attr:`indexed`, so that batches are ``(batch, indices)``.

    Args:
        tensors: ``output`` and ``feature:NAME``, samples along the first axis.
        data: The dataset that they belong to.
    """

    def __init__(self, tensors: dict[str, Tensor], data: SizedDataset) -> None:
        self.tensors = tensors
        self.indexed = IndexedDataset(data)
        self.layers: tuple[str, ...] = ()
        self._sample: Tensor | None = None  # what the student is to be given in this step

    @staticmethod
    @kinds_checked("data")
    def open(folder: Path | str, *, teacher: nn.Module, data: SizedDataset) -> "TeacherCache":
        """Read a cache, if it is that of this teacher on these data.

        All weights of the teacher and 256 samples spread over the data are compared by hash.

        Raises:
            ArtifactError: The folder is missing or damaged.
            DistillationError: It holds another teacher's answers, or those for other data.
        """
        artifact, teacher, data = load_artifact(folder), without_wrappers(teacher), sized(data)
        _require_same(artifact, teacher, data)
        return TeacherCache(_require_whole(artifact, len(data)), data)

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.tensors[OUTPUT])

    def prepare(self, layers: tuple[str, ...]) -> None:
        """Show these layers.

        Raises:
            DistillationError: A layer was not written.
        """
        kept = [n.removeprefix(FEATURE) for n in self.tensors if n.startswith(FEATURE)]
        missing = [layer for layer in layers if layer not in kept]
        if missing:
            raise DistillationError(
                f"the cache holds no feature of {missing}, only of {kept}; write it again with "
                "cache_teacher(…, layers=…)."
            )
        self.layers = layers

    def to(self, device: torch.device) -> None:
        """Keep all answers on this device."""
        self.tensors = {name: tensor.to(device) for name, tensor in self.tensors.items()}

    def unpacked(self, batch: Any) -> tuple[Any, Tensor]:  # noqa: ANN401
        """The task's batch and the numbers of its samples.

        Raises:
            DistillationError: The batch does not come from :attr:`indexed`.
        """
        indices = batch[1] if isinstance(batch, list | tuple) and len(batch) == 2 else None
        if not isinstance(indices, Tensor) or indices.is_floating_point() or indices.ndim != 1:
            raise DistillationError(
                "with a cached teacher each batch is (batch, indices); make the DataLoader from "
                "cache.indexed."
            )
        first = batch[0][0] if isinstance(batch[0], list | tuple) else batch[0]
        self._sample = first if isinstance(first, Tensor) else None
        return batch[0], indices

    def taps(
        self,
        inputs: tuple[Any, ...],
        indices: Tensor | None,
        named: Mapping[str, Any] = NONE_NAMED,
    ) -> Taps:
        """What the teacher showed for the samples of these numbers.

        Raises:
            DistillationError: The student was given more than the one tensor that the teacher
                answered to, or another one.
        """
        assert indices is not None
        require_only_the_sample(inputs, named, self._sample)
        self._sample = None
        features = {layer: self.tensors[f"{FEATURE}{layer}"][indices] for layer in self.layers}
        return Taps(self.tensors[OUTPUT][indices], features)


def _require_whole(artifact: Artifact, samples: int) -> dict[str, Tensor]:
    """What the cache holds: the output and features, one of each for each sample."""
    tensors = read_tensors(artifact.file(_FILE))
    counts = {name: len(tensor) if tensor.ndim else 0 for name, tensor in tensors.items()}
    if OUTPUT not in tensors or set(counts.values()) != {samples}:
        raise ArtifactError(
            f"'{artifact.path}' holds {sorted(set(counts.values()))} answers in {len(tensors)} "
            f"tensors for {samples:,} samples; write it again."
        )
    if found := _unusable(tensors):
        raise ArtifactError(f"'{artifact.path}' holds answers of which {found}; write it again.")
    return tensors


def _unusable(tensors: Mapping[str, Tensor]) -> str:
    """What nobody can learn from, in words behind "answers of which"; empty where all is well."""
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or not tensor.numel():
            shown = f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
            return f"{name!a} is {shown}, no numbers to learn"
        bad = int((~tensor.isfinite()).flatten(1).any(1).sum()) if tensor.ndim > 1 else 0
        if bad or not tensor.isfinite().all():
            return f"{name!a} is NaN or infinite for {bad or 'some'} of {len(tensor):,} samples"
    return ""


def _require_same(artifact: Artifact, teacher: nn.Module, data: SizedDataset) -> None:
    details = artifact.details
    if artifact.format != _FORMAT:
        raise DistillationError(
            f"'{artifact.path}' is '{artifact.format}' and no teacher's cache; give a folder that "
            "cache_teacher wrote."
        )
    if details.get("teacher") != fingerprint(teacher):
        found = ascii(details.get("teacher")).strip("'")
        raise DistillationError(
            f"'{artifact.path}' holds the answers of another teacher (its weights hash to "
            f"{found[:12]}…, this one's to {fingerprint(teacher)[:12]}…); write "
            "it again with cache_teacher(…, overwrite=True)."
        )
    if details.get("samples") != len(data):
        raise DistillationError(
            f"'{artifact.path}' holds answers for {details.get('samples')!a} samples and the data "
            f"has {len(data):,}; write it again for these data."
        )
    digests = sample_digests(Inputs(data))
    checked = details.get("checked")
    known = checked if isinstance(checked, Mapping) else {}
    other = [index for index, digest in digests.items() if known.get(index) != digest]
    if other:
        raise DistillationError(
            f"'{artifact.path}' holds answers for other data: {len(other)} of {len(digests)} "
            f"compared samples differ, the first is sample {other[0]}. Switch augmentation off, or "
            "write it again for these data."
        )
