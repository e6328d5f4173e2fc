"""A tiny real training, and what can be made to happen at each place of it."""

from __future__ import annotations

import contextlib
import importlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset

from keisei_lightning import SessionCallback


def happen(what: str) -> None:
    """Let it happen here and now, to this process."""
    if what in _DEEDS:
        _DEEDS[what]()
    elif what in _SIGNALS:
        number, twice = _SIGNALS[what]
        if twice:
            later = f"sleep 0.2; kill -{int(number)} {os.getpid()} 2>/dev/null"
            subprocess.Popen(["sh", "-c", later], start_new_session=True)
        send(number)


def boom() -> None:
    """Raise."""
    raise ValueError("boom at the place")


def cause_chain() -> None:
    """Raise with a cause."""
    try:
        raise KeyError("the inner cause")
    except KeyError as error:
        raise RuntimeError("the outer error") from error


def swallow() -> None:
    """Swallow the exit that SIGTERM asks for, and go on."""
    try:
        send(signal.SIGTERM)
    except SystemExit:
        time.sleep(60)


def fill() -> None:
    """Fill the file system that the outputs are on; :func:`free` gives the space back."""
    path = Path("outputs/filler")
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    FREE.append(path.unlink)


def hoard() -> None:
    """Open files until no process could open one more."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (2000, hard))
    files = []
    with contextlib.suppress(OSError):
        while True:
            files.append(open(os.devnull))  # noqa: SIM115
    FREE.extend(file.close for file in files)


FREE: list[Callable[[], object]] = []

_DEEDS: dict[str, Callable[[], object]] = {
    "exception": boom,
    "cause_chain": cause_chain,
    "exit0": lambda: sys.exit(0),
    "exit3": lambda: sys.exit(3),
    "os_exit": lambda: os._exit(9),
    "swallowed_sigterm": swallow,
    "full_disk": fill,
    "many_files": hoard,
}


def rank() -> str:
    """The rank of this process, as the launcher tells it."""
    return os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))


_SIGNALS = {
    "ctrl_c": (signal.SIGINT, False),
    "ctrl_c_twice": (signal.SIGINT, True),
    "sigterm": (signal.SIGTERM, False),
    "sigterm_twice": (signal.SIGTERM, True),
    "sighup": (signal.SIGHUP, False),
    "sigkill": (signal.SIGKILL, False),
}


def send(number: int) -> None:
    """Send a signal to this process and let it arrive."""
    os.kill(os.getpid(), number)
    for _ in range(10):
        time.sleep(0.01)


def inject(fault: str) -> None:
    """Make one function of ours raise, named as ``module:Class.method``."""
    module, _, path = fault.partition(":")
    owner = importlib.import_module(module)
    *outer, name = path.split(".")
    for part in outer:
        owner = getattr(owner, part)

    def broken(*args: object, **kwargs: object) -> None:
        raise OSError(f"injected into {fault}")

    setattr(owner, name, broken)


class Bystanding(Callback):
    """Another callback of the user's, which wants its hook called."""

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        print("the other callback saw", type(exception).__name__, flush=True)
        if os.environ.get("OTHER_RAISES"):
            raise RuntimeError("the other callback failed")


class Happening(Callback):
    """Makes something happen at a place inside the Trainer."""

    def __init__(self, what: str, place: str) -> None:
        self.what, self.place = what, place

    def at(self, place: str) -> None:
        """Let it happen once, at its place, on the rank that was chosen."""
        if place == self.place and os.environ.get("HAPPEN_RANK", rank()) == rank():
            self.place = ""
            happen(self.what)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.at("setup")

    def on_validation_batch_end(self, trainer: Trainer, *args: object) -> None:
        self.at("sanity" if trainer.sanity_checking else "validation")


class Model(LightningModule):
    """One linear layer that tells the happening where it is."""

    def __init__(self, happening: Happening, lr: float = 0.1) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
        self.happening, self.lr = happening, lr

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        if self.trainer.global_step == 2:
            self.happening.at("step")
            if self.happening.what == "should_stop":
                self.trainer.should_stop = True
        if self.happening.what == "linger" and self.trainer.global_step >= 2:
            Path(f"lingering-{rank()}").touch()
            time.sleep(0.05)
        loss = self.layer(batch[0]).pow(2).mean()
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: list[torch.Tensor], index: int) -> None:
        self.log("val/loss", self.layer(batch[0]).pow(2).mean())

    def test_step(self, batch: list[torch.Tensor], index: int) -> None:
        self.happening.at("test")
        self.log("test/loss", self.layer(batch[0]).pow(2).mean())

    def predict_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        self.happening.at("predict")
        return self.layer(batch[0])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


def loader(batches: int = 4) -> DataLoader:
    """Two samples a batch."""
    return DataLoader(TensorDataset(torch.randn(batches * 2, 4)), batch_size=2)


def life(what: str, place: str, **trainer: object) -> float:
    """Fit, validate, test and predict, with something happening on the way."""
    happening = Happening(what, place)
    if os.environ.get("FAULT_EARLY"):
        inject(os.environ["FAULT_EARLY"])
    happening.at("before")
    model = Model(happening)
    options: dict[str, object] = {
        "max_epochs": 2,
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "log_every_n_steps": 1,
        **trainer,
    }
    callbacks: list[Callback] = [SessionCallback(), happening, ModelCheckpoint(), Bystanding()]
    if os.environ.get("OTHER_RAISES"):
        callbacks.insert(0, callbacks.pop())
    if what in ("full_disk", "many_files"):  # Lightning's own checkpoint would fail the fit
        callbacks = [each for each in callbacks if not isinstance(each, ModelCheckpoint)]
        options["enable_checkpointing"] = False
    if os.environ.get("FAULT"):
        inject(os.environ["FAULT"])
    if what == "early_stopping":
        callbacks.append(EarlyStopping("val/loss", patience=1, min_delta=1e9))
        options["max_epochs"] = 20
    if what == "linger":
        options["max_epochs"] = 100_000
    if what == "max_time":
        options.update(max_epochs=100_000, max_time={"seconds": 1})
    runner = Trainer(callbacks=callbacks, **options)
    runner.fit(model, loader(), loader(2))
    happening.at("between")
    for give_back in FREE:
        give_back()
    loss = float(runner.callback_metrics["train/loss"])
    runner.test(model, loader(2), verbose=False)
    runner.predict(model, loader(2))
    happening.at("after")
    return loss
