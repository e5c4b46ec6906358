"""Where the makers of corpora keep them, under which licence, and how each is cited.

Sizes and checksums stand here only where a source states them; where a repository lists its files (Zenodo, Dataverse,
pointers of git-lfs), the list is read from it. What is given to those alone who register has no address here.
"""

import dataclasses
import io
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.command import InputError
from pipelines.downloads.fetch import Remote, fetch, read_json

if TYPE_CHECKING:
    import requests

Listed = Callable[["requests.Session", Path], Sequence[Remote]]
"""Lists the files of a corpus; what it has to fetch for that goes to the folder."""


@dataclasses.dataclass(frozen=True)
class Source:
    """A corpus at its maker's.

    Attributes:
      title: Its name.
      page: Where its makers describe it.
      licence: As they state it.
      citation: What to cite.
      megabytes: About how large it is; None: not stated.
      suffix: Of its files.
      folder: Below data/, where its reader looks for it.
      files: What to fetch; empty, and no `listed`: it is got by hand.
      listed: Lists the files of those whose repository does.
      by_hand: How a user gets it.
    """

    title: str
    page: str
    licence: str
    citation: str
    megabytes: float | None
    suffix: str
    folder: str
    files: tuple[Remote, ...] = ()
    listed: Listed | None = None
    by_hand: str = "download it in a browser"

    @property
    def is_by_hand(self) -> bool:
        """Whether no address is known that gives it to everybody."""
        return not self.files and self.listed is None


_ZENODO = "https://zenodo.org/api/records"
_BOREALIS = "https://borealisdata.ca/api"
_CREMA_D = "https://github.com/CheyneyComputerScience/CREMA-D"
_CREMA_D_MEDIA = "https://media.githubusercontent.com/media/CheyneyComputerScience/CREMA-D/master"
_GOEMOTIONS = "https://raw.githubusercontent.com/google-research/google-research/master/goemotions/data"
_MELD = "https://raw.githubusercontent.com/declare-lab/MELD/master/data/MELD"

_POINTER = re.compile(r"oid sha256:([0-9a-f]{64})\s+size (\d+)")


def of_zenodo(record: str, pattern: str) -> Listed:
    """Lists those files of a record whose names have a pattern.

    Source: developers.zenodo.org; a file has "key", "size", "checksum" ("md5:...") and "links": {"self"}.
    """

    def listed(session: "requests.Session", folder: Path) -> list[Remote]:
        url = f"{_ZENODO}/{record}"
        try:
            files = [
                Remote(file["links"]["self"], file["key"], int(file["size"]), str(file["checksum"]))
                for file in read_json(url, session)["files"]
                if re.fullmatch(pattern, file["key"])
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise _unknown_list(url, error) from None
        return _not_empty(files, url)

    return listed


def of_dataverse(host: str, doi: str, suffix: str) -> Listed:
    """Lists the files of a data set with a suffix.

    Source: guides.dataverse.org, Native API and Data Access API; a file has "label" and "dataFile": {"id", "filesize",
      "md5"}.
    """

    def listed(session: "requests.Session", folder: Path) -> list[Remote]:
        url = f"{host}/datasets/:persistentId/?persistentId={doi}"
        try:
            files = [
                Remote(
                    f"{host}/access/datafile/{int(file['dataFile']['id'])}",
                    file["label"],
                    int(file["dataFile"]["filesize"]),
                    f"md5:{file['dataFile']['md5']}",
                )
                for file in read_json(url, session)["data"]["latestVersion"]["files"]
                if file["label"].lower().endswith(suffix)
            ]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _unknown_list(url, error) from None
        return _not_empty(files, url)

    return listed


def of_git_lfs(archive: str, media: str, below: str) -> Listed:
    """Lists files that git-lfs keeps: the archive of the repository holds a pointer for each, with its SHA-256.

    Source: git-lfs, docs/spec.md, The Pointer; cheyneycomputerscience.github.io/CREMA-D: of the downloaded ZIP (24 MB)
      "all of the video and audio files will just be links to the git-lfs file".
    """

    def listed(session: "requests.Session", folder: Path) -> list[Remote]:
        path = folder / "repository.zip"
        fetch(Remote(archive, path.name), path, session)
        found = []
        try:
            with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as opened:
                for info in opened.infolist():
                    name = info.filename.partition("/")[2]
                    if not info.is_dir() and name.startswith(below) and info.file_size < 1024:
                        pointer = _POINTER.search(opened.read(info).decode("ascii", "replace"))
                        if pointer:
                            found.append(Remote(f"{media}/{name}", name, int(pointer[2]), f"sha256:{pointer[1]}"))
        except zipfile.BadZipFile as error:
            raise _unknown_list(archive, error) from None
        finally:
            path.unlink(missing_ok=True)
        return _not_empty(found, archive)

    return listed


def _unknown_list(url: str, error: Exception) -> InputError:
    return InputError(f"{url} is no list of files as it was known ({error!r}): get the corpus by hand, see --from.")


def _not_empty(files: list[Remote], url: str) -> list[Remote]:
    if not files:
        raise InputError(f"{url} lists no file of the corpus: get it by hand, and give it to --from.")
    return files


def _of_ravdess(title: str, **options: Any) -> Source:
    return Source(
        title=title,
        page="https://zenodo.org/records/1188976",
        licence="CC BY-NC-SA 4.0",
        citation="Livingstone SR, Russo FA (2018): The Ryerson Audio-Visual Database of Emotional Speech and Song"
        " (RAVDESS), PLoS ONE 13(5): e0196391, doi 10.1371/journal.pone.0196391",
        folder="ravdess",
        **options,
    )


SOURCES: Mapping[str, Source] = {
    # Sizes and MD5 sums: the record's own list of files, zenodo.org/api/records/1188976.
    "ravdess": _of_ravdess(
        "RAVDESS speech",
        megabytes=208.5,
        suffix=".wav",
        files=(
            Remote(
                f"{_ZENODO}/1188976/files/Audio_Speech_Actors_01-24.zip/content",
                "Audio_Speech_Actors_01-24.zip",
                208_468_073,
                "md5:bc696df654c87fed845eb13823edef8a",
            ),
        ),
    ),
    "ravdess-song": _of_ravdess(
        "RAVDESS song",
        megabytes=225.5,
        suffix=".wav",
        files=(
            Remote(
                f"{_ZENODO}/1188976/files/Audio_Song_Actors_01-24.zip/content",
                "Audio_Song_Actors_01-24.zip",
                225_505_317,
                "md5:5411230427d67a21e18aa4d466e6d1b9",
            ),
        ),
    ),
    "ravdess-video": _of_ravdess(
        "RAVDESS speech, videos of 24 actors",
        megabytes=None,
        suffix=".mp4",
        listed=of_zenodo("1188976", r"Video_Speech_Actor_\d\d\.zip"),
    ),
    # No checksum is published; the commit of the branch may change.
    "goemotions": Source(
        title="GoEmotions",
        page="https://github.com/google-research/google-research/tree/master/goemotions",
        licence="Apache-2.0; comments as Reddit's users wrote them, crude language among them",
        citation="Demszky D, Movshovitz-Attias D, Ko J, Cowen A, Nemade G, Ravi S (2020): GoEmotions: A Dataset of"
        " Fine-Grained Emotions, ACL, arXiv 2005.00547",
        megabytes=None,
        suffix=".tsv",
        folder="goemotions",
        files=tuple(
            Remote(f"{_GOEMOTIONS}/{name}", name) for name in ("train.tsv", "dev.tsv", "test.tsv", "emotions.txt")
        ),
    ),
    "meld": Source(
        title="MELD, transcripts and emotions",
        page="https://github.com/declare-lab/MELD",
        licence="GPL-3.0",
        citation="Poria S, Hazarika D, Majumder N, Naik G, Cambria E, Mihalcea R (2019): MELD: A Multimodal Multi-Party"
        " Dataset for Emotion Recognition in Conversations, ACL, arXiv 1810.02508",
        megabytes=None,
        suffix=".csv",
        folder="meld",
        files=tuple(
            Remote(f"{_MELD}/{name}", name) for name in ("train_sent_emo.csv", "dev_sent_emo.csv", "test_sent_emo.csv")
        ),
    ),
    # Address: the reader of TensorFlow Datasets, audio/crema_d.py; sizes and SHA-256 sums: the repository's pointers.
    "crema-d": Source(
        title="CREMA-D, audio",
        page=_CREMA_D,
        licence="Open Database License (ODbL) 1.0, contents DbCL 1.0: LICENSE.txt of the repository",
        citation="Cao H, Cooper DG, Keutmann MK, Gur RC, Nenkova A, Verma R (2014): CREMA-D: Crowd-sourced Emotional"
        " Multimodal Actors Dataset, IEEE Transactions on Affective Computing 5(4), doi 10.1109/TAFFC.2014.2336244",
        megabytes=None,
        suffix=".wav",
        folder="crema-d",
        listed=of_git_lfs(f"{_CREMA_D}/archive/refs/heads/master.zip", _CREMA_D_MEDIA, "AudioWAV/"),
        by_hand=f'GIT_LFS_SKIP_SMUDGE=1 git clone {_CREMA_D}, then git lfs pull --include "AudioWAV/*"',
    ),
    # Version 1.3.0 in audformat; MD5 sum: the record's page.
    "emodb": Source(
        title="EMO-DB, Berlin Database of Emotional Speech",
        page="https://zenodo.org/records/7447302",
        licence="CC BY 4.0",
        citation="Burkhardt F, Paeschke A, Rolfes M, Sendlmeier WF, Weiss B (2005): A Database of German Emotional"
        " Speech, Interspeech",
        megabytes=40,
        suffix=".wav",
        folder="emodb",
        files=(
            Remote(
                "https://zenodo.org/records/7447302/files/emodb.zip?download=1",
                "emodb.zip",
                None,
                "md5:9d21362dbc5676ef3ab4745d83ced0db",
            ),
        ),
    ),
    "tess": Source(
        title="TESS, Toronto emotional speech set",
        page="https://doi.org/10.5683/SP2/E8H2MF",
        licence="as its page states (Creative Commons, not for commercial use)",
        citation="Pichora-Fuller MK, Dupuis K (2020): Toronto emotional speech set (TESS), Borealis, doi"
        " 10.5683/SP2/E8H2MF",
        megabytes=None,
        suffix=".wav",
        folder="tess",
        listed=of_dataverse(_BOREALIS, "doi:10.5683/SP2/E8H2MF", ".wav"),
    ),
    # Source of the address: the reader of TensorFlow Datasets, audio/savee.py.
    "savee": Source(
        title="SAVEE, Surrey Audio-Visual Expressed Emotion",
        page="http://kahlan.eps.surrey.ac.uk/savee/",
        licence="as its makers state when they give it: for research",
        citation="Haq S, Jackson PJB (2010): Multimodal Emotion Recognition, in: Machine Audition, IGI Global",
        megabytes=None,
        suffix=".wav",
        folder="savee",
        by_hand="register at http://personal.ee.surrey.ac.uk/Personal/P.Jackson/SAVEE/Register.html and take"
        " AudioData.zip",
    ),
}
"""What `python -m pipelines.download` takes -> where it comes from."""
