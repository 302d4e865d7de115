from __future__ import annotations

import json
import os
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from sweeper.checks import ConfigError
from sweeper.tracking.claim import LEASE_S, Holder, claimed, lock_path
from sweeper.tracking.process_mark import ProcessMark

SWEEP = "5eed5eed00"
ELSEWHERE = replace(ProcessMark.own(), host="elsewhere", pid=77)
GONE = replace(ProcessMark.own(), started=-1)


def leave(output_dir: Path, mark: ProcessMark, age_s: float = 0.0) -> Path:
    """The lock file of a process that holds no lock that can be felt here."""
    path = lock_path(output_dir, SWEEP)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"mark": mark.to_dict(), "since": "2026-01-31T12:00:00+00:00"}))
    os.utime(path, (time.time() - age_s,) * 2)
    return path


def test_the_holder_is_named_while_it_holds_and_no_longer(tmp_path: Path) -> None:
    assert Holder.of(tmp_path, SWEEP) is None
    with claimed(tmp_path, SWEEP):
        holder = Holder.of(tmp_path, SWEEP)
        assert holder is not None
        assert (holder.mark, holder.runs) == (ProcessMark.own(), True)
    assert Holder.of(tmp_path, SWEEP) is None


def test_a_second_process_of_the_sweep_is_refused_with_one_line(tmp_path: Path) -> None:
    own = ProcessMark.own()
    who = rf"process {own.pid} on {re.escape(own.host)}"
    line = rf"{who} runs this very sweep already, since \S+; wait for it, or stop it"
    with claimed(tmp_path, SWEEP), pytest.raises(ConfigError, match=line) as caught, claimed(tmp_path, SWEEP):
        pass
    assert "\n" not in str(caught.value)
    with claimed(tmp_path, SWEEP), claimed(tmp_path, "another"):
        pass


def test_another_host_with_a_fresh_lease_is_respected(tmp_path: Path) -> None:
    leave(tmp_path, ELSEWHERE, age_s=LEASE_S - 10)
    line = r"process 77 on elsewhere runs this very sweep already.*goes on from \d\d:\d\d:\d\d UTC"
    with pytest.raises(ConfigError, match=line), claimed(tmp_path, SWEEP):
        pass


@pytest.mark.parametrize(("mark", "age_s"), [(ELSEWHERE, LEASE_S + 1), (GONE, 0.0)])
def test_a_stale_lease_is_taken_over_in_silence(
    tmp_path: Path, mark: ProcessMark, age_s: float, capfd: pytest.CaptureFixture[str]
) -> None:
    leave(tmp_path, mark, age_s)
    with claimed(tmp_path, SWEEP):
        holder = Holder.of(tmp_path, SWEEP)
        assert holder is not None
        assert holder.mark == ProcessMark.own()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("text", ["", "123\n", '{"mark": {"host"', '{"mark": {}, "since": ""}'])
def test_a_lock_file_that_a_kill_tore_stops_nobody(tmp_path: Path, text: str) -> None:
    leave(tmp_path, ELSEWHERE).write_text(text)
    with claimed(tmp_path, SWEEP):
        pass


def test_renewing_makes_the_lease_young_again(tmp_path: Path) -> None:
    with claimed(tmp_path, SWEEP) as claim:
        os.utime(claim.path, (0, 0))
        claim.renew()
        holder = Holder.of(tmp_path, SWEEP)
        assert holder is not None
        assert holder.lease_age_s < LEASE_S


def test_a_process_that_slept_through_a_takeover_learns_of_it_and_leaves_the_other_alone(tmp_path: Path) -> None:
    with claimed(tmp_path, SWEEP) as claim:
        leave(tmp_path, ELSEWHERE)
        with pytest.raises(ConfigError, match="process 77 on elsewhere took this sweep over"):
            claim.renew()
    holder = Holder.of(tmp_path, SWEEP)
    assert holder is not None
    assert holder.mark == ELSEWHERE
