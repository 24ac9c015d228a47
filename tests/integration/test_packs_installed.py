"""Node packs: real repositories, a real pip, and a real start of a small ComfyUI."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from comfy_instances.fleet.local import LocalFleet
from comfy_instances.fleet.protocol import InstanceState
from comfy_instances.hardware.profiles import load_gpu_profiles
from comfy_instances.install.packs.adding import pin_pack, update_pin
from comfy_instances.install.packs.drift import compare_with_lock, find_installed_drift, find_moved_refs
from comfy_instances.install.packs.environments import copy_environment, list_distributions
from comfy_instances.install.packs.errors import PackError, PacksRefused
from comfy_instances.install.packs.install import (
    PackInstallRequest,
    PackInstallResult,
    PackStep,
    install_packs,
    plan_packs,
    require_installation,
    try_installed,
)
from comfy_instances.install.packs.lock_file import LOCK_FILE_NAME, PackLock, PackPin, save_pack_lock
from comfy_instances.install.packs.repository import PackAddress
from comfy_instances.install.packs.resolver import PackageSource
from comfy_instances.process.installed_packs import (
    load_all_packs,
    load_installed_pack_facts,
    read_pack_record,
)
from comfy_instances.process.launch import comfyui_launch_specs
from comfy_instances.process.restart_policy import RestartPolicy
from orchestrator.app.pack_choice import load_installed_nodes
from tests.support.pack_comfyui import (
    CORE_NODES,
    commit_files,
    install_small_comfyui,
    make_pack,
    make_wheel,
    pack_with,
)
from tests.support.packs import RecordingPackReporter
from tests.support.polling import wait_until
from tests.support.service import pixelfactory
from tests.support.small_comfyui import git

pytestmark = pytest.mark.slow


@dataclass
class Workbench:
    """An installed ComfyUI, repositories beside it, and wheels for pip."""

    root: Path
    wheels: Path
    lock: PackLock = field(default_factory=PackLock)
    reporter: RecordingPackReporter = field(default_factory=RecordingPackReporter)

    @property
    def comfyui(self) -> Path:
        return self.root / "comfyui"

    def repository(self, name: str) -> Path:
        return self.root / "repositories" / name

    async def add(self, name: str, *, ref: str = "HEAD", **overrides: str) -> PackPin:
        added = await pin_pack(
            self.lock,
            PackAddress(str(self.repository(name)), ref),
            comfyui_dir=self.comfyui,
            name=None,
            mirror=None,
            overrides=overrides,
            on_output=lambda line: None,
        )
        self.lock = self.lock.with_pin(added.pin)
        return added.pin

    async def add_pack(self, name: str, source: str, requirements: str = "", **overrides: str) -> PackPin:
        files = {"__init__.py": source} | ({"requirements.txt": requirements} if requirements else {})
        make_pack(self.repository(name), files)
        return await self.add(name, **overrides)

    def request(self, allow_url: Sequence[str] = ()) -> PackInstallRequest:
        return PackInstallRequest(
            comfyui_dir=self.comfyui,
            lock=self.lock,
            packages=PackageSource(wheels=self.wheels, allow_url=tuple(allow_url)),
            startup_seconds=60,
        )

    async def install(self) -> PackInstallResult:
        return await install_packs(self.request(), self.reporter)

    async def refused(self) -> str:
        """The reasons for which the set is refused."""
        with pytest.raises(PacksRefused) as caught:
            await self.install()
        return "\n".join(caught.value.problems)

    def environments(self) -> list[str]:
        folder = self.comfyui / "pack-environments"
        return [path.name for path in folder.iterdir()] if folder.is_dir() else []


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("packs")
    install_small_comfyui(root / "comfyui", root / "wheels")
    return root


@pytest.fixture
async def bench(template: Path, tmp_path: Path) -> Workbench:
    await copy_environment(template / "comfyui" / "venv", tmp_path / "comfyui" / "venv")
    git(
        tmp_path,
        "clone",
        "--quiet",
        str(template / "comfyui" / "source"),
        str(tmp_path / "comfyui" / "source"),
    )
    (tmp_path / "comfyui" / "node-facts.json").write_text(json.dumps({name: {} for name in CORE_NODES}))
    (tmp_path / "wheels").mkdir()
    return Workbench(tmp_path, tmp_path / "wheels")


async def test_installs_a_set_into_its_own_environment_and_loads_it_only_where_it_is_chosen(
    bench: Workbench,
) -> None:
    make_wheel(bench.wheels, "useful", "1.5", requires=("torch>=2",), files={"useful.py": "ANSWER = 42\n"})
    source = pack_with(
        "UsefulNode",
        before="import os, pathlib, useful\n"
        "assert os.environ['PIP_NO_INDEX'] == os.environ['HF_HUB_OFFLINE'] == '1'\n"
        "pathlib.Path(__file__).with_name('settings.json').write_text('{}')\n",
    )
    pin = await bench.add_pack("useful-pack", source, "useful>=1\n")
    result = await bench.install()
    assert bench.reporter.steps == list(PackStep)
    [pack] = result.record.packs
    assert (pack.name, pack.commit, pack.classes) == ("useful-pack", pin.commit, ("UsefulNode",))
    assert result.record.packages == ("useful==1.5",)
    inputs = load_installed_pack_facts(bench.comfyui)["UsefulNode"]["input"]["required"]
    assert inputs == {"text": ["STRING", {"default": "a"}], "file": ["COMBO"]}

    installation = require_installation(bench.comfyui)
    assert "useful" not in await list_distributions(installation.python)
    # The pack wrote into the copy of the trial, not into its source.
    assert await find_installed_drift(installation) == []

    def specs(choose: object) -> tuple[str, str, bool]:
        [spec] = comfyui_launch_specs(
            installation,
            directory=bench.root / "instances",
            models_dir=bench.root / "models",
            gpus=[],
            profiles=load_gpu_profiles(),
            **({"choose_packs": choose} if choose else {}),  # type: ignore[arg-type]
        )
        return spec.command[0], spec.environment.get("PIP_NO_INDEX", ""), "useful-pack" in spec.command

    assert specs(None) == (str(installation.python), "", False)
    assert specs(load_all_packs) == (str(installation.packs_python), "1", True)


async def test_records_in_which_folders_the_files_of_inputs_belong(bench: Workbench) -> None:
    folders = (
        "import folder_paths, os\n"
        "def folder(name): return os.path.join(folder_paths.models_dir, name)\n"
        "folder_paths.folder_names_and_paths['stylers'] = ([folder('clip'), folder('stylers')], set())\n"
        "folder_paths.folder_names_and_paths['elsewhere'] = ([os.path.dirname(__file__)], set())\n"
        "os.makedirs(folder('detectors/boxes'))\n"
        "def names(path): return sorted(os.listdir(path)) if os.path.isdir(path) else []\n"
    )
    listing = (
        "(sum((names(path) for path in folder_paths.folder_names_and_paths['stylers'][0]), []),),"
        " 'box': ('COMBO', {'options': ['boxes/' + name for name in names(folder('detectors/boxes'))]})"
    )
    own_type = (
        "class NumberOf(str):\n"
        "    def __ne__(self, other):\n"
        "        return other not in ('INT', 'FLOAT')\n"
        "class Gives:\n"
        "    RETURN_TYPES = ('INT', 'IMAGE', 'STRING')\n"
        "    @classmethod\n"
        "    def INPUT_TYPES(cls):\n"
        f"        print('asked', file=open({str(bench.root / 'asked')!r}, 'a'))\n"
        "        return {'required': {}}\n"
    )
    source = pack_with("StyleNode").replace("([],)", f"{listing}, 'rate': (NumberOf('FLOAT'), {{}})")
    source += "NODE_CLASS_MAPPINGS['Gives'] = Gives\n"
    await bench.add_pack("style-pack", folders + own_type + source)
    result = await bench.install()
    facts = load_installed_pack_facts(bench.comfyui)["StyleNode"]
    # Not the old name of a folder, nor the part of the path that the value has itself.
    assert facts["file_folders"] == {"file": ["stylers"], "box": ["detectors"]}
    assert facts["link_types"] == {"inputs": {"rate": ["INT"]}, "outputs": {}}
    assert result.trial is not None
    assert not any("in which folders" in note for note in result.trial.notes)
    # Some packs read many files for an answer; the trial asks a few times.
    assert len((bench.root / "asked").read_text().splitlines()) < 20
    # The markers themselves are no choices of the recorded facts.
    assert facts["input"]["required"]["file"] == ["COMBO"]


async def test_running_instances_load_changed_packs_one_after_the_other(bench: Workbench) -> None:
    policy = RestartPolicy(
        startup_seconds=60, probe_seconds=0.2, pack_check_seconds=0.2, changed_idle_seconds=0.2
    )
    fleet = LocalFleet.comfyui(
        require_installation(bench.comfyui),
        directory=bench.root / "instances",
        models_dir=bench.root / "models",
        gpus=[None, None],
        policy=policy,
        choose_packs=load_all_packs,
    )
    seen: list[tuple[InstanceState, ...]] = []
    fleet.subscribe(lambda _: seen.append(tuple(info.state for info in fleet.instances())))
    await fleet.start()
    try:
        await wait_until(lambda: all(info.state is InstanceState.READY for info in fleet.instances()))
        seen.clear()
        await bench.add_pack("late-pack", pack_with("LateNode"))
        await bench.install()

        def all_have(name: str) -> bool:
            found = [fleet.node_facts(info.id) or {} for info in fleet.instances()]
            return all(name in facts for facts in found)

        await wait_until(lambda: all_have("LateNode"))
        # While one drains and starts again, the other serves.
        assert (InstanceState.DRAINING, InstanceState.READY) in seen
        assert all(InstanceState.READY in states for states in seen)
        assert [info.restarts for info in fleet.instances()] == [1, 1]
        assert [info.failures for info in fleet.instances()] == [0, 0]
    finally:
        await fleet.stop()


async def test_refuses_requirements_that_do_not_fit_torch_and_names_pack_line_and_version(
    bench: Workbench,
) -> None:
    await bench.add_pack("old-pack", pack_with("OldNode"), "# needs\n\ntorch<2\n")
    text = await bench.refused()
    assert "old-pack requirements.txt:3 `torch<2` does not fit torch 2.11.0" in text
    assert "--override 'torch=torch'" in text
    assert PackStep.ENVIRONMENT not in bench.reporter.steps
    await bench.add("old-pack", torch="torch")
    assert (await bench.install()).record.packs[0].classes == ("OldNode",)


async def test_refuses_a_requirement_that_needs_another_torch_itself(bench: Workbench) -> None:
    make_wheel(bench.wheels, "needs-old-torch", "1.0", requires=("torch<2",))
    await bench.add_pack("indirect-pack", pack_with("IndirectNode"), "needs-old-torch\n")
    text = await bench.refused()
    assert "indirect-pack requirements.txt:1 `needs-old-torch`: requirements cannot be met" in text
    # pip and uv, which is used where it is installed, word it differently.
    assert re.search(r"needs-old-torch.* depends on torch\s?<2|needs-old-torch.*torch<2", text)


async def test_refuses_a_package_that_nothing_offers_as_a_wheel(bench: Workbench) -> None:
    await bench.add_pack("rare-pack", pack_with("RareNode"), "no-such-package\n")
    text = await bench.refused()
    assert "rare-pack requirements.txt:1 `no-such-package`: requirements cannot be met" in text
    assert "--allow-sdist no-such-package" in text


async def test_refuses_a_requirement_from_a_url_unless_it_is_replaced(bench: Workbench) -> None:
    line = "git+https://example.com/somebody/thing.git\n"
    await bench.add_pack("url-pack", pack_with("UrlNode"), line)
    assert "--override thing=REQUIREMENT" in await bench.refused()
    await bench.add("url-pack", thing="")
    plan = await plan_packs(bench.request(), bench.reporter)
    assert plan.resolution.packages == {}


async def test_keeps_the_earlier_set_when_an_import_crashes(bench: Workbench) -> None:
    await bench.add_pack("good-pack", pack_with("GoodNode"))
    before = (await bench.install()).record
    await bench.add_pack("broken-pack", "import no_such_module_at_all\n")
    text = await bench.refused()
    assert "broken-pack: its import fails: No module named 'no_such_module_at_all'" in text
    assert "broken-pack/__init__.py, line 1 in <module>" in text
    assert read_pack_record(bench.comfyui) == before
    assert bench.environments() == [before.environment]
    assert "GoodNode" in load_installed_pack_facts(bench.comfyui)
    assert compare_with_lock(bench.lock, before).keys() == {"broken-pack"}


async def test_names_the_pack_that_ends_comfyui(bench: Workbench) -> None:
    await bench.add_pack("good-pack", pack_with("GoodNode"))
    await bench.add_pack("fatal-pack", "import os\nos._exit(3)\n")
    with pytest.raises(PackError) as caught:
        await bench.install()
    place = "fatal-pack/__init__.py, line 2 in <module>: os._exit(3)"
    assert f"exited with status 3, while it loaded fatal-pack ({place}); remove it" in str(caught.value)
    assert bench.environments() == []


async def test_refuses_packs_that_replace_a_core_node_or_each_other_s(bench: Workbench) -> None:
    override = "import nodes\nnodes.NODE_CLASS_MAPPINGS['KSampler'] = Node\n"
    await bench.add_pack("override-pack", pack_with("OwnNode") + override)
    await bench.add_pack("first-pack", pack_with("TwiceNode"))
    await bench.add_pack("second-pack", pack_with("TwiceNode"))
    text = await bench.refused()
    assert "override-pack: replaces ComfyUI's own node KSampler" in text
    assert "first-pack and second-pack both have the node TwiceNode" in text
    assert bench.environments() == []


async def test_tells_which_core_nodes_of_a_pack_are_not_used(bench: Workbench) -> None:
    await bench.add_pack("shadow-pack", pack_with("KSampler") + "NODE_CLASS_MAPPINGS['Other'] = Node\n")
    result = await bench.install()
    assert result.record.packs[0].classes == ("Other",)
    assert "shadow-pack: ComfyUI's own nodes are used instead of its KSampler" in bench.reporter.notes


async def test_leaves_one_opencv_where_a_package_brings_another(bench: Workbench) -> None:
    make_wheel(
        bench.wheels, "opencv-contrib-python-headless", "5.0", files={"cv2/__init__.py": "HEADLESS = True\n"}
    )
    make_wheel(bench.wheels, "opencv-python", "5.0", files={"cv2/__init__.py": "HEADLESS = False\n"})
    make_wheel(bench.wheels, "hand-finder", "1.0", requires=("opencv-python",))
    source = pack_with("SeeingNode", before="import cv2\nassert cv2.HEADLESS\n")
    await bench.add_pack("seeing-pack", source, "opencv-python-headless\nhand-finder\n")
    result = await bench.install()
    assert result.record.packages == ("hand-finder==1.0", "opencv-contrib-python-headless==5.0")
    assert any("they own the same files" in note for note in bench.reporter.notes)


async def test_refuses_packages_that_install_the_same_modules(bench: Workbench) -> None:
    for name in ("left-hand", "right-hand"):
        make_wheel(bench.wheels, name, "1.0", files={"hand.py": f"SIDE = {name!r}\n"})
    await bench.add_pack("handy-pack", pack_with("HandyNode"), "left-hand\nright-hand\n")
    assert "left-hand and right-hand install the same modules" in await bench.refused()


async def test_says_what_to_do_when_a_repository_is_away_or_lacks_the_version(bench: Workbench) -> None:
    pin = await bench.add_pack("some-pack", pack_with("SomeNode"))
    with pytest.raises(PackError, match="has no branch or tag 'v9'"):
        await bench.add("some-pack", ref="v9")
    bench.repository("some-pack").rename(bench.root / "moved")
    with pytest.raises(PackError, match=r"cannot reach the repository .*--mirror"):
        await bench.add("some-pack")
    # What was fetched before is installed all the same.
    assert (await bench.install()).record.packs[0].commit == pin.commit
    [line] = await find_moved_refs(bench.lock, None)
    assert "cannot reach" in line


async def test_installs_the_pinned_commit_after_its_tag_has_moved(bench: Workbench) -> None:
    repository = bench.repository("tagged-pack")
    make_pack(repository, {"__init__.py": pack_with("FirstNode")})
    git(repository, "tag", "v1")
    pin = await bench.add("tagged-pack", ref="v1")
    commit = commit_files(repository, {"__init__.py": pack_with("SecondNode")})
    git(repository, "tag", "--force", "v1")
    assert (await bench.install()).record.packs[0].classes == ("FirstNode",)
    [line] = await find_moved_refs(bench.lock, None)
    assert f"v1 of {repository} is now {commit[:12]}" in line

    moved = await update_pin(
        bench.lock, pin, ref=None, comfyui_dir=bench.comfyui, mirror=None, on_output=lambda line: None
    )
    bench.lock = bench.lock.with_pin(moved.pin)
    assert "is installed at" in compare_with_lock(bench.lock, read_pack_record(bench.comfyui))["tagged-pack"]
    assert (await bench.install()).record.packs[0].classes == ("SecondNode",)
    # One earlier environment stays for instances that still run in it.
    assert len(bench.environments()) == 2


async def test_finds_what_changed_after_the_installation(bench: Workbench) -> None:
    make_wheel(bench.wheels, "useful", "1.5", files={"useful.py": ""})
    await bench.add_pack("some-pack", pack_with("SomeNode"), "useful\n")
    record = (await bench.install()).record
    source = bench.comfyui / "packs" / "some-pack" / record.packs[0].commit[:12] / "__init__.py"
    source.write_text("raise RuntimeError('edited by hand')\n")
    commit_files(bench.comfyui / "source", {"new.py": ""})
    drift = await find_installed_drift(require_installation(bench.comfyui))
    assert "changed files in its source: __init__.py" in drift[0]
    assert "the packs were tried with" in drift[1]
    trial = await try_installed(bench.request(), require_installation(bench.comfyui))
    assert trial.problems == ("some-pack: its import fails: edited by hand",)


async def test_fetches_from_a_mirror_and_refuses_what_differs_from_the_lock(bench: Workbench) -> None:
    make_pack(bench.root / "mirror" / "somebody" / "far-pack", {"__init__.py": pack_with("FarNode")})
    added = await pin_pack(
        bench.lock,
        PackAddress("https://pack.invalid/somebody/far-pack"),
        comfyui_dir=bench.comfyui,
        name=None,
        mirror=str(bench.root / "mirror"),
        overrides={},
        on_output=lambda line: None,
    )
    assert (added.pin.name, added.pin.url) == ("far-pack", "https://pack.invalid/somebody/far-pack")
    bench.lock = bench.lock.with_pin(added.pin)
    assert bench.lock.find("FAR-PACK") == added.pin
    bench.lock = bench.lock.with_pin(replace(added.pin, tree="0" * 40))
    request = replace(bench.request(), mirror=str(bench.root / "mirror"))
    with pytest.raises(PackError, match="`tree` in the lock file"):
        await install_packs(request, bench.reporter)


def test_commands_add_list_update_and_remove_a_pack(tmp_path: Path) -> None:
    repository = tmp_path / "some-pack"
    first = make_pack(
        repository, {"__init__.py": pack_with("SomeNode"), "install.py": "raise SystemExit(9)\n"}
    )
    where = {"data_dir": tmp_path / "data", "PIXELFACTORY_COMFYUI_DIR": str(tmp_path / "comfyui")}

    def packs(*words: str, check: bool = True) -> CompletedProcess[str]:
        return pixelfactory("packs", *words, check=check, **where)  # type: ignore[arg-type]

    added = json.loads(packs("add", f"{repository}@main", "--override", "numpy=numpy", "--json").stdout)
    assert (added["name"], added["commit"], added["overrides"]) == ("some-pack", first, {"numpy": "numpy"})
    assert added["findings"] == ["has an install script, which is not run (install.py)"]
    second = commit_files(repository, {"other.py": ""})
    [row] = json.loads(packs("list", "--json").stdout)
    assert (row["commit"], row["installed"], row["models"]) == (first, None, [])
    assert "is not installed" in row["drift"]
    updated = json.loads(packs("update", "SOME-PACK", "--json").stdout)
    assert (updated["before"], updated["commit"], updated["overrides"]) == (first, second, {"numpy": "numpy"})

    refused = packs("install", check=False)
    assert refused.returncode == 1
    assert "ComfyUI is not installed" in refused.stderr
    assert packs("add", str(tmp_path / "nowhere"), check=False).returncode == 1
    unknown = packs("remove", "other-pack", check=False)
    assert "there is no pack 'other-pack'" in unknown.stderr
    packs("remove", "some-pack")
    assert json.loads(packs("list", "--json").stdout) == []


async def test_check_tells_of_drift_and_install_of_reasons(bench: Workbench) -> None:
    await bench.add_pack("broken-pack", "import no_such_module_at_all\n")
    data = bench.root / "data"
    save_pack_lock(data / LOCK_FILE_NAME, bench.lock)
    where = {"data_dir": data, "PIXELFACTORY_COMFYUI_DIR": str(bench.comfyui)}

    def packs(*words: str) -> CompletedProcess[str]:
        return pixelfactory("packs", *words, check=False, **where)  # type: ignore[arg-type]

    install = await asyncio.to_thread(packs, "install")
    assert install.returncode == 1
    assert "broken-pack: its import fails: No module named 'no_such_module_at_all'" in install.stderr
    assert "what was installed before is still in use" in install.stderr
    check = await asyncio.to_thread(packs, "check", "--json")
    assert check.returncode == 1
    report = json.loads(check.stdout)
    assert report["problems"] == ["broken-pack is not installed: run `pixelfactory packs install`"]


async def test_records_a_version_of_a_pack_that_is_not_installed(bench: Workbench) -> None:
    repository = bench.repository("some-pack")
    first = make_pack(repository, {"__init__.py": pack_with("FirstNode"), **_release("2.0.0")})
    commit_files(repository, {"__init__.py": pack_with("SecondNode"), **_release("3.0.0")})
    pin, data = await bench.add("some-pack"), bench.root / "data"
    save_pack_lock(data / LOCK_FILE_NAME, bench.lock)
    # As after an installation, before which instances run in another environment.
    (bench.comfyui / "pack-environments" / "earlier").mkdir(parents=True)
    command = ["packs", "facts", f"{repository}@2.0.0", "--wheels", str(bench.wheels), "--json"]
    where: dict[str, Any] = {"data_dir": data, "PIXELFACTORY_COMFYUI_DIR": str(bench.comfyui)}
    found = await asyncio.to_thread(pixelfactory, *command, **where)
    row = json.loads(found.stdout)
    assert (row["pack"], row["commit"], row["ref"], row["nodes"]) == ("some-pack", first, "2.0.0", 1)
    [version] = load_installed_nodes(bench.comfyui).versions.versions
    assert (version.commit, version.ref, [*version.nodes]) == (first, "2.0.0", ["FirstNode"])
    # What is installed and pinned is as it was.
    assert read_pack_record(bench.comfyui).packs == ()
    assert bench.environments() == ["earlier"]
    assert [path.name for path in (bench.comfyui / "packs" / "some-pack").iterdir()] == [pin.commit[:12]]


def _release(number: str) -> dict[str, str]:
    return {"pyproject.toml": f'[project]\nname = "some-pack"\nversion = "{number}"\n'}
