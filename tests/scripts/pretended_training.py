"""A training that takes no time: counts steps, keeps a checkpoint, and dies at random of SIGKILL.

It takes the words of `train.py imitate`. Environment variables: DEATHS is the probability of a
death at each step, STEP_S the time that a step takes, HANG_S the time that one neuron thinks,
KILLED_AT and BROKEN_AT the step that ends it with SIGKILL or an error.
"""

import argparse
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

STEPS = 5
HEADER = (
    "model,seed,settings,mean_return,command,commit,time,python,versions,processor,cores,threads"
)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("job")
    parser.add_argument("--resume", type=Path)
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cell", default="ltc")
    parser.add_argument("--neurons", type=int, default=24)
    given, _ = parser.parse_known_args()
    run = given.resume
    if run is None:
        run = given.runs / "pretended-1"
        (run / "checkpoints").mkdir(parents=True)
        settings = {k: getattr(given, k) for k in ("seed", "cell", "neurons")}
        (run / "config.json").write_text(json.dumps(settings))
    told = json.loads((run / "config.json").read_text())
    checkpoint, metrics = run / "checkpoints" / "training.json", run / "metrics.csv"
    done = json.loads(checkpoint.read_text()) if checkpoint.is_file() else 0
    if told["cell"] == "cnn":
        print("error: `cell` must be another, got 'cnn'.")
        sys.exit(2)
    value = told["seed"] + (100 if told["cell"] == "lstm" else 0) - (told["neurons"] - 30) ** 2
    print(f"begins after step {done}", flush=True)
    lines = metrics.read_text().splitlines()[: done + 1] if done else ["step,score"]
    for step in range(done + 1, STEPS + 1):
        if os.environ.get("BROKEN_AT") == str(step):
            print("warning: the cell is odd\nerror: the cell is broken.")
            sys.exit(2)
        is_killed = os.environ.get("KILLED_AT") == str(step)
        if is_killed or random.random() < float(os.environ.get("DEATHS", 0)):
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(float(os.environ.get("STEP_S", 0)))
        lines.append(f"{step},{-value + STEPS - step}")
        metrics.write_text("\n".join(lines) + "\n")
        checkpoint.write_text(json.dumps(step))
        if told["neurons"] == 1 and step == 3:
            time.sleep(float(os.environ.get("HANG_S", 0)))
    (run / "policy").mkdir(exist_ok=True)
    (run / "policy" / "config.json").write_text(json.dumps(told))
    row = f"{told['cell']},{told['seed']},tiny,{value},c,,,,,,,"
    (run / "results.csv").write_text(f"{HEADER}\n{row}\n")


main()
