# The workflow of `didgen study`: a rule for each shift of each stage, as its plan has them.
import json
from pathlib import Path

PLAN = json.loads(Path(config["plan"]).read_text(encoding="utf-8"))
SLURM = PLAN["slurm"]


rule all:
    input:
        [stage["outputs"][-1] for stage in PLAN["stages"].values()],


for number, (name, stage) in enumerate(PLAN["stages"].items()):
    for shift in range(stage["shifts"]):

        rule:
            name:
                f"stage_{number}_shift_{shift + 1}"
            input:
                stage["needs"] if shift == 0 else stage["outputs"][shift - 1],
            output:
                stage["outputs"][shift],
            resources:
                # One at a time where `--resources heavy=1` says so.
                heavy=1,
                # A command has some minutes to leave.
                runtime=PLAN["minutes"] + 15,
                cpus_per_task=SLURM["cpus"],
                mem_mb=1000 * SLURM["memory_gb"],
                **({"gpu": SLURM["gpus"]} if SLURM["gpus"] else {}),
            params:
                python=PLAN["python"],
                plan=config["plan"],
                stage=name,
                shift=shift + 1,
            shell:
                "{params.python:q} -m didgen.downstream.study.shift "
                "{params.plan:q} {params.stage:q} {params.shift}"
