"""`pixelfactory generate` and `pixelfactory jobs`, as callers use them."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from PIL import Image

from tests.support.cli import command, start_command
from tests.support.paused_instances import paused_instances
from tests.support.polling import wait_until_sync
from tests.support.service import ServiceProcess

SMALL = ("-p", "size=256x256")
JOB_ID = re.compile(r"job_[0-9a-f]{32}")


class Caller:
    """Runs commands with a key."""

    def __init__(self, service: ServiceProcess, key: str) -> None:
        self.environment = {"PIXELFACTORY_URL": service.url, "PIXELFACTORY_API_KEY": key}

    def run(self, *arguments: str) -> CompletedProcess[str]:
        return command(*arguments, **self.environment)

    def json(self, *arguments: str) -> Any:
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def refused(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
        return done.stderr


@pytest.fixture
def caller(service: ServiceProcess, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Caller:
    monkeypatch.chdir(tmp_path)
    return Caller(service, key)


@pytest.mark.parametrize(("name", "kind"), [("a.jpg", "JPEG"), ("b.webp", "WEBP"), ("c.PNG", "PNG")])
def test_name_of_the_file_decides_the_format(caller: Caller, name: str, kind: str) -> None:
    done = caller.run("generate", "flux-1-schnell", "a cat", "-o", name, *SMALL)
    assert done.stdout == f"{name}\n", done.stderr
    with Image.open(name) as image:
        assert (image.format, image.size) == (kind, (256, 256))
    assert JOB_ID.search(done.stderr.splitlines()[0]), "the id is not printed before anything else"


def test_writes_into_a_directory_and_without_a_name(caller: Caller) -> None:
    Path("out").mkdir()
    done = caller.json("generate", "flux-1-schnell", "a cat", "-o", "out", *SMALL)
    assert done["files"] == [f"out/{done['jobId']}.png"]
    again = caller.json("jobs", "download", done["jobId"])
    assert Path(again["files"][0]).read_bytes() == Path(done["files"][0]).read_bytes()


def test_refuses_what_cannot_be_written_before_anything_is_charged(caller: Caller) -> None:
    Path("file").write_text("")
    before = [job["jobId"] for job in caller.json("jobs", "list")]
    generate = ("generate", "flux-1-schnell", "a cat", "-o")
    assert "does not exist; create it first" in caller.refused(*generate, "nowhere/a.png")
    assert "file is a file" in caller.refused(*generate, "file/a.png")
    assert "makes no .gif files" in caller.refused(*generate, "a.gif")
    assert "makes no .png files" in caller.refused("generate", "wan2.1-t2v-fast", "waves", "-o", "a.png")
    assert "contradicts the name a.jpg" in caller.refused(*generate, "a.jpg", "-p", "output_format=png")
    assert [job["jobId"] for job in caller.json("jobs", "list")] == before


def test_refuses_parameters_that_the_command_sets_or_the_model_lacks(caller: Caller) -> None:
    generate = ("generate", "flux-1-schnell", "a cat", "-p")
    assert "did you mean `steps`" in caller.refused(*generate, "stepz=3")
    assert "use -n" in caller.refused(*generate, "n=2")
    assert "the command shows the progress by itself" in caller.refused(*generate, "stream=true")
    assert "did you mean flux-1-schnell" in caller.refused("generate", "flux-1-schnel", "a cat")


def test_jobs_are_listed_shown_waited_for_and_downloaded(caller: Caller) -> None:
    made = [caller.json("generate", "flux-1-schnell", f"cat {n}", "-n", "2", *SMALL) for n in range(2)]
    listed = caller.json("jobs", "list", "-n", "2", "--status", "completed", "--model", "flux-1-schnell")
    assert [job["jobId"] for job in listed] == [job["jobId"] for job in reversed(made)]
    job_id = made[0]["jobId"]
    table = caller.run("jobs", "list").stdout
    assert re.search(rf"^{job_id}  completed +flux-1-schnell +2/2 .* cat 0$", table, re.MULTILINE)
    shown = caller.run("jobs", "show", job_id).stdout
    assert re.search(r"^parameter +prompt=cat 0$", shown, re.MULTILINE)
    assert len(re.findall(r"^result +http", shown, re.MULTILINE)) == 2
    assert "completed" in caller.run("jobs", "wait", job_id).stdout
    assert "was completed already" in caller.run("jobs", "cancel", job_id).stdout
    files = caller.json("jobs", "download", job_id, "-o", "cat.webp")["files"]
    assert files == ["cat-1.webp", "cat-2.webp"]
    assert {Path(file).read_bytes()[8:12] for file in files} == {b"WEBP"}


@pytest.mark.parametrize("action", ["show", "wait", "cancel", "download"])
def test_says_that_there_is_no_such_job(caller: Caller, action: str) -> None:
    for id in ("job_00000000000000000000000000000000", "../keys", "ä b"):
        assert "Job not found" in caller.refused("jobs", action, id)


def test_ctrl_c_cancels_the_job_and_says_what_became_of_it(
    caller: Caller, service: ServiceProcess, tmp_path: Path
) -> None:
    out, said = tmp_path / "out", tmp_path / "said"
    arguments = ("generate", "flux-1-schnell", "a cat", *SMALL)
    with paused_instances(service):
        running = start_command(*arguments, environment=caller.environment, stdout=out, stderr=said)
        wait_until_sync(lambda: said.exists() and JOB_ID.search(said.read_text()) is not None)
        found = JOB_ID.search(said.read_text())
        assert found is not None
        waiting_out, waiting = tmp_path / "waiting-out", tmp_path / "waiting"
        waiter = start_command(
            *("jobs", "wait", found[0]),
            environment=caller.environment,
            stdout=waiting_out,
            stderr=waiting,
        )
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 130
        assert waiter.wait(60) == 1
    assert f"job {found[0]} was cancelled; nothing was charged" in said.read_text()
    assert f"job {found[0]} cancelled" in waiting.read_text()
    assert "Traceback" not in said.read_text() + waiting.read_text()
    assert caller.json("jobs", "show", found[0])["costCents"] == 0
