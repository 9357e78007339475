"""POST /v1/jobs/{job}: what is accepted, and what the answer says."""

from pathlib import Path

from tests.http.kit import serving


async def test_a_submitted_task_is_accepted_at_once_and_its_result_can_be_read(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        answer = await server.client.post("/v1/jobs/add", json={"a": 2, "b": 3})
        assert answer.status_code == 202
        task = answer.json()
        assert answer.headers["location"] == f"/v1/tasks/{task['id']}" == task["links"]["self"]
        assert int(answer.headers["retry-after"]) >= 1
        assert (task["job"], task["queue"], task["status"], task["input"]) == (
            "add",
            "default",
            "QUEUED",
            {"a": 2, "b": 3},
        )
        assert (await server.finished(task["id"]))["result"] == 5
        result = await server.client.get(f"/v1/tasks/{task['id']}/result")
        assert (result.status_code, result.json(), result.headers["content-type"]) == (200, 5, "application/json")
