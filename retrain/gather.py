"""Bringing finished batches together where machines share no disk: in the end rank 0 has every file."""

from pathlib import Path

from erm.files import write_atomically
from parallel.collectives import all_gather_object, barrier, broadcast_object, receive_bytes, send_bytes
from parallel.group import Group
from retrain.weights import WeightCache


def gather_weights(cache: WeightCache, group: Group) -> None:
    """Send rank 0 the files that its own folder lacks; ranks that share its folder send none.

    File names are checksums of their content, so equal names are equal files. In one process there is nothing
    to send.
    """
    # Nobody looks before everybody has written.
    barrier(group)
    names = all_gather_object([path.name for path in cache.files()], group)
    owners = {name: owner for owner in reversed(range(len(names))) for name in names[owner]}
    for name, owner in sorted(broadcast_object(owners, group).items()):
        if owner == 0:
            continue
        if group.rank == owner:
            send_bytes((cache.folder / name).read_bytes(), 0, group)
        elif group.is_first:
            _write(cache.folder / name, receive_bytes(owner, group))


def _write(path: Path, content: bytes) -> None:
    def fill(temporary: Path) -> None:
        temporary.write_bytes(content)

    write_atomically(path, fill)
