"""Where the words of a corpus come from: its own script, sentences per emotion, real sentences, or whisper."""

import argparse
import dataclasses
import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.command import InputError
from pipelines.parsers import add_flag, with_meanings
from pipelines.transcripts.cache import read_table, write_table
from pipelines.transcripts.paired import fingerprint, paired, with_sentences
from pipelines.transcripts.simulated import simulated
from pipelines.transcripts.transcriber import WhisperSettings, add_whisper_arguments, transcribed
from pipelines.transcripts.word_errors import word_error_rate
from pipelines.utterance import Corpus

SOURCES = {
    "script": "the corpus's own words",
    "simulated": "sentences written per emotion, which leak the label",
    "paired": "real sentences of GoEmotions with the clip's emotion",
    "whisper": "what openai-whisper transcribes",
}
"""Where transcripts may come from, and what that means."""

_CACHE = Path("data/transcripts")
# Flag -> the sources that read it. All default to None, which says that a flag is not given.
_READ_BY = {
    "sentences": ("paired",),
    "transcript_seed": ("simulated", "paired"),
    "transcript_cache": ("simulated", "paired", "whisper"),
    "whisper_model": ("whisper",),
    "device": ("whisper",),
    "language": ("whisper",),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that choose a source of words."""
    group = parser.add_argument_group("transcripts")
    sentence = with_meanings("Take the transcripts from this source.", SOURCES)
    add_flag(group, "--transcripts", sentence, choices=SOURCES, default=WordSource.kind)
    sentence = "Pair clips with the sentences in this folder of GoEmotions."
    add_flag(group, "--sentences", sentence, "--transcripts paired only", type=Path, metavar="DIR")
    sentence = "Draw the sentences with this seed."
    sources = "--transcripts simulated, paired only"
    add_flag(group, "--transcript-seed", sentence, sources, type=int, metavar="SEED", shown=str(WordSource.seed))
    sentence = "Keep the transcripts as CSV files in this folder."
    sources = "--transcripts simulated, paired, whisper only"
    add_flag(group, "--transcript-cache", sentence, sources, type=Path, metavar="DIR", shown=str(_CACHE))
    add_whisper_arguments(group)


@dataclasses.dataclass(frozen=True)
class WordSource:
    """A chosen source of words.

    Attributes:
      kind: One of `SOURCES`.
      sentences: The folder of GoEmotions; paired only.
      seed: Of simulated and paired words.
      whisper: Model and language; whisper only.
      cache: Folder of the CSVs that simulated, paired and transcribed words leave.
    """

    kind: str = "script"
    sentences: Path | None = None
    seed: int = 0
    whisper: WhisperSettings | None = None
    cache: Path = _CACHE

    @classmethod
    def of(cls, arguments: argparse.Namespace, shared: Sequence[str] = ()) -> "WordSource":
        """Reads the flags of `add_arguments`.

        Args:
          arguments: What was parsed.
          shared: Flags that something else reads, too.

        Raises:
          InputError: A flag that the chosen source does not read, or a missing one that it needs.
        """
        kind = arguments.transcripts
        for name, sources in _READ_BY.items():
            if getattr(arguments, name) is not None and kind not in sources and name not in shared:
                flag = name.replace("_", "-")
                raise InputError(f"--{flag} belongs to --transcripts {' or '.join(sources)}, not {kind}: leave it out.")
        if kind == "paired" and arguments.sentences is None:
            raise InputError("--transcripts paired needs --sentences DIR, the folder of GoEmotions (train.tsv, ...).")
        return cls(
            kind,
            arguments.sentences,
            arguments.transcript_seed or 0,
            WhisperSettings.of(arguments) if kind == "whisper" else None,
            arguments.transcript_cache or _CACHE,
        )

    @property
    def name(self) -> str:
        """The source as metadata and tables name it; that of whisper with its model."""
        return self.kind if self.whisper is None else f"whisper {self.whisper.name}"

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        """What the words depend on beside the corpus, as JSON holds it."""
        settings: dict[str, Any] = {"source": self.kind}
        if self.kind in ("simulated", "paired"):
            settings["seed"] = self.seed
        return settings | (self.whisper.identity if self.whisper else {})

    def fill(self, corpus: Corpus, label_map: str = "") -> Corpus:
        """Puts words into a corpus; what is left without any is dropped only where the source says so.

        Args:
          corpus: Relabelled already.
          label_map: Name of the map that relabelled it, or empty; for messages.

        Returns:
          The corpus with transcripts. Utterances without a paired sentence are counted in `ignored`.

        Raises:
          InputError: A corpus without recordings and any source but its script, labels that the source has no words
            for, or whatever is wrong with its files.
        """
        if self.kind == "script":
            return corpus
        if not corpus.has_audio:
            raise InputError(
                f"{corpus.name} has no recordings, and its words are its own: leave --transcripts {self.kind} out."
            )
        if self.whisper is not None:
            return self._transcribed(corpus, self.whisper)
        name = "-".join(filter(None, (self.kind, corpus.source.stem, label_map, str(self.seed))))
        if self.sentences is None:
            filled, rows = simulated(corpus, self.seed)
            write_table(self.cache / f"{name}.csv", rows)
            return filled
        return self._paired(corpus, self.sentences, name, label_map)

    def _paired(self, corpus: Corpus, sentences: Path, name: str, label_map: str) -> Corpus:
        """Draws sentences, or reads those that were drawn before for the same clips from the same sentences."""
        path = self.cache / f"{name}-{fingerprint(corpus, sentences, self.seed)[:8]}.csv"
        if path.exists():
            print(f"paired: sentences as drawn before, {path}", file=sys.stderr)
            return with_sentences(corpus, read_table(path))
        filled, rows = paired(corpus, sentences, self.seed, label_map)
        write_table(path, rows)
        return filled

    def _transcribed(self, corpus: Corpus, whisper: WhisperSettings) -> Corpus:
        """Transcribes the recordings, and compares with the script."""
        filled = transcribed(corpus, whisper, self.cache)
        scripts = [utterance.transcript for utterance in corpus.utterances]
        transcripts = [utterance.transcript for utterance in filled.utterances]
        errors, num_blank = word_error_rate(scripts, transcripts), transcripts.count("")
        summary = f"{errors}; {num_blank} of {len(transcripts)} clips without words"
        print(f"whisper {whisper.name}: {summary}", file=sys.stderr)
        return filled
