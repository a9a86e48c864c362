"""Files that somebody might send: each tries to write where it has no business, and a test sees whether it did."""

import io
import pickle
import zipfile

import numpy as np


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (open, (str(self.target), "w"))


def pickled(target):
    """Return a file that torch unpickles, which then writes the target."""
    return pickle.dumps(Payload(target))


def npz(target, name):
    """Return an npz file with an array of such objects."""
    stream = io.BytesIO()
    array = np.empty(1, dtype=object)
    array[0] = Payload(target)
    np.savez(stream, **{name: array})
    return stream.getvalue()


def npy(target):
    """Return an npy file with an array of such objects."""
    stream = io.BytesIO()
    array = np.empty(1, dtype=object)
    array[0] = Payload(target)
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def poison(archive, names, content=b"evil"):
    """Add files under any names to an archive."""
    with zipfile.ZipFile(archive, "a") as file:
        for name in names:
            file.writestr(name, content)
