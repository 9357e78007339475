"""The side that runs in a worker process, beside user code; started as `python -m offload.workers.child`."""
