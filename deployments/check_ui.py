"""Looks at Prefect's UI as a person does: start a run from the form, wait, and photograph what it shows.

Not part of the tests: it needs a running server, worker and deployment (see README.md), `pip install playwright` and a
Chromium. Every picture is for a person to look at.

    python deployments/check_ui.py --deployment augment/on-demand --set source=digits --set preset=smoke --out /tmp/ui
    python deployments/check_ui.py --run <flow run id> --out /tmp/ui
"""

import argparse
import json
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
_FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
_TABS = ("Logs", "Task Runs", "Artifacts", "Parameters", "Details")


def main() -> None:
    """Photograph a run, starting it from the form first unless its id is given."""
    arguments = _arguments()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=arguments.chromium, args=list(_FLAGS))
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        run_id = arguments.run or start_from_form(page, arguments)
        photograph_run(page, arguments, run_id)
        browser.close()


def start_from_form(page: Page, arguments: argparse.Namespace) -> str:
    """Fill in the form of the deployment, press the button, and return the id of the run."""
    deployment = _api(arguments, f"deployments/name/{arguments.deployment}")
    page.goto(f"{arguments.server}/v2/deployments/deployment/{deployment['id']}/run")
    page.wait_for_selector("form")
    time.sleep(2)  # the schema arrives after the page
    for setting in arguments.set:
        name, _, value = setting.partition("=")
        fill(page, name, value)
    page.screenshot(path=arguments.out / "1-form.png", full_page=True)
    before = _latest_run(arguments, deployment["id"])
    page.get_by_role("button", name="Submit").click()
    deadline = time.monotonic() + 30
    while (latest := _latest_run(arguments, deployment["id"])) == before:
        refuse_after(deadline, "the form was refused: look at 1-form.png")
        time.sleep(1)
    return latest


def fill(page: Page, name: str, value: str) -> None:
    """Set one parameter, whatever control the form gave it."""
    choice = page.get_by_role("button", name=f"Select {name}")
    if choice.count():
        choice.click()
        page.get_by_role("option", name=value, exact=True).click()
    else:
        page.get_by_label(f"{name} (Optional)", exact=True).fill(value)


def photograph_run(page: Page, arguments: argparse.Namespace, run_id: str) -> None:
    """Photograph the run page while it works, and each of its tabs and artifacts when it has ended."""
    out = arguments.out
    address = f"{arguments.server}/v2/runs/flow-run/{run_id}"
    deadline, number = time.monotonic() + arguments.minutes * 60, 0
    while (state := _api(arguments, f"flow_runs/{run_id}")["state_type"]) not in _FINAL:
        refuse_after(deadline, f"the run is still {state}")
        time.sleep(arguments.every)
        number += 1
        page.goto(address)
        open_tab(page, "Artifacts")
        page.screenshot(path=out / f"2-working-{number:02d}.png")
        page.goto("about:blank")  # the run page draws without pause, in software a whole core's work
    print(f"flow run {run_id}: {state}")
    page.goto(address)
    time.sleep(4)
    for tab in _TABS:
        if open_tab(page, tab):
            page.screenshot(path=out / f"3-{tab.lower().replace(' ', '-')}.png", full_page=True)
    for key, artifact in latest_artifacts(arguments, run_id).items():
        page.goto(f"{arguments.server}/v2/artifacts/artifact/{artifact}")
        time.sleep(3)
        page.screenshot(path=out / f"4-artifact-{key}.png", full_page=True)


def open_tab(page: Page, name: str) -> bool:
    """Open a tab of the run page; tell whether there is such a tab."""
    page.get_by_role("tab").first.wait_for()
    tab = page.get_by_role("tab", name=name)
    if tab.count():
        tab.first.click()
        time.sleep(3)  # its content arrives after it
    return tab.count() > 0


def refuse_after(deadline: float, message: str) -> None:
    """Raise TimeoutError when the deadline has passed."""
    if time.monotonic() > deadline:
        raise TimeoutError(message)


def latest_artifacts(arguments: argparse.Namespace, run_id: str) -> Mapping[str, str]:
    """Return the newest artifact of every key of a run."""
    body = {"flow_runs": {"id": {"any_": [run_id]}}, "sort": "CREATED_DESC", "limit": 200}
    found = _api(arguments, "artifacts/filter", body)
    return {each["key"]: each["id"] for each in reversed(found) if each["key"]}


def _latest_run(arguments: argparse.Namespace, deployment: str) -> str:
    body = {"flow_runs": {"deployment_id": {"any_": [deployment]}}, "sort": "EXPECTED_START_TIME_DESC", "limit": 50}
    manual = [each for each in _api(arguments, "flow_runs/filter", body) if not each["auto_scheduled"]]
    return max(manual, key=lambda each: each["created"])["id"] if manual else ""


def _api(arguments: argparse.Namespace, path: str, body: Mapping[str, object] | None = None):  # type: ignore[no-untyped-def]
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{arguments.server}/api/{path}", data, {"Content-Type": "application/json"})  # noqa: S310 - our own server
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        return json.load(answer)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default="http://127.0.0.1:4200")
    parser.add_argument("--deployment", default="augment/on-demand")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a field of the form")
    parser.add_argument("--run", help="photograph this flow run instead of starting one")
    parser.add_argument("--out", type=Path, default=Path("ui"))
    parser.add_argument("--minutes", type=float, default=30, help="how long to wait for the end")
    parser.add_argument("--every", type=float, default=5, help="seconds between pictures of a working run")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    return parser.parse_args()


if __name__ == "__main__":
    main()
