"""What readers share: recordings below a folder, who speaks in them, refused rows, and whether a corpus is whole."""

import contextlib
import dataclasses
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from pipelines.audio import AUDIO_SUFFIXES, VIDEO_SUFFIXES
from pipelines.command import InputError
from pipelines.corpora import synthetic
from pipelines.file_kinds import foreign_kind

_UNKNOWN = (
    "nothing says who speaks, and a model that is tested on voices that it was trained on scores too high: give"
    " --speaker-regex 'PATTERN', whose first group in a path is the speaker, or --no-speakers, which leaves --folds"
    " random alone and marks every score speakers-unknown"
)


class UnknownSpeakerError(InputError):
    """A recording without a speaker: what is to be done about one is to be done about all."""


@dataclasses.dataclass(frozen=True)
class Speakers:
    """How a speaker is found where a corpus names none.

    Attributes:
      pattern: A regular expression whose first group, found in a path, is the speaker; empty: none is given.
      is_unknown: Whether the corpus is read without speakers.
    """

    pattern: str = ""
    is_unknown: bool = False

    def of(self, path: str, named: str, where: str) -> str:
        """Finds the speaker of one recording.

        Args:
          path: Of the recording, below the folder of the corpus.
          named: The speaker that the corpus names; empty: none.
          where: Names the recording or its row, for the sentence.

        Raises:
          UnknownSpeakerError: No speaker, and no pattern.
          InputError: A pattern that is none, or that does not stand in the path.
        """
        if self.is_unknown:
            return ""
        if not self.pattern:
            if not named:
                raise UnknownSpeakerError(f"{where}: {_UNKNOWN}.")
            return named
        found = self._compiled().search(path)
        if found is None or not (found.group(1) or "").strip():
            raise InputError(f"{where}: --speaker-regex {self.pattern} finds no speaker in {path}: mend the pattern.")
        return found.group(1).strip()

    def _compiled(self) -> re.Pattern[str]:
        try:
            compiled = re.compile(self.pattern)
        except re.error as error:
            raise InputError(f"--speaker-regex {self.pattern} is no regular expression ({error}): mend it.") from None
        if compiled.groups < 1:
            raise InputError(f"--speaker-regex {self.pattern} has no group: put ( and ) around the speaker in it.")
        return compiled


class Refusals:
    """Collects what is wrong with single rows or files, so that all of them are named in one pass.

    Args:
      what: Names the rows in the sentence, for instance "rows of mine.csv".
    """

    def __init__(self, what: str):
        self._what = what
        self._sentences: list[str] = []

    @contextlib.contextmanager
    def of_one(self) -> Iterator[None]:
        """Keeps the sentence of a row that cannot be used, and goes on; not where nothing says who speaks."""
        try:
            yield
        except UnknownSpeakerError:
            raise
        except InputError as error:
            self._sentences.append(str(error))

    def stop(self) -> None:
        """Stops where there are any.

        Raises:
          InputError: The sentence of the only one, or a line for each.
        """
        if len(self._sentences) == 1:
            raise InputError(self._sentences[0])
        if self._sentences:
            lines = "\n".join(f"  {sentence}" for sentence in self._sentences)
            raise InputError(f"{len(self._sentences)} {self._what} cannot be used:\n{lines}")


def files_below(source: Path, what: str, suffixes: Collection[str] = AUDIO_SUFFIXES | VIDEO_SUFFIXES) -> list[Path]:
    """Lists recordings and videos below a folder, wav files first, hidden files left out.

    Args:
      source: The folder.
      what: What it should hold, for the sentence.
      suffixes: In small letters.

    Raises:
      InputError: No folder, or that of the synthetic corpus.
    """
    if not source.is_dir():
        raise InputError(f"{source} is not a folder: name the one that holds {what}.")
    if (source / synthetic.MARKER).exists():
        raise InputError(f"{source} is the synthetic corpus: read it with --corpus synthetic.")
    found = [
        path
        for path in source.rglob("*")
        if path.suffix.lower() in suffixes
        and not any(part.startswith(".") or part == "__MACOSX" for part in path.relative_to(source).parts)
        and path.is_file()
    ]
    return sorted(found, key=lambda path: (path.suffix.lower() != ".wav", path))


def is_recording(path: Path) -> bool:
    """Whether the name of a file is that of a recording, not of a video."""
    return path.suffix.lower() in AUDIO_SUFFIXES


def stop_on_pointer(path: Path) -> None:
    """Stops on a corpus whose files stand for others, as a clone without git-lfs leaves them: one tells for all.

    Raises:
      InputError: A pointer, or the answer of a server.
    """
    if kind := foreign_kind(path):
        raise InputError(f"{path} {kind}")


def stop_on_part(name: str, source: Path, found: Mapping[str, int], whole: Mapping[str, int], is_allowed: bool) -> None:
    """Stops on a part of a corpus, as a download that was interrupted leaves it, unless a part is meant.

    Args:
      name: Of the corpus.
      source: Its folder.
      found: Number of recordings of each speaker.
      whole: {"recordings": N, "speakers": N} of the corpus as its makers published it.
      is_allowed: Whether a part is meant.

    Raises:
      InputError: Fewer recordings than the corpus has.
    """
    count = sum(found.values())
    if count < whole["recordings"] and not is_allowed:
        raise InputError(
            f"{source} holds {count} of the {whole['recordings']} recordings of {name}, of {len(found)} of its"
            f" {whole['speakers']} speakers: complete the download, or read what is there with --incomplete."
        )
