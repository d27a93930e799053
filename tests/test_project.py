"""What holds for the repository as a whole, whatever is in it."""

from __future__ import annotations

import re
import subprocess
import tomllib
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Written in pieces, so that this file does not hold what it looks for.
_HOSTS = ["py" + "pi.org", "files.python" + "hosted.org", "registry.npm" + "js.org", "npm" + "js.com"]
FORBIDDEN = re.compile("|".join([re.escape(host) for host in _HOSTS] + [r"/(?:work|root|home/\w+|Users/\w+|opt)/\w"]))
# A person's own folders as they are written in texts for people.
EXAMPLES = re.compile(r"/home/(?:me|you|user|turnwise)/")


def committed() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode != 0:
        pytest.skip("no git repository here: an unpacked archive holds other files too")
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_no_committed_file_names_a_machine_s_path_or_a_package_registry() -> None:
    found: list[str] = []
    for path in committed():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if FORBIDDEN.search(EXAMPLES.sub("", line)):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("line", ["see https://" + _HOSTS[0] + "/simple", "cd /" + "work/main", "/" + "home/ann/x"])
def test_a_machine_s_path_or_a_registry_would_be_found(line: str) -> None:
    assert FORBIDDEN.search(line)


@pytest.mark.parametrize("name", ["run", "dev", "bench"])
def test_every_locked_requirement_is_exact_and_hashed(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    entries = re.split(r"\n(?=[a-z])", text.partition("\n")[2])
    requirements = [entry for entry in entries if not entry.startswith("#")]
    assert len(requirements) > 20
    for requirement in requirements:
        assert re.match(r"[a-z0-9._-]+==\S+", requirement), requirement[:80]
        assert "--hash=sha256:" in requirement, requirement[:80]


@pytest.mark.parametrize("larger, smaller", [("dev", "run"), ("bench", "dev")])
def test_the_locked_files_agree_with_each_other(larger: str, smaller: str) -> None:
    assert pins(smaller).items() <= pins(larger).items()


def pins(name: str) -> dict[str, str]:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", text, re.MULTILINE))


def test_every_declared_dependency_is_locked_at_or_above_its_lower_bound() -> None:
    declared = project()["project"]
    groups = project()["dependency-groups"]
    locked = pins("bench")
    extras = chain.from_iterable(declared["optional-dependencies"].values())
    wanted = chain(declared["dependencies"], extras, chain.from_iterable(groups.values()))
    for requirement in wanted:
        match = re.match(r"([A-Za-z0-9_-]+)(?:\[\w+\])?(?:>=([\d.]+))?", requirement)
        assert match, requirement
        name, bound = match[1].lower().replace("_", "-"), match[2]
        if name == "turnwise":
            continue
        assert bound, f"{requirement} has no lower bound"
        assert numbers(locked[name]) >= numbers(bound), requirement


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def test_the_client_alone_needs_three_packages() -> None:
    names = {re.split(r"[>=]", requirement)[0] for requirement in project()["project"]["dependencies"]}
    assert names == {"aiohttp", "msgspec", "urllib3"}


def test_the_server_extra_includes_the_terminal() -> None:
    assert "turnwise[cli]" in project()["project"]["optional-dependencies"]["server"]


def test_every_lint_exception_has_its_reason() -> None:
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    exceptions = [line for line in lines if re.match(r'    "[A-Z]+\d+",', line)]
    assert len(exceptions) > 20
    assert [line for line in exceptions if not re.search(r"# \S", line)] == []


def test_the_package_tells_type_checkers_that_it_is_typed() -> None:
    assert (ROOT / "src" / "turnwise" / "py.typed").exists()


def test_node_packages_are_pinned_and_checked_by_hash() -> None:
    lock = (ROOT / "tests" / "node" / "package-lock.json").read_text()
    assert '"resolved"' not in lock
    assert lock.count('"integrity": "sha512-') == lock.count('"node_modules/')


@pytest.mark.parametrize("name", ["LICENSE", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_the_texts_that_people_look_for_are_there(name: str) -> None:
    assert (ROOT / name).read_text().strip()


def test_the_changelog_tells_of_this_version() -> None:
    assert f"## {project()['project']['version']}" in (ROOT / "CHANGELOG.md").read_text()
