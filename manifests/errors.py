"""Errors: the one exception a user may cause, and the sentence that every fault is told in."""

import errno


class DidgenError(Exception):
    """Bad input or a bad result; `str(error)` is one sentence for the user, without a traceback.

    The command line prints it and exits 1. Anything else that escapes is a fault of didgen.
    """


def in_short(error: Exception, length: int = 200) -> str:
    """The first `length` characters of a library's message, on one line, without a full stop."""
    return " ".join(str(error).split())[:length].rstrip(".")


def printable(text: str) -> str:
    """Text that moves no cursor: control characters are shown as their escapes."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def sentence_of(error: Exception) -> str | None:
    """What the user is told of an error, in one sentence; None for a fault of didgen."""
    if isinstance(error, DidgenError):
        return str(error)
    # Torch's own class is not imported for it.
    if type(error).__name__ == "OutOfMemoryError":
        return (
            "The GPU's memory is full; to go on, lower `sampling.batch_size` (augment) or "
            "--batch-size (caption, prompts) or `batch_size` (classify, segment), or set "
            "`gradient_checkpointing: true` (finetune); a training with another `batch_size` "
            "begins in a new directory."
        )
    if isinstance(error, OSError):
        return _of_a_file(error)
    return None


def _of_a_file(error: OSError) -> str:
    name, reason = error.filename or "A file", error.strerror or error
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{name} cannot be written: {reason}; make room, and run the command again."
    if error.filename is None:
        # It may not be of a file: a connection's fault has neither rights nor a drive.
        return f"{name} cannot be used: {reason}."
    return (
        f"{name} cannot be used: {reason}; see to its rights and its drive, and run the "
        "command again."
    )
