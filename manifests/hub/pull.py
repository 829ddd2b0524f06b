"""Pull: a data set or a model from the Hugging Face Hub into a folder.

Notable choices:
- Nothing that is unpickled or run is fetched: no Python, no `.bin`, no checkpoint of torch.
- A pull that was cut off goes on: what is there whole is not fetched again.
"""

from fnmatch import fnmatch
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.hf_api import RepoFile

from didgen.manifests.errors import DidgenError
from didgen.manifests.files import inside
from didgen.manifests.hub.faults import told_of
from didgen.manifests.hub.push import Kind

UNSAFE = (
    "*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle", "*.npy", "*.npz", "*.msgpack",
    "*.h5", "*.py", "*.pyc", "*.sh", "*.exe", "*.so", "*.dll", "*.onnx", "*.joblib",
)  # fmt: skip
"""Files that are left where they are."""


def pull(repository: str, out: Path, kind: Kind, revision: str | None = None) -> list[str]:
    """Fetch a repository of the hub, OWNER/NAME, into `out`; returns the files left out.

    Raises DidgenError where the hub cannot be reached or refuses, where a file would leave `out`,
    and where `out` holds what no pull put there.
    """
    if out.exists() and any(out.iterdir()) and not (out / ".cache" / "huggingface").is_dir():
        raise DidgenError(f"{out} holds other files; name a new folder.")
    with told_of(repository):
        api = HfApi(library_name="didgen")
        commit = api.repo_info(repository, repo_type=kind, revision=revision).sha
        listed = api.list_repo_tree(repository, repo_type=kind, revision=commit, recursive=True)
        files = [entry.path for entry in listed if isinstance(entry, RepoFile)]
        for name in files:
            inside(out, name)
        left = [name for name in files if any(fnmatch(name.lower(), one) for one in UNSAFE)]
        api.snapshot_download(
            repository,
            repo_type=kind,
            revision=commit,
            local_dir=out,
            ignore_patterns=[*UNSAFE, *left],
        )
    return left
