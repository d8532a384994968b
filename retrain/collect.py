"""Bringing finished batches together where machines share no disk: in the end rank 0 has every file."""

from pathlib import Path

from erm.files import write_atomically
from retrain import distributed
from retrain.weights import WeightCache


def collect_on_first_rank(cache: WeightCache) -> None:
    """Send rank 0 the files that its own folder lacks; ranks that share its folder send none.

    File names are checksums of their content, so equal names are equal files.
    """
    # Nobody looks before everybody has written.
    distributed.wait_for_all()
    names = distributed.from_every_rank([path.name for path in cache.files()])
    owners = {name: owner for owner in reversed(range(len(names))) for name in names[owner]}
    for name, owner in sorted(distributed.from_first_rank(owners).items()):
        if owner == 0:
            continue
        if distributed.rank() == owner:
            distributed.send_bytes((cache.folder / name).read_bytes())
        elif distributed.rank() == 0:
            _write(cache.folder / name, distributed.receive_bytes(owner))


def _write(path: Path, content: bytes) -> None:
    def fill(temporary: Path) -> None:
        temporary.write_bytes(content)

    write_atomically(path, fill)
