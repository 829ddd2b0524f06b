"""A warm process that carries out runs in children of its own, for tests that kill them.

`python warm_worker.py RECIPE` loads what the recipe names once and prints "ready". Each line of
stdin is a JSON list of tasks, which start together: {"out": DIR, "part": "i/N"} carries the recipe
out, {"command": [...]} a command line. The process ids of the children are printed at once, their
exit statuses, negative for a signal, once all have ended. With "largest": BYTES a child may write
no larger file.
"""

import json
import os
import resource
import signal
import sys
import traceback

import torch

import cli
from augment.part import Part
from augment.run import augment, prepare
from manifests.files import located
from manifests.recipe import AugmentRecipe
from manifests.recipe_file import read_recipe


def main() -> None:
    # A pool of threads would not survive the fork.
    torch.set_num_threads(1)
    # A shell that starts tests in the background has interrupts ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    job = prepare(read_recipe(sys.argv[1], AugmentRecipe))

    def carry_out(task: dict[str, object]) -> int:
        try:
            # What a command prints must not come between the answers.
            os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
            if "largest" in task:
                resource.setrlimit(resource.RLIMIT_FSIZE, (task["largest"], task["largest"]))
            if "command" in task:
                sys.argv = ["didgen", *task["command"]]
                cli.main()
            augment(job, located(task["out"]), Part.parse(task["part"]))
        except SystemExit as leaving:
            return int(leaving.code or 0)
        except BaseException:  # noqa: BLE001 - a child ends here, whatever became of it
            traceback.print_exc()
            return 1
        return 0

    print("ready", flush=True)
    for line in sys.stdin:
        children = []
        for task in json.loads(line):
            child = os.fork()
            if child == 0:
                os._exit(carry_out(task))
            children.append(child)
        print(json.dumps(children), flush=True)
        statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        print(json.dumps(statuses), flush=True)


if __name__ == "__main__":
    main()
