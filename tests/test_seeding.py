"""A seed is settled once, makes runs repeat, and leaves no trace in the process."""

from __future__ import annotations

import os
import random
import subprocess
import sys

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from keisei_lightning.errors import SessionConfigError
from keisei_lightning.seeding import check_policy, generator, resolve_seed, seed_process

SEEDS = st.integers(0, 2**32 - 1)
EXPECTED = 396214059


@settings(deadline=None)
@given(SEEDS)
def test_a_number_is_the_seed(seed):
    """Every number in range is itself, 0 too; written as digits or as numpy's, it is the same."""
    assert resolve_seed(seed) == seed
    assert resolve_seed(str(seed)) == seed
    assert resolve_seed(np.uint32(seed)) == seed


def test_zero_is_a_seed():
    """0 is no "not given"."""
    assert resolve_seed(0, published=None) == 0
    assert resolve_seed(None, published=0) == 0


def test_null_draws_a_seed_in_range():
    """A drawn seed differs from time to time, however the user has seeded Python."""
    random.seed(1)
    drawn = {resolve_seed(None) for _ in range(50)}
    random.seed(1)
    drawn |= {resolve_seed(None) for _ in range(50)}
    assert len(drawn) > 95
    assert all(0 <= seed < 2**32 for seed in drawn)


@pytest.mark.parametrize(
    ("base", "job_num", "expected"),
    [(42, None, 42), (42, 0, 42), (42, 3, 45), (2**32 - 1, 2, 1)],
)
def test_derive_adds_the_job_number(base, job_num, expected):
    """Each job of a multirun has its own seed, which stays in range."""
    assert resolve_seed("derive", base=base, job_num=job_num) == expected


@pytest.mark.parametrize("policy", [None, "derive", 7])
def test_the_published_seed_wins(policy):
    """All ranks take what rank 0 settled on, whatever they would have settled on themselves."""
    assert resolve_seed(policy, job_num=3, published=99) == 99


@pytest.mark.parametrize(
    ("policy", "shown"),
    [
        (True, "True"),
        (False, "False"),
        (-1, "-1"),
        (2**32, "4294967296"),
        (1.5, "1.5"),
        (7.0, "7.0"),
        (float("nan"), "nan"),
        ("abc", "'abc'"),
        ("", "''"),
        ("-3", "'-3'"),
        ("²", "'²'"),
        ("Derive", "'Derive'"),
        ([1], "[1]"),
        (10**6000, "too large"),
        (np.array([1, 2]), "array([1, 2])"),
    ],
    ids=range(15),
)
def test_a_wrong_policy_is_an_error_that_says_what_to_write(policy, shown):
    """The message names the key, the value and what is allowed; drawing is not needed for it."""
    for use in (check_policy, resolve_seed, lambda policy: resolve_seed(policy, published=3)):
        with pytest.raises(SessionConfigError) as caught:
            use(policy)
        assert str(caught.value).startswith("session.seed is ")
        assert shown in str(caught.value)
        assert 'null (drawn and recorded) or "derive"' in str(caught.value)


def test_a_wrong_base_is_named():
    """The base of derived seeds is checked under its own key."""
    with pytest.raises(SessionConfigError, match=r"session\.base_seed is -1"):
        resolve_seed("derive", base=-1)


@pytest.mark.parametrize("policy", [None, "derive", 0, "7"])
def test_a_right_policy_passes_the_check(policy):
    """What can be resolved passes."""
    check_policy(policy)


class Noise(Dataset):
    """Rows drawn anew at each access, so that the seeds of the workers matter."""

    def __len__(self):
        return 24

    def __getitem__(self, index):
        return torch.randn(4) + random.random() + np.random.rand()


class Model(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
        self.losses: list[float] = []

    def training_step(self, batch):
        loss = self.layer(torch.nn.functional.dropout(batch.float())).pow(2).mean()
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(seed: int | None, num_workers: int = 0) -> list[float]:
    """Train for six steps in a real Trainer, seeded before the model exists."""
    restore = seed_process(seed) if seed is not None else None
    model = Model()
    loader = DataLoader(Noise(), batch_size=4, shuffle=True, num_workers=num_workers)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=6,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, loader)
    if restore:
        restore.restore()
    return model.losses


QUIET = pytest.mark.filterwarnings("ignore:.*does not have many workers")


@QUIET
@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_same_seed_gives_the_same_losses(num_workers):
    """Weights, order, dropout and workers' noise repeat with the seed, and differ without."""
    first = fit(11, num_workers)
    assert len(first) == 6
    assert fit(11, num_workers) == first
    assert fit(12, num_workers) != first


def draws() -> tuple[float, ...]:
    """Draw once from each global generator."""
    return (random.random(), np.random.rand(), torch.rand(1).item())


@QUIET
@pytest.mark.parametrize("before", [{}, {"PL_GLOBAL_SEED": "5", "PL_SEED_WORKERS": "0"}])
def test_a_seeded_fit_leaves_no_trace(before):
    """After restoring, environment and generators go on as if there had been no session."""
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
        os.environ.pop(name, None)
    os.environ.update(before)
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    environment, untouched = dict(os.environ), [draws() for _ in range(3)]
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    assert draws() == untouched[0]
    restore = seed_process(3)
    assert os.environ["PL_GLOBAL_SEED"] == "3"
    assert os.environ["PL_SEED_WORKERS"] == "1"
    fit(None)
    restore.restore()
    assert {key: os.environ.get(key) for key in environment} == environment
    assert ("PL_GLOBAL_SEED" in os.environ) is bool(before)
    assert draws() == untouched[1]
    restore.restore()
    assert draws() == untouched[2]


def test_a_seed_that_cannot_be_set_leaves_no_trace():
    """When Lightning refuses a seed, nothing has changed."""
    state, environment = random.getstate(), dict(os.environ)
    with pytest.raises(ValueError):
        seed_process(-1)
    assert random.getstate() == state
    assert dict(os.environ) == environment


def test_named_generators_repeat_and_are_independent():
    """Seed and name make the stream; neither the other names nor the global seed matter."""
    first = generator(0, "augment").random(3).tolist()
    np.random.seed(7)
    generator(0, "other").random(100)
    assert generator(0, "augment").random(3).tolist() == first
    assert generator(1, "augment").random(3).tolist() != first
    assert generator(0, "augment2").random(3).tolist() != first
    tensor = torch.rand(3, generator=generator(0, "augment", "torch"))
    assert torch.equal(tensor, torch.rand(3, generator=generator(0, "augment", "torch")))
    assert not torch.equal(tensor, torch.rand(3, generator=generator(1, "augment", "torch")))


@settings(max_examples=50, deadline=None)
@given(SEEDS, st.text(st.characters(exclude_categories=())))
def test_any_name_makes_a_generator(seed, name):
    """Any seed and any text will do, and drawing from them moves no global generator."""
    before = (random.getstate(), torch.get_rng_state())
    generator(seed, name).random()
    torch.rand(1, generator=generator(seed, name, "torch"))
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])


def test_generators_are_the_same_in_every_process():
    """The numbers depend on no hash seed and no machine; these stand for all versions."""
    code = "from keisei_lightning.seeding import generator as g; print(g(42, 'a').integers(2**31))"
    environment = {**os.environ, "PYTHONHASHSEED": "123"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) == generator(42, "a").integers(2**31) == EXPECTED


def test_an_unknown_kind_is_an_error():
    """The message says which kinds there are."""
    with pytest.raises(SessionConfigError, match='"numpy" or "torch"'):
        generator(0, "a", "jax")


def test_seeding_is_imported_without_lightning():
    """Whoever imports the room does not pay for torch."""
    code = "import sys, keisei_lightning.seeding; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "lightning", "numpy"} & set(done.stdout.split())
