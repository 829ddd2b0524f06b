"""The one exception a user may cause: a sentence that names the file and the mend."""


class DidgenError(Exception):
    """Bad input or a bad result; `str(error)` is one sentence for the user, without a traceback.

    The command line prints it and exits 1. Anything else that escapes is a fault of didgen.
    """
