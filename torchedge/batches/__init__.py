"""Data as people have it, turned into batches for a network: loaders, arrays, tensors, folders.

``pictures``, ``files`` and ``folders`` know files and numpy alone; ``adapter`` makes tensors of
whatever a function for calibration or a check is given.
"""

from torchedge.batches.data import Data

__all__ = ["Data"]
