"""Data as people have it, turned into batches for a network: loaders, arrays, tensors, folders.

``pictures`` and ``folders`` know files and numpy alone; ``adapter`` makes tensors of whatever a
function for calibration or a check is given.
"""
