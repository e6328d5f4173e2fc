"""The console: what is captured, what is shown, and that nobody notices."""

from __future__ import annotations

import io
import logging
import os
import pty
import re
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keisei_lightning.console import (
    Capture,
    attach_training_log,
    duration,
    show_end,
    show_start,
    start_lines,
    summary_lines,
)
from keisei_lightning.console.log_file import LogFile
from keisei_lightning.console.screen import Screen
from keisei_lightning.record import (
    Checkpoint,
    Ending,
    ExceptionFacts,
    Progress,
    SessionRecord,
    SlaVerdict,
    Status,
    Tracker,
    Violation,
)


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """The logs directory of a run whose path has spaces, quotes and unicode."""
    run = tmp_path / "a b'c\"d ü"
    run.mkdir()
    return run / "logs"


def hide(line: str) -> str:
    """Redact as a session would."""
    return line.replace("c4n4ry", "<redacted>")


def shown(text: str, *, pieces: int = 1 << 30, snapshot_s: float = 1e9) -> list[str]:
    """What a screen keeps of a text that is written in pieces."""
    screen = Screen(snapshot_s)
    parts = [text[at : at + pieces] for at in range(0, len(text), pieces)]
    return [line for part in parts for line in screen.feed(part, 0.0)] + screen.close()


@pytest.mark.parametrize("pieces", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a\nb\n\nc", ["a", "b", "", "c"]),
        ("a\r\nb\r\n", ["a", "b"]),
        ("\x1b[1;31mred\x1b[0m \x1b]8;;http://x\x1b\\link\x1b]8;;\x07\n", ["red link"]),
        ("0%\r50%\r100%\nnext\n", ["100%", "next"]),
        ("100%\r9%\n", ["9%0%"]),
        ("100%\r\x1b[K9%\n", ["9%"]),
        ("bar 1\r     \rdone\n", ["done"]),
        ("ab\bc\n", ["ac"]),
        ("x\ty\n", ["x\ty"]),
        ("1\n2\n\x1b[2A\r\x1b[2Kone\n\x1b[2Ktwo\nend\n", ["1", "2", "one", "two", "end"]),
        ("ünï日本\n", ["ünï日本"]),
        ("\x1b[999999999999A\x1b[99999C\x1b[zz\nok\n", None),
    ],
)
def test_the_screen_keeps_what_was_seen(text: str, lines: list[str] | None, pieces: int) -> None:
    """Colours go, carriage returns and cursor movements leave the last state, however written."""
    kept = shown(text, pieces=pieces)
    assert kept == lines if lines is not None else kept[-1] == "ok"


def test_a_running_bar_leaves_a_line_now_and_then() -> None:
    """A bar that is redrawn gives at most one line per interval, and its last state at the end."""
    screen = Screen(10.0)
    lines = [line for tick in range(1000) for line in screen.feed(f"\r{tick}", tick * 0.05)]
    lines += screen.feed("\n", 50.0)
    assert lines == ["200", "400", "600", "800", "999"]


def test_a_line_without_end_is_cut_at_a_space() -> None:
    """Memory stays bounded when no newline ever comes, and no word is torn."""
    words = [f"word{i}" for i in range(50_000)]
    assert " ".join(shown(" ".join(words), pieces=5000)).split() == words


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.text(max_size=6),
            st.sampled_from(["\n", "\r", "\b", "\t", "\x1b[A", "\x1b[2K", "\x1b[3B", "\x1b[J"]),
            st.sampled_from(["\x1b", "\x1b[", "\x1b]0;t\x07", "\x9b1m", "\x1b[5C", "\x1b[7D"]),
        )
    ).map("".join),
    st.integers(1, 9),
)
def test_any_output_gives_lines_without_controls(text: str, pieces: int) -> None:
    """No output breaks the screen, and no escape or newline is in a line."""
    for line in shown(text, pieces=pieces):
        assert not re.search(r"[\x00-\x08\x0a-\x1f\x7f]", line)


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cc", "Zs", "Zl", "Zp"]) | st.just("\n")))
def test_plain_text_is_kept_as_it_is(text: str) -> None:
    """Output without controls comes out line by line, unchanged."""
    expected = text.split("\n")
    assert shown(text, pieces=4) == (expected if expected[-1] else expected[:-1])


def test_streams_stay_themselves(logs: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The stream objects and all they say stay the same; afterwards no trace is left."""
    out = sys.stdout
    before = (dict(vars(out)), out.fileno(), out.isatty(), out.encoding)
    handler = logging.StreamHandler(sys.stderr)
    with Capture(logs, hide):
        assert sys.stdout is out
        assert (out.fileno(), out.isatty(), out.encoding) == before[1:]
        print("hello \x1b[31mc4n4ry\x1b[0m")
        print("half ", end="")
        print("line")
        assert out.write("abc\n") == 4
        handler.emit(logging.makeLogRecord({"msg": "by a handler"}))
        assert (logs / "stdout.log").read_text() == "hello <redacted>\nhalf line\nabc\n"
        print("no newline", end="")
    print("after")
    assert dict(vars(out)) == before[0]
    out.flush()
    assert (logs / "stdout.log").read_text().endswith("abc\nno newline\n")
    assert (logs / "stderr.log").read_text() == "by a handler\n"
    assert capfd.readouterr().out == (
        "hello \x1b[31mc4n4ry\x1b[0m\nhalf line\nabc\nno newlineafter\n"
    )
    assert (logs / "stdout.log").stat().st_mode & 0o777 == 0o600


def test_other_ranks_have_one_file(logs: Path) -> None:
    """Rank 3 writes both streams into rank3.log."""
    with Capture(logs, hide, 3):
        print("out")
        print("err", file=sys.stderr)
    assert os.listdir(logs) == ["rank3.log"]
    assert (logs / "rank3.log").read_text() == "out\nerr\n"


def test_a_patch_on_top_of_ours_stays(logs: Path) -> None:
    """Who patched write after us (as wandb does) is not undone; a second session reuses ours."""
    seen: list[str] = []
    first = Capture(logs, hide)
    ours = sys.stdout.write

    def theirs(text: str) -> int:
        seen.append(text)
        return ours(text)

    sys.stdout.write = theirs  # type: ignore[method-assign]
    print("one")
    first.close()
    print("between")
    second = Capture(logs.parent / "logs2", hide)
    print("two")
    second.close()
    assert sys.stdout.write is theirs
    assert "".join(seen) == "one\nbetween\n" + "two\n"
    assert (logs / "stdout.log").read_text() == "one\n"
    assert (logs.parent / "logs2" / "stdout.log").read_text() == "two\n"
    sys.stdout.write = ours  # type: ignore[method-assign]


def test_two_captures_at_once(logs: Path) -> None:
    """Two sessions in one process both get the output, closed in any order."""
    out = sys.stdout
    first, second = Capture(logs, hide), Capture(logs.parent / "logs2", hide)
    print("both")
    first.close()
    print("second")
    second.close()
    second.close()
    assert (logs / "stdout.log").read_text() == "both\n"
    assert (logs.parent / "logs2" / "stdout.log").read_text() == "both\nsecond\n"
    # Of an earlier test wandb's own patch may be there, which cannot be taken off; ours is not.
    assert type(getattr(vars(out).get("write"), "__self__", None)).__name__ != "_Tee"


def test_threads_do_not_tear_lines(logs: Path) -> None:
    """Lines written whole by eight threads are all there, whole."""
    with Capture(logs, hide):
        threads = [
            threading.Thread(
                target=lambda n=n: [sys.stdout.write(f"{n}:{i}\n") for i in range(300)]
            )
            for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    lines = (logs / "stdout.log").read_text().splitlines()
    assert sorted(lines) == sorted(f"{n}:{i}" for n in range(8) for i in range(300))


def test_a_private_key_is_hidden_over_its_lines(logs: Path) -> None:
    """The lines of a printed private key are not kept, those after it are."""
    with Capture(logs, lambda line: line.replace("-----BEGIN PRIVATE KEY-----", "<redacted>")):
        print("-----BEGIN PRIVATE KEY-----\nMIIEvQ\nabc\n-----END PRIVATE KEY-----\nafter")
    assert (logs / "stdout.log").read_text() == "<redacted>\nafter\n"


def test_progress_bars_are_collapsed(logs: Path) -> None:
    """tqdm, nested and not, and rich leave a few lines, each bar in its last state."""
    from rich.console import Console
    from rich.progress import Progress
    from tqdm import tqdm

    with Capture(logs, hide):
        for _ in tqdm(range(20_000), mininterval=0, desc="flat"):
            pass
        for _ in tqdm(range(3), desc="outer"):
            for _ in tqdm(range(20), desc="inner", leave=False, mininterval=0):
                pass
        with Progress(console=Console(force_terminal=True, width=80)) as progress:
            tasks = [progress.add_task(name, total=50) for name in ("aa", "bb")]
            for _ in range(50):
                for task in tasks:
                    progress.advance(task)
                progress.refresh()
        print("end")
    err = (logs / "stderr.log").read_text().splitlines()
    assert "flat: 100%" in err[0]
    assert "outer: 100%" in err[-1]
    assert len(err) < 10
    out = (logs / "stdout.log").read_text().splitlines()
    assert [line[:2] for line in out[-3:]] == ["aa", "bb", "en"]
    assert all("100%" in line for line in out[-3:-1])
    assert len(out) < 10


@pytest.mark.long
def test_a_million_ticks_are_a_small_file(logs: Path) -> None:
    """A million redraws are a few lines."""
    with Capture(logs, hide):
        for tick in range(1_000_000):
            sys.stderr.write(f"\r{tick / 1e4:.0f}%|{'#' * (tick // 50_000)}")
        sys.stderr.write("\n")
    text = (logs / "stderr.log").read_text()
    assert len(text) < 10_000
    assert text.splitlines()[-1].startswith("100%")


def test_the_file_may_fail_and_come_back(tmp_path: Path) -> None:
    """A missing directory is one warning and silence; when it is back the log goes on."""
    now = [0.0]
    file = LogFile(tmp_path / "gone" / "logs" / "x.log", clock=lambda: now[0])
    assert "cannot be written" in (file.write(["a"]) or "")
    assert file.write(["b"]) is None
    (tmp_path / "gone").mkdir()
    now[0] = 10.0
    assert file.write(["c"]) is None
    assert file.path.read_text() == "c\n"


def test_a_closed_descriptor_never_hits_another_file(tmp_path: Path) -> None:
    """When our descriptor was closed and its number given away, the other file stays clean."""
    file = LogFile(tmp_path / "x.log")
    file.write(["a"])
    fd = file._fd
    assert fd is not None
    os.close(fd)
    other = os.open(tmp_path / "other", os.O_WRONLY | os.O_CREAT)
    assert other == fd
    file.write(["b"])
    os.close(other)
    file.close()
    assert (tmp_path / "other").read_text() == ""
    assert file.path.read_text() == "a\nb\n"


def test_a_deleted_log_is_begun_again_and_a_large_one_moved(tmp_path: Path) -> None:
    """After deletion the lines go to a new file; beyond the cap one older generation is kept."""
    file = LogFile(tmp_path / "x.log", max_bytes=20)
    file.write(["a"])
    file.path.unlink()
    file.write(["b"])
    assert file.path.read_text() == "b\n"
    for number in range(30):
        file.write([f"line {number}"])
    file.close()
    assert sorted(os.listdir(tmp_path)) == ["x.1.log", "x.log"]
    assert file.path.read_text().endswith("line 29\n")
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 40


def test_a_failing_file_is_one_warning_on_the_console(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """print() goes on when the log cannot be written; the handler that writes to us is no loop."""
    logger = logging.getLogger("keisei_lightning.console.capture")
    handler = logging.StreamHandler(sys.stderr)
    logger.addHandler(handler)
    try:
        with Capture(tmp_path / "nowhere" / "logs", hide):
            for number in range(5):
                print(number)
                print(number, file=sys.stderr)
    finally:
        logger.removeHandler(handler)
    sys.stdout.flush()
    sys.stderr.flush()
    out, err = capfd.readouterr()
    assert out == "0\n1\n2\n3\n4\n"
    assert err.count("cannot be written") == 2


def test_a_redactor_that_raises_never_reaches_print(
    logs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """An error of ours while copying is not the error of the user's print."""
    with Capture(logs, lambda line: str(1 / 0)):
        print("fine")
    sys.stdout.flush()
    assert capfd.readouterr().out == "fine\n"


def run_script(script: str, logs: Path, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a script in a real process with ``logs`` as its first argument."""
    start = "import sys, os, signal\nfrom pathlib import Path\n"
    start += "from keisei_lightning.console import Capture\n"
    start += "c = Capture(Path(sys.argv[1]), lambda line: line)\n"
    command = [sys.executable, "-c", start + textwrap.dedent(script), str(logs)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)  # type: ignore[call-overload,no-any-return]


def test_sigkill_loses_no_complete_line(logs: Path) -> None:
    """Every line that print() returned from is on disk after SIGKILL."""
    script = "for i in range(100): print(i)\nos.kill(os.getpid(), signal.SIGKILL)"
    assert run_script(script, logs).returncode == -signal.SIGKILL
    assert (logs / "stdout.log").read_text().split() == [str(i) for i in range(100)]


def test_a_fork_does_not_write_twice(logs: Path) -> None:
    """A forked child copies its own lines once and nothing of what the parent had pending."""
    script = """
    print("pending ", end="")
    if os.fork() == 0:
        print("child")
        sys.stdout.flush()
        os._exit(0)
    os.wait()
    print("parent")
    c.close()
    """
    run_script(script, logs)
    assert (logs / "stdout.log").read_text() == "child\npending parent\n"


def test_a_broken_pipe_is_the_users_own(logs: Path) -> None:
    """A closed standard output raises in print() as ever, and the log has the line."""
    script = """
    r, w = os.pipe()
    os.dup2(w, 1)
    os.close(r)
    os.close(w)
    try:
        print("x" * 60_000)
        sys.stdout.flush()
    except BrokenPipeError:
        print("broken", file=sys.stderr)
    print("y", file=sys.stderr)
    c.close()
    os._exit(0)
    """
    done = run_script(script, logs)
    assert done.stderr == "broken\ny\n"
    assert (logs / "stdout.log").read_text() == "x" * 60_000 + "\n"
    assert (logs / "stderr.log").read_text() == "broken\ny\n"


def test_wandb_may_be_imported_in_between(logs: Path) -> None:
    """wandb patches the streams for good; the capture goes on, ends, and begins again."""
    script = """
    import wandb
    from wandb.sdk.lib import console_capture
    heard = []
    console_capture.capture_stdout(lambda *args: heard.append(args[0]))
    print("one")
    c.close()
    print("two")
    c.open()
    print("three")
    c.close()
    assert len([text for text in heard if isinstance(text, str) and text.strip()]) == 3, heard
    """
    done = run_script(script, logs)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "one\ntwo\nthree\n"
    assert (logs / "stdout.log").read_text() == "one\nthree\n"


def test_a_full_disk_is_survived(logs: Path) -> None:
    """Where no more can be written print() goes on, and later lines are whole lines again."""
    script = """
    import resource
    from keisei_lightning.console import log_file
    log_file._RETRY_S = 0.01
    hard = resource.RLIM_INFINITY
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    for i in range(100): print("line", i)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    __import__("time").sleep(0.1)
    print("back")
    c.close()
    """
    done = run_script(script, logs)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 101
    assert done.stderr.count("cannot be written") == 1
    kept = (logs / "stdout.log").read_text().splitlines()
    assert kept[:3] == ["line 0", "line 1", "line 2"]
    assert kept[-1] == "back"


def test_signal_handlers_may_print(logs: Path) -> None:
    """A handler that prints in the middle of our copying does not deadlock."""
    script = """
    signal.signal(signal.SIGALRM, lambda *_: print("alarm"))
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    for i in range(5000): print(i)
    signal.setitimer(signal.ITIMER_REAL, 0)
    c.close()
    """
    done = run_script(script, logs)
    assert done.returncode == 0, done.stderr
    numbers = re.findall(r"\d+", (logs / "stdout.log").read_text())
    assert numbers == [str(i) for i in range(5000)]


def _logging_state() -> list[object]:
    names = ["keisei_lightning", "keisei_lightning.evaluation", "lightning", "lightning.pytorch"]
    loggers = [logging.getLogger(name) for name in names]
    return [(item.level, item.propagate, list(item.handlers)) for item in loggers]


def test_training_log_takes_our_lines_and_lightnings(
    logs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Our INFO lines and Lightning's are kept once, tagged and redacted; nothing stays behind."""
    before = _logging_state()
    log = attach_training_log(logs, hide, "amber-finch")
    second = attach_training_log(logs.parent / "logs2", hide, "other")
    logging.getLogger("keisei_lightning.session").info("opened with c4n4ry")
    logging.getLogger("keisei_lightning.evaluation").info("val/acc 0.9")
    logging.getLogger("lightning.pytorch.trainer").warning("from lightning")
    logging.getLogger("keisei_lightning.session").warning("heard by all")
    log.note("only here")
    log.close()
    log.close()
    logging.getLogger("keisei_lightning.session").warning("too late")
    second.close()
    assert _logging_state() == before
    lines = (logs / "training.log").read_text().splitlines()
    assert all("[keisei amber-finch]" in line for line in lines)
    ends = [line.partition(": ")[2] for line in lines]
    assert ends == [
        "opened with <redacted>",
        "val/acc 0.9",
        "from lightning",
        "heard by all",
        "only here",
    ]
    assert "val/acc 0.9" in (logs / "evaluation.log").read_text()
    heard = [record.getMessage() for record in caplog.records]
    assert heard.count("heard by all") == 1
    assert "opened with c4n4ry" not in heard
    assert len((logs.parent / "logs2" / "training.log").read_text().splitlines()) == 5


RECORD = SessionRecord(
    id="amber-finch-7k3q",
    name="lr=0.1 [red]bold[/red] \x1b[31mx\u202e",
    status=Status.RUNNING,
    attempt=2,
    directory="/data/" + "long-directory-name/" * 6,
    overrides=("model.lr=0.1", "trainer.max_epochs=3"),
    config_hash="0123456789ab",
    seed=0,
    device="cuda",
    world_size=2,
    trackers=(
        Tracker("wandb", "abc", mode="offline", sync="pending", sync_command="wandb sync x"),
    ),
)
ENDED = RECORD.update(
    status=Status.FAILED,
    duration_s=3725.4,
    metrics={f"val/m{i}": i / 3 for i in range(8)},
    progress=Progress(epoch=2, step=100),
    checkpoint=Checkpoint(last="checkpoints/last.ckpt"),
    sla=SlaVerdict(
        False, (Violation("val/acc", 0.85, 0.9, "min"), Violation("too slow", kind="text"))
    ),
    cost=1.5,
    warnings={"disk full": 3},
    ending=Ending(
        Status.FAILED, "exception", rank=1, exception=ExceptionFacts("ValueError", "bad\nline two")
    ),
)


def test_start_lines_say_what_matters() -> None:
    """The banner names the session, whether it is resumed, its seed (0 is one) and its tracker."""
    lines = dict(start_lines(RECORD, resumed=True, tracker_note="no key"))
    assert lines["name"] == "lr=0.1 [red]bold[/red] x"
    assert lines["id"] == "amber-finch-7k3q (resumed, attempt 2)"
    assert lines["seed"] == "0"
    assert lines["device"] == "cuda x 2"
    assert lines["tracker"] == "wandb offline"
    assert lines[""] == "no key"
    assert lines["overrides"] == "model.lr=0.1 trainer.max_epochs=3"
    assert dict(start_lines(SessionRecord(id="i", name="n"))) == {"name": "n", "id": "i (fresh)"}


def test_summary_lines_say_how_it_went() -> None:
    """The summary has the ending, times, metrics, the SLA verdict, warnings and what is to do."""
    lines = dict(summary_lines(ENDED, best={"val/acc": 0.91234567}, files=["a.txt"]))
    assert lines["status"] == "failed (exception)"
    assert lines["cause"] == "rank 1: ValueError: bad"
    assert lines["duration"] == "01:02:05"
    assert lines["progress"] == "epoch 2, step 100"
    assert lines["best"] == "val/acc 0.9123"
    assert lines["last"].endswith("val/m5 1.667, and 2 more")
    assert lines["sla"] == "violated; val/acc 0.85 (min 0.9); too slow"
    assert lines["cost"] == "1.50"
    assert lines["checkpoint"] == "checkpoints/last.ckpt"
    assert lines["warning"] == "disk full (3x)"
    assert lines["to sync"] == "wandb sync x"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "00:00:00"), (59.6, "00:01:00"), (360_000, "100:00:00"), (None, None), (-3, "00:00:00")],
)
def test_duration(seconds: float | None, text: str | None) -> None:
    """Durations are HH:MM:SS."""
    assert duration(seconds) == text


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_panel_fits(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The panel is never wider than the terminal, shows everything and interprets no markup."""
    monkeypatch.setenv("COLUMNS", str(width))
    stream, noted = io.StringIO(), list[str]()
    show_start(RECORD, resumed=True, banner=True, stream=stream, note=noted.append)
    show_end(ENDED, best={"val/acc": 0.9}, banner=True, stream=stream, note=noted.append)
    text = stream.getvalue()
    assert max(map(len, text.splitlines())) <= width
    joined = re.sub(r"[│\s]", "", text)
    for part in ("[red]bold[/red]", "amber-finch-7k3q", "ValueError", "wandbsync", "0123456789ab"):
        assert part in joined
    assert "\x1b" not in text
    assert any("ValueError: bad" in line for line in noted)


def test_quiet_when_not_a_terminal_and_drawn_when_asked() -> None:
    """Without a terminal nothing is drawn unless asked for; the notes are written in any case."""
    stream, noted = io.StringIO(), list[str]()
    show_start(RECORD, stream=stream, note=noted.append)
    assert stream.getvalue() == ""
    assert noted
    show_start(RECORD, banner=True, stream=stream)
    assert "amber-finch" in stream.getvalue()


def test_an_ascii_terminal_gets_ascii() -> None:
    """A stream that cannot write unicode gets the panel in characters that it can."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    show_start(RECORD.update(name="日本"), banner=True, stream=stream)
    stream.flush()
    assert b"\\u65e5\\u672c" in raw.getvalue()


def test_a_real_terminal_shows_the_banner() -> None:
    """On a pseudo terminal the banner is drawn, in colour, without being asked for."""
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as stream:
        show_start(RECORD, stream=stream)
        stream.flush()
        assert b"amber-finch" in os.read(leader, 1 << 16)
    os.close(leader)
