"""The tasks of an existing Celery application as jobs; its workers stay as they are."""
