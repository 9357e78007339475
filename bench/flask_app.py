"""The slow route as it is found in many applications: the work is done while the client waits."""

from flask import Flask, Response, jsonify

from bench.jobs import burn

app = Flask(__name__)


@app.get("/healthz")
def healthz() -> Response:
    return jsonify(status="alive")


@app.post("/compute")
def compute() -> Response:
    return jsonify(burn(0.5))
