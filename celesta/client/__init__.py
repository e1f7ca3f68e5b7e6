"""The REST client: `Client` for every call, `launch` for a run from Python or a notebook."""

from celesta.client.api import Client
from celesta.client.http import ApiError, MissingBlobs
from celesta.client.launching import Handle, launch

__all__ = ["ApiError", "Client", "Handle", "MissingBlobs", "launch"]
