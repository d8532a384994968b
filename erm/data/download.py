"""Are the four files of MNIST or Fashion-MNIST there, and if not, can they be had?"""

import gzip
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from erm.data.errors import DataUnavailableError

TRAIN_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
TEST_FILES = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
"""Images and labels, decompressed."""

SECONDS_WITHOUT_AN_ANSWER = 30
CHUNK_BYTES = 2**18
LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Source:
    """Where the compressed files of a data set are published, and which bytes they hold."""

    mirrors: tuple[str, ...]
    """Addresses of folders, each with a slash at its end; asked in this order."""
    sha256: Mapping[str, str]
    """Checksum of FILE.gz, by the name FILE."""


SOURCES = {
    "MNIST": Source(
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        sha256={
            "train-images-idx3-ubyte": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "train-labels-idx1-ubyte": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "t10k-images-idx3-ubyte": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "t10k-labels-idx1-ubyte": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        },
    ),
    "FashionMNIST": Source(
        mirrors=(
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        ),
        sha256={
            "train-images-idx3-ubyte": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "train-labels-idx1-ubyte": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "t10k-images-idx3-ubyte": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "t10k-labels-idx1-ubyte": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        },
    ),
}
"""By the name of the data set's folder."""


_downloads_allowed: ContextVar[bool] = ContextVar("downloads_allowed", default=True)


@contextmanager
def no_downloads() -> Iterator[None]:
    """Only files that are there are read in the block: where they lie is not for us to write to."""
    before = _downloads_allowed.set(False)
    try:
        yield
    finally:
        _downloads_allowed.reset(before)


def files_of(root: Path, name: str) -> Path:
    """The folder that holds all four files, <root>/<name>/raw: what is missing is downloaded.

    A missing file is made from FILE.gz where that lies beside with the right checksum, and else from the
    first mirror that has it. Nothing is written when all four are there, so `root` may be read-only; and a
    file that is there is never replaced, whatever it holds. Processes that start together download once. A
    download that fails or is killed leaves the files that were finished, and no part of another.

    Args:
        root: absolute path of the data folder.
        name: of the data set in `SOURCES`, which is also the name of its folder.

    Raises:
        DataUnavailableError: a file is missing and cannot be downloaded or stored, or may not be.
    """
    folder = root / name / "raw"
    if not _missing(folder):
        return folder
    if not _downloads_allowed.get():
        raise DataUnavailableError(
            f"{name} is not complete in {folder}, where {', '.join(_missing(folder))} cannot be found, and "
            "nothing is downloaded to a place that a run folder names"
        )
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{name}.lock"):
            # Another process may have finished the download while this one waited for the lock.
            if _missing(folder):
                _provide(folder, SOURCES[name], root / f".{name}-download")
    # EOFError: what gzip makes of a file that ends early.
    except (OSError, EOFError) as error:
        raise DataUnavailableError(_how_to_provide(folder, error)) from error
    return folder


def _missing(folder: Path) -> list[str]:
    return [name for name in (*TRAIN_FILES, *TEST_FILES) if not (folder / name).is_file()]


def _provide(folder: Path, source: Source, workplace: Path) -> None:
    """Make each missing file beside its place and rename it when it is whole."""
    # Imported here, because a command that finds its files needs no network.
    from pooch import file_hash

    with _emptied(workplace):
        for name in _missing(folder):
            beside = folder / f"{name}.gz"
            usable = beside.is_file() and file_hash(str(beside)) == source.sha256[name]
            compressed = beside if usable else _fetch(name, source, workplace)
            unpacked = workplace / name
            with gzip.open(compressed) as whole, unpacked.open("wb") as file:
                shutil.copyfileobj(whole, file)
            folder.mkdir(parents=True, exist_ok=True)
            unpacked.replace(folder / name)


@contextmanager
def _emptied(workplace: Path) -> Iterator[None]:
    """A new folder for what is not finished, without what a killed download left in it; gone afterwards."""
    shutil.rmtree(workplace, ignore_errors=True)
    workplace.mkdir()
    try:
        yield
    finally:
        shutil.rmtree(workplace, ignore_errors=True)


def _fetch(name: str, source: Source, workplace: Path) -> Path:
    """FILE.gz, checked, from the first mirror that has it.

    Raises:
        OSError: none has; the message gives the reason of each.
    """
    import pooch

    pooch.get_logger().setLevel(logging.WARNING)
    failures = []
    for mirror in source.mirrors:
        url = f"{mirror}{name}.gz"
        LOGGER.info("downloading %s", url)
        try:
            path = pooch.retrieve(
                url,
                known_hash=f"sha256:{source.sha256[name]}",
                fname=f"{name}.gz",
                path=workplace,
                downloader=pooch.HTTPDownloader(timeout=SECONDS_WITHOUT_AN_ANSWER, chunk_size=CHUNK_BYTES),
            )
        # OSError: every error of the network or of the disk. ValueError: another checksum.
        except (OSError, ValueError) as error:
            failures.append(f"{url}: {_innermost(error)}")
        else:
            return Path(path)
    raise OSError("; ".join(failures))


def _innermost(error: BaseException) -> BaseException:
    """What went wrong first; what the network's library wraps around it repeats the address at length."""
    while error.__context__ is not None:
        error = error.__context__
    return error


def _how_to_provide(folder: Path, error: Exception) -> str:
    name, root = folder.parent.name, folder.parent.parent
    return (
        f"{name} is not complete in {folder}, where {', '.join(_missing(folder))} "
        f"cannot be found, and downloading failed: {' '.join(str(error).split())}\n"
        f"Put the files {', '.join((*TRAIN_FILES, *TEST_FILES))} there, decompressed or as the .gz that are "
        f"published, or name a folder other than {root} that holds {name}/raw with the environment variable "
        "REPRO_DATA_ROOT or with data.root=FOLDER. data=digits works without any download."
    )
