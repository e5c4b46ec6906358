"""Recordings to waveforms on the host; waveforms to audio features in the graph, by the one front end."""

from pipelines.audio.acoustic import ACOUSTIC, NUM_MFCC_COLUMNS, check_acoustic
from pipelines.audio.features import (
    FRAME_FEATURES,
    compiled_features,
    frame_features,
    frame_names,
    least_std,
    normalise_frames,
    num_columns,
    silence_row,
)
from pipelines.audio.front_end import FrontEnd, mel_matrix, normalise
from pipelines.audio.recording import (
    LONGEST_SECONDS,
    Recording,
    decode,
    from_samples,
    holds_pictures,
    read_recording,
)
from pipelines.audio.sound import NoSoundError, TooLongError
from pipelines.audio.soundfile_reader import stated_seconds
from pipelines.audio.waveform import (
    AUDIO_SUFFIXES,
    SAMPLE_RATE,
    SILENT_PEAK,
    VIDEO_SUFFIXES,
    is_silent,
    pad_together,
    sha256,
    to_float,
)

__all__ = [
    "ACOUSTIC",
    "AUDIO_SUFFIXES",
    "FRAME_FEATURES",
    "LONGEST_SECONDS",
    "NUM_MFCC_COLUMNS",
    "SAMPLE_RATE",
    "SILENT_PEAK",
    "VIDEO_SUFFIXES",
    "FrontEnd",
    "NoSoundError",
    "Recording",
    "TooLongError",
    "check_acoustic",
    "compiled_features",
    "decode",
    "frame_features",
    "frame_names",
    "from_samples",
    "holds_pictures",
    "is_silent",
    "least_std",
    "mel_matrix",
    "normalise",
    "normalise_frames",
    "num_columns",
    "pad_together",
    "read_recording",
    "sha256",
    "silence_row",
    "stated_seconds",
    "to_float",
]
