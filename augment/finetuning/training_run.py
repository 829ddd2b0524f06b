"""The training run: the folder that one training has to itself, of whatever method."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path

from accelerate import Accelerator

from didgen.augment.console import decisions
from didgen.augment.device import Device, peak_memory
from didgen.manifests.errors import DidgenError
from didgen.manifests.files import leftovers, write_json
from didgen.manifests.locks import claimed


def accelerator_of(device: Device, out: Path) -> Accelerator:
    """Accelerate on a device, with its logs in a run's folder."""
    return Accelerator(
        mixed_precision=device.precision,
        log_with="tensorboard",
        project_dir=out,
        cpu=device.name == "cpu",
    )


@contextmanager
def begun(
    accelerator: Accelerator, out: Path, decided: Mapping[str, str], claim: Callable[[], None]
) -> Iterator[None]:
    """Keep a run's folder to this training while it lasts, and end it with its processes.

    claim: raises DidgenError where the folder holds another run. What a killed run left half
    written is deleted, and what was decided is printed and written. At the end `cost.json` has the
    most memory that the process took, in bytes.
    """
    main = accelerator.is_main_process
    with _alone(out) if main else nullcontext():
        if main:
            claim()
            for folder in (out, out / "cache", out / "sheets"):
                for path in leftovers(folder):
                    path.unlink()
            decisions(dict(decided))
            write_json(out / "decisions.json", dict(decided))
        accelerator.wait_for_everyone()
        accelerator.init_trackers("logs")
        yield
        accelerator.wait_for_everyone()
        if main:
            write_json(out / "cost.json", {"peak_memory": peak_memory()})
        accelerator.end_training()


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Keep other processes from training in this folder for a while."""
    with claimed(out, "finetune", wait=False) as got:
        if not got:
            raise DidgenError(
                f"Another process is training in {out}; wait for it, or choose another directory."
            )
        yield
