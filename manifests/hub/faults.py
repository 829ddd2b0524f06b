"""Faults of the hub, each in one sentence that says what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
from huggingface_hub import constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from didgen.manifests.errors import DidgenError, in_short

_UNKNOWN = "the hub knows no token of yours; run `hf auth login`, or set HF_TOKEN"


@contextmanager
def told_of(repository: str) -> Iterator[None]:
    """Have what huggingface_hub raises about a repository be a `DidgenError`."""
    try:
        yield
    except (HfHubHTTPError, HFValidationError, LocalTokenNotFoundError) as error:
        raise DidgenError(f"{repository}: {_reason(error)}.") from None
    except (OfflineModeIsEnabled, httpx2.TransportError, LocalEntryNotFoundError) as error:
        raise DidgenError(f"{repository}: {_unreached(error)}.") from None
    except RuntimeError as error:
        # So the hub's client names the one file of many whose upload failed.
        cause = error.__cause__
        if isinstance(cause, HfHubHTTPError):
            raise DidgenError(f"{repository}: {_reason(cause)}.") from None
        if isinstance(cause, httpx2.TransportError):
            raise DidgenError(f"{repository}: {_unreached(cause)}.") from None
        raise


def _reason(error: Exception) -> str:
    if isinstance(error, HFValidationError):
        return "it is no name of a repository; write OWNER/NAME"
    if isinstance(error, LocalTokenNotFoundError):
        return _UNKNOWN
    if isinstance(error, RevisionNotFoundError):
        return "it has no such revision; name another by `--revision`"
    if isinstance(error, GatedRepoError):
        return "its owner lets nobody in unasked; ask for access on its page"
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else 0
    # For a repository that may not be seen, the client makes "not found" of a 401.
    if isinstance(error, RepositoryNotFoundError):
        return "there is no such repository, or your token may not see it; check name and token"
    if status == 401:
        return _UNKNOWN
    if status == 403:
        return "your token has no right to do that; make one that may write there"
    return f"the hub answered with {status} ({in_short(error)}); try again later"


def _unreached(error: Exception) -> str:
    if constants.HF_HUB_OFFLINE or isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, and nothing is asked of the hub; unset it"
    return (
        f"the hub at {constants.ENDPOINT} cannot be reached ({in_short(error, 120)}); check the "
        "network, and run the command again to go on"
    )
