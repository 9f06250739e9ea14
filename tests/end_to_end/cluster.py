"""SLURM on one machine: `sbatch`, `srun` and `scontrol` as the batch scripts use them, run as `cluster.py NAME …`.

CLUSTER_STATE is a folder through which they communicate. With PREEMPT_TASK and PREEMPT_WHEN, the batch shell of that
array task (0 where there is no array) gets USR1 on its first start as soon as that file exists, as SLURM would send it
some time before the end.
"""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

STATE = Path(os.environ["CLUSTER_STATE"])
JOB = 4200


def sbatch(script):
    """Run all tasks of a job at the same time, as often as they ask for; prints {task: [exit code, restarts]}."""
    lines = re.findall(r"^#SBATCH --(.*)$", Path(script).read_text(), flags=re.M)
    asked = dict([*shlex.split(line)[0].split("=", 1), "yes"][:2] for line in lines)
    first, last = map(int, asked["array"].split("%")[0].split("-")) if "array" in asked else (0, 0)
    tasks = range(first, last + 1)
    with ThreadPoolExecutor(len(tasks)) as pool:
        ended = pool.map(lambda task: run_task(script, task, len(tasks), asked), tasks)
        print(json.dumps(dict(zip(tasks, ended, strict=True))))
    return 0


def run_task(script, task, count, asked):
    job = str(JOB + task)
    environment = {
        **os.environ,
        "SLURM_JOB_ID": job,
        "SLURM_PROCID": "0",
        "SLURM_NTASKS": asked["nodes"],
        "SLURM_JOB_NUM_NODES": asked["nodes"],
        "SLURM_JOB_NODELIST": "localhost",
        "SLURM_CPUS_PER_TASK": asked["cpus-per-task"],
    }
    if "array" in asked:
        ids = {"TASK_ID": task, "TASK_MIN": 0, "TASK_MAX": count - 1, "TASK_COUNT": count, "JOB_ID": JOB}
        environment |= {f"SLURM_ARRAY_{name}": str(value) for name, value in ids.items()}
    named = {"%x": asked["job-name"], "%A": str(JOB), "%a": str(task), "%j": job}
    log = re.sub("%[xAaj]", lambda found: named[found[0]], asked["output"])
    restarts = 0
    while True:
        with Path(log).open("a" if asked.get("open-mode") == "append" else "w") as file:
            shell = subprocess.Popen(["bash", script], env=environment, stdout=file, stderr=subprocess.STDOUT)
            if restarts == 0 and os.environ.get("PREEMPT_TASK") == str(task):
                preempt(shell)
            code = shell.wait()
        if not (STATE / f"requeue-{job}").exists() or "requeue" not in asked:
            return code, restarts
        (STATE / f"requeue-{job}").unlink()
        restarts += 1
        environment["SLURM_RESTART_COUNT"] = str(restarts)


def preempt(shell):
    while shell.poll() is None:
        if Path(os.environ["PREEMPT_WHEN"]).exists():
            shell.send_signal(signal.SIGUSR1)
            return
        time.sleep(0.002)


def srun(*words):
    """A task on each node; signals go to all of them, and the highest exit code comes back."""
    command = list(words)
    while command[0].startswith("--"):
        command.pop(0)
    nodes = int(os.environ["SLURM_JOB_NUM_NODES"])
    environment = {**os.environ, "SLURM_STEP_NUM_TASKS": str(nodes)}
    ids = [{"SLURM_PROCID": str(node), "SLURM_NODEID": str(node)} for node in range(nodes)]
    tasks = [subprocess.Popen(command, env=environment | own) for own in ids]
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, lambda received, _: [task.send_signal(received) for task in tasks])
    return max(abs(task.wait()) for task in tasks)


def scontrol(*words):
    if words[:2] == ("show", "hostnames"):
        print(words[2])
        return 0
    assert words[0] == "requeue", words
    (STATE / f"requeue-{words[1]}").touch()
    return 0


if __name__ == "__main__":
    sys.exit({"sbatch": sbatch, "srun": srun, "scontrol": scontrol}[sys.argv[1]](*sys.argv[2:]))
