"""Node packs: addresses, requirements, the lock file, findings, and what instances load."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from comfy_instances.fleet.supervisor import prepare_directories
from comfy_instances.install.packs.adding import AddedPack, parse_overrides
from comfy_instances.install.packs.drift import compare_with_lock
from comfy_instances.install.packs.errors import PackError
from comfy_instances.install.packs.inspection import FindingKind, inspect_pack
from comfy_instances.install.packs.lock_file import (
    PackLock,
    PackPin,
    exclusive_access,
    load_pack_lock,
    save_pack_lock,
)
from comfy_instances.install.packs.pack_facts import keep_earlier_facts, write_pack_facts
from comfy_instances.install.packs.repository import mirrored_origin, parse_pack_address
from comfy_instances.install.packs.requirements import (
    default_overrides,
    find_blocked,
    find_conflicts,
    read_requirements,
)
from comfy_instances.process.installed_packs import (
    InstalledPack,
    PackRecord,
    PackSource,
    drop_pack,
    facts_file,
    load_version_facts,
    read_pack_record,
    write_pack_record,
)
from orchestrator.cli.terminal.pack_output import print_added

HELD = {"torch": "2.11.0+cu130", "numpy": "2.4.6", "pillow": "12.0.0"}


def pin(name: str = "some-pack", **changes: object) -> PackPin:
    made = PackPin(
        name=name, url=f"https://example.com/somebody/{name}", ref="main", commit="a" * 40, tree="b" * 40
    )
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def installed(name: str = "some-pack", commit: str = "a" * 40) -> InstalledPack:
    url = f"https://example.com/somebody/{name}"
    return InstalledPack(name=name, url=url, ref="main", commit=commit, tree="b" * 40, classes=("Node",))


@pytest.mark.parametrize(
    ("text", "url", "ref", "name"),
    [
        ("https://github.com/a/Pack", "https://github.com/a/Pack", "HEAD", "Pack"),
        ("https://github.com/a/Pack.git@v1.2", "https://github.com/a/Pack.git", "v1.2", "Pack"),
        ("https://github.com/a/Pack/@main", "https://github.com/a/Pack", "main", "Pack"),
        ("https://github.com/a/Pack@feature/x", "https://github.com/a/Pack", "feature/x", "Pack"),
        ("ssh://git@example.com/a/Pack", "ssh://git@example.com/a/Pack", "HEAD", "Pack"),
        ("ssh://git@example.com/a/Pack@v2", "ssh://git@example.com/a/Pack", "v2", "Pack"),
    ],
)
def test_reads_the_address_of_a_pack(text: str, url: str, ref: str, name: str) -> None:
    address = parse_pack_address(text)
    assert (address.url, address.ref, address.name) == (url, ref, name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no-such-folder", "is no repository"),
        ("--upload-pack=touch /tmp/x", "is no repository"),
        ("ext::sh -c touch% /tmp/x", "is no repository"),
        ("https://github.com/a/Pack@", "no valid version"),
        ("https://github.com/a/Pack@--upload-pack=x", "no valid version"),
        ("https://user:secret@example.com/a/Pack", "user name or password"),
    ],
)
def test_rejects_what_is_no_address(text: str, message: str) -> None:
    with pytest.raises(PackError, match=message):
        parse_pack_address(text)


def test_finds_a_repository_in_a_mirror(tmp_path: Path) -> None:
    (tmp_path / "somebody" / "Pack.git").mkdir(parents=True)
    (tmp_path / "Flat").mkdir()
    url = "https://github.com/somebody/Pack"
    assert mirrored_origin(url, None) == url
    assert mirrored_origin(url, str(tmp_path)) == str(tmp_path / "somebody" / "Pack.git")
    assert mirrored_origin("https://github.com/x/Flat.git", str(tmp_path)) == str(tmp_path / "Flat")
    assert mirrored_origin(url, "https://git.example.com/") == "https://git.example.com/somebody/Pack.git"
    with pytest.raises(PackError, match=r"has none of x/Other\.git, x/Other, Other\.git, Other"):
        mirrored_origin("https://github.com/x/Other", str(tmp_path))


def test_keeps_the_lock_file_and_finds_pins_in_any_case(tmp_path: Path) -> None:
    file = tmp_path / "data" / "packs.lock.toml"
    assert load_pack_lock(file) == PackLock()
    lock = PackLock().with_pin(pin("b", overrides={"numpy": "numpy"})).with_pin(pin("A"))
    save_pack_lock(file, lock)
    assert load_pack_lock(file) == lock
    assert [one.name for one in lock.pins] == ["A", "b"]
    assert lock.find("a") == lock.find("HTTPS://example.com/somebody/A") == pin("A")
    assert lock.with_pin(pin("a", ref="v2")).pins[0].ref == "v2"
    assert lock.without(lock.pins[0]).find("A") is None


@pytest.mark.parametrize(
    "text",
    [
        "[[pack]]\nname = 1",
        "not toml",
        "[[pack]]\nname = '../x'\nurl = ''\nref = ''\ncommit = ''\ntree = ''",
        "[[pack]]\nname = 'x'\nurl = ''\nref = ''\ncommit = 'short'\ntree = ''",
    ],
)
def test_rejects_an_invalid_lock_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "packs.lock.toml").write_text(text)
    with pytest.raises(PackError):
        load_pack_lock(tmp_path / "packs.lock.toml")


def test_lets_one_command_work_at_a_time(tmp_path: Path) -> None:
    with (
        exclusive_access(tmp_path),
        pytest.raises(PackError, match="another `pixelfactory packs` command"),
        exclusive_access(tmp_path),
    ):
        pass
    with exclusive_access(tmp_path):
        assert (tmp_path / ".packs-in-use").exists()


def test_reads_requirements_with_includes_markers_and_replacements(tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text("Some_Name>=1  # why\n")
    (tmp_path / "requirements.txt").write_text(
        "\ufeff# a comment\n\nnumpy<2 ; python_version >= '3.8'\n-r more.txt\n-r ../outside.txt\n"
        "opencv-python\nleft.out\n--extra-index-url https://example.com\n"
        "git+https://example.com/a/thing.git@v1\n"
    )
    (tmp_path.parent / "outside.txt").write_text("outside\n")
    overrides = {**default_overrides(has_gpu=False), "Left_Out": "", "numpy": "numpy>=1"}
    lines, notes = read_requirements("a-pack", tmp_path, overrides)
    assert [(line.place, line.name, line.wanted) for line in lines] == [
        ("requirements.txt:3", "numpy", "numpy>=1; python_version >= '3.8'"),
        ("more.txt:1", "some-name", "Some_Name>=1"),
        ("requirements.txt:6", "opencv-python", "opencv-contrib-python-headless"),
        ("requirements.txt:7", "left-out", ""),
        ("requirements.txt:9", "thing", "git+https://example.com/a/thing.git@v1"),
    ]
    assert notes == [
        "a-pack requirements.txt:5: `-r ../outside.txt` is not used",
        "a-pack requirements.txt:8: `--extra-index-url https://example.com` is not used",
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("torch>=2", None),
        ("torch==2.11.0", None),
        ("torch<2.11", "does not fit torch 2.11.0+cu130"),
        ("numpy<2", "does not fit numpy 2.4.6"),
        ("numpy<2; python_version < '3'", None),
        ("Pillow==9.5", "does not fit pillow 12.0.0"),
        ("comfy", "hides modules of ComfyUI"),
        ("git+https://example.com/a/thing", "--allow-url thing"),
        ("thing @ https://example.com/thing.zip", "--allow-url thing"),
        ("other", None),
    ],
)
def test_compares_requirements_with_what_comfyui_runs_with(
    tmp_path: Path, line: str, problem: str | None
) -> None:
    (tmp_path / "requirements.txt").write_text(f"{line}\n")
    lines, _ = read_requirements("a-pack", tmp_path, {})
    found = list(find_conflicts(lines, HELD, ()))
    assert [problem is not None and problem in text for text in found] == [True] * (problem is not None)
    assert all(text.startswith(f"a-pack requirements.txt:1 `{line}`") for text in found)


def test_allows_urls_by_name_and_blocks_harmful_versions(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("git+https://example.com/a/Some_Thing\n")
    lines, _ = read_requirements("a-pack", tmp_path, {})
    assert list(find_conflicts(lines, HELD, ["some-thing"])) == []
    assert list(find_blocked({"ultralytics": "8.3.40", "numpy": "1"})) == []
    assert len(list(find_blocked({"ultralytics": "8.3.41", "comfy": "0.1"}))) == 2


def test_reads_overrides() -> None:
    assert parse_overrides(["numpy=numpy>=1", "cstr="]) == {"numpy": "numpy>=1", "cstr": ""}
    with pytest.raises(PackError, match="NAME=REQUIREMENT"):
        parse_overrides(["numpy"])


def test_finds_what_an_operator_should_know_before_a_pack_runs(tmp_path: Path) -> None:
    (tmp_path / "install.py").write_text("")
    (tmp_path / "__init__.py").write_text(
        "import subprocess, sys\n"
        "# subprocess.run([sys.executable, '-m', 'pip', 'install', 'x'])\n"
        "subprocess.run([sys.executable, '-m', 'pip', 'install', 'x'])\n"
        "@PromptServer.instance.routes.get('/open')\n"
        "nodes.NODE_CLASS_MAPPINGS['KSampler'] = Mine\n"
        "hf_hub_download('a/b', 'c')\n"
    )
    found = {finding.kind: finding.places for finding in inspect_pack(tmp_path)}
    assert found == {
        FindingKind.INSTALL_SCRIPT: ("install.py",),
        FindingKind.RUNS_PIP: ("__init__.py:3",),
        FindingKind.DOWNLOADS: ("__init__.py:6",),
        FindingKind.ROUTES: ("__init__.py:4",),
        FindingKind.REPLACES_NODES: ("__init__.py:5",),
    }


def test_tells_how_lock_file_and_installed_set_differ() -> None:
    lock = PackLock().with_pin(pin("same")).with_pin(pin("new")).with_pin(pin("moved", commit="c" * 40))
    record = PackRecord(packs=(installed("same"), installed("moved"), installed("gone")))
    drift = compare_with_lock(lock, record)
    assert drift.keys() == {"new", "moved", "gone"}
    assert "aaaaaaaaaaaa instead of cccccccccccc" in drift["moved"]


def test_keeps_the_record_and_drops_a_pack_from_it(tmp_path: Path) -> None:
    assert read_pack_record(tmp_path) == PackRecord()
    record = PackRecord(environment="e", packs=(installed("a"), installed("b")), packages=("x==1",))
    write_pack_record(tmp_path, record)
    assert read_pack_record(tmp_path) == record
    assert drop_pack(tmp_path, "A")
    assert not drop_pack(tmp_path, "A")
    assert [pack.name for pack in read_pack_record(tmp_path).packs] == ["b"]
    (tmp_path / "packs.json").write_text('{"packs": [{"name": 1}]}')
    assert read_pack_record(tmp_path) == PackRecord()


def test_gives_each_instance_its_own_copy_of_a_pack_and_renews_it_at_each_start(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / ".git").mkdir(parents=True)
    (source / "__init__.py").write_text("first")
    base = tmp_path / "instance"
    packs = base / "custom_nodes"
    prepare_directories(base, (), (PackSource("a-pack", source),))
    assert not (packs / "a-pack" / ".git").exists()
    (packs / "a-pack" / "settings.json").write_text("{}")
    assert not (source / "settings.json").exists()

    (source / "__init__.py").write_text("second")
    prepare_directories(base, (), (PackSource("a-pack", source),))
    assert (packs / "a-pack" / "__init__.py").read_text() == "second"
    assert not (packs / "a-pack" / "settings.json").exists()

    (packs / "by-hand").mkdir()
    prepare_directories(base, (), ())
    assert [path.name for path in packs.iterdir()] == ["by-hand"]
    with pytest.raises(FileExistsError, match="in the way"):
        prepare_directories(base, (), (PackSource("by-hand", source),))


def test_overrides_of_a_pin_add_what_the_pack_does_not_list(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("numpy<2\n")
    own = {"numpy": "numpy", "Deep_Translator": "deep-translator>=1", "typo": ""}
    lines, notes = read_requirements("a-pack", tmp_path, {"opencv-python": "other"}, own)
    assert [(line.place, line.wanted) for line in lines] == [
        ("requirements.txt:1", "numpy"),
        ("--override", "deep-translator>=1"),
    ]
    assert notes == ["a-pack --override typo= leaves out nothing: the pack does not require typo"]


def test_further_files_of_requirements_are_told(tmp_path: Path) -> None:
    (tmp_path / "node").mkdir()
    (tmp_path / "requirements.txt").write_text("a\n")
    assert inspect_pack(tmp_path) == []
    (tmp_path / "node" / "requirements.txt").write_text("b\n")
    [finding] = inspect_pack(tmp_path)
    assert finding.places == ("node/requirements.txt",)
    assert "--override NAME=REQUIREMENT" in str(finding)


def test_says_which_included_requirements_are_not_read(tmp_path: Path) -> None:
    pack = tmp_path / "pack"
    pack.mkdir()
    (tmp_path / "outside.txt").write_text("evil\n")
    (pack / "more.txt").write_text("pillow\n-r requirements.txt\n")
    (pack / "requirements.txt").write_text("-r ../outside.txt\n-r none.txt\n-r more.txt\n")
    lines, notes = read_requirements("a-pack", pack, {})
    assert {line.name for line in lines} == {"pillow"}
    for number, name in ((1, "../outside.txt"), (2, "none.txt")):
        assert f"a-pack requirements.txt:{number}: `-r {name}` is not used" in notes


def test_an_update_says_which_pins_stay(capsys: pytest.CaptureFixture[str]) -> None:
    before = pin("swatch", ref="main", commit="a" * 40)
    moved = pin("swatch", ref="main", commit="c" * 40)
    print_added([AddedPack(pin, before, (), ()) for pin in (before, moved)], as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        f"swatch main stays pinned to {'a' * 40}",
        f"swatch main is pinned to {'c' * 40} (before: {'a' * 12})",
    ]


def test_an_installation_keeps_the_facts_of_the_version_before(tmp_path: Path) -> None:
    def written(commit: str) -> InstalledPack:
        pack = InstalledPack(name="some-pack", url="", ref="main", commit=commit, tree="")
        keep_earlier_facts(tmp_path, pack)
        content = {"pack": pack.name, "commit": commit, "nodes": {f"Node{commit[0]}": {}}}
        write_pack_facts(facts_file(tmp_path, pack.name), content)
        return pack

    first, second = written("1" * 40), written("2" * 40)
    assert [each["commit"] for each in load_version_facts(tmp_path)] == [first.commit]
    written(second.commit)
    assert [each["commit"] for each in load_version_facts(tmp_path)] == [first.commit]
    (tmp_path / "pack-versions" / "broken.json").write_text("{")
    assert len(load_version_facts(tmp_path)) == 1
