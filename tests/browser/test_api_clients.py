"""The documented endpoints, through gradio_client, and through MCP."""

from __future__ import annotations

import asyncio
import base64
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from helpers import EXAMPLES
from served import MODEL, running_app

from vlm.families.checkpoint import open_config
from vlm.inputs.media import MediaOptions
from vlm.report import inspect_media

CIRCLE, SHAPES = EXAMPLES / "circle.png", EXAMPLES / "shapes.png"


@pytest.fixture(scope="module")
def client(app):
    return Client(app, verbose=False)


def test_a_conversation_goes_on_by_its_id(client):
    first = client.predict(message="What shape is it?", files=[handle_file(CIRCLE)], api_name="/chat")
    assert first["done"] and first["answer"].strip()
    second = client.predict(message="And now?", history_id=first["history_id"], api_name="/chat")
    assert second["history_id"] == first["history_id"]
    assert second["statistics"]["reused_tokens"] > first["statistics"]["prompt_tokens_by_kind"]["image"]


def test_health_tells_the_model(client):
    client.predict(message="Hello", api_name="/chat")  # the model is there now
    health = client.predict(api_name="/health")
    assert health["status"] == "ready" and health["device"] == "cpu"


def test_inspect_gives_what_the_command_line_gives(client):
    config, tokenizer = open_config("tiny")
    expected = inspect_media([CIRCLE], "tiny", config, tokenizer, "Describe this.", MediaOptions())[0]
    assert client.predict(files=[handle_file(CIRCLE)], model="tiny", api_name="/inspect") == expected
    other = client.predict(files=[handle_file(CIRCLE)], model="qwen2.5-vl-7b", api_name="/inspect")
    assert other["vision_tokens"] == 64


@pytest.mark.parametrize(
    ("endpoint", "given", "words"),
    [
        ("/chat", {"message": " "}, "Type a question"),
        ("/chat", {"message": "Hi", "history_id": "guess"}, "not kept"),
        ("/inspect", {"files": [handle_file(CIRCLE)], "model": "/etc"}, "give one of tiny"),
    ],
)
def test_wrong_calls_are_refused_in_words(client, endpoint, given, words):
    with pytest.raises(AppError, match=words):
        client.predict(**given, api_name=endpoint)


def test_eight_clients_at_once_are_all_answered_and_none_is_mixed_up(app):
    """Each asks twice; the vision tokens of its second turn must be those of its own files."""

    def talk(number: int) -> tuple[int, int, str]:
        client = Client(app, verbose=False)
        files = [handle_file(path) for path in (CIRCLE, SHAPES)[: 1 + number % 2]]
        first = client.predict(message=f"Question {number}?", files=files, api_name="/chat")
        second = client.predict(message="And now?", history_id=first["history_id"], api_name="/chat")
        kinds = second["statistics"]["prompt_tokens_by_kind"]
        return number, kinds["image"], first["history_id"]

    with ThreadPoolExecutor(8) as pool:
        talks = list(pool.map(talk, range(8)))
    config, tokenizer = open_config(MODEL)
    one = inspect_media([CIRCLE], MODEL, config, tokenizer, "?", MediaOptions())[0]["vision_tokens"]
    assert [image for _, image, _ in talks] == [one * (1 + number % 2) for number in range(8)]
    assert len({history for _, _, history in talks}) == 8


def test_mcp_clients_ask_about_a_picture(tmp_path):
    mcp = pytest.importorskip("mcp")
    from mcp.client.streamable_http import streamablehttp_client

    async def talk(address: str) -> dict[str, str]:
        async with (
            streamablehttp_client(f"{address}gradio_api/mcp/") as (read, write, _),
            mcp.ClientSession(read, write) as session,
        ):
            await session.initialize()
            tools = {tool.name.rsplit("_", 1)[-1]: tool for tool in (await session.list_tools()).tools}
            picture = "data:image/png;base64," + base64.b64encode(CIRCLE.read_bytes()).decode()

            async def call(name: str, **given) -> str:
                return str((await session.call_tool(tools[name].name, given)).content)

            return {
                "tools": " ".join(sorted(tools)),
                "words": tools["chat"].description,
                "health": await call("health"),
                "chat": await call("chat", message="What shape is it?", files=[picture]),
                "inspect": await call("inspect", files=[picture], model="qwen2.5-vl-7b"),
                "foreign": await call("inspect", files=["https://evil.example/a.png"]),
                "server's own": await call("inspect", files=["/etc/passwd"]),
            }

    program = ("app.py", "--model", MODEL, "--device", "cpu", "--mcp")
    with running_app(tmp_path, *program) as address, ThreadPoolExecutor(1) as pool:
        found = pool.submit(asyncio.run, talk(address)).result()
    assert found["tools"] == "chat health inspect"
    assert "pictures and clips" in found["words"]
    assert "status" in found["health"]
    assert "prompt_tokens_by_kind" in found["chat"]
    assert "64" in found["inspect"]
    assert "uploaded here" in found["foreign"] and "uploaded here" in found["server's own"]


def test_the_readme_s_example_runs(app, monkeypatch, capsys):
    readme = (EXAMPLES.parent / "README.md").read_text()
    (code,) = (
        part for part in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "gradio_client" in part
    )
    monkeypatch.chdir(EXAMPLES.parent)
    exec(code.replace("http://127.0.0.1:7860", app))
    answer, reused = capsys.readouterr().out.splitlines()[-1].rsplit(" ", 1)
    assert answer and int(reused) > 0
