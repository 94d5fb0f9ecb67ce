"""Speaks with eSpeak NG in a process of its own; needs numpy and nothing of torchedge.

``python espeak_child.py JOB.json``: the job names the library, its data, what to say and how, and
the .npz file to write. eSpeak NG is licensed under the GPL: only this process loads it, and what
comes back is sound.
"""

import ctypes
import json
import sys
from pathlib import Path
from typing import Any

__all__ = ["main"]

# Of espeak-ng's speak_lib.h.
_SYNCHRONOUS = 2  # samples go to a callback, and a call returns when all was said
_SPEED, _PITCH, _RANGE = 1, 3, 4
_UTF8 = 1
_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


def main(job_file: Path) -> None:
    """Write the waveforms of a job, one after the other, with their lengths and the rate."""
    import numpy as np

    job = json.loads(job_file.read_text(encoding="utf-8"))
    library = ctypes.CDLL(job["library"])
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, job["data"].encode(), 0)
    if rate <= 0:
        sys.exit(f"eSpeak NG cannot read its data in '{job['data']}'")
    # Breath is noise. eSpeak NG seeds one generator by the clock, and C's is never seeded.
    library.espeak_ng_SetRandSeed(ctypes.c_long(job["seed"]))
    spoken = _spoken(library, job["utterances"])
    lengths = np.array([len(waveform) for waveform in spoken])
    np.savez(job["out"], samples=np.concatenate(spoken), lengths=lengths, rate=rate)


def _spoken(library: Any, utterances: list[dict[str, Any]]) -> list[Any]:  # noqa: ANN401
    import numpy as np

    heard: list[Any] = []

    def listen(samples: Any, count: int, events: object) -> int:  # noqa: ANN401
        if samples and count > 0:
            heard.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    callback = _CALLBACK(listen)
    library.espeak_SetSynthCallback(callback)
    spoken = []
    for utterance in utterances:
        heard.clear()
        _say(library, utterance)
        spoken.append(np.concatenate([np.zeros(0, np.int16), *heard]))
    return spoken


def _say(library: Any, utterance: dict[str, Any]) -> None:  # noqa: ANN401
    voice = f"{utterance['accent']}+{utterance['voice']}"
    if library.espeak_SetVoiceByName(voice.encode()):
        sys.exit(f"eSpeak NG has no voice '{voice}'")
    for number, name in ((_SPEED, "words_per_minute"), (_PITCH, "pitch"), (_RANGE, "pitch_range")):
        library.espeak_SetParameter(number, utterance[name], 0)
    text = utterance["text"].encode()
    library.espeak_Synth(text, len(text) + 1, 0, 1, 0, _UTF8, None, None)


if __name__ == "__main__":
    sys.path.pop(0)  # this folder, whose modules are no business of this script
    main(Path(sys.argv[1]))
