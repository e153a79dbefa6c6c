from __future__ import annotations

import datetime
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlkit_build.reproduction.conditions import Conditions, as_is, otherwise

PROBE = """
import glob, os, pathlib, sys, time
where = sys.argv[1]
with os.scandir(where) as entries:
    scanned = [entry.name for entry in entries]
print(os.listdir(where), scanned, [path.name for path in pathlib.Path(where).iterdir()], sep="|")
"""


def listed(where: Path, conditions: Conditions) -> list[list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(where)],
        env={**os.environ, **conditions.environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return [eval(part) for part in done.stdout.strip().split("|")]


def test_folders_list_their_files_in_the_opposite_order(tmp_path: Path) -> None:
    where = tmp_path / "files"
    where.mkdir()
    for name in ("one", "two", "three", "four"):
        (where / name).touch()
    plain, reversed_ = (listed(where, conditions) for conditions in (as_is(tmp_path), otherwise(tmp_path)))
    assert [names[::-1] for names in plain] == reversed_
    assert set(plain[0]) == {"one", "two", "three", "four"}


def test_everything_that_is_said_to_vary_does(tmp_path: Path) -> None:
    plain, other = as_is(tmp_path), otherwise(tmp_path)
    assert not plain.environment
    assert plain.umask is None
    assert {"TMPDIR", "HOME", "PATH", "TZ", "LC_ALL", "PYTHONHASHSEED", "USER", "OMP_NUM_THREADS"} <= other.environment.keys()
    assert all(os.environ.get(name) != value for name, value in other.environment.items() if name != "PYTHONUTF8")
    assert other.umask == 0o077
    assert plain.cache != other.cache


def test_who_lives_as_the_others_do_is_given_yet_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = otherwise(tmp_path)
    for name, value in first.environment.items():
        monkeypatch.setenv(name, value)
    before = os.umask(first.umask or 0)
    try:
        second = otherwise(tmp_path)
    finally:
        assert os.umask(before) == 0o077
    assert second.umask != 0o077
    for name in ("TZ", "LC_ALL", "LANG", "PYTHONHASHSEED", "USER", "LOGNAME", "COLUMNS"):
        assert first.environment[name] != second.environment[name], name


def asked(question: str, conditions: Conditions) -> str:
    """Return what a Python of these conditions answers."""
    code = f"import datetime, getpass, os, pickle, platform, pwd, socket, sys, time, uuid\nprint({question})"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **conditions.environment}, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize(
    "question",
    [
        "time.time()",
        "time.time_ns() / 1e9",
        "time.clock_gettime(time.CLOCK_REALTIME)",
        "time.clock_gettime_ns(time.CLOCK_REALTIME) / 1e9",
        "time.mktime(time.localtime())",
        "time.mktime(time.strptime(time.ctime()))",
        "time.mktime(time.strptime(time.asctime()))",
        "time.strftime('%s')",
        "datetime.datetime.now().timestamp()",
        "datetime.datetime.today().timestamp()",
        "datetime.datetime.now(datetime.UTC).timestamp()",
        "datetime.datetime.now(tz=datetime.timezone(datetime.timedelta(hours=5))).timestamp()",
        "datetime.datetime.utcnow().replace(tzinfo=datetime.UTC).timestamp()",
    ],
)
def test_every_clock_says_the_same_other_time(tmp_path: Path, question: str) -> None:
    before = time.time()
    told = float(asked(question, otherwise(tmp_path)))
    back = (400 * 24 + 5) * 3600 + 7 * 60 + 11  # four hundred days, five hours, seven minutes, eleven seconds
    assert before - 1 <= told + back <= time.time() + 1


def test_every_part_of_a_date_is_another(tmp_path: Path) -> None:
    here = {**otherwise(tmp_path).environment, "TZ": "UTC"}
    told = asked("list(time.gmtime()[:3]), datetime.date.today().isoformat()", Conditions("here", tmp_path, here))
    then = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=400, hours=5, minutes=7, seconds=11)
    assert told == f"{[then.year, then.month, then.day]} {then.date().isoformat()}"  # unless midnight was within this second


def test_a_time_that_is_stated_stays_as_it_is(tmp_path: Path) -> None:
    stated = (
        "time.gmtime(0)[:3], time.strftime('%Y', time.gmtime(0)), datetime.datetime.fromtimestamp(0, datetime.UTC).year, "
        "datetime.datetime(2020, 1, 2) + datetime.timedelta(1), time.asctime(time.gmtime(0))"
    )
    assert asked(stated, otherwise(tmp_path)) == eval(f"' '.join(map(str, [{stated}]))", {"time": time, "datetime": datetime})


def test_datetimes_stay_what_they_are(tmp_path: Path) -> None:
    real = pickle.dumps(datetime.datetime(2020, 1, 2))
    question = (
        f"isinstance(pickle.loads({real!r}), datetime.datetime), isinstance(datetime.date.today(), datetime.datetime), "
        "issubclass(datetime.datetime, datetime.date), isinstance(datetime.datetime.__base__.now(), datetime.datetime), "
        "pickle.loads(pickle.dumps(datetime.datetime.now())) < datetime.datetime.now(), datetime.datetime.__name__, "
        "isinstance(datetime.datetime.now(), type('Own', (datetime.datetime,), {}))"
    )
    assert asked(question, otherwise(tmp_path)) == "True False True True True datetime False"


def test_timeouts_count_true_seconds(tmp_path: Path) -> None:
    told = asked("time.monotonic(), time.clock_gettime(time.CLOCK_MONOTONIC)", otherwise(tmp_path))
    assert all(abs(float(one) - time.monotonic()) < 30 for one in told.split())


@pytest.mark.parametrize(
    "question",
    ["getpass.getuser()", "pwd.getpwuid(os.getuid())[0]", "os.getlogin()", "os.path.expanduser('~')", "socket.gethostname()",
     "platform.node()", "os.uname().nodename", "os.cpu_count()", "os.environ['LC_ALL']", "hash('text')", "os.environ['PATH']",
     "uuid.getnode()", "uuid.uuid1().node"],
)  # fmt: skip
def test_user_host_cores_and_card_are_others(tmp_path: Path, question: str) -> None:
    told = asked(question, otherwise(tmp_path))
    try:
        real = asked(question, Conditions("plain", tmp_path, {"LC_ALL": "C.UTF-8"}))
    except subprocess.CalledProcessError:  # no terminal, no login
        real = ""
    assert told
    assert told != real


def test_the_card_is_one_that_no_maker_made_and_stays_the_same(tmp_path: Path) -> None:
    first, again = (asked("uuid.getnode(), uuid.uuid1().node", otherwise(tmp_path)) for _ in range(2))
    node, of_uuid = map(int, first.split())
    assert first == again
    assert node == of_uuid
    assert node >> 40 & 0b11 == 0b10, "locally administered (IEEE 802: the second bit), and of one card (the first)"


def test_programs_are_found_as_ever(tmp_path: Path) -> None:
    """Whatever a function starts by its name alone."""
    question = "__import__('shutil').which('git')"
    assert asked(question, otherwise(tmp_path)) == asked(question, as_is(tmp_path)) != "None"
