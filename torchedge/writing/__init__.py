"""Writing folders so that nothing is lost, and nothing is left over; kills included."""

from torchedge.writing.ours import require_free
from torchedge.writing.staging import staged_file, staged_folder
from torchedge.writing.temporaries import remove_abandoned_temporaries, temporary_folder

__all__ = [
    "remove_abandoned_temporaries",
    "require_free",
    "staged_file",
    "staged_folder",
    "temporary_folder",
]
