"""Every error that torchedge raises on purpose, in one tree.

::

    TorchedgeError
    ├── UsageError                    what was asked cannot be done as asked      (exit code 2)
    │   ├── UnknownNameError          no target, format or device of that name
    │   ├── ArtifactError             an artefact is missing, damaged or unsafe
    │   ├── OutputExistsError         the output folder is there already
    │   ├── TraceError                torch.fx cannot follow the model
    │   ├── WeightError               NaN or infinity in the weights
    │   ├── CalibrationError          no data, or not enough, to choose a range
    │   ├── DataError                 a data set is missing, or cannot be read or made
    │   ├── SchemeError               numbers that this device or step cannot run
    │   ├── DistillationError         student, teacher, terms or data do not fit each other
    │   ├── PruningError              weights or channels that cannot be removed as asked
    │   └── MissingDependencyError    an optional package is not installed
    └── FailureError                  it was asked rightly, and went wrong        (exit code 1)
        ├── ExportError               a step could not write its artefact
        ├── VerificationError         an artefact does not compute what it should
        ├── BudgetError               an artefact is larger or slower than allowed
        ├── StorageError              the disk is full or cannot be written
        └── NotRunError               there is no runtime here for this artefact
"""

from typing import ClassVar

from torchedge.text import for_terminal

__all__ = [
    "ArtifactError",
    "BudgetError",
    "CalibrationError",
    "DataError",
    "DistillationError",
    "ExportError",
    "FailureError",
    "MissingDependencyError",
    "NotRunError",
    "OutputExistsError",
    "PruningError",
    "SchemeError",
    "StorageError",
    "TorchedgeError",
    "TraceError",
    "UnknownNameError",
    "UsageError",
    "VerificationError",
    "WeightError",
]


class TorchedgeError(Exception):
    r"""Base of every deliberate error; its text is one line that says what to do next.

    Names of files and tensors in it stay text: what a terminal would obey is escaped.

    Example:
        >>> str(TorchedgeError("'a\n\x1b[2J' is odd"))
        "'a\\n\\x1b[2J' is odd"
    """

    exit_code: ClassVar[int] = 1

    def __str__(self) -> str:
        """The text, on one line."""
        return for_terminal(super().__str__())


class UsageError(TorchedgeError):
    """What was asked cannot be done as asked; the command line ends with exit code 2."""

    exit_code: ClassVar[int] = 2


class FailureError(TorchedgeError):
    """The request was sound and the work failed; the command line ends with exit code 1."""


class UnknownNameError(UsageError):
    """No target, format or device has this name; the text offers the nearest one."""


class ArtifactError(UsageError):
    """An artefact is missing, does not match its manifest, or holds what must not be loaded."""


class OutputExistsError(UsageError):
    """The output folder is there already and may not be replaced, or another process writes it."""


class TraceError(UsageError):
    """torch.fx cannot follow the model; the text names the module and the line."""


class WeightError(UsageError):
    """A weight is NaN or infinite; the text names the tensor."""


class CalibrationError(UsageError):
    """A range cannot be chosen: nothing, or nothing usable, was observed."""


class DataError(UsageError):
    """A data set is missing, is another one, or cannot be read or made."""


class SchemeError(UsageError):
    """The numbers asked for cannot be run by this device or written by this step."""


class DistillationError(UsageError):
    """Student, teacher, terms and data do not fit each other, so nothing can be taught."""


class PruningError(UsageError):
    """Weights or channels cannot be removed as asked; the model is as it was."""


class MissingDependencyError(UsageError):
    """An optional package is not installed; the text holds the pip line."""


class ExportError(FailureError):
    """A step could not turn its source into the next artefact."""


class VerificationError(FailureError):
    """An artefact was run and does not compute what the PyTorch model computes."""


class BudgetError(FailureError):
    """An artefact takes more memory or time than the target's budget allows."""


class StorageError(FailureError):
    """The disk is full, read-only or otherwise refuses the files."""


class NotRunError(FailureError):
    """No runtime on this machine can run the artefact, so nothing is claimed about it."""
