"""The control plane: compile, REST API, dashboard, services, models."""
