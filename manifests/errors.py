"""The one exception a user may cause: a sentence that names the file and the mend; and the short
form in which it tells what a library said."""


class DidgenError(Exception):
    """Bad input or a bad result; `str(error)` is one sentence for the user, without a traceback.

    The command line prints it and exits 1. Anything else that escapes is a fault of didgen.
    """


def in_short(error: Exception, length: int = 200) -> str:
    """The first `length` characters of a library's message, on one line, without a full stop."""
    return " ".join(str(error).split())[:length].rstrip(".")
