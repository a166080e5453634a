import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from emsearch.ledger import queries
from emsearch.ledger.backup import snapshot
from emsearch.ledger.place import SNAPSHOT, note_holder, open_reading
from emsearch.ledger.store import Ledger
from emsearch.records.job import TaskName, log_path
from emsearch.records.trial import Stage
from emsearch.reports.web import address, make_app, new_token, serve, tunnel

TOKEN = "a-token"
Make = Callable[..., tuple[Ledger, Path]]


def client_of(ledger: Ledger, folder: Path) -> TestClient:
    return TestClient(
        make_app(ledger, folder, TOKEN), base_url=f"http://127.0.0.1:80/{TOKEN}/studies/1"
    )


@pytest.fixture(scope="module")
def client(ledger: Ledger, folder: Path) -> Iterator[TestClient]:
    with client_of(ledger, folder) as opened:
        yield opened


ROOT = f"http://127.0.0.1:80/{TOKEN}"
PAGES = ["/", "/cluster", "/candidates/3", "/trials/7"]
JSON = ["status", "leaderboard", "standings", "candidates/3", "trials/7"]


@pytest.mark.parametrize("page", PAGES)
def test_every_page_answers_under_the_token(client: TestClient, page: str) -> None:
    assert client.get(page).status_code == 200


@pytest.mark.parametrize("name", JSON)
def test_every_endpoint_answers_under_the_token(client: TestClient, name: str) -> None:
    assert client.get(f"{ROOT}/api/studies/1/{name}").status_code == 200


def test_a_folders_only_study_is_the_first_page(client: TestClient) -> None:
    answer = client.get(f"{ROOT}/", follow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/{TOKEN}/studies/1/")


@pytest.mark.parametrize(
    "page",
    [*PAGES, "/studies/1/", "/api/studies", "/openapi.json", "/nothing", "//"],
)
@pytest.mark.parametrize("token", ["", "/wrong", "/a-toke", "/a-tokenx", "/A-TOKEN"])
def test_without_the_token_every_request_is_refused(
    client: TestClient, token: str, page: str
) -> None:
    answer = client.get(f"http://127.0.0.1{token}{page}")
    assert answer.status_code == 401
    assert "vnc" not in answer.text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_written(client: TestClient, method: str) -> None:
    assert client.request(method, f"{ROOT}/api/studies").status_code == 405


def test_another_hosts_name_is_refused(client: TestClient) -> None:
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 400


@pytest.mark.parametrize("page", ["/", "/cluster", "/candidates/99", "/nothing"])
def test_every_answer_forbids_foreign_scripts_and_frames(client: TestClient, page: str) -> None:
    headers = client.get(page).headers
    assert "script-src 'self';" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer"


def test_tokens_are_long_and_differ() -> None:
    assert len({new_token() for _ in range(100)}) == 100
    assert len(new_token()) >= 32
    assert address(8000, "t") == "http://127.0.0.1:8000/t/"


def test_the_tunnel_leads_to_the_same_port_of_this_host() -> None:
    assert re.fullmatch(r"ssh -N -L 8000:127\.0\.0\.1:8000 \S+@\S+", tunnel(8000))


def test_the_pages_are_served_on_this_host_alone_without_a_log_of_the_token(
    ledger: Ledger, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, object] = {}
    monkeypatch.setattr("uvicorn.run", lambda _app, **options: asked.update(options))
    serve(ledger, folder, 8000, TOKEN)
    assert asked["host"] == "127.0.0.1"
    assert asked["access_log"] is False


def test_the_first_page_links_every_candidate_that_it_lists(client: TestClient) -> None:
    html = client.get("/").text
    numbers = set(re.findall(rf'href="/{TOKEN}/studies/1/candidates/(\d+)"', html))
    assert numbers == {str(number) for number in range(29)}
    for number in numbers:
        assert client.get(f"/candidates/{number}").status_code == 200


def ranked(client: TestClient, query: str) -> list[int]:
    html = client.get(f"/?{query}").text
    return [int(number) for number in re.findall(r"/candidates/(\d+)\"", html)]


def test_the_leaderboard_is_filtered_and_sorted(client: TestClient) -> None:
    assert ranked(client, "origin=baseline") == [0]
    assert ranked(client, "failed=true&sort=candidate") == [4, 9, 13]
    assert ranked(client, "sort=candidate&most=3") == [0, 1, 2]
    assert set(ranked(client, "by=synapse")) == set(range(29))
    assert ranked(client, "by=synapse") != ranked(client, "")


def test_a_forms_empty_fields_ask_for_everything(client: TestClient) -> None:
    empty = "by=&sort=rank&origin=&family=&most_parameters=&most=50"
    assert ranked(client, empty) == ranked(client, "")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/candidates/99", 404),
        ("/trials/0", 404),
        ("/overlays/2", 404),
        (f"{ROOT}/static/web.py", 404),
        (f"{ROOT}/static/..%2Fweb.py", 404),
        (f"{ROOT}/studies/2/", 404),
        ("/attempts/none", 404),
        ("/attempts/a.0.1.0", 404),
        ("/?by=axon", 404),
        ("/candidates/99999999999999999999", 422),
        ("/?most=0", 422),
        ("/?sort=name", 422),
    ],
)
def test_what_is_not_there_is_no_fault_of_the_server(
    client: TestClient, path: str, status: int
) -> None:
    assert client.get(path).status_code == status


def test_json_says_what_the_pages_say(client: TestClient) -> None:
    status = client.get(f"{ROOT}/api/studies/1/status").json()
    assert status["trials"] == {"completed": 30, "failed": 3, "stopped": 15}
    entries = client.get(f"{ROOT}/api/studies/1/leaderboard?most=5").json()
    assert [entry["candidate"] for entry in entries] == ranked(client, "most=5")
    best = entries[0]["candidate"]
    assert (
        client.get(f"{ROOT}/api/studies/1/candidates/{best}").json()["tree"] == entries[0]["tree"]
    )
    assert len(client.get(f"{ROOT}/api/studies/1/trials/1").json()["evaluations"]) == 4
    assert client.get(f"{ROOT}/api/studies/1/standings").json()[0]["kind"] == "ensemble"


def test_the_description_names_every_json_endpoint(client: TestClient) -> None:
    described = client.get(f"{ROOT}/openapi.json").json()
    assert set(described["paths"]) == {
        "/api/studies",
        "/api/studies/{study}/status",
        "/api/studies/{study}/leaderboard",
        "/api/studies/{study}/standings",
        "/api/studies/{study}/candidates/{number}",
        "/api/studies/{study}/trials/{number}",
        "/api/studies/{study}/attempts/{name}",
    }
    assert TOKEN not in json.dumps(described)


def test_an_unchanged_page_is_not_sent_again(client: TestClient) -> None:
    first = client.get("/")
    again = client.get("/", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_changed_page_is_sent_again(make_study: Make) -> None:
    ledger, folder = make_study(Stage.TUNING)
    with client_of(ledger, folder) as client:
        first = client.get("/")
        with ledger._engine.begin() as connection:
            connection.exec_driver_sql("UPDATE trials SET state = 'running' WHERE id = 1")
        again = client.get("/", headers={"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 200
    assert "1 running" in again.text


def test_overlays_are_served_as_pictures(client: TestClient) -> None:
    answer = client.get("/overlays/1")
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.content.startswith(b"\x89PNG")


def test_a_trial_shows_its_own_part_of_the_log_as_text(make_study: Make) -> None:
    ledger, folder = make_study()
    with ledger.reading() as connection:
        name = connection.exec_driver_sql(
            "SELECT name FROM attempts WHERE order_id = 2 ORDER BY id DESC"
        ).scalar_one()
    log = folder / "jobs" / name.split(".")[0] / "log-0.txt"
    log.parent.mkdir(parents=True)
    log.write_text("== order 1: train\nfirst\n== order 2: train\n<b>own</b>\n== order 3: x\nlast\n")
    with client_of(ledger, folder) as client:
        html = client.get("/trials/2").text
    assert "&lt;b&gt;own&lt;/b&gt;" in html
    assert "first" not in html
    assert "last\n" not in html


def test_hostile_names_stay_text_on_every_page(make_study: Make) -> None:
    hostile = "</select><script>alert(1)</script>"
    classes = (hostile, "membrane", "mitochondria", "synapse", "glia")
    ledger, folder = make_study(classes=classes, detail=hostile)
    with client_of(ledger, folder) as client:
        for page in ("/", "/cluster", "/candidates/3", "/trials/7", "/trials/11"):
            html = client.get(page).text
            assert "<script>" not in html
            assert html.count("<script ") == 1


def test_a_study_that_has_just_begun_has_every_page(make_study: Make) -> None:
    ledger, folder = make_study(Stage.SEARCHING)
    with client_of(ledger, folder) as client:
        html = client.get("/").text
        assert "<progress" in html
        assert "about" in html
        assert client.get("/cluster").status_code == 200


def test_the_studies_of_a_database_are_listed_and_each_has_its_pages(make_study: Make) -> None:
    ledger, folder = make_study()
    hostile = "<script>alert(1)</script>"
    with ledger.reading() as connection:
        first = queries.study(connection)
    row = {"seed": 1, "spec": first.spec, "version": "0", "stage": Stage.SEARCHING}
    second = ledger.create_study({**row, "name": hostile, "folder": str(folder)})
    app = make_app(ledger, None, TOKEN)
    with TestClient(app, base_url=ROOT) as client:
        html = client.get("/").text
        assert f"/{TOKEN}/studies/1/" in html
        assert f"/{TOKEN}/studies/{second}/" in html
        assert "<script>" not in html
        assert [one["name"] for one in client.get("/api/studies").json()] == ["vnc", hostile]
        assert client.get("/api/studies/1/status").json()["candidates"] > 0
        assert client.get(f"/api/studies/{second}/status").json()["candidates"] == 0
        for page in ("", "cluster"):
            html = client.get(f"/studies/{second}/{page}").text
            assert "&lt;script&gt;" in html
            assert "<script>" not in html


def test_an_attempt_has_a_page_with_its_log(make_study: Make) -> None:
    ledger, folder = make_study()
    with ledger.reading() as connection:
        name = connection.exec_driver_sql("SELECT name FROM attempts WHERE id = 2").scalar_one()
    token, index, order, _ = name.split(".")
    log = log_path(folder / "jobs", TaskName(token=token, index=int(index)))
    log.parent.mkdir(parents=True)
    log.write_text(f"== order {order}: train\n<i>own</i>\n")
    with client_of(ledger, folder) as client:
        html = client.get(f"/attempts/{name}").text
        assert (
            client.get(f"{ROOT}/api/studies/1/attempts/{name}").json()["log"].endswith("<i>own</i>")
        )
        trial = client.get("/trials/2").text
    assert "&lt;i&gt;own&lt;/i&gt;" in html
    assert f"/attempts/{name}" in trial


def test_a_snapshots_age_stands_on_every_page(make_study: Make) -> None:
    ledger, folder = make_study()
    snapshot(ledger.file, folder / SNAPSHOT)
    note_holder(folder, "cn0042/123/1.0")
    with client_of(open_reading(folder), folder) as client:
        for page in ("/", "/cluster"):
            assert "the coordinator is process 123 on cn0042" in client.get(page).text


@pytest.mark.parametrize(
    "query",
    ["step=400", "failed=false", "most_memory_gb=0.9", "since_s=0", "sort=date", "by=accuracy"],
)
def test_every_filter_and_sorting_of_the_command_line_is_there(
    client: TestClient, query: str
) -> None:
    assert 0 < len(ranked(client, query)) <= 29
