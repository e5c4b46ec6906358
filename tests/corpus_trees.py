"""Small corpora in exactly their makers' layout, with short recordings, for tests of readers."""

import zlib

import numpy as np
import soundfile


def place(folder, *names, sample_rate=16000, seconds=0.15):
    """Writes a short recording of noise under each name; no two are the same."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        soundfile.write(path, 0.1 * rng.standard_normal(round(seconds * sample_rate)), sample_rate, format="WAV")
    return folder


def crema_d(folder, actors=("1001", "1002", "1003"), emotions=("ANG", "DIS", "FEA", "HAP", "NEU", "SAD"), **options):
    """AudioWAV/ of CREMA-D, and the table of its actors."""
    names = [f"AudioWAV/{actor}_IEO_{emotion}_HI.wav" for actor in actors for emotion in emotions]
    place(folder, *names, **options)
    rows = [f"{actor},{20 + number},{('Male', 'Female')[number % 2]},Caucasian,Not Hispanic\n" for number, actor
            in enumerate(actors)]  # fmt: skip
    header = "ActorID,Age,Sex,Race,Ethnicity\n"
    (folder / "VideoDemographics.csv").write_text(header + "".join(rows), encoding="utf-8")
    return folder


def ravdess(folder, actors=("01", "02", "03", "04"), channels=("01", "02")):
    """Actor_NN/ of RAVDESS, speech (01) and song (02)."""
    names = [f"Actor_{who}/03-{channel}-{emotion}-01-01-01-{who}.wav" for who in actors for channel in channels
             for emotion in ("01", "03", "05")]  # fmt: skip
    return place(folder, *names, sample_rate=48000)


def tess(folder, words=("back", "bite")):
    """Folders of TESS as its archive has them, the name that lacks a letter among them."""
    folders = {"angry": "angry", "disgust": "disgust", "fear": "Fear", "happy": "happy", "neutral": "neutral"}
    folders |= {"ps": "Pleasant_surprise", "sad": "Sad"}
    names = [f"{who}_{folders[emotion]}/{who}_{word}_{emotion}.wav" for who in ("OAF", "YAF") for word in words
             for emotion in folders]  # fmt: skip
    names = [name.replace("OAF_bite_neutral", "OA_bite_neutral") for name in names]
    return place(folder, *names, sample_rate=24414)


def emodb(folder, speakers=("03", "08", "09")):
    """wav/ of EMO-DB, beside its lists."""
    names = [f"wav/{speaker}a01{emotion}a.wav" for speaker in speakers for emotion in "WLEAFTN"]
    (folder / "lablaut").mkdir(parents=True)
    (folder / "erkennung.txt").write_text("Satz erkannt\n", encoding="latin-1")
    return place(folder, *names)


def savee(folder, speakers=("DC", "JE", "JK", "KL")):
    """AudioData/ of SAVEE."""
    codes = ("a", "d", "f", "h", "n", "sa", "su")
    names = [f"AudioData/{who}/{code}01.wav" for who in speakers for code in codes]
    place(folder, *names, sample_rate=44100)
    (folder / "AudioData" / "Info.txt").write_text("'DC', 'JE', 'JK' and 'KL' are four male speakers\n")
    return folder


_IEMOCAP_TURNS = (("F000", "neu"), ("M000", "fru"), ("F001", "xxx"), ("M001", "exc"))


def iemocap(folder, sessions=(1, 2, 3)):
    """Sessions of IEMOCAP with one dialogue each."""
    for session in sessions:
        dialogue = f"Ses{session:02}F_impro01"
        base = folder / f"Session{session}"
        turns = [(f"{dialogue}_{turn}", emotion) for turn, emotion in _IEMOCAP_TURNS]
        place(base, *(f"sentences/wav/{dialogue}/{turn}.wav" for turn, _ in turns))
        for name in ("EmoEvaluation", "transcriptions"):
            (base / "dialog" / name).mkdir(parents=True)
        labels = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"]
        for number, (turn, emotion) in enumerate(turns):
            times = f"[{6.2901 + number:.4f} - {8.2357 + number:.4f}]"
            labels.append(f"{times}\t{turn}\t{emotion}\t[2.5000, 2.5000, 3.0]\n")
            labels.append("C-E2:\tNeutral;\t()\nC-E3:\tNeutral;\t()\nA-E3:\tval 3; act 2; dom  2;\t()\n\n")
        (base / "dialog" / "EmoEvaluation" / f"{dialogue}.txt").write_text("".join(labels))
        words = [f"{turn} [006.2901-008.2357]: Excuse me.\n" for turn, _ in turns[:-1]]
        (base / "dialog" / "transcriptions" / f"{dialogue}.txt").write_text("".join(words))
    return folder
