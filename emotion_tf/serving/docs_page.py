"""The page at /docs: all routes of the OpenAPI document with examples to send, and nothing from other hosts."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from emotion_tf.serving.server_settings import DEFAULT_MODEL


class Example(NamedTuple):
    """Where the examples of a page are sent.

    Attributes:
      url: Of the server, as the reader of the page reached it.
      name, version: Of the model that answers.
    """

    url: str
    name: str
    version: str


def write_page(document: Mapping[str, Any], example: Example) -> str:
    """Writes the page.

    Args:
      document: Of OpenAPI.
      example: Where the examples go.
    """
    routes = [
        _route(document, method.upper(), path, found, example)
        for path, methods in document["paths"].items()
        for method, found in methods.items()
    ]
    return _HEAD + "".join(routes) + f"<script>{_SCRIPT}</script></html>"


def _route(document: Mapping[str, Any], method: str, path: str, found: Mapping[str, Any], example: Example) -> str:
    """Writes a route: its name, a command, and a form that sends the same."""
    sent = path.replace("{name}", example.name).replace("{version}", example.version)
    content = found.get("requestBody", {}).get("content", {})
    takes_form = "multipart/form-data" in content
    command, fields = _of_form(document, found, example) if takes_form else _of_json(content, example.url + sent)
    return (
        f"<section><h2><code>{method} {html.escape(path)}</code></h2><p>{html.escape(found['summary'])}</p>"
        f"<pre>{html.escape(command)}</pre>"
        f'<form method={method.lower()} action="{html.escape(sent.lstrip("/"))}">{fields}'
        "<button>Send</button><output></output></form></section>"
    )


def _of_json(content: Mapping[str, Any], url: str) -> tuple[str, str]:
    """Writes the command and the field of a route that takes JSON, or nothing."""
    if not content:
        return f"curl {url}", ""
    body = json.dumps(content["application/json"].get("example", {}))
    return f"curl -d '{body}' {url}", f"<textarea aria-label=body>{html.escape(body)}</textarea>"


def _of_form(document: Mapping[str, Any], found: Mapping[str, Any], example: Example) -> tuple[str, str]:
    """Writes the command and the fields of a route that takes a form."""
    name = found["requestBody"]["content"]["multipart/form-data"]["schema"]["$ref"].rpartition("/")[2]
    command = found["description"].strip("`").replace("http://127.0.0.1:8501", example.url)
    if example.name != DEFAULT_MODEL:
        command = command.replace("curl ", f"curl -F model={example.name} ")
    return command, "".join(_fields(document["components"]["schemas"][name]["properties"], example))


def _fields(properties: Mapping[str, Any], example: Example) -> Iterator[str]:
    for name, one in properties.items():
        kind = json.dumps(one)
        if "binary" in kind or "contentMediaType" in kind:
            field = f"<input type=file name={name}{' multiple' if 'array' in kind else ''}>"
        elif one.get("type") == "boolean":
            field = f"<input type=checkbox name={name} value=true>"
        else:
            value = example.name if name == "model" else one.get("examples", [""])[0]
            field = f'<input name={name} value="{html.escape(value)}">'
        yield f"<label>{name} {field} <small>{html.escape(one.get('description', ''))}</small></label>"


_HEAD = """<!doctype html>
<html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width"><title>emotion_tf</title>
<link rel=icon href="data:,"><style>
body {font: 1rem/1.5 sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem}
h2 {font-size: 1.1rem; margin: 2rem 0 0; overflow-wrap: anywhere} p {margin: 0}
pre, output {display: block; white-space: pre-wrap; overflow-wrap: anywhere; background: #f2f2f2; padding: .5rem}
output:empty {display: none} output {max-height: 20rem; overflow: auto; margin-top: .5rem}
label {display: block} textarea {box-sizing: border-box; width: 100%; height: 5rem}
</style>
<h1>emotion_tf</h1><p>All of it for programs: <a href=openapi.json>openapi.json</a>. A voice as it comes in goes to the
WebSocket <code>/v1/stream</code>.</p>"""

_SCRIPT = """
for (const form of document.forms) form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const [text, output] = [form.querySelector("textarea"), form.querySelector("output")];
  const options = {method: form.getAttribute("method").toUpperCase()};
  if (text) {
    Object.assign(options, {body: text.value, headers: {"Content-Type": "application/json"}});
  } else if (options.method === "POST") {
    options.body = new FormData(form);
    for (const [name, value] of [...options.body]) {
      if (value instanceof File && !value.name) options.body.delete(name);
    }
  }
  output.textContent = "...";
  try {
    const answer = await fetch(form.getAttribute("action"), options);
    output.textContent = `${answer.status} ${await answer.text()}`;
  } catch (error) {
    output.textContent = error;
  }
});
"""
