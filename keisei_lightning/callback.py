"""The Lightning callback: each hook is one call on the session, and decides nothing."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from typing_extensions import override

from keisei_lightning import hooks

__all__ = ["SessionCallback"]

_NOT_PER_STEP = (
    "on_train_batch_start",
    "on_train_batch_end",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
)


def _inherited(name: str) -> Any:
    return getattr(Callback, name)


class SessionCallback(Callback):
    """Takes over the life of the run; put it first in ``Trainer(callbacks=[...])``.

    With ``session=default`` in a Hydra job, or inside ``with open_session(...)``, it attaches the
    open session to the Trainer. Alone it opens one when the Trainer is set up, and that session
    ends with the interpreter.

    Args:
        settings: Settings for a session that it opens itself, as under ``session`` in a config,
            e.g. ``SessionCallback(name="probe", tracking={"kinds": ["csv"]})``.

    Raises:
        SessionConfigError: A setting is wrong.

    Example::

        trainer = Trainer(callbacks=[SessionCallback()], logger=False)
    """

    def __init__(self, **settings: Any) -> None:
        self._settings = hooks.checked(settings)
        # The Trainer asks whether a hook can be called before it sets up the call: what we do not
        # need in a training step costs the step nothing then.
        unused = [name for name in _NOT_PER_STEP if getattr(type(self), name) is _inherited(name)]
        self.__dict__.update(dict.fromkeys(unused))

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Called when fit, validate, test or predict begins: attach the session."""
        hooks.on_setup(trainer, pl_module, self._settings)
        self.__dict__.update(hooks.batch_hooks())

    @override
    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Called before the sanity check: take over SIGTERM."""
        hooks.on_stage(trainer)

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Called before the first training epoch: Lightning honours SIGTERM from here."""
        hooks.on_train_start(trainer)

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Called when training ends: note why, and leave if SIGTERM came."""
        hooks.on_train_end(trainer)

    @override
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Called before a validation: start its measurement."""
        hooks.on_evaluation_start(trainer, pl_module, "validate")

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Called after a validation: its metrics, what it cost, the SLA."""
        hooks.on_evaluation_end(trainer, pl_module, "validate")

    @override
    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Called before a test: start its measurement."""
        hooks.on_evaluation_start(trainer, pl_module, "test")

    @override
    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Called after a test: its metrics, what it cost, the SLA."""
        hooks.on_evaluation_end(trainer, pl_module, "test")

    @override
    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Called before a prediction: take over SIGTERM, which Lightning ignores there."""
        hooks.on_stage(trainer)

    @override
    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Called on any exception inside the Trainer: classify it, close where nobody else will."""
        hooks.on_exception(trainer, exception)

    @override
    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint says about the session it came from."""
        return hooks.state()
