"""What a report consists of: sections of blocks, which `html` and `docx` write in their own ways."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from matplotlib.figure import Figure

from emotion_tf.reporting.boxes import Columns


class Text(NamedTuple):
    """A paragraph."""

    text: str


class Items(NamedTuple):
    """Sentences, each with a dot in front."""

    items: Sequence[str]


class Code(NamedTuple):
    """What is typed."""

    text: str


class Table(NamedTuple):
    """Rows of cells; the first cell of a row names it."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


class Picture(NamedTuple):
    """A figure.

    Attributes:
      figure: Drawn under `pictures.theme`; or the bytes of a PNG.
      alt: What it shows, for those who cannot see it.
      caption: Below it.
      is_wide: Whether it takes the whole width of the page.
    """

    figure: Figure | bytes
    alt: str
    caption: str = ""
    is_wide: bool = False


class Diagram(NamedTuple):
    """Boxes and arrows.

    Attributes:
      columns: As `boxes.draw` takes them.
      caption: Below it.
    """

    columns: Columns
    caption: str

    @property
    def alt(self) -> str:
        """What it shows, in words."""
        shown = [
            " and ".join(f"{box.title} ({'; '.join(box.lines)})" if box.lines else box.title for box in column)
            for column in self.columns
        ]
        return f"Diagram: {', then '.join(shown)}."


class Epochs(NamedTuple):
    """Confusion matrices, one an epoch, or a single one.

    Attributes:
      emotions: The label set.
      titles: Of each matrix.
      counts: [num_epochs, num_emotions, num_emotions], rows are labels.
      kept: Which of them is shown first: that of the kept weights.
    """

    emotions: Sequence[str]
    titles: Sequence[str]
    counts: np.ndarray
    kept: int


class Clip(NamedTuple):
    """One utterance.

    Attributes:
      title: Its label, or what was predicted of it.
      lines: What else there is to say.
      transcript: Its words; None where they are not known.
      picture: Its spectrogram, where there is sound.
      sound: A FLAC file, where there is one and it is wanted.
    """

    title: str
    lines: Sequence[str]
    transcript: str | None
    picture: Picture | None = None
    sound: bytes | None = None


class Clips(NamedTuple):
    """Utterances side by side."""

    clips: Sequence[Clip]


Block: TypeAlias = Text | Items | Code | Table | Picture | Diagram | Epochs | Clips


class Section(NamedTuple):
    """A title, what stands below it, and sections within."""

    title: str
    blocks: Sequence[Block]
    sections: Sequence[Any] = ()


class Report(NamedTuple):
    """A whole report.

    Attributes:
      title: Its name.
      marks: What every reader has to know before the first score: mark -> what it means.
      sections: In their order.
    """

    title: str
    marks: dict[str, str]
    sections: Sequence[Section]
