"""Measure what a session costs, side by side with what people would use instead.

Each kind runs in a process of its own, the kinds in turn, several rounds; the medians and the
ratios to bare Lightning of the same round are printed. `make bench` runs it.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
KINDS = ("bare", "session", "session_wandb", "wandb", "mlflow")
ROUNDS = 5
HELP = """
import hydra


@hydra.main(version_base="1.3", config_path=None)
def main(cfg):
    pass


main()
"""


def measure(kind: str, steps: int) -> dict[str, float] | None:
    """Run one kind once; None when its library is not installed."""
    with tempfile.TemporaryDirectory() as folder:
        env = os.environ | {
            "HOME": folder,
            "WANDB_MODE": "offline",
            "WANDB_SILENT": "true",
            "OMP_NUM_THREADS": "1",
        }
        done = subprocess.run(
            [sys.executable, str(HERE / "job.py"), kind, str(steps)],
            cwd=folder,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        if "No module named" in done.stderr:
            return None
        raise RuntimeError(f"{kind}: {done.stderr[-2000:]}")
    figures: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return figures


def help_ms(with_us: bool) -> float:
    """Milliseconds of `--help` of an empty Hydra application, with or without our plugin."""
    import time

    with tempfile.TemporaryDirectory() as folder:
        app = Path(folder) / "app.py"
        # Without us: the same application, our plugin's namespace package hidden from the scan.
        hide = "import sys; sys.modules['keisei_lightning'] = None\n"
        app.write_text(("" if with_us else hide) + HELP)
        started = time.perf_counter()
        subprocess.run([sys.executable, str(app), "--help"], check=True, capture_output=True)
        return 1000 * (time.perf_counter() - started)


def main() -> None:
    """Print the table."""
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
    rounds: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    for _ in range(ROUNDS):
        for kind in KINDS:
            figures = measure(kind, steps)
            if figures is not None:
                rounds[kind].append(figures)
    print(f"{'':16}{'step us':>10}{'/ bare':>9}{'before fit s':>14}{'close s':>10}")
    for kind, runs in rounds.items():
        if not runs:
            print(f"{kind:16}not installed")
            continue
        middle = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        pairs = zip(runs, rounds["bare"], strict=True)
        ratio = statistics.median(run["step_us"] / bare["step_us"] for run, bare in pairs)
        print(
            f"{kind:16}{middle['step_us']:>10.0f}{ratio:>9.3f}"
            f"{middle['before_fit_s']:>14.2f}{middle['close_s']:>10.2f}"
        )
    pairs = [(help_ms(True), help_ms(False)) for _ in range(2 * ROUNDS)]
    more = statistics.median(ours - bare for ours, bare in pairs)
    print(f"\n--help: {more:+.0f} ms for our plugin (median of {len(pairs)} pairs)")


if __name__ == "__main__":
    main()
