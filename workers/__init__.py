"""The execution plane: the Celery app, the chord engine, executors, recorder, beat."""
