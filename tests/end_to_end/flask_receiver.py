"""A stock Flask application that takes callbacks and writes down what came; nothing in it knows offload."""

import json
import sys
from pathlib import Path

from flask import Flask, request
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

app = Flask(__name__)
kept = Path(sys.argv[1])
secret = sys.argv[2]


@app.post("/hook")
def hook() -> tuple[str, int]:
    body = request.get_data()
    try:
        Webhook(secret).verify(body, dict(request.headers))
    except WebhookVerificationError:
        return "wrong signature", 401
    name = f"{request.headers['Offload-Task-Status']}-{request.headers['Offload-Task-Id']}"
    (kept / f"{name}.headers").write_text(json.dumps(dict(request.headers)))
    half = kept / f"{name}.part"
    half.write_bytes(request.headers["Content-Type"].encode() + b"\n" + body)
    half.rename(kept / name)
    return "thanks", 200


app.run(port=int(sys.argv[3]))
