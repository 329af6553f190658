"""Runs the frameworks' own tests with our sessions.

    ./check suites [--store URL] [--django 5.2,6.1] [--labels session|all] [--no-flask]

The tests come from the projects' sdists, which are downloaded to .cache and never become
part of the repository. Every deviation stands with its reason in deviations.json: the run
fails on one that is not listed, and on a listed test that passes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
CACHE = HERE.parent / ".cache"
sys.path.insert(0, str(HERE.parent / "tests"))

# The release of each version of Django, and the Python that it runs on. Pinned, so that
# what deviates changes with a commit of ours only.
DJANGO = {
    "4.2": ("4.2.30", "3.11"),
    "5.2": ("5.2.19", "3.12"),
    "6.0": ("6.0.10", "3.12"),
    "6.1": ("6.1.3", "3.13"),
}
FLASK = "3.1.3"  # on the Python that runs this
OURS = f"{sys.version_info.major}.{sys.version_info.minor}"
SESSION_LABELS = ["sessions_tests", "pazzo_engine"]
ALL_LABELS = ["auth_tests", "test_client", "test_client_regress", "messages_tests", "csrf_tests"]
FLASK_TESTS = ["test_basic.py", "test_session_interface.py", "test_testing.py", "test_reqctx.py"]
# Of sessions_tests, what concerns an engine: ours, and the middleware over it.
PATTERNS = ["Pazzo", "SessionMiddlewareTests"]

Outcomes = dict[str, bool]  # test → passed


def interpreter(version: str) -> str:
    """Finds a Python: on the path, or among pyenv's."""
    if version == OURS:
        return sys.executable
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for found in sorted(root.glob(f"versions/{version}.*/bin/python"), reverse=True):
        return str(found)
    found_on_path = shutil.which(f"python{version}")
    if not found_on_path:
        raise SystemExit(f"Python {version} is needed: install it, or leave that version out")
    return found_on_path


def sdist(project: str, requirement: str, python: str) -> Path:
    """Downloads an sdist for that Python, unless that was done, and returns its folder."""
    target = CACHE / "sources" / requirement.replace("=", "").replace("*", "x")
    done = target / ".complete"
    if not done.exists():
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        pip = [interpreter(python), "-m", "pip", "download", "--quiet", "--no-deps"]
        subprocess.run([*pip, "--no-binary", ":all:", "-d", str(target), requirement], check=True)
        (archive,) = target.glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            tar.extractall(target, filter="data")
        done.touch()
    (folder,) = target.glob(f"[{project[0].upper()}{project[0]}]{project[1:]}-*/")
    return folder


def environment(name: str, python: str, *requirements: str) -> str:
    """Makes a virtual environment, unless it is there, and returns its Python."""
    folder = CACHE / name
    binary = folder / "bin" / "python"
    if not (folder / ".complete").exists():
        subprocess.run([interpreter(python), "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(binary), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *requirements, "redis==8.1.0", "hiredis==3.5.0"], check=True)
        (folder / ".complete").touch()
    return str(binary)


def run_django(version: str, labels: list[str], store: str, patterns: list[str]) -> Outcomes:
    """Runs labels of Django's tests and returns their outcomes."""
    release, runs_on = DJANGO[version]
    source = sdist("django", f"django=={release}", runs_on)
    python = environment(f"django-{release}", runs_on, str(source), "tblib==3.2.2")
    tests = source / "tests"
    for file in (HERE / "django").iterdir():
        link = tests / file.name
        link.unlink(missing_ok=True)
        link.symlink_to(file)
    result = CACHE / f"django-{version}.json"
    result.unlink(missing_ok=True)
    command = [python, "runtests.py", "--settings=pazzo_settings", "--parallel=1", *labels]
    for pattern in patterns:
        command += ["-k", pattern]
    variables = {"PYTHONPATH": f"{HERE.parent}:{tests}", "PAZZO_STORE": store}
    variables["PAZZO_OUTCOMES"] = str(result)
    subprocess.run(command, cwd=tests, env={**os.environ, **variables}, check=False)
    outcomes: Outcomes = json.loads(result.read_text())
    return outcomes


def run_flask(store: str) -> Outcomes:
    """Runs Flask's session tests and returns their outcomes."""
    source = sdist("flask", f"flask=={FLASK}", OURS)
    python = environment(f"flask-{FLASK}", OURS, str(source), "pytest==8.4.2", "werkzeug==3.1.9")
    result = CACHE / "flask.xml"
    outcomes: Outcomes = {}
    for file in FLASK_TESTS:
        result.unlink(missing_ok=True)
        command = [python, "-m", "pytest", "-q", "-p", "pazzo_plugin", f"--junitxml={result}"]
        command += [f"tests/{file}", *(["-k", "session"] if file == "test_basic.py" else [])]
        variables = {"PYTHONPATH": f"{HERE.parent}:{HERE / 'flask'}", "PAZZO_STORE": store}
        subprocess.run(command, cwd=source, env={**os.environ, **variables}, check=False)
        for case in ET.parse(result).getroot().iter("testcase"):
            failed = case.find("failure") is not None or case.find("error") is not None
            outcomes[f"{file}::{case.get('name')}"] = not failed
    return outcomes


def judge(suite: str, version: str, outcomes: Outcomes) -> list[str]:
    """Compares outcomes with the listed deviations; returns what is wrong."""
    listed = {
        deviation["test"]: deviation
        for deviation in json.loads((HERE / "deviations.json").read_text())
        if deviation["suite"] == suite and version in deviation.get("versions", [version])
    }
    wrong = [] if outcomes else [f"{suite} {version}: no test has run"]
    for test, passed in sorted(outcomes.items()):
        if not passed and test not in listed:
            wrong.append(f"{suite} {version}: {test} fails and is not listed")
        if passed and test in listed:
            wrong.append(f"{suite} {version}: {test} is listed and passes")
    deviating = sum(not passed for passed in outcomes.values())
    print(f"== {suite} {version}: {len(outcomes)} tests, {deviating} of them deviate", flush=True)
    return wrong


@contextmanager
def a_store(url: str | None) -> Iterator[str]:
    """Yields the given store, or one of a server of its own."""
    if url:
        yield url
        return
    from servers import Server

    server = Server()
    try:
        yield server.url
    finally:
        server.close()


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the frameworks' own tests.")
    parser.add_argument("--store", help="a store URL; by default a server is started")
    parser.add_argument("--django", default=",".join(DJANGO), help="versions, or nothing")
    parser.add_argument("--labels", choices=("session", "all"), default="session")
    parser.add_argument("--no-flask", action="store_true")
    options = parser.parse_args()
    wrong: list[str] = []
    with a_store(options.store) as store:
        for version in filter(None, options.django.split(",")):
            outcomes = run_django(version, SESSION_LABELS, store, PATTERNS)
            wrong += judge("django", version, outcomes)
            if options.labels == "all":
                outcomes = run_django(version, ALL_LABELS, store, [])
                wrong += judge("django", version, outcomes)
        if not options.no_flask:
            wrong += judge("flask", "3.1", run_flask(store))
    print("\n".join(wrong) or "== all as listed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
