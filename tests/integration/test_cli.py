"""The command line as its users type it, against the running service."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from tests.support.images import png, size_of
from tests.support.polling import wait_until_sync
from tests.support.ports import find_lasting_port
from tests.support.service import ServiceProcess, pixelfactory
from tests.support.videos import film


def test_generate_writes_an_image(service: ServiceProcess, key: str, tmp_path: Path) -> None:
    file = tmp_path / "cat.png"
    done = pixelfactory(
        *("generate", "flux-1-schnell", "a cat", "-o", str(file), "-p", "size=320x256", "-p", "steps=2"),
        PIXELFACTORY_URL=service.url,
        PIXELFACTORY_API_KEY=key,
    )
    assert size_of(file.read_bytes()) == (320, 256)
    assert done.stdout.split() == [str(file)]
    assert "1 cent" in done.stderr
    assert "1 cents" not in done.stderr


def test_generate_writes_several_images_and_prints_json(
    service: ServiceProcess, key: str, tmp_path: Path
) -> None:
    done = pixelfactory(
        *("generate", "flux-1-schnell", "a cat", "-n", "2", "-o", str(tmp_path / "cat.png"), "--json"),
        *("-p", "size=256x256"),
        PIXELFACTORY_URL=service.url,
        PIXELFACTORY_API_KEY=key,
    )
    told = json.loads(done.stdout)
    assert told["files"] == [str(tmp_path / "cat-1.png"), str(tmp_path / "cat-2.png")]
    assert all(size_of(Path(file).read_bytes()) == (256, 256) for file in told["files"])


def test_generate_sends_files(service: ServiceProcess, key: str, tmp_path: Path) -> None:
    (tmp_path / "small.png").write_bytes(png(256, 256))
    done = pixelfactory(
        *("generate", "wan2.1-i2v-480p", "zoom", "-o", str(tmp_path / "film.mp4")),
        *("-p", f"image=@{tmp_path / 'small.png'}", "-p", "num_frames=9", "-p", "size=256x256"),
        PIXELFACTORY_URL=service.url,
        PIXELFACTORY_API_KEY=key,
    )
    assert done.returncode == 0
    assert film((tmp_path / "film.mp4").read_bytes()).frames == 9


def test_generate_fails_in_one_clear_line(service: ServiceProcess, key: str) -> None:
    def refused(*arguments: str, url: str = service.url, api_key: str = key) -> str:
        done = pixelfactory(
            "generate", *arguments, check=False, PIXELFACTORY_URL=url, PIXELFACTORY_API_KEY=api_key
        )
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1
        return done.stderr

    assert "Model 'nobody' does not exist" in refused("nobody", "a cat")
    assert "401" in refused("flux-1-schnell", "a cat", api_key="pk-nobody")
    assert "PIXELFACTORY_API_KEY is not set" in refused("flux-1-schnell", "a cat", api_key="")
    assert "is unreachable" in refused("flux-1-schnell", "a cat", url="http://127.0.0.1:9")
    assert "name=value" in refused("flux-1-schnell", "a cat", "-p", "steps")
    assert "no parameter `stpes`; did you mean `steps`?" in refused(
        "flux-1-schnell", "a cat", "-p", "stpes=3"
    )
    assert "No such file" in refused("4x-ultrasharp", "", "-p", "image=@/nowhere.png")


def test_keys_are_shown_once(service: ServiceProcess) -> None:
    done = pixelfactory("keys", "create", "--name", "mine", data_dir=service.data_dir)
    secret = done.stdout.splitlines()[-1]
    assert secret.startswith("pk-")
    rows = [row for row in service.run("keys", "list") if row["name"] == "mine"]
    assert len(rows) == 1
    assert secret not in json.dumps(rows)


def test_a_wallet_is_named_by_account_or_key(service: ServiceProcess) -> None:
    made = service.run("keys", "create", "--credit", "1.50")
    wallet = service.run("wallet", "show", made["id"])
    assert wallet["balance_usd"] == 1.5
    assert service.run("wallet", "credit", wallet["account"], "0.25")["balance_usd"] == 1.75
    assert [row["usd"] for row in service.run("wallet", "history", made["id"])] == ["0.25", "1.50"]
    refused = pixelfactory("wallet", "credit", made["id"], "lots", data_dir=service.data_dir, check=False)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)


def test_usage_adds_up(service: ServiceProcess, key: str, tmp_path: Path) -> None:
    pixelfactory(
        *("generate", "sdxl-1.0", "a cat", "-o", str(tmp_path / "cat.png"), "-p", "size=256x256"),
        PIXELFACTORY_URL=service.url,
        PIXELFACTORY_API_KEY=key,
    )
    rows = service.run("usage", "report", "--by", "model", "--csv", str(tmp_path / "usage.csv"))
    sdxl = next(row for row in rows if row["model"] == "sdxl-1.0")
    assert float(sdxl["usd"]) >= 0.01
    with (tmp_path / "usage.csv").open() as file:
        assert "sdxl-1.0" in {row["model"] for row in csv.DictReader(file)}


def test_models_are_listed_and_shown(service: ServiceProcess) -> None:
    ids = {row["id"] for row in service.run("models", "list")}
    assert {"flux-1-schnell", "sdxl-1.0", "4x-ultrasharp", "wan2.1-t2v-fast", "wan2.1-i2v-480p"} <= ids
    shown = service.run("models", "show", "flux-1-schnell")
    assert shown["default_steps"] == 4
    assert "steps" in {row["name"] for row in shown["parameters"]}
    unknown = pixelfactory("models", "show", "nobody", check=False)
    assert (unknown.returncode, unknown.stderr.count("\n")) == (1, 1)


def test_a_drained_instance_gets_nothing(service: ServiceProcess, key: str, tmp_path: Path) -> None:
    def states() -> dict[str, str]:
        return {row["id"]: row["state"] for row in service.run("instances", "list", "--url", service.url)}

    service.run("instances", "drain", "sim-0", "--url", service.url)
    # What an earlier test left on the instance ends first.
    wait_until_sync(lambda: states()["sim-0"] == "drained")
    pixelfactory(
        *("generate", "flux-1-schnell", "a cat", "-o", str(tmp_path / "cat.png"), "-p", "size=256x256"),
        PIXELFACTORY_URL=service.url,
        PIXELFACTORY_API_KEY=key,
    )
    assert states() == {"sim-0": "drained", "sim-1": "ready"}
    assert service.run("instances", "resume", "sim-0", "--url", service.url)["state"] == "ready"
    service.run("instances", "restart", "sim-0", "--url", service.url)
    wait_until_sync(lambda: states()["sim-0"] == "ready")
    unknown = pixelfactory("instances", "drain", "sim-9", data_dir=service.data_dir, check=False)
    assert unknown.returncode == 1


def test_wrong_settings_are_named(tmp_path: Path) -> None:
    def refused(*arguments: str, **environment: str) -> str:
        port = str(find_lasting_port())
        done = pixelfactory("up", "--port", port, *arguments, data_dir=tmp_path, check=False, **environment)
        assert done.returncode == 1
        return done.stderr

    assert "PIXELFACTORY_MAX_BODY_BYTES" in refused(PIXELFACTORY_MAX_BODY_BYTES="lots")
    assert "configuration file not found" in refused("--config", str(tmp_path / "nowhere.toml"))
    assert "S3_ACCESS_KEY" in refused(PIXELFACTORY_S3_ENDPOINT="http://127.0.0.1:9")
    (tmp_path / "config.toml").write_text("nonsense = 1\n")
    assert "there is no setting `nonsense`" in refused("--config", str(tmp_path / "config.toml"))
