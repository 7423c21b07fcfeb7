"""Pause, resume, checkpoint or stop a live run; it obeys between two steps.

Examples:
  lab ctl pretrain-1 pause
  lab ctl pretrain-1 resume
  lab ctl pretrain-1 checkpoint
  lab ctl pretrain-1 stop          saves first; go on with: lab pretrain --name pretrain-1 --resume
"""

import time
from dataclasses import dataclass

from tyro.conf import Positional

from lab.errors import UserError
from lab.runs import find, inspect, read_lines, send


@dataclass(frozen=True)
class Config:
    run: Positional[str] = ""
    """Name of the run."""
    command: Positional[str] = ""
    """pause, resume, checkpoint or stop."""
    wait: float = 30.0
    """Seconds to wait for the run to obey."""


def run(config: Config) -> int:
    if not config.run or not config.command:
        raise UserError("give a run and one of pause, resume, checkpoint, stop; `lab runs` lists the runs")
    folder = find(config.run)[0]
    asked = time.time()
    send(config.run, config.command)
    while time.time() - asked < config.wait:
        echoes = [r for r in read_lines(folder / "metrics.jsonl") if r.get("cmd") == config.command]
        if echoes and echoes[-1].get("t", 0) >= asked - 0.01:
            print(f"{config.run}: {config.command} at step {echoes[-1].get('step')}")
            return 0
        if inspect(folder).state not in ("running", "paused", "saving", "queued", "starting"):
            break
        time.sleep(0.1)
    print(f"{config.run}: {config.command} was sent; the run is {inspect(folder).state} and has not answered yet")
    return 1
