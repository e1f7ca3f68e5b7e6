"""The REST client: `Client` for every call, `launch` for a run from Python or a notebook."""

from celesta.client.api import Client
from celesta.client.launching import Handle, launch
from celesta.errors import ApiError, MissingBlobs

__all__ = ["ApiError", "Client", "Handle", "MissingBlobs", "launch"]
