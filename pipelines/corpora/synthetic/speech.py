"""The audio of the synthetic corpus: a source-filter model (Fant 1960) that speaks syllables in a group's prosody.

A glottal pulse train and aspiration noise go through moving formants. The prosody groups differ in what remains after
each band of a log-mel loses its mean and the clip its scale: pitch range and contour, syllable rate, pauses, stress and
tremor; and also in pitch level, loudness and spectral tilt.
"""

import dataclasses

import numpy as np

SAMPLE_RATE = 16000


@dataclasses.dataclass(frozen=True)
class Voice:
    """What a speaker keeps in all clips.

    Attributes:
      f0_hz: Pitch at rest.
      formant_scale: [num_formants] against the vowel table; a shorter vocal tract has higher formants.
      level_db: Loudness against the other speakers.
      rate_scale: Habitual syllable rate against the other speakers.
      tilt_db: Habitual spectral tilt, per octave.
    """

    f0_hz: float
    formant_scale: np.ndarray
    level_db: float
    rate_scale: float
    tilt_db: float


def draw_voice(sex: str, rng: np.random.Generator) -> Voice:
    """Draws the voice of a speaker, "male" or "female"."""
    lowest_hz, highest_hz, tract = (90.0, 140.0, 1.0) if sex == "male" else (165.0, 235.0, 1.16)
    return Voice(
        f0_hz=rng.uniform(lowest_hz, highest_hz),
        formant_scale=tract * rng.uniform(0.94, 1.06) * rng.uniform(0.96, 1.04, len(_BANDWIDTHS_HZ)),
        level_db=rng.uniform(-4.0, 4.0),
        rate_scale=rng.uniform(0.9, 1.1),
        tilt_db=rng.uniform(-1.5, 1.5),
    )


@dataclasses.dataclass(frozen=True)
class Prosody:
    """How a clip is said.

    Attributes:
      pitch: Above the voice's pitch at rest, semitones.
      accent: Rise of the pitch on a fully stressed syllable, semitones.
      slope: Of the pitch over the clip, semitones per second.
      tremor: Amplitude of a quick wobble of the pitch, semitones.
      level_db: Loudness.
      stress_db: Loudness of a fully stressed syllable above an unstressed one.
      tilt_db: Spectral tilt per octave; loud speech has less of it.
      rate: Syllables and pauses per second.
      pause: Probability of a pause after a syllable.
    """

    pitch: float
    accent: float
    slope: float
    tremor: float
    level_db: float
    stress_db: float
    tilt_db: float
    rate: float
    pause: float


GROUPS = {
    "low": Prosody(-2.0, 1.5, -2.0, 0.1, -5.0, 3.0, -4.0, 3.0, 0.35),
    "mid": Prosody(0.5, 4.0, 0.0, 0.8, -1.0, 6.0, -2.0, 4.4, 0.18),
    "high": Prosody(3.0, 8.0, 4.0, 0.2, 4.0, 12.0, 0.0, 6.0, 0.03),
}
# Standard deviations inside a group, so that neighbouring groups overlap in every single cue.
_SPREAD = Prosody(1.0, 1.0, 1.2, 0.1, 1.5, 1.5, 0.8, 0.35, 0.0)


def _draw_prosody(group: Prosody, rng: np.random.Generator) -> Prosody:
    means, deviations = np.array(dataclasses.astuple(group)), np.array(dataclasses.astuple(_SPREAD))
    return Prosody(*means + deviations * np.clip(rng.standard_normal(len(means)), -2.0, 2.0))


@dataclasses.dataclass(frozen=True)
class _Syllables:
    """The syllables of a clip, each array [num_syllables].

    Attributes:
      start: Seconds from the start of the clip.
      seconds: Duration without the pause that may follow.
      stress: From 0 to 1.
      onset: Row of `_ONSETS`.
      locus_hz: Second formant during the onset.
      vowel: Row of `_VOWELS_HZ`.
      clip_seconds: Duration of the whole clip, silent ends included; one number.
    """

    start: np.ndarray
    seconds: np.ndarray
    stress: np.ndarray
    onset: np.ndarray
    locus_hz: np.ndarray
    vowel: np.ndarray
    clip_seconds: float


def _draw_syllables(prosody: Prosody, rate_scale: float, rng: np.random.Generator) -> _Syllables:
    lead, speech, tail = rng.uniform(0.1, 0.2), rng.uniform(1.0, 1.75), rng.uniform(0.1, 0.2)
    num_syllables = max(3, round(speech * prosody.rate * rate_scale))
    stress = rng.uniform(0.0, 1.0, num_syllables)
    shares = (0.8 + 0.4 * stress) * rng.uniform(0.85, 1.15, num_syllables)
    shares[-1] *= 1.3  # final lengthening
    pauses = (rng.random(num_syllables) < prosody.pause) * rng.uniform(0.5, 1.0, num_syllables)
    pauses[-1] = 0.0
    second = speech / (shares + pauses).sum()
    return _Syllables(
        start=lead + second * (np.cumsum(shares + pauses) - shares - pauses),
        seconds=second * shares,
        stress=stress,
        onset=rng.integers(len(_ONSETS), size=num_syllables),
        locus_hz=rng.uniform(900.0, 2000.0, num_syllables),
        vowel=rng.integers(len(_VOWELS_HZ), size=num_syllables),
        clip_seconds=lead + speech + tail,
    )


_HOP = 128  # samples in a frame; a track holds one number a frame
_WINDOW = np.hanning(3 * _HOP + 1)[:-1] / 1.5  # three overlapping windows sum to one
_FFT = 4 * _HOP
_FREQUENCIES_HZ = np.fft.rfftfreq(_FFT, 1.0 / SAMPLE_RATE)

# Men's means of Peterson & Barney (1952), Table II, without the rhotic vowel; above them, those of a neutral tract.
_VOWELS_HZ = np.array(
    [
        (270.0, 2290.0, 3010.0, 3500.0, 4500.0),
        (390.0, 1990.0, 2550.0, 3500.0, 4500.0),
        (530.0, 1840.0, 2480.0, 3500.0, 4500.0),
        (660.0, 1720.0, 2410.0, 3500.0, 4500.0),
        (730.0, 1090.0, 2440.0, 3500.0, 4500.0),
        (570.0, 840.0, 2410.0, 3500.0, 4500.0),
        (440.0, 1020.0, 2240.0, 3500.0, 4500.0),
        (300.0, 870.0, 2240.0, 3500.0, 4500.0),
        (640.0, 1190.0, 2390.0, 3500.0, 4500.0),
    ]
)
_BANDWIDTHS_HZ = np.array((70.0, 90.0, 130.0, 200.0, 280.0))

_ONSET_SHARE = 0.3  # of a syllable
_ONSETS = np.array([(0.02, 0.0), (0.05, 1.0), (0.4, 0.0)])
"""Loudness of voice and of friction in stops, fricatives and sonorants (nasals and glides)."""


def speak(group: Prosody, voice: Voice, rng: np.random.Generator) -> np.ndarray:
    """Makes one clip.

    Args:
      group: Means of the prosody.
      voice: Who speaks.
      rng: Of everything that differs between two clips of one group and speaker.

    Returns:
      Waveform [num_samples] in [-1, 1).
    """
    prosody = _draw_prosody(group, rng)
    syllables = _draw_syllables(prosody, voice.rate_scale, rng)
    times = np.arange(0.5, syllables.clip_seconds * SAMPLE_RATE / _HOP) * _HOP / SAMPLE_RATE
    now = np.maximum(np.searchsorted(syllables.start, times, side="right") - 1, 0)
    inside = (times - syllables.start[now]) / syllables.seconds[now]  # 0 to 1 within a syllable, above in a pause

    tremor = prosody.tremor * np.sin(2.0 * np.pi * (rng.uniform(5.5, 7.5) * times + rng.random()))
    loudness, friction = _loudness(syllables, now, inside, prosody.stress_db, tremor)
    source = _source(_f0_hz(syllables, times, prosody, voice, tremor), loudness, rng)
    tilt_db = prosody.tilt_db + voice.tilt_db + syllables.stress[now]
    speech = _filter(source, _formants_hz(syllables, now, inside) * voice.formant_scale, tilt_db)
    speech /= np.sqrt(np.mean(np.square(speech)))
    hiss = np.diff(rng.standard_normal(len(speech) + 1)) * _upsampled(friction)
    level = 0.03 * 10.0 ** ((prosody.level_db + voice.level_db) / 20.0)
    return level * (speech + hiss) + 1e-4 * rng.standard_normal(len(speech))


def _f0_hz(syllables: _Syllables, times: np.ndarray, prosody: Prosody, voice: Voice, tremor: np.ndarray) -> np.ndarray:
    """Draws the pitch over the clip: a line, a bump on every stressed syllable, and the tremor."""
    middles = syllables.start + 0.5 * syllables.seconds
    distance = (times[:, None] - middles) / (0.6 * syllables.seconds)  # [num_frames, num_syllables]
    bumps = (syllables.stress * np.exp(-np.square(distance))).sum(axis=1)
    line = prosody.pitch + prosody.slope * (times - times.mean())
    return voice.f0_hz * 2.0 ** ((line + prosody.accent * bumps + tremor) / 12.0)


def _loudness(
    syllables: _Syllables, now: np.ndarray, inside: np.ndarray, stress_db: float, tremor: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Shapes the loudness of the voice and of the friction over the clip."""
    is_onset = (inside >= 0.0) & (inside < _ONSET_SHARE)
    vowel = np.clip((inside - _ONSET_SHARE) / (1.0 - _ONSET_SHARE), 0.0, 1.0)  # 0 to 1 within the vowel
    stress = 10.0 ** ((stress_db * (syllables.stress[now] - 0.5) + 5.0 * tremor) / 20.0)
    onset_voice, onset_friction = _ONSETS[syllables.onset[now]].T
    voice = stress * np.where(is_onset, onset_voice, np.sin(np.pi * vowel) ** 0.5)
    is_burst = (onset_voice < 0.03) & (np.abs(inside - _ONSET_SHARE) < 0.05)
    friction = 0.18 * stress * np.where(is_burst, 0.6, is_onset * onset_friction)
    return _smooth(voice, 5), _smooth(friction, 3)


def _formants_hz(syllables: _Syllables, now: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Moves the formants [num_frames, num_formants] from the locus of each onset to its vowel."""
    targets = _VOWELS_HZ[syllables.vowel[now]]
    is_onset = inside < _ONSET_SHARE
    targets[is_onset, 0] = 280.0
    targets[is_onset, 1] = syllables.locus_hz[now][is_onset]
    return np.stack([_smooth(track, 9) for track in targets.T], axis=1)


def _source(f0_hz: np.ndarray, loudness: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Makes the excitation [num_samples]: the flow of the glottis, differentiated, and aspiration noise.

    Source:
      Rosenberg (1971), Effect of glottal pulse shape on the quality of natural vowels, pulse C.
    """
    jitter = 1.0 + 0.01 * _smooth(rng.standard_normal(len(f0_hz)), 3)
    phase = np.cumsum(_upsampled(f0_hz * jitter)) / SAMPLE_RATE % 1.0
    opening = 0.5 - 0.5 * np.cos(np.pi * phase / 0.4)
    closing = np.cos(0.5 * np.pi * (phase - 0.4) / 0.2)
    flow = np.where(phase < 0.4, opening, np.where(phase < 0.6, closing, 0.0))
    aspiration = 0.01 * rng.standard_normal(len(flow))
    return _upsampled(loudness) * (np.diff(flow, prepend=0.0) + aspiration)


def _filter(source: np.ndarray, formants_hz: np.ndarray, tilt_db: np.ndarray) -> np.ndarray:
    """Sends a source through moving formants by overlap-add.

    Args:
      source: [num_frames * _HOP].
      formants_hz: [num_frames, num_formants].
      tilt_db: [num_frames], per octave above 300 Hz.

    Returns:
      Waveform [num_frames * _HOP].
    """
    response = np.exp2(tilt_db[:, None] / 6.02 * np.log2(np.maximum(_FREQUENCIES_HZ, 300.0) / 300.0))
    for track, bandwidth_hz in zip(formants_hz.T[:, :, None], _BANDWIDTHS_HZ, strict=True):
        stiffness = np.square(track)
        response = response * stiffness / (stiffness - np.square(_FREQUENCIES_HZ) + 1j * bandwidth_hz * _FREQUENCIES_HZ)
    padded = np.pad(source, (_HOP, _HOP))
    pieces = np.lib.stride_tricks.sliding_window_view(padded, len(_WINDOW))[::_HOP] * _WINDOW
    filtered = np.fft.irfft(np.fft.rfft(pieces, _FFT) * response, _FFT).reshape(len(response), -1, _HOP)
    output = np.zeros((len(response) + 4, _HOP))
    for hop in range(4):
        output[hop : hop + len(response)] += filtered[:, hop]
    return output[1 : len(response) + 1].ravel()


def _smooth(track: np.ndarray, num_frames: int) -> np.ndarray:
    """Smooths a track by a Hann window."""
    window = np.hanning(num_frames + 2)[1:-1]
    return np.convolve(np.pad(track, num_frames // 2, mode="edge"), window / window.sum(), mode="valid")


def _upsampled(track: np.ndarray) -> np.ndarray:
    """Interpolates a track to samples."""
    samples = np.arange(len(track) * _HOP)
    return np.interp(samples, _HOP * (np.arange(len(track)) + 0.5), track)
