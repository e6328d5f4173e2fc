"""Names stay readable, safe and distinct, whatever they are made of."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from keisei_lightning.naming import (
    choose_name,
    make_id,
    name_from_directory,
    overrides_slug,
    register_resolvers,
    sanitise,
)

SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
ANY_TEXT = st.text(st.characters(exclude_categories=()))  # lone surrogates included
FAST = settings(max_examples=150, deadline=None)


def test_ids_are_short_human_and_distinct():
    """An id reads like amber-finch-7k3q, and 20 000 of them hold hardly a double."""
    ids = [make_id() for _ in range(20_000)]
    assert all(re.fullmatch(r"[a-z]+-[a-z]+-[0-9a-hjkmnp-tv-z]{4}", id) for id in ids)
    assert max(map(len, ids)) <= 26
    assert len(set(ids)) >= len(ids) - 1  # with 2**36 ids a pair of doubles is one in a million


def test_ids_come_from_no_generator_of_the_user():
    """Seeding Python's generator neither fixes the ids nor is it advanced by them."""
    random.seed(0)
    first, drawn = make_id(), random.random()
    random.seed(0)
    second, again = make_id(), random.random()
    assert first != second
    assert drawn == again


@pytest.mark.parametrize("prefix", ["debug", "debug-", "dé bug"])
def test_a_prefix_leads_the_id(prefix):
    """A prefix stands before the id, made safe like any name."""
    assert re.fullmatch(r"de?-?bug(-\w{8})?-[a-z]+-[a-z]+-\w{4}", make_id(prefix))


@FAST
@given(ANY_TEXT, st.integers(1, 120))
@example("../../etc", 100)
@example("..", 100)
@example("", 100)
@example("-rf", 100)
@example("日本語", 8)
def test_a_sanitised_name_is_one_safe_component(text, limit):
    """Any text becomes one component of a path within the limit, the same a second time."""
    name = sanitise(text, limit)
    assert SAFE.fullmatch(name)
    assert len(name.encode()) <= limit
    assert sanitise(name, limit) == name
    assert Path("/runs", name).resolve().parent == Path("/runs")


@FAST
@given(ANY_TEXT, ANY_TEXT)
@example("a b", "a-b")
@example("a" * 200, "a" * 201)
@example("größe", "große")
@example("", ".")
def test_distinct_names_stay_distinct(one, other):
    """Two names never become one, unless one is what the other is sanitised to."""
    assume(one != other)
    assume(sanitise(one) != other)
    assume(sanitise(other) != one)
    assert sanitise(one) != sanitise(other)


def test_a_fine_name_is_left_alone():
    """What is allowed already gets no hash."""
    assert sanitise("resnet50_v1.2-b") == "resnet50_v1.2-b"


def test_no_limit_below_one_byte():
    """A limit that leaves no room is refused."""
    with pytest.raises(ValueError, match="at least 1 byte"):
        sanitise("a", 0)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], ""),
        (["model.lr=0.1"], "lr-0.1"),
        (["model.lr=-1e-3", "trainer.max_epochs=3"], "lr--1e-3-max_epochs-3"),
        (["+model.lr=0.1", "++data.size=2", "~callbacks"], "lr-0.1-size-2-callbacks"),
        (["model.lr=0.1", "head.lr=0.2"], "model.lr-0.1-head.lr-0.2"),
        (["a.model.lr=1", "b.model.lr=2", "lr=3"], "a.model.lr-1-b.model.lr-2-lr-3"),
        (["model.lr=0.1", "model.lr=0.2"], "lr-0.2"),
        (["model/optim=adam", "db@store=pg"], "optim-adam-store-pg"),
        (["layers=[64,32]", "note='a, \"b\"'"], "layers-64-32-note-a-b"),
        (["path=/data/x y/z", "empty=''", "nothing="], "path--data-x-y-z-empty-empty-nothing"),
        (["session=debug", "session.seed=3", "+session/tracking=none"], "seed-3"),
        (["hydra.run.dir=x", "hydra/launcher=joblib", "lr=1"], "lr-1"),
        (["sessions=3", "hydration.x=2"], "sessions-3-x-2"),
    ],
)
def test_overrides_make_a_readable_slug(overrides, expected):
    """Overrides become short readable words; those of the session and of Hydra stay out."""
    assert overrides_slug(overrides) == expected


@FAST
@given(st.lists(ANY_TEXT | st.from_regex(r"\+?[a-z./]{1,9}=\S{0,30}", fullmatch=True), max_size=9))
def test_any_overrides_make_a_bounded_safe_slug(overrides):
    """Whatever the overrides are, the slug is safe, bounded and the same each time."""
    slug = overrides_slug(overrides)
    assert re.fullmatch(r"[A-Za-z0-9._-]{0,60}", slug)
    assert slug == overrides_slug(tuple(overrides))


def test_slugs_that_are_cut_or_lose_letters_stay_distinct():
    """Where a slug cannot show the difference, a hash tells it."""
    cut = {overrides_slug([f"model.name={'x' * 100}{n}"]) for n in range(50)}
    lost = {
        overrides_slug([f"word={word}"]) for word in ("größe", "große", "日本", "日木", "*", "?")
    }
    assert len(cut) == 50
    assert len(lost) == 6


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("a", "b", "c"), "a"),
        ((None, "b", "c"), "b"),
        ((None, None, "c"), "c"),
        ((None, None, None), "generated"),
        (("", " ", None), "generated"),
        (("0", "b", None), "0"),
    ],
)
def test_the_first_name_given_wins(given, expected):
    """An explicit name beats the command line, that the config, that the generated one."""
    assert choose_name(*given, "generated") == expected


def test_the_chosen_name_is_sanitised():
    """A name that climbs out of its folder does not."""
    assert re.fullmatch(r"etc-\w{8}", choose_name("../../etc", None, None, "generated"))


ID = "amber-finch-7k3q"


@pytest.mark.parametrize(
    ("directory", "expected"),
    [
        ("/a/outputs/2026-11-20/05-01-22", f"2026-11-20-05-01-22-{ID}"),
        ("/a/multirun/2026-11-20/05-01-22/3-lr-0.1", f"2026-11-20-05-01-22-3-lr-0.1-{ID}"),
        ("sweep/3-lr-0.1", f"sweep-3-lr-0.1-{ID}"),
        ("logs/mnist/run7", f"run7-{ID}"),
        (f"outputs/2026-11-20/05-01-22-{ID}", f"2026-11-20-05-01-22-{ID}"),
        (f"outputs/2026-11-20_05-01-22_{ID}", f"2026-11-20_05-01-22-{ID}"),
        (f"2026/11/3_{'x' * 75}", f"11-3_{'x' * 75}-{ID}"),
        (f"/a/{ID}", ID),
        ("/", ID),
        (".", ID),
    ],
)
def test_the_directory_names_the_run(directory, expected):
    """A run is called after its folder, with its id once at the end."""
    assert name_from_directory(directory, ID) == expected


@FAST
@given(ANY_TEXT.map(lambda text: text.replace("\0", "")))
@example("x" * 300)
@example(f"2026/11/{ID}/1")
def test_any_directory_makes_a_bounded_name_that_ends_in_the_id(directory):
    """The name of any folder fits and is unique by the id at its end."""
    name = name_from_directory(directory, ID)
    assert SAFE.fullmatch(name)
    assert len(name) <= 100
    assert name.endswith(ID)
    assert sanitise(name) == name


def test_an_id_is_fresh_for_each_config_and_stable_within():
    """Two configs have two ids; one config gives the same id at every reading."""
    register_resolvers()
    register_resolvers()  # a second time is harmless
    one, other = (OmegaConf.create({"a": "${session_id:}", "b": "x/${session_id:}"}) for _ in "12")
    assert one.b == f"x/{one.a}"
    assert one.a != other.a


def test_the_slug_resolver_reads_hydras_text():
    """Commas in quotes and lists do not split, secrets are hidden, no override has a name too."""
    register_resolvers()
    config = OmegaConf.create({"text": "", "slug": "${session_slug:${text}}"})
    for text, expected in {
        "": "defaults",
        "session=debug": "defaults",
        "model.lr=0.1,trainer.max_epochs=3": "lr-0.1-max_epochs-3",
        "x='a, b=c',y=[1,2],z={a:1,b:2}": "x-a-b-c-y-1-2-z-a-1-b-2",
        r"x='it\'s, fine',y=1": "x-it-s-fine-y-1",
        "db.password=hunter2hunter2,lr=1": "password-redacted-lr-1",
    }.items():
        config.text = text
        assert config.slug == expected


APP = """
import json, sys
from pathlib import Path
from keisei_lightning.naming import register_resolvers
register_resolvers()
import hydra
from hydra.core.hydra_config import HydraConfig

@hydra.main(version_base="1.3", config_path=None, config_name="app")
def main(cfg):
    out = HydraConfig.get().runtime.output_dir
    print(json.dumps({"id": cfg.id, "dir": out}))

main()
"""
CONFIG = """
id: ${session_id:}
lr: 1
note: ""
hydra:
  run: {dir: "outputs/${session_id:}"}
  sweep:
    dir: sweeps/${session_id:sweep}
    subdir: ${hydra.job.num}-${session_slug:${hydra.job.override_dirname}}-${session_id:}
  output_subdir: null
  job_logging: {disable_existing_loggers: false}
"""


def _run(folder: Path, *arguments: str) -> list[dict[str, str]]:
    (folder / "app.py").write_text(APP)
    (folder / "app.yaml").write_text(CONFIG)
    command = [sys.executable, "app.py", "--config-dir", ".", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def test_hydra_puts_the_id_into_the_run_directory(weird_tmp_path):
    """The id in a real job's config is the one its directory is called by."""
    [job] = _run(weird_tmp_path, "lr=2")
    assert job["dir"] == str(weird_tmp_path / "outputs" / job["id"])


def test_a_sweep_shares_one_folder_and_each_job_has_its_own_id(tmp_path):
    """In a real multirun the sweep's id is one, the jobs' ids differ and name their folders."""
    jobs = _run(tmp_path, "-m", "lr=1,2", "note='a, b','c=d'")
    folders = [Path(job["dir"]) for job in jobs]
    assert len({folder.parent for folder in folders}) == 1
    assert folders[0].parent.parent == tmp_path / "sweeps"
    assert [
        folder.name.removesuffix(job["id"]) for folder, job in zip(folders, jobs, strict=True)
    ] == [
        "0-lr-1-note-a-b-",
        "1-lr-1-note-c-d-",
        "2-lr-2-note-a-b-",
        "3-lr-2-note-c-d-",
    ]
    assert len({job["id"] for job in jobs}) == 4


def test_naming_is_light():
    """Hydra's plugin scan pays for nothing heavy when it imports the names."""
    code = "import sys, keisei_lightning.naming; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "lightning", "wandb", "sqlalchemy", "omegaconf", "hydra", "numpy"}
    assert not heavy & set(done.stdout.split())
